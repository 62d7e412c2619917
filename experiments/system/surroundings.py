"""What an answer depends on outside of any configuration, told without importing torch.

`environment` has what decides the bits of a run, from torch itself. Here stands for that what it follows from: versions
as they are installed, the processor, devices and drivers, variables, and this program's own files.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from .user_files import OWN_FOLDERS, is_installed

_PACKAGES = ("optrun", "torch", "numpy", "scipy", "scikit-learn")
#: Beginnings of the names of variables that change numbers, or what a configuration means.
_TELLING = (
    *("OPTRUN_", "PYTHON", "TORCH", "PYTORCH", "ATEN_", "CUDA", "CUBLAS", "CUDNN", "NVIDIA", "NCCL", "HIP", "ROC"),
    *("OMP_", "KMP_", "GOMP_", "MKL_", "DNNL_", "ONEDNN_", "OPENBLAS_", "BLIS_", "VECLIB_", "LD_", "DYLD_", "GLIBC_"),
    *("HOME", "XDG_", "HF_", "SCIKIT_LEARN", "SKLEARN", "RANK", "WORLD_SIZE", "LOCAL_RANK", "MALLOC_", "MPS_"),
)
#: Those that say only where a person sits; the user's own code may read any other.
_OF_A_TERMINAL = {
    *("COLUMNS", "LINES", "TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "SHLVL", "OLDPWD", "PWD", "_", "WINDOWID"),
    *("STY", "WINDOW", "DISPLAY", "XAUTHORITY", "TMUX", "TMUX_PANE", "PS1", "PROMPT", "PROMPT_COMMAND"),
}
_OF_A_SESSION = ("SSH_", "VTE_", "VSCODE_", "ITERM_", "KONSOLE_", "GNOME_TERMINAL_", "DBUS_", "WAYLAND_", "TERM_")
_OF_A_SESSION += ("GITHUB_", "RUNNER_", "PYTEST_")
_GPU_FOLDERS = ("/proc/driver/nvidia", "/proc/driver/nvidia/gpus")
_GPU_DEVICES = ("nvidia", "kfd", "dxg", "dri")  # beginnings of their names in /dev


def surroundings() -> dict[str, Any]:
    """Return what is around this process now, as JSON-able data; equal surroundings give the same answer."""
    variables = dict(os.environ)
    return {
        "python": [sys.version, sys.executable, sys.prefix, sys.flags.optimize],
        "packages": {name: _version(name) for name in _PACKAGES},
        "installed": [[folder, _changed_ns(folder)] for folder in sys.path if is_installed(Path(folder))],
        "paths": list(sys.path),
        "own files": _digest(list(_own_files())),
        "machine": [platform.system(), platform.machine(), _processor(), os.cpu_count(), _cores()],
        "gpus": gpus(),
        "variables": telling_variables(variables),
        "all variables": _digest(_beside_the_terminal(variables)),
    }


def telling_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Return those of some variables that may change a result of this program's own."""
    return {name: value for name, value in sorted(variables.items()) if name.startswith(_TELLING)}


def gpus() -> list[str]:
    """Return what the system says of its GPUs and their driver; nothing where there are none."""
    try:
        found = sorted(name for name in os.listdir("/dev") if name.startswith(_GPU_DEVICES))
    except OSError:
        found = []
    for folder in _GPU_FOLDERS:
        found += [text for path in _entries(folder) if (text := _text(path)) is not None]
    return found


def _beside_the_terminal(variables: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in variables.items()
        if name not in _OF_A_TERMINAL and not name.startswith(_OF_A_SESSION)
    }


def _entries(folder: str) -> list[str]:
    """Return the files that tell of the driver, and of each GPU."""
    if folder.endswith("gpus"):
        try:
            return [f"{folder}/{name}/information" for name in sorted(os.listdir(folder))]
        except OSError:
            return []
    return [f"{folder}/version"]


def _own_files() -> Iterator[list[Any]]:
    """Yield name, size and time of each file of this program, which may be worked on while its version stays."""
    for top in OWN_FOLDERS:
        for place, folders, names in os.walk(top):
            folders[:] = sorted(name for name in folders if name != "__pycache__")
            for name in sorted(names):
                found = os.stat(os.path.join(place, name))
                yield [os.path.join(place, name), found.st_size, found.st_mtime_ns]


def _processor() -> str:
    """Return a digest of what the processor is and can: its first description, without what changes all the time."""
    text = _text("/proc/cpuinfo")
    if text is None:
        return platform.processor()
    first = text.partition("\n\n")[0].splitlines()
    lasting = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU ")
    return _digest([line for line in first if line.startswith(lasting)])


def _cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _text(path: str) -> str | None:
    try:
        with open(path, errors="replace") as file:
            return file.read(1 << 16)
    except OSError:
        return None


def _changed_ns(folder: str) -> int | None:
    """Return when something was last installed in a folder, or removed there."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode(errors="surrogateescape")).hexdigest()
