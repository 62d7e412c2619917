"""What stands in for `storage.system` in tests: it counts and notes the calls, and lets one of them go wrong."""

from __future__ import annotations

import errno as errors
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from optrun.experiments.system import storage

CALLS = tuple(name for name in vars(storage.System) if not name.startswith("_"))
FAULTS = ("before", "after", "torn")
_HELPS_ON_A_FULL_DISK = ("close", "unlink", "truncate", "fsync")  # these need no room


class FaultySystem:
    """Makes the real calls, but for one.

    Args:
        at: the number of the call that goes wrong, from 1; None lets all be.
        fault: `before`, `after`: SIGKILL there. `torn`: SIGKILL when half of the bytes of a `write` are out. `error`:
            raise instead.
        errno: of the error.
        for_good: whether all later calls fail as well.
    """

    def __init__(self, at: int | None = None, fault: str = "before", errno: int = errors.EIO, for_good: bool = False):
        self.names: list[str] = []
        self._counting = threading.Lock()  # a thread writes checkpoints
        self._at, self._fault, self._errno, self._for_good = at, fault, errno, for_good
        self._real = storage.System()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in CALLS:
            raise AttributeError(name)
        real = getattr(self._real, name)

        def call(*args: Any) -> Any:
            with self._counting:
                self.names.append(name)
                number = len(self.names)
            if self._at is None or number < self._at or (number > self._at and not self._for_good):
                return self._do(name, args, real)
            return self._go_wrong(name, args, real)

        return call

    def _do(self, name: str, args: tuple[Any, ...], real: Callable[..., Any]) -> Any:
        return real(*args)

    def _go_wrong(self, name: str, args: tuple[Any, ...], real: Callable[..., Any]) -> Any:
        if self._fault == "error":
            return self._raise(name, args, real)
        try:
            if self._fault == "after":
                real(*args)
            elif self._fault == "torn":
                assert name == "write"
                real(args[0], bytes(args[1])[: len(args[1]) // 2])
        finally:
            os.kill(os.getpid(), signal.SIGKILL)

    def _raise(self, name: str, args: tuple[Any, ...], real: Callable[..., Any]) -> Any:
        if self._errno == errors.ENOSPC:
            if self._for_good and name in _HELPS_ON_A_FULL_DISK:
                return real(*args)
            if name == "write":
                real(args[0], bytes(args[1])[: len(args[1]) // 2])  # there was room for so much
        elif name == "close":
            real(*args)  # the number is free even when this fails
        raise OSError(self._errno, os.strerror(self._errno))
