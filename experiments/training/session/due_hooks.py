"""Which hooks are due at a step, and how many steps nobody looks at.

They are worked out once for each combination, so that a hook that is not due costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...components.hooks.hook import STEP_EVENTS, Every, Hook, defines, note_event
from ...system.raised import refusing_exits
from .loop_times import LoopTimes

Calls = tuple[tuple[Hook, Callable[..., Any]], ...]


@dataclass(frozen=True)
class DueCalls:
    """The calls of one step, in order: each a hook and its bound method.

    Args:
        before_run: of the hooks that define it; so the next two.
        after_gradients: likewise.
        after_run: likewise.
        triggered: whether a trigger is due; else these are the calls of every step.
        may_draw: whether one of `before_run` may draw random numbers.
        only_reads: whether none changes anything of the train op.
        only_after: whether it is known what `before_run` asks for, so that a block may end with such a step.
        only_values: whether `after_run` may be called when further steps have been taken.
    """

    before_run: Calls
    after_gradients: Calls
    after_run: Calls
    triggered: bool
    may_draw: bool
    only_reads: bool
    only_after: bool
    only_values: bool


class Look(NamedTuple):
    """A step that hooks look at when it is over.

    Args:
        step: updates that are completed by then.
        due: the calls of that step.
        fetches: the names of values that hooks want of it.
    """

    step: int
    due: DueCalls
    fetches: Sequence[tuple[Hook, tuple[str, ...]]]

    @property
    def may_wait(self) -> bool:
        """Whether hooks may be shown the step when further ones have been taken."""
        names = [name for _, names in self.fetches for name in names]
        return self.due.only_values and not any(name.startswith("param:") for name in names)


class DueHooks:
    """Works out which hooks are due: those with a trigger when it fires, those that know when they look next at that
    step, the others always.

    Args:
        hooks: in the order in which they are called.
        steps_per_epoch: for triggers in epochs; None if the data has none.
        clock: a monotonic clock in seconds; read once a step, and only if some hook counts seconds.
        times: measures how long the hooks take; None where they are not called.

    Raises:
        ValueError: a trigger counts epochs of data that has none.
    """

    def __init__(
        self,
        hooks: Sequence[Hook],
        steps_per_epoch: int | None,
        clock: Callable[[], float] = time.monotonic,
        times: LoopTimes | None = None,
    ):
        self._hooks = tuple(hooks)
        self._clock, self._times = clock, times or LoopTimes()
        triggers = [hook.trigger.in_steps(steps_per_epoch) if hook.trigger else None for hook in self._hooks]
        untimed = [index for index, trigger in enumerate(triggers) if trigger is None]
        self._looking = [(i, self._hooks[i].next_look) for i in untimed if defines(self._hooks[i], "next_look")]
        self._always = frozenset(untimed) - {index for index, _ in self._looking}
        self._every: list[tuple[int, Every]] = [(i, each) for i, each in enumerate(triggers) if each and each.steps]
        self._secs: list[tuple[int, float]] = [(i, each.secs) for i, each in enumerate(triggers) if each and each.secs]
        self._calls: dict[frozenset[int], DueCalls] = {}
        self.of_every_step = self._calls_of(self._always)
        ahead = [self._hooks[index] for index in sorted(self._always) if _sees_steps(self._hooks[index])]
        self.feeding: Calls = tuple(
            (hook, self._times.of_feed(hook, hook.feed_at)) for hook in ahead if defines(hook, "feed_at")
        )
        self.wants_each_step = tuple(hook for hook in ahead if not _only_feeds(hook))
        self.restart()

    def restart(self) -> None:
        """Forget what was due: the session starts, or has gone back to a checkpoint."""
        now = self._clock()
        self._fired = {index: now for index, _ in self._secs}
        self._next_clock = min((now + secs for _, secs in self._secs), default=0.0)
        self._next_step = 0  # before which no trigger in steps is due

    def at(self, step: int) -> DueCalls:
        """Return the calls of the run that will complete `step` updates."""
        looking = [index for index, next_look in self._looking if next_look(step - 1) == step]
        if not looking and step < self._next_step and (not self._secs or self._clock() < self._next_clock):
            return self.of_every_step
        due = {*self._always, *looking}
        if step >= self._next_step:
            due.update(index for index, every in self._every if every.is_due(step))
            following = [every.following(step) for _, every in self._every]
            self._next_step = step if due != self._always else min(following, default=1 << 62)
        if self._secs:
            now = self._clock()
            due.update(index for index, secs in self._secs if now - self._fired[index] >= secs)
        return self._calls_of(frozenset(due))

    def steps_ahead(self, step: int) -> int:
        """Return how many steps after `step` completed ones nobody has to see, but who only feeds them."""
        if self.wants_each_step or (self._secs and self._clock() >= self._next_clock):
            return 0
        looks = [every.following(step) for _, every in self._every]
        looks += [next_look(step) for _, next_look in self._looking]
        return min(looks, default=1 << 62) - step - 1

    def look_after(self, step: int) -> Look | None:
        """Return what hooks want of the run after `step` completed ones, if all of that is known ahead."""
        due = self.at(step + 1)
        if not due.only_after:
            return None
        fetches: list[tuple[Hook, tuple[str, ...]]] = []
        hook = None
        try:
            with refusing_exits():
                for hook, _ in due.before_run:
                    fetches.append((hook, tuple(hook.fetches_at(step))))
        except Exception as error:
            assert hook is not None
            note_event(error, hook, "before_run", step)
            raise
        return None if any("grad_norm" in names for _, names in fetches) else Look(step + 1, due, fetches)

    def looks_after(self, step: int, most: int) -> tuple[int, list[Look]]:
        """Return how many steps after `step` completed ones can be taken at once, and what hooks want of them.

        They end with a step that cannot wait until further ones are taken, or before one of which is not known what is
        wanted.

        Args:
            step: updates that are completed.
            most: steps beyond which no further look is waited for.
        """
        start, looks = step, list[Look]()
        while not looks or (looks[-1].may_wait and step - start < most and self.secs_ahead() > 0):
            step += max(0, self.steps_ahead(step))
            look = self.look_after(step)
            if look is None:
                break
            looks.append(look)
            step = look.step
        self._next_step = 0  # the steps may end before the last look
        return step - start, looks

    def secs_ahead(self) -> float:
        """Return for how many seconds no trigger that counts them is due."""
        return self._next_clock - self._clock() if self._secs else float("inf")

    def completed(self, due: DueCalls) -> None:
        """Restart the clocks of the hooks that were called; a skipped batch leaves them due."""
        if self._secs and due.triggered:
            now = self._clock()
            called = {id(hook) for hook, _ in due.after_run + due.before_run + due.after_gradients}
            self._fired.update({index: now for index, _ in self._secs if id(self._hooks[index]) in called})
            self._next_clock = min(self._fired[index] + secs for index, secs in self._secs)

    def _calls_of(self, due: frozenset[int]) -> DueCalls:
        if due not in self._calls:
            hooks = [self._hooks[index] for index in sorted(due)]
            before, gradients, after = (
                tuple((hook, self._times.of_hook(hook, getattr(hook, event))) for hook in hooks if defines(hook, event))
                for event in STEP_EVENTS
            )
            gradients = tuple(sorted(gradients, key=lambda call: not call[0].only_looks))  # they see them unchanged
            may_draw = any(hook.may_draw for hook, _ in before)
            only_reads = all(hook.only_reads for calls in (before, gradients, after) for hook, _ in calls)
            is_known = all(any(defines(hook, name) for name in ("feed_at", "fetches_at")) for hook, _ in before)
            only_values = all(hook.only_values for hook, _ in after)
            self._calls[due] = DueCalls(
                before,
                gradients,
                after,
                due != self._always,
                may_draw,
                only_reads,
                is_known and not gradients,
                only_values,
            )
        return self._calls[due]


def _sees_steps(hook: Hook) -> bool:
    return any(defines(hook, event) for event in STEP_EVENTS)


def _only_feeds(hook: Hook) -> bool:
    """Return True if a hook without a trigger does nothing at a step but feed what `feed_at` says."""
    others = [event for event in STEP_EVENTS if event != "before_run" and defines(hook, event)]
    return defines(hook, "feed_at") and not hook.may_draw and not others
