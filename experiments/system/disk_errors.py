"""What a disk refuses, as an error that says what failed, where, and what to do."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import StorageError
from .places import shown

NO_FSYNC = "OPTRUN_NO_FSYNC"
_DISK = {True: "The disk may be failing.", False: "Some network and container file systems cannot."}


class MissingFileError(StorageError):
    """The file or folder is not there."""


class CannotFlushError(OSError):
    """The file system cannot flush files, or folders, to the disk, or says so."""


@contextmanager
def explain(action: str, path: Path, need: int = 0) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError that says what failed, where, and what to do.

    Args:
        action: what is tried, to stand before the path: "write", "rename to b:".
        path: what it is tried on.
        need: bytes that the disk must have room for.
    """
    try:
        yield
    except OSError as error:
        kind = MissingFileError if error.errno == errno.ENOENT else StorageError
        reason = error.strerror or str(error)
        raise kind(f"cannot {action} {shown(path)}: {reason}{_way_out(error, path, need)}") from error


def _way_out(error: OSError, path: Path, need: int) -> str:
    if isinstance(error, CannotFlushError):
        return (
            f": it cannot be flushed to the disk, so that a power cut could lose it. {_DISK[error.errno == errno.EIO]} "
            f"Set OPTRUN_RUNS_DIR to a folder on another disk, or do without: `optrun --no-fsync …`, or {NO_FSYNC}=1"
        )
    match error.errno:
        case errno.EEXIST | errno.ENOTSUP | errno.ENOSYS if error.filename2 is not None:
            return (
                ": this file system cannot replace a file by renaming another one, without which a crash would leave "
                "half a file: set OPTRUN_RUNS_DIR to a folder on another disk"
            )
        case errno.ENOSPC | errno.EDQUOT:
            return (
                f" (needs {need} bytes, {_free(path)} bytes free). Nothing saved before is lost: free some space and "
                "run the same command again, or set OPTRUN_RUNS_DIR to a folder on another disk"
            )
        case errno.EFBIG:
            return f" (needs {need} bytes): raise the limit on file sizes (`ulimit -f unlimited`)"
        case errno.EROFS | errno.EACCES | errno.EPERM:
            return ": make it writable, or set OPTRUN_RUNS_DIR to a folder that is"
        case errno.ENOENT if not path.parent.is_dir():
            return f": its folder {shown(path.parent)} is gone; is a disk no longer mounted?"
        case errno.EMFILE | errno.ENFILE:
            return ": raise the limit on open files (`ulimit -n`)"
        case _:
            return ""


def _free(path: Path) -> int | str:
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return "an unknown number of"
