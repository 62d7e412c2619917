"""A group's folder: the runs in it, the processes that work there, and the way into the trash.

.worker-<process>-<n>@<machine>    held by a process that works in the group, to the end of its life
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from ..errors import NothingMatchedError, RunInUseError, UsageError
from ..system import storage
from ..system.liveness import host_name
from ..system.locks import try_lock
from ..system.places import shown
from .run_dir import LOCK, RunDir, is_run

_TRASH = ".trash"
_WORKER = ".worker-"  # begins the names of the files that those hold


def runs_in(group: Path) -> list[Path]:
    """Return the folders of the runs in a group's folder, in order of their names."""
    return sorted(path for path in group.iterdir() if is_run(path))


@contextlib.contextmanager
def working_in(group: Path) -> Iterator[None]:
    """Work in a group's folder, beside other processes that do, so that nobody moves it away meanwhile.

    Each has a file of its own there, which it holds to the end of its life; whoever moves the folder needs all of them.

    Raises:
        RunInUseError: another process is moving it.
    """
    storage.make_dir(group, exist_ok=True)
    entrance = try_lock(group / LOCK, group, patience_secs=5.0)
    if entrance is None:
        raise RunInUseError(f"{shown(group)} is being moved by another process: repeat the command")
    number = 0
    while (mine := group / f"{_WORKER}{os.getpid()}-{number}@{host_name()}").exists():
        number += 1
    lock = try_lock(mine, group, patience_secs=0.0)
    entrance.release()
    try:
        yield
    finally:
        if lock is not None:
            lock.release()
            with contextlib.suppress(storage.MissingFileError):
                storage.remove(mine)


def _worker_in(group: Path) -> str | None:
    """Return a process that works in a group; files of those that were killed are deleted."""
    for name in sorted(name for name in os.listdir(group) if name.startswith(_WORKER)):
        lock = try_lock(group / name, group, patience_secs=0.0)
        if lock is None:
            pid, _, host = name.removeprefix(_WORKER).partition("@")
            return f"process {pid.partition('-')[0]} on {host}"
        lock.release()
        with contextlib.suppress(storage.MissingFileError):
            storage.remove(group / name)
    return None


def trash(path: str | Path, keep: Collection[str] = ()) -> Path:
    """Move a run or a group to `.trash/<name>-<n>` beside it, from where it can be moved back; return its new place.

    Args:
        path: the folder.
        keep: names in it that stay where they are, and with them the folder.

    Raises:
        RunInUseError: a process holds it, or a run in it.
        NothingMatchedError: there is no such folder.
        UsageError: it is a symbolic link, and what it means lies elsewhere.
        StorageError: it cannot be moved.
    """
    run = RunDir(path)
    if run.path.is_symlink():
        raise UsageError(f"{shown(path)} is a link to {shown(run.path.resolve())}: name that, or remove the link")
    if not run.path.is_dir():
        raise NothingMatchedError(f"no folder {shown(path)}")
    place = run.path.resolve()
    bin_path = place.parent / _TRASH
    with contextlib.ExitStack() as held:
        for folder in (run.path, *runs_in(run.path)):
            held.enter_context(RunDir(folder).lock())
        if worker := _worker_in(run.path):
            raise RunInUseError(
                f"{shown(run.path)} is in use by {worker}, which makes a comparison: wait for it, or stop it with "
                f"`kill {worker.split()[1]}`"
            )
        storage.make_dir(bin_path, exist_ok=True)
        number = 1
        while (bin_path / f"{place.name}-{number}").exists():
            number += 1
        target = bin_path / f"{place.name}-{number}"
        if keep:
            storage.make_dir(target)
            for name in sorted(set(os.listdir(place)) - {*keep, LOCK}):
                storage.rename(place / name, target / name)
            return target
        storage.rename(place, target)
        storage.remove(target / LOCK)  # whoever waits for it would get a lock that guards this name no more
    return target
