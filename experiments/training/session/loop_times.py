"""Where the time of a session's loop goes: to each hook, and to the rest; measured in every session.

Two reads of a clock for a call of a hook: hooks are only called when they are due, so that a run does not notice.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...components.hooks.hook import STEP_EVENTS, Hook, defines

if TYPE_CHECKING:
    from ..step.train_op import TrainOp
    from .step_calls import StepCalls

_LONG_SECS = 10.0  # of a loop, below which shares are noise
_LARGE_SHARE = 0.02


@dataclass(slots=True, eq=False)
class Part:
    """A part of the loop.

    Args:
        name: in words.
        secs: spent in it, but for other parts within.
        waited_secs: of these, spent waiting for the device; measured in profiles alone.
    """

    name: str
    secs: float = 0.0
    waited_secs: float = 0.0


class LoopTimes:
    """Adds up how long the loop takes, and each hook in it.

        secs = rest.secs + the seconds of all other parts

    Time outside of the loop (`begin`, `after_create_session`, `end`) is left out. What a hook feeds within a block
    (`feed_at`) counts as the loop's own, for to measure it would cost as much as to feed it.

    Args:
        clock: in seconds.

    Attributes:
        secs: of the loop.
        num_steps: updates that were completed in it.
        rest: what is no other part's.
        is_taking: whether the loop is going on.
        inner: seconds of the parts within the one that is open.
    """

    times_feeds = False  #: Whether what hooks feed within a block is measured.

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self.secs, self.num_steps, self.rest = 0.0, 0, Part("loop itself")
        self.inner = 0.0
        self._hooks: dict[int, tuple[Hook, Part]] = {}  # hooks need not be hashable
        self.is_taking = False

    def watching(self, op: TrainOp) -> contextlib.AbstractContextManager[None]:
        """Return a `with` block in which parts of a step are measured too, if they are to be."""
        return contextlib.nullcontext()

    def take(self, steps: Callable[[StepCalls], None], calls: StepCalls) -> None:
        """Take steps; what they take is the time of the loop."""
        before, self.inner, self.is_taking = calls.train_op.global_step, 0.0, True
        start = self._clock()
        try:
            steps(calls)
        finally:
            took = self._clock() - start
            self.secs += took
            self.rest.secs += took - self.inner
            self.num_steps += max(0, calls.train_op.global_step - before)
            self.is_taking = False

    def timing(self, part: Part, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function as one whose time, where it is called in the loop, is a part's."""
        clock = self._clock

        def timed(*args: Any, **options: Any) -> Any:
            if not self.is_taking:
                return call(*args, **options)
            outer, self.inner, start = self.inner, 0.0, clock()
            try:
                return call(*args, **options)
            finally:
                took = clock() - start
                part.secs += took - self.inner
                self.inner = outer + took

        return timed

    def of_hook(self, hook: Hook, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return an event of a hook as one whose time is measured."""
        return self.timing(self._hooks.setdefault(id(hook), (hook, Part(hook.name)))[1], call)

    def of_feed(self, hook: Hook, feed_at: Callable[..., Any]) -> Callable[..., Any]:
        """Return what a hook feeds within a block, as one whose time is measured where it is to be."""
        return self.of_hook(hook, feed_at) if self.times_feeds else feed_at

    def hooks(self, named_hooks: Mapping[str, Hook]) -> list[tuple[str, Hook, Part]]:
        """Return the hooks that were called in the loop, with their parts of it.

        What a hook that is not listed has done counts with the first of its name, on whose behalf it was called.
        """
        names = {id(hook): name for name, hook in named_hooks.items()}
        firsts: dict[str, Hook] = {}
        for hook in named_hooks.values():
            firsts.setdefault(hook.name, hook)
        found = {id(hook): (name, hook, Part(name)) for name, hook in named_hooks.items() if id(hook) in self._hooks}
        for hook, part in self._hooks.values():
            whose = hook if id(hook) in names else firsts.get(hook.name, hook)
            _, _, total = found.setdefault(id(whose), (hook.name, whose, Part(hook.name)))
            total.secs, total.waited_secs = total.secs + part.secs, total.waited_secs + part.waited_secs
        return list(found.values())

    def slow_hooks(self, named_hooks: Mapping[str, Hook]) -> list[dict[str, Any]]:
        """Return as JSON the hooks that took more than 2 % of a loop of at least 10 s, the slowest first.

        Args:
            named_hooks: of the session, by name.
        """
        if self.secs < _LONG_SECS:
            return []
        slow = [each for each in self.hooks(named_hooks) if each[2].secs > _LARGE_SHARE * self.secs]
        return [
            {
                "hook": name,
                "secs": round(part.secs, 3),
                "share": round(part.secs / self.secs, 4),
                "when": _when(hook),
                "key": hook.interval_key,
            }
            for name, hook, part in sorted(slow, key=lambda each: -each[2].secs)
        ]


def _when(hook: Hook) -> str:
    """Return when a hook is called, in words; empty for one that decides by itself, or sees no steps but events."""
    if hook.trigger is not None:
        return str(hook.trigger)
    sees_steps = any(defines(hook, event) for event in STEP_EVENTS)
    return "every step" if sees_steps and not defines(hook, "next_look") else ""
