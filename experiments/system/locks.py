"""Locks between processes, which the system frees when their holder dies; what is lost where a file system has none."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..errors import StorageError
from . import storage

if TYPE_CHECKING:
    from filelock import FileLock

log = logging.getLogger("optrun")

NO_LOCK = "OPTRUN_NO_LOCK"
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_warned: set[str] = set()


class Lock(Protocol):
    """What is held until it is released."""

    def release(self) -> None: ...


class NotHeld:
    """Stands for a lock that the user does without."""

    def release(self) -> None:
        pass


def are_off() -> bool:
    """Return True if the user does without locks."""
    return storage.is_set(NO_LOCK)


def try_lock(file: Path, what: Path, patience_secs: float) -> Lock | None:
    """Lock a file, made if missing; None where another process holds it.

    Args:
        file: that stands for what is locked.
        what: to be named in errors.
        patience_secs: how long to try; negative for ever.

    Raises:
        StorageError: it cannot be locked; where the file system has no locks, the message has the way to do without.
    """
    from filelock import FileLock, Timeout  # not on the path of `--help` and of listing finished runs

    if are_off():
        with storage.explain("open", file):
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT, 0o666))
        return NotHeld()
    lock: FileLock = FileLock(file, thread_local=False)
    with storage.explain("lock", what):
        try:
            _refuse_stand_in(file)
            lock.acquire(timeout=patience_secs, poll_interval=0.02)
        except Timeout:
            return None
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise StorageError(_without_locks(what, error)) from error
            raise
    return lock


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time make the file at `path`; the others wait until it is there.

    Raises:
        StorageError: see `try_lock`.
    """
    file = path.with_name(f"{path.name}.lock")
    lock = try_lock(file, path, patience_secs=0)
    if lock is None:
        log.warning("another process is making %s: waiting for it", path)
        lock = try_lock(file, path, patience_secs=-1)
    assert lock is not None  # it waits for ever
    try:
        yield
    finally:
        lock.release()


def _refuse_stand_in(file: Path) -> None:
    """Raise the system's error where it has no `flock`, in place of which filelock takes a file that outlives a kill.

    To give back what is not held changes nothing where there are locks.
    """
    with contextlib.suppress(ImportError):  # Windows has locks of another kind
        import fcntl

        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise
        finally:
            os.close(descriptor)


def warn_if_off(what: Path) -> None:
    """Say once what is lost without locks."""
    if are_off() and NO_LOCK not in _warned:
        _warned.add(NO_LOCK)
        log.warning(
            "nothing keeps a second process from %s (--no-lock): two at once would mix their rows and checkpoints", what
        )


def _without_locks(what: Path, error: OSError) -> str:
    return (
        f"cannot lock {what}: {error.strerror}: this file system has no locks, which keep two processes from writing "
        "into one run at once. Set OPTRUN_RUNS_DIR to a folder on a disk of this machine; or, if only one process will "
        f"work there, do without: `optrun --no-lock …`, or {NO_LOCK}=1"
    )
