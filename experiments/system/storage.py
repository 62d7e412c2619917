"""Durable files: every byte that a resume or a report reads goes through this module.

A file is either old or new, never between: it is written beside its place, flushed to the disk, and renamed over it.
All system calls that change the disk are made through `system`, so that tests can let any one of them fail.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import StorageError
from . import forks
from .disk_errors import NO_FSYNC, CannotFlushError
from .disk_errors import MissingFileError as MissingFileError
from .disk_errors import explain as explain
from .liveness import is_alive

log = logging.getLogger("optrun")

Buffer = bytes | bytearray | memoryview
BINARY = getattr(os, "OBINARY", 0)  # Windows would translate line ends without it
_TEMPORARY = re.compile(r"\.tmp-(\d+)-.+")
_NO_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EIO}
_warned = False
_MAX_WRITE = 1 << 30  # Linux writes at most 2 GiB in one call


class System:
    """The raw calls that change the disk; a test replaces `storage.system` to inject faults."""

    open = staticmethod(os.open)
    write = staticmethod(os.write)
    fsync = staticmethod(os.fsync)
    close = staticmethod(os.close)
    replace = staticmethod(os.replace)
    unlink = staticmethod(os.unlink)
    truncate = staticmethod(os.ftruncate)
    mkdir = staticmethod(os.mkdir)


system: Any = System()


def write_atomic(path: str | Path, data: Buffer | Iterable[Buffer]) -> None:
    """Replace the content of `path` so that a crash at any moment leaves the old file or the new one, durably.

    Args:
        path: the file; its folder must exist.
        data: the content, or its pieces in order, which are never joined in memory.

    Raises:
        StorageError: it could not be written; the old content is untouched and nothing is left beside it.
    """
    _replace(Path(path), data, durable=True)


def write_derived(path: str | Path, content: str | bytes) -> None:
    """Replace a file that can be made again from others (a report, a picture): whole or not at all, but not fsynced.

    Raises:
        StorageError: it could not be written.
    """
    _replace(Path(path), content.encode() if isinstance(content, str) else content, durable=False)


def flush(descriptor: int) -> None:
    """Return when a file or folder is on the disk; at once where the user does without.

    Raises:
        OSError: it cannot be flushed; `explain` then has the way to do without.
    """
    if is_set(NO_FSYNC):
        return
    try:
        system.fsync(descriptor)
    except OSError as error:
        if error.errno in _NO_FLUSH:
            raise CannotFlushError(error.errno, error.strerror) from error
        raise


def is_set(variable: str) -> bool:
    """Return True if a variable of the environment says yes."""
    return os.environ.get(variable, "").lower() in ("1", "true", "yes", "on")


def warn_if_not_flushed(path: Path) -> None:
    """Say once what is lost where nothing is flushed."""
    global _warned
    if is_set(NO_FSYNC) and not _warned:
        _warned = True
        log.warning(
            "nothing is flushed to the disk in %s (--no-fsync): a power cut or a crash of the machine may lose or "
            "damage what was written last, checkpoints included; a process that is killed loses nothing",
            path,
        )


def _replace(path: Path, data: Buffer | Iterable[Buffer], durable: bool) -> None:
    forks.refuse_to_write(path)
    pieces: list[Any] = [data] if isinstance(data, Buffer) else list(data)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    with explain("write", path, sum(len(piece) for piece in pieces)):
        try:
            descriptor = system.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | BINARY, 0o666)
            try:
                for piece in pieces:
                    write_all(descriptor, piece)
                if durable:
                    flush(descriptor)
            finally:
                system.close(descriptor)
            system.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                system.unlink(temporary)
            raise
    if durable:
        fsync_dir(path.parent)


def write_all(descriptor: int, data: Buffer) -> None:
    rest = memoryview(data)
    while rest:
        written = system.write(descriptor, rest[:_MAX_WRITE])
        if written == 0:
            raise OSError(errno.EIO, "the system accepted no more bytes")
        rest = rest[written:]


def read_bytes(path: str | Path, most: int = -1) -> bytes:
    """Return the content of `path`, or so many bytes from its beginning.

    Raises:
        MissingFileError: there is no such file.
        StorageError: it cannot be read.
    """
    with explain("read", Path(path)), open(path, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no plain file")
        return file.read(most)


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for the other end, which a pipe would."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def remove(path: str | Path) -> None:
    """Delete a file.

    Raises:
        MissingFileError: there is no such file.
        StorageError: it cannot be deleted.
    """
    forks.refuse_to_write(Path(path))
    with explain("delete", Path(path)):
        system.unlink(path)


def rename(old: str | Path, new: str | Path) -> None:
    """Rename a file or folder, durably, replacing a file called `new`.

    Raises:
        MissingFileError: `old` is not there.
        StorageError: it cannot be renamed.
    """
    old, new = Path(old), Path(new)
    for path in (old, new):
        forks.refuse_to_write(path)
    with explain(f"rename to {new}:", old):
        system.replace(old, new)
    for folder in {old.parent, new.parent}:
        fsync_dir(folder)


def make_dir(path: str | Path, exist_ok: bool = False) -> bool:
    """Make a folder and those above it; of several processes that try, exactly one makes it.

    Args:
        path: the folder.
        exist_ok: whether it may be there already.

    Returns:
        Whether this call made it.

    Raises:
        StorageError: it cannot be made, or is there and `exist_ok` is false, or is a file.
    """
    path = Path(path)
    if not path.parent.exists():
        make_dir(path.parent, exist_ok=True)
    try:
        with explain("make the folder", path):
            system.mkdir(path)
    except StorageError as error:
        if exist_ok and isinstance(error.__cause__, FileExistsError) and path.is_dir():
            return False
        raise
    fsync_dir(path.parent)
    return True


def fsync_dir(folder: str | Path) -> None:
    """Return when the names in `folder` are on the disk; Windows, which cannot, is left to its journal."""
    if os.name == "nt":
        return
    with explain("flush the folder", Path(folder)):
        descriptor = system.open(folder, os.O_RDONLY)
        try:
            flush(descriptor)
        finally:
            system.close(descriptor)


def sweep_temporaries(folder: str | Path, min_age_secs: float = 0.0) -> list[str]:
    """Delete what killed processes left half written in `folder`, and return the names.

    A temporary with this process's own number is stale too: in a container each life has the same number. So call it
    at the start, before anything is written.

    Args:
        folder: where to look.
        min_age_secs: leave younger ones alone: in a folder that nobody locks, another machine may be writing them.
    """
    stale = []
    with explain("read the folder", Path(folder)), os.scandir(folder) as entries:
        for entry in entries:
            match = _TEMPORARY.fullmatch(entry.name)
            if not match or (is_alive(int(match[1])) and int(match[1]) != os.getpid()):
                continue
            with suppress(FileNotFoundError):  # renamed meanwhile
                if not min_age_secs or time.time() - entry.stat().st_mtime >= min_age_secs:
                    stale.append(entry.name)
    for name in stale:
        with suppress(MissingFileError):
            remove(Path(folder) / name)
    return sorted(stale)
