"""The process-wide switches in a session: what the user's code turns is told, saved, and turned again at a resume."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ...system import switches

log = logging.getLogger("optrun")

_MAX_THREADS = 1024


class ProcessState:
    """Compares the switches with those of the start, at checkpoints and at the end of a session.

    A resumed run begins as the one that is resumed did, and then gets what that one had turned by its checkpoint.

    Attributes:
        changed: since the start, as it was noticed last: before and now, by name.
    """

    def __init__(self) -> None:
        self._start = switches.snapshot()
        self.changed: dict[str, tuple[Any, Any]] = {}
        self._told: dict[str, Any] = {}

    def notice(self, step: int) -> dict[str, tuple[Any, Any]]:
        """Return what has changed by a step; what was not told yet is told."""
        self.changed = switches.changes(self._start, switches.snapshot())
        new = {name: values for name, values in self.changed.items() if self._told.get(name, values[0]) != values[1]}
        if new:
            log.warning(
                "code that the run calls has changed, for the whole process: %s (by step %d)", switches.words(new), step
            )
            self._told |= {name: now for name, (_, now) in new.items()}
            switches.remember_told(new)
        return self.changed

    def restore(self, saved: Mapping[str, tuple[Any, Any]], step: int) -> None:
        """Set the switches as they were at a checkpoint, as far as they can be set."""
        wanted = {name: now for name, (_, now) in saved.items() if self._fits(name, now)}
        before = switches.snapshot()
        left = {*switches.put_back({**self._start, **wanted}), *(saved.keys() - wanted.keys())}
        self.changed = switches.changes(self._start, switches.snapshot())
        self._told = {name: now for name, (_, now) in self.changed.items()}
        if done := switches.changes(before, switches.snapshot()):
            log.info("set again, as it was at step %d: %s", step, switches.words(done))
        if lost := {name: saved[name] for name in saved if name in left}:
            log.warning("not bit-exact with what ran before: %s by step %d, not any more", switches.words(lost), step)

    def _fits(self, name: str, value: Any) -> bool:
        """Return True for what may be set because a checkpoint says so: no variable, nothing of another type."""
        known = name in self._start and name not in switches.VARIABLES and type(value) is type(self._start[name])
        return known and (name != "threads" or 1 <= value <= _MAX_THREADS)
