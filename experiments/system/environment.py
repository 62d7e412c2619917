"""The circumstances of a run: everything outside the configuration that may change its bits."""

from __future__ import annotations

import functools
import platform
import re
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch

from .commit import commit_of
from .places import current_folder
from .switches import SWITCHES, THREAD_VARIABLES, at_start, changes, snapshot, unusual, words

#: Raised by one when, and only when, the same configuration gives other bits than before, for whatever reason: another
#: order of operations, another draw, a changed default of an option that is younger than 0.1.0. All runs of comparisons
#: are then done anew, in new groups (see `comparison.identity`), and a resumed run says that it is not bit-exact.
NUMERICS = 1

_MATTERS = (
    *("numerics", "python", "torch", "numpy", "cpu", "cpu_model", "device", "device_name", "threads", "precision"),
    "compiled",
)
_USUAL = {name: switch.usual for name, switch in SWITCHES.items() if switch.is_numeric}


def describe_environment(device: torch.device, threads: int, **facts: Any) -> dict[str, Any]:
    """Return versions, machine, commit, device and threads, for `env.json`.

    Args:
        device: that the run computes on.
        threads: that it computes with.
        facts: more to record, such as the precision.
    """
    return {
        "optrun": _version("optrun"),
        "platform": platform.platform(),
        **circumstances(device),
        "threads": threads,
        "switches": unusual(snapshot()),
        "commit": commit_of(current_folder()),
        "command": sys.argv,
        **facts,
    }


def circumstances(device: torch.device) -> dict[str, Any]:
    """Return what decides the bits of any run on a device here, whatever its configuration.

    `given` are the switches that were turned before any code of a run was imported.
    """
    return {
        "numerics": NUMERICS,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": _version("numpy"),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cpu_model": _cpu_model(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "given": {name: value for name, value in unusual(at_start()).items() if name not in THREAD_VARIABLES},
    }


def changes_that_matter(
    before: Mapping[str, Any], now: Mapping[str, Any], part: Literal["switches", "given"] = "switches"
) -> list[str]:
    """List what differs between two environments and may change the bits of a result: `threads 2 -> 1`.

    Where the one before says nothing, since it was made by an earlier version, nothing is listed.

    Args:
        before, now: what `env.json` has.
        part: switches as the run found them once it was built, or as they were given to it.
    """
    listed = []
    for key in _MATTERS:
        was, is_now = (_minor(each.get(key)) if key == "python" else each.get(key) for each in (before, now))
        if key in before and was != is_now:
            listed.append(f"{key} {was} -> {is_now}")
    if part in before and part in now:
        was, is_now = ({**_USUAL, **each[part]} for each in (before, now))
        listed += [words({name: values}) for name, values in changes(was, is_now).items()]
    return listed


def _minor(version: str | None) -> str | None:
    """Return a version of Python without its last part, which changes no numbers."""
    return version and ".".join(version.split(".")[:2])


@functools.cache
def _cpu_model() -> str:
    try:
        facts = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:  # another system
        return platform.processor()
    found = re.search(r"^model name\s*:\s*(.+)$", facts, re.MULTILINE)
    return found[1] if found else platform.processor()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
