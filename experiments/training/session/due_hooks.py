"""Who is called at which step: tables worked out once, so that a hook that is not due costs nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...components.hooks.hook import Every, Hook, defines

Calls = tuple[tuple[Hook, Callable[..., Any]], ...]


@dataclass(frozen=True)
class Table:
    """The calls of one step, in order: each a hook and its bound method.

    `may_draw` is True if one of `before_run` may draw random numbers.
    """

    before_run: Calls
    after_gradients: Calls
    after_run: Calls
    may_draw: bool


class Dispatch:
    """Works out which hooks are due.

    Args:
        hooks: in the order in which they are called.
        steps_per_epoch: for triggers in epochs; None if the data has none.
        clock: a monotonic clock in seconds; read once a step, and only if some hook counts seconds.

    Raises:
        ValueError: a trigger counts epochs of data that has none.
    """

    def __init__(self, hooks: Sequence[Hook], steps_per_epoch: int | None, clock: Callable[[], float] = time.monotonic):
        self._hooks = tuple(hooks)
        self._clock = clock
        self._every: list[tuple[int, Every]] = []  # (hook's index, a trigger in steps)
        self._secs: list[tuple[int, float]] = []
        self._fired: dict[int, float] = {}
        always = []
        for index, hook in enumerate(self._hooks):
            trigger = hook.trigger.in_steps(steps_per_epoch) if hook.trigger else None
            if trigger is None:
                always.append(index)
            elif trigger.steps is not None:
                self._every.append((index, trigger))
            elif trigger.secs is not None:
                self._secs.append((index, trigger.secs))
        self._always = frozenset(always)
        self._tables: dict[frozenset[int], Table] = {}
        self.base = self._table(self._always)
        self._next_due, self._next_clock = 0, 0.0
        self.restart()

    def restart(self) -> None:
        """Forget what was due: the session starts, or has gone back to a checkpoint."""
        now = self._clock()
        self._fired = {index: now for index, _ in self._secs}
        self._next_clock = min((now + secs for _, secs in self._secs), default=0.0)
        self._next_due = 0

    def due(self, step: int) -> Table:
        """Return the calls of the run that will complete `step` updates."""
        if step < self._next_due and (not self._secs or self._clock() < self._next_clock):
            return self.base
        due = set(self._always)
        if step >= self._next_due:
            due.update(index for index, every in self._every if every.is_due(step))
            following = [every.following(step) for _, every in self._every]
            self._next_due = step if due != self._always else min(following, default=1 << 62)
        if self._secs:
            now = self._clock()
            due.update(index for index, secs in self._secs if now - self._fired[index] >= secs)
        return self._table(frozenset(due)) if len(due) > len(self._always) else self.base

    def completed(self, table: Table) -> None:
        """Restart the clocks of the hooks that were called; a skipped batch leaves them due."""
        if self._secs and table is not self.base:
            now = self._clock()
            called = {id(hook) for hook, _ in table.after_run + table.before_run + table.after_gradients}
            self._fired.update({index: now for index, _ in self._secs if id(self._hooks[index]) in called})
            self._next_clock = min(self._fired[index] + secs for index, secs in self._secs)

    def _table(self, due: frozenset[int]) -> Table:
        if due not in self._tables:
            before = self._calls(due, "before_run")
            may_draw = any(hook.may_draw for hook, _ in before)
            after = self._calls(due, "after_gradients"), self._calls(due, "after_run")
            self._tables[due] = Table(before, *after, may_draw)
        return self._tables[due]

    def _calls(self, due: frozenset[int], event: str) -> Calls:
        return tuple(
            (self._hooks[i], getattr(self._hooks[i], event)) for i in sorted(due) if defines(self._hooks[i], event)
        )
