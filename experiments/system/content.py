"""What files and folders hold, as SHA-256."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

_PIECE = 1 << 20  # bytes
SETTLED_NS = 2_000_000_000  # a file that was changed just now may change again within the clock's resolution

_known: dict[tuple[str, int, int, int, int], str] = {}


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, read piece by piece; read once while its size and times stay the same.

    Raises:
        OSError: it cannot be read.
    """
    stat = os.stat(path)
    seen = str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
    if seen in _known:
        return _known[seen]
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            found.update(piece)
    if time.time_ns() - stat.st_ctime_ns > SETTLED_NS:
        _known[seen] = found.hexdigest()
    return found.hexdigest()


def folder_sha256(folder: str | Path, files: Iterable[Path] | None = None) -> str:
    """Return a SHA-256 of the names, sizes and contents of files in a folder.

    Args:
        folder: the names are relative to it.
        files: which; by default all in it and below, but those whose names begin with a dot.

    Raises:
        OSError: one cannot be read.
    """
    whole = hashlib.sha256()
    chosen = _files_below(Path(folder)) if files is None else files
    for path in sorted(chosen):
        name = path.relative_to(folder).as_posix()
        whole.update(f"{name}\0{path.stat().st_size}\0{file_sha256(path)}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()


def _files_below(folder: Path) -> list[Path]:
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [path for name in names if not name.startswith(".") and (path := Path(place, name)).is_file()]
    return found
