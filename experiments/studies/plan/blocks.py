"""The blocks of steps that a session takes between two looks of its hooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...components.hooks.hook import Hook
from ...training.session.due_hooks import DueHooks

_MOST_LOOKS = 10_000  # that are gone through for the longest block


@dataclass(frozen=True)
class Blocks:
    """Blocks of steps, each taken with a look of hooks at its end alone, as far as 0.2 s go.

    Args:
        longest: how many steps the longest has; 1 where each step is one of its own.
        shortened_by: names of the hooks that look most often; those that look at every step, if there are some.
        looks_every: how many steps are between two looks of these; None where they look when they want to.
    """

    longest: int
    shortened_by: tuple[str, ...]
    looks_every: int | None


def blocks(named_hooks: Mapping[str, Hook], steps_per_epoch: int | None, num_steps: int | None) -> Blocks:
    """Return the blocks of a run.

    Args:
        named_hooks: of its session.
        steps_per_epoch: for triggers in epochs.
        num_steps: of the run; None where only a clock ends it.
    """
    due = DueHooks(tuple(named_hooks.values()), steps_per_epoch, clock=lambda: 0.0)
    if due.wants_each_step:
        return Blocks(1, tuple(name for name, hook in named_hooks.items() if hook in due.wants_each_step), 1)
    step, longest = 0, 0
    for _ in range(_MOST_LOOKS):
        ahead = due.steps_ahead(step)
        length = ahead + (due.look_after(step + ahead) is not None)
        longest = max(longest, length if num_steps is None else min(length, num_steps - step))
        step += ahead + 1
        if num_steps is not None and step >= num_steps:
            break
    triggers = {name: hook.trigger.in_steps(steps_per_epoch) for name, hook in named_hooks.items() if hook.trigger}
    intervals = {name: every.steps for name, every in triggers.items() if every.steps is not None}
    least = min(intervals.values(), default=None)
    return Blocks(max(1, longest), tuple(name for name, steps in intervals.items() if steps == least), least)
