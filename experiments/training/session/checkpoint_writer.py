"""Checkpoints are written by a thread, while training goes on with the state that they are a copy of."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

_running: set[threading.Thread] = set()


class CheckpointWriter:
    """Writes one checkpoint at a time, each in a thread that ends with it.

    What a write fails with is raised, once, by whichever method is called next.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, write: Callable[[], object]) -> None:
        """Begin to write, once what is being written is there.

        Args:
            write: returns when all is durable.
        """
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(write,), name="optrun checkpoint")  # no daemon
        _running.add(self._thread)
        self._thread.start()

    def check(self) -> None:
        """Raise what the last write has failed with, if it is over; called before each block of steps."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self) -> None:
        """Return when nothing is being written any more."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, write: Callable[[], object]) -> None:
        try:
            write()
        except BaseException as error:  # noqa: BLE001 (it is raised by the thread that trains)
            self._error = error
        finally:
            _running.discard(threading.current_thread())


def _finish() -> None:
    """Wait for all that is being written: a process that is forked has no such thread, but a copy of what it holds."""
    for thread in tuple(_running):
        if thread is not threading.current_thread():
            thread.join()


if hasattr(os, "register_at_fork"):  # Windows forks nothing
    os.register_at_fork(before=_finish)
