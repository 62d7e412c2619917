"""The circumstances of a run: everything outside the configuration that may change its bits."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from .commit import commit_of


def describe_environment(device: torch.device, threads: int, **facts: Any) -> dict[str, Any]:
    """Return versions, machine, commit, device and threads, for `env.json`.

    Args:
        device: that the run computes on.
        threads: that it computes with.
        facts: more to record, such as the precision.
    """
    return {
        "optrun": _version("optrun"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": _version("numpy"),
        "platform": platform.platform(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": threads,
        "commit": commit_of(Path.cwd()),
        "command": sys.argv,
        **facts,
    }


def changes_that_matter(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """List what differs between two environments and may change the bits of a result: `threads 2 -> 1`."""
    keys = ("torch", "cpu", "device", "device_name", "threads", "precision")
    return [f"{key} {before[key]} -> {now.get(key)}" for key in keys if key in before and before[key] != now.get(key)]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
