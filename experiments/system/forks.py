"""Processes that the user's code forks: what one process has begun, no other one goes on with.

A forked process that does something of its own and ends is nobody's business. One that comes back to a run, because
`os.fork()` was called in a hook or a model and the child went on, would train it a second time in the same folder. It
is refused as soon as it is seen, and until then whatever it would write there.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from ..errors import SessionError
from . import signals

_entered: list[int] = []  # the process that began each block which has not ended, the outermost first
_held: list[tuple[Path, int]] = []  # folders of runs that are going on, and the process that makes each
_end_at_once = os._exit
_here = os.getpid()  # asked at every step: a call of the system would be felt there


def enter() -> None:
    """Begin a block of work that must end in this process."""
    _entered.append(_here)


def leave() -> bool:
    """End a block, and return True if this is the process that began it."""
    return not _entered or _entered.pop() == _here


def forget() -> None:
    """Begin the life of a process that was forked on purpose: it goes on with nothing of the other one."""
    _entered.clear()
    _held.clear()


def is_fork() -> bool:
    """Return True in a process that was forked within a block, and goes on with it."""
    return bool(_entered) and _entered[-1] != _here


def _renew() -> None:
    global _here
    _here = os.getpid()


signals.is_fork = is_fork
if hasattr(os, "register_at_fork"):  # Windows forks nothing
    os.register_at_fork(after_in_child=_renew)


def error() -> SessionError:
    """Return the error that such a process ends with."""
    return SessionError(
        f"process {os.getpid()} was forked by code that this run calls (os.fork), and went on with the run, which "
        "stays with the process that began it: let a forked process end by itself (os._exit), or start it with "
        "multiprocessing or subprocess"
    )


def refuse() -> None:
    """Refuse to go on in a process that was forked within a block.

    Raises:
        SessionError: this is one.
    """
    if _entered and _entered[-1] != _here:
        raise error()


def hold(folder: Path) -> None:
    """Let no process write in a folder that is forked from this one from now on, until `let_go`."""
    _held.append((folder, _here))


def let_go(folder: Path) -> None:
    """End what `hold` began."""
    with suppress(ValueError):
        _held.remove((folder, _here))


def refuse_to_write(path: Path) -> None:
    """Refuse to write in a folder that another process holds, which this one was forked from.

    Raises:
        SessionError: it is one.
    """
    if _held and any(pid != _here and path.is_relative_to(folder) for folder, pid in _held):
        raise error()


def end(status: object) -> NoReturn:
    """End a forked process past all that it has in common with the other one: handlers, files half written.

    Args:
        status: as `sys.exit` takes it.
    """
    if not isinstance(status, int | None):
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{status}\n")
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or None
            stream.flush()
    _end_at_once(status if isinstance(status, int) else int(status is not None))
