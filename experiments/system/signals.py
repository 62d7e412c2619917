"""SIGINT and SIGTERM: a handler sets a flag, and the work reads the flag where it can stop.

Four situations: before there is anything to save, a signal ends the process at once; inside `with graceful() as stop`
the first one sets `stop.signum`; a SIGINT after that ends the process at once, for someone who does not want to wait.
When a section was ended by a signal and the process is about to end for it, a further one ends it at once, with the
exit code of the first.
Handlers never save, print through buffers or raise: they may run between any two instructions.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_end_at_once = os._exit  # the user's code may not call it (see raised.py); a handler may


class Stop:
    """The flag that a signal sets to ask for the end.

    Attributes:
        signum: the first signal's number, or None.
    """

    __slots__ = ("signum",)

    def __init__(self) -> None:
        self.signum: int | None = None


_active: Stop | None = None  # what the handler sets; None where there is nothing to save
_ended_by: int | None = None  # the signal that ended the last section, if one did
_depth = 0  # sections entered and not left; inner ones share the outermost one's Stop
_previous: dict[signal.Signals, Any] = {}  # the handlers that ours replaced
_lock = threading.Lock()
is_fork: Callable[[], bool] = bool  # no; see forks.py, which knows, and which this module does without


def install() -> None:
    """Handle both signals from now on; outside the main thread, where Python cannot, nothing happens.

    A signal that the process was started to ignore (`nohup`, a shell's background job) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for signum in _SIGNALS:
        handler = signal.getsignal(signum)
        if handler not in (_handle, signal.SIG_IGN, None):  # None: set by C code, and could not be put back
            _previous[signum] = handler
            signal.signal(signum, _handle)


def uninstall() -> None:
    """Put back the handlers that were there before `install()`."""
    while _previous:
        signum, handler = _previous.popitem()
        signal.signal(signum, handler)


def may_raise() -> bool:
    """Return True if Ctrl-C raises KeyboardInterrupt here, as Python's own handler does, instead of setting a flag."""
    if threading.current_thread() is not threading.main_thread():
        return False
    return signal.getsignal(signal.SIGINT) not in (_handle, signal.SIG_IGN, signal.SIG_DFL)


@contextmanager
def graceful() -> Iterator[Stop]:
    """Give a section of work a flag in place of a sudden end.

    Without `install()`, as in a notebook, the handlers are there for the section only, and the previous ones are put
    back after it. In a thread other than the main one the flag is then never set. A section inside another shares its
    flag, so that one signal ends both.
    """
    global _active, _depth, _ended_by
    temporary = not _previous and threading.current_thread() is threading.main_thread()
    with _lock:
        stop = _active if _active is not None else Stop()
        _depth += 1
        _active, _ended_by = stop, None
    if temporary:
        install()
    try:
        yield stop
    finally:
        try:
            if temporary:
                uninstall()
        finally:
            with _lock:
                _depth -= 1
                if _depth == 0:
                    _active, _ended_by = None, stop.signum


def _handle(signum: int, frame: FrameType | None) -> None:
    if is_fork():  # made by the user's code for something of its own, such as a pool, which ends it so
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
        return
    stop = _active
    if stop is None:
        first = signum if _ended_by is None else _ended_by
        why = "there was nothing to save" if _ended_by is None else f"{signal.Signals(first).name} came before"
        _say(f"optrun: {signal.Signals(signum).name}: stopped; {why}\n")
        _end_at_once(128 + first)
    if stop.signum is None:
        stop.signum = signum
    elif signum == signal.SIGINT:
        _say("optrun: second SIGINT: stopped at once; what was saved before is intact\n")
        _end_at_once(128 + signum)


def _say(line: str) -> None:
    with suppress(OSError):  # nobody may be listening
        os.write(2, line.encode())
