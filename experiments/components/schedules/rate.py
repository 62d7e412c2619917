"""The learning rate at a step: one value for the hook that sets it, for plans and for pictures of schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ...errors import UsageError
from .values import checked, name_of

if TYPE_CHECKING:
    from torch.optim import Optimizer


class Boundary(NamedTuple):
    """The first step at a new rule, with the rates before it and at it."""

    step: int
    before: float
    at: float


@dataclass(frozen=True)
class LearningRate:
    """The learning rate as a pure function of the completed steps.

        lr(step) = base * schedule(step)

    Args:
        schedule: step -> multiple of the base.
        base: the rate that the schedule multiplies; 1 where it gives rates itself (`schedule.absolute`), or where the
            rate is not known, so that values are multiples of it.

    Raises:
        UsageError: called, the schedule gives what is no rate.
    """

    schedule: Callable[[int], float]
    base: float = 1.0

    @classmethod
    def of(cls, schedule: Callable[[int], float], optimizer: Optimizer) -> LearningRate:
        """Return the rate that a schedule gives an optimizer: multiples of its own, unless the schedule is absolute."""
        return cls(schedule) if is_absolute(schedule) else cls(schedule, own_rate(optimizer))

    def __call__(self, step: int) -> float:
        multiple = checked(self.schedule(step), self.schedule, step)
        rate = self.base * multiple
        if math.isinf(rate):
            name = name_of(self.schedule)
            raise UsageError(f"schedule '{name}' at step {step}: the rate {self.base:g} * {multiple:g} overflows")
        return rate

    def boundaries(self, num_steps: int | None) -> list[Boundary]:
        """Return the boundaries inside a run of `num_steps` steps; None is a run without end."""
        steps = getattr(self.schedule, "boundaries", tuple)()
        inside = [step for step in steps if step > 0 and (num_steps is None or step < num_steps)]
        return [Boundary(step, self(step - 1), self(step)) for step in inside]


def is_absolute(schedule: Callable[[int], float]) -> bool:
    """Return True if a schedule gives values themselves, not multiples of the configured one."""
    return getattr(schedule, "absolute", False)


def own_rate(optimizer: Optimizer) -> float:
    """Return the rate that an optimizer was configured with, whatever is set now."""
    if lr := optimizer.defaults.get("lr"):
        return lr
    group = optimizer.param_groups[0]  # each group was given its own
    return group.get("initial_lr", group["lr"])
