"""Batches that a thread makes while steps are taken with earlier ones."""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from .tree import tensors

_MOST = 16  # batches
_MOST_BYTES = 1 << 25
_running: weakref.WeakSet[Ahead] = weakref.WeakSet()


class Ahead:
    """Makes batches in the order of their positions, some before they are asked for.

    One that is not the next begins anew from there. What making one fails with is raised where it is asked for.

    Args:
        make: position -> batch; called by one thread at a time, and by no other one than that of this object.
        end: the position at which there is none any more; None where there is no end.
    """

    def __init__(self, make: Callable[[int], Any], end: int | None):
        self._make, self._end = make, end
        self._thread: ThreadPoolExecutor | None = None
        self._made: deque[Future[Any]] = deque()
        self._first = 0  # the position of the first of these
        self._most = 1
        _running.add(self)

    def batch(self, position: int) -> Any:
        """Return the batch at a position."""
        if position != self._first:
            self._forget_batches()
            self._first = position
        self._begin(0)
        asked = self._made.popleft()
        self._first += 1
        self._begin(self._most - 1)
        batch = asked.result()
        if self._most == 1:
            size = sum(tensor.nbytes for tensor in tensors(batch))
            self._most = max(1, min(_MOST, _MOST_BYTES // max(size, 1)))
        return batch

    def close(self) -> None:
        """End the thread; a batch that is asked for later begins another one."""
        self._forget_batches()
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def _begin(self, last: int) -> None:
        """Begin to make batches up to the one that is `last` places behind the first."""
        while len(self._made) <= last and (self._end is None or self._first + len(self._made) < self._end):
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, "optrun batches")
            self._made.append(self._thread.submit(self._make, self._first + len(self._made)))

    def _forget_batches(self) -> None:
        for future in self._made:
            future.cancel()
        self._made.clear()

    def settle(self) -> None:
        """Return when nothing is being made: a process that is forked then has no lock of the thread's."""
        wait([future for future in self._made if not future.cancel()])
        self._made.clear()

    def forget_thread(self) -> None:
        """Begin the life of a forked process, which has none; `settle` has been called before."""
        self._thread = None


def _settle() -> None:
    for ahead in tuple(_running):
        ahead.settle()


def _forget() -> None:
    for ahead in tuple(_running):
        ahead.forget_thread()


if hasattr(os, "register_at_fork"):  # Windows forks nothing
    os.register_at_fork(before=_settle, after_in_child=_forget)
