"""Which files are the user's own: neither installed, nor part of Python, nor of optrun."""

from __future__ import annotations

import functools
import sysconfig
from pathlib import Path

OWN_FOLDERS = [Path(__file__).resolve().parents[2] / name for name in ("experiments", "cli", "configs")]
_INSTALLED = {"site-packages", "dist-packages"}
_FROZEN = "<frozen "  # begins the name that modules built into Python have for a file


@functools.lru_cache(maxsize=8192)
def is_users(path: Path) -> bool:
    """Return True for a file of the user's own, and for code that was never in a file, such as `<stdin>`."""
    is_own = any(path.is_relative_to(folder) for folder in OWN_FOLDERS)
    return not is_own and not is_installed(path) and not is_standard_library(path)


def is_installed(path: Path) -> bool:
    """Return True for a file below `site-packages` or `dist-packages`."""
    return not _INSTALLED.isdisjoint(path.parts)


def is_standard_library(path: Path) -> bool:
    """Return True for a module of Python's, by its file or frozen."""
    if str(path).startswith(_FROZEN):
        return True
    return not is_installed(path) and any(path.is_relative_to(folder) for folder in _standard_folders())


@functools.cache
def _standard_folders() -> frozenset[Path]:
    """Return where Python's own modules are, by the names that imports give them, and as links lead to them."""
    folders = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
    return frozenset([*folders, *(folder.resolve() for folder in folders)])
