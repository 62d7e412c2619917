"""The learning rate, set before each step."""

from __future__ import annotations

from typing import Any

from ...registry.arguments import Positive
from ..schedules import Schedule
from . import register_hook
from .hook import RunArgs
from .scheduled import ScheduledHook


@register_hook(
    "learning_rate_setter", source="LearningRateSetterHook of tensorflow/models, research/resnet (TensorFlow 1)"
)
class LearningRateSetterHook(ScheduledHook):
    """Feed the learning rate: lr(step) = base * schedule(step), a pure function of the completed steps.

    No rate is remembered, so the first step after a resume already runs at the right one. Parameter groups with a
    rate of their own keep their ratio to the base.

    Args:
        schedule: step -> multiple of the base rate.
        base: the rate that the schedule multiplies; by default the optimizer's own. A schedule of absolute values
            (`schedule.absolute`) multiplies 1.
    """

    may_draw = False

    def __init__(self, schedule: Schedule, base: Positive | None = None):
        super().__init__(schedule)
        self.base = 1.0 if base is None and getattr(schedule, "absolute", False) else base

    def after_create_session(self, session: Any) -> None:
        if self.base is None:
            optimizer = session.train_op.optimizer
            group = optimizer.param_groups[0]
            self.base = optimizer.defaults.get("lr") or group.get("initial_lr", group["lr"])

    def before_run(self, ctx: Any) -> RunArgs:
        assert self.base is not None
        return RunArgs(feed={"lr": self.base * self.schedule(ctx.step)})
