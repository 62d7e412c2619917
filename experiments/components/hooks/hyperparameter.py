"""A schedule for any hyperparameter of the optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import UsageError
from ..schedules import Schedule
from ..schedules.rate import is_absolute
from ..schedules.values import checked
from . import register_hook
from .hook import RunArgs
from .scheduled import ScheduledHook
from .session_view import BoundSession, StepView


@register_hook(
    "hyperparameter",
    source="Smith, 2018, arXiv:1803.09820, which schedules momentum and weight decay beside the rate",
    example={"of": "momentum", "schedule": {"name": "linear", "initial": 1.0, "final": 0.9}},
)
class HyperparameterHook(ScheduledHook):
    """Feed a hyperparameter: value(step) = schedule(step) times the configured value.

    Parameter groups keep their ratio: each group's own value is multiplied, and what is 0 stays 0, as the weight decay
    of the parameters that are left out of it.

    Args:
        of: the hyperparameter, as the optimizer's parameter groups name it: `momentum`, `weight_decay`; `betas.0` is
            the first of several numbers.
        schedule: step -> multiple of the configured value.
        absolute: whether the schedule gives the value itself instead; so it does, too, where it has `values`.

    Raises:
        UsageError: there is no such hyperparameter, it is no number, or it is 0 and can only be multiplied.
    """

    may_draw = False

    def __init__(self, of: str, schedule: Schedule, absolute: bool = False):
        if of in ("lr", "batch"):
            raise UsageError("the learning rate has a schedule of its own" if of == "lr" else "a batch has no schedule")
        super().__init__(schedule)
        self.of = of
        self.name = f"hyperparameter_{of}"
        self.absolute = absolute or is_absolute(schedule)
        self._base: float | None = None  # what absolute values stand beside, where groups differ

    def after_create_session(self, session: BoundSession) -> None:
        own = session.train_op.hyperparameter(self.of)
        if wrong := [value for value in own if isinstance(value, bool) or not isinstance(value, int | float)]:
            hint = f": name one of them, as in {self.of}.0" if isinstance(wrong[0], tuple | list) else ""
            raise UsageError(f"{self.of} is {wrong[0]!r}, which is no number that a schedule could set{hint}")
        if not self.absolute and not any(own):
            raise UsageError(f"{self.of} is 0, and so are its multiples: set optimizer.{self.of}, or `absolute: true`")
        self._base = max(own, key=abs) if len(set(own)) > 1 else None

    def before_run(self, ctx: StepView) -> RunArgs:
        return RunArgs(feed=self.feed_at(ctx.step))

    def feed_at(self, step: int) -> Mapping[str, Any]:
        value = checked(self.schedule(step), self.schedule, step)
        if self.absolute and self._base is None:
            return {self.of: value}
        multiple = value if self._base is None or not self.absolute else value / self._base
        return {self.of: lambda own: own * multiple}
