"""Stamps of files: size, times and SHA-256, by which a file that is as it was is known without being read.

A file that was changed just before its stamp was taken may change again within the clock's resolution, and keep its
times. So a stamp counts by its times only where they are older than the moment at which it was written down; a younger
one counts by its SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import Any, Literal

from .content import SETTLED_NS, file_sha256

_MODULES = (".py", ".pyc", ".pyw", ".so", ".pyd", ".zip", ".egg")

Found = Literal["same", "touched", "other"]


@dataclass(frozen=True)
class Times:
    """What the system says of a file without reading it.

    Args:
        size: in bytes.
        changed_ns: when its content was changed last.
        touched_ns: when anything of it was; nothing sets it back.
    """

    size: int
    changed_ns: int
    touched_ns: int

    def is_settled(self, at_ns: int) -> bool:
        """Return True if a change after a moment gives the file other times."""
        return max(self.changed_ns, self.touched_ns) < at_ns - SETTLED_NS


@dataclass(frozen=True)
class Stamp:
    """A file as it was: its times, and the SHA-256 of its content."""

    times: Times
    sha256: str

    def as_list(self) -> list[Any]:
        """Return what JSON keeps."""
        return [self.times.size, self.times.changed_ns, self.times.touched_ns, self.sha256]

    @classmethod
    def of_list(cls, kept: list[Any]) -> Stamp:
        """Return the stamp that `as_list` gave.

        Raises:
            ValueError: it is none.
        """
        size, changed_ns, touched_ns, sha256 = kept
        return cls(Times(int(size), int(changed_ns), int(touched_ns)), str(sha256))


def times_of(path: str | os.PathLike[str]) -> Times | None:
    """Return the times of a plain file; None where there is none.

    Raises:
        OSError: that cannot be told.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return Times(found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def stamp_of(path: str | os.PathLike[str]) -> Stamp | None:
    """Return the stamp of a file; None where there is none, and where it is being changed.

    Raises:
        OSError: it cannot be read.
    """
    before = times_of(path)
    if before is None:
        return None
    sha256 = file_sha256(os.fspath(path))
    return Stamp(before, sha256) if times_of(path) == before else None


def names_sha256(folder: str | os.PathLike[str], *, importable: bool = False) -> str | None:
    """Return a SHA-256 of the names in a folder; None where there is none.

    Args:
        folder: the names below it do not count.
        importable: only names that an import may mean: of modules, and of folders, which may be packages.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not importable or _may_be_imported(entry)]
    except OSError:
        return None
    return hashlib.sha256("\0".join(sorted(names)).encode(errors="surrogateescape")).hexdigest()


def _may_be_imported(entry: os.DirEntry[str]) -> bool:
    if entry.name.endswith(_MODULES):
        return True
    return entry.name.isidentifier() and entry.name != "__pycache__" and entry.is_dir()


def look(path: str, kept: Stamp, written_ns: int) -> tuple[Found, Stamp]:
    """Hold a file against its stamp: by its times, and by its content where these say nothing.

    Args:
        path: of the file.
        kept: its stamp.
        written_ns: when that was written down.

    Returns:
        what was found, and the stamp that it has now: `touched` is the same content at other times, or at times too
        young to say so.

    Raises:
        OSError: it cannot be read.
    """
    now = times_of(path)
    if now == kept.times and kept.times.is_settled(written_ns):
        return "same", kept
    if now is None or now.size != kept.times.size:
        return "other", kept
    stamp = stamp_of(path)
    return ("other", kept) if stamp is None or stamp.sha256 != kept.sha256 else ("touched", stamp)
