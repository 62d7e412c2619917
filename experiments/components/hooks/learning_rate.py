"""The learning rate, set before each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...registry.arguments import Positive
from ..schedules import Schedule
from ..schedules.rate import LearningRate
from . import register_hook
from .hook import RunArgs
from .scheduled import ScheduledHook
from .session_view import BoundSession, StepView


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

    only_reads = True
    may_draw = False

    def __init__(self, schedule: Schedule, base: Positive | None = None):
        super().__init__(schedule)
        self._rate = LearningRate(schedule, base) if base is not None else None

    def after_create_session(self, session: BoundSession) -> None:
        if self._rate is None:
            self._rate = LearningRate.of(self.schedule, session.train_op.optimizer)

    def before_run(self, ctx: StepView) -> RunArgs:
        return RunArgs(feed=self.feed_at(ctx.step))

    def feed_at(self, step: int) -> Mapping[str, Any]:
        assert self._rate is not None
        return {"lr": self._rate(step)}
