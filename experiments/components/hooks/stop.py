"""Ends of a session: at a step, after a time, at a target, or when nothing improves any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ...errors import UsageError
from ...registry.arguments import Count, MetricName, Natural, NonNegative, Positive
from ..metrics import own_goal
from . import register_hook
from .hook import NEVER, Evaluation, Hook, Phase
from .session_view import BoundSession, StepView


@register_hook("stop_at_step", source="tf.train.StopAtStepHook (TensorFlow 1)", example={"last_step": 1000})
class StopAtStepHook(Hook):
    """Stop after a number of steps.

    Args:
        last_step: stop when so many updates are complete in all.
        num_steps: stop after so many more than the session starts with. Give one of the two.

    Raises:
        UsageError: both or none are given.
    """

    only_reads = True
    phase = Phase.CONTROL
    stops = True

    def __init__(self, last_step: Count | None = None, num_steps: Count | None = None):
        if (last_step is None) == (num_steps is None):
            raise UsageError("StopAtStepHook takes exactly one of last_step and num_steps")
        self.last_step = last_step
        self.num_steps = num_steps

    def after_create_session(self, session: BoundSession) -> None:
        if self.last_step is None:
            assert self.num_steps is not None
            self.last_step = session.step + self.num_steps
        self._stop_if_there(session)

    def next_look(self, step: int) -> int:
        if self.last_step is None:
            return step + 1
        return self.last_step if step < self.last_step else NEVER

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        self._stop_if_there(ctx.session)

    def _stop_if_there(self, session: BoundSession) -> None:
        if self.last_step is not None and session.step >= self.last_step:
            session.request_stop(f"step {session.step} is the last", "done")


@register_hook(
    "stop_after", source="AlgoPerf (Dahl et al., 2023), which ends runs by a time budget", example={"secs": 600}
)
class StopAfterHook(Hook):
    """Stop when so much time was spent in the run, earlier processes included.

    Args:
        secs: the budget in seconds.
    """

    only_reads = True
    phase = Phase.CONTROL
    stops = True

    def __init__(self, secs: Positive):
        self.secs = secs

    def after_create_session(self, session: BoundSession) -> None:
        self._stop_if_spent(session)

    def after_block(self, ctx: StepView) -> None:
        self._stop_if_spent(ctx.session)

    def _stop_if_spent(self, session: BoundSession) -> None:
        if session.elapsed_secs >= self.secs:
            session.request_stop(f"the time budget of {self.secs:g} s is spent")


@register_hook(
    "early_stopping",
    source="Prechelt, 1998; stop_if_higher_hook and stop_if_no_decrease_hook (TensorFlow Estimator)",
    example={"metric": "val/loss", "patience": 5},
)
class EarlyStoppingHook(Hook):
    """Stop at a target, or when a metric has not improved for some evaluations.

    Args:
        metric: what is watched, such as `val/accuracy`.
        mode: whether `max` or `min` is better; left out, what the metric itself has, which it may not contradict.
        patience: evaluations in a row without an improvement after which to stop; null never does.
        target: stop once the metric is at least (mode `min`: at most) this; null never does.
        min_steps: evaluations before so many completed steps do not count.
        min_delta: only what is better than the best value by more than this is an improvement; in the metric's unit.

    Raises:
        UsageError: neither patience nor target is given; min_delta has no patience to end; or nothing says which way
            the metric is better.
    """

    only_reads = True
    phase = Phase.CONTROL

    def __init__(
        self,
        metric: MetricName,
        mode: Literal["max", "min"] | None = None,
        patience: Count | None = None,
        target: float | None = None,
        min_steps: Natural = 0,
        min_delta: NonNegative = 0.0,
    ):
        if patience is None and target is None:
            raise UsageError(f"early stopping on {metric} never stops: give patience or target")
        if min_delta > 0 and patience is None:
            raise UsageError("min_delta says what ends the patience of early stopping: give patience")
        self.goal, self.patience, self.target = own_goal(metric, mode), patience, target
        self.min_steps, self.min_delta = min_steps, min_delta
        self.watches = (metric,)
        self._best: float | None = None
        self._since_best = 0
        self._last_step = -1
        self._reason = ""  # for which it has asked for the end

    def after_create_session(self, session: BoundSession) -> None:
        if self._reason:  # the process ended between asking and stopping
            session.request_stop(self._reason)

    def after_evaluation(self, session: BoundSession, evaluation: Evaluation) -> None:
        metric = self.goal.metric
        if metric not in evaluation.values or evaluation.step <= self._last_step:
            return
        if evaluation.step < self.min_steps:
            return
        value = evaluation.values[metric]
        self._last_step = evaluation.step
        better = self.goal.is_better(value, self._best, self.min_delta)
        self._best, self._since_best = (value, 0) if better else (self._best, self._since_best + 1)
        if self.target is not None and self.goal.reaches(value, self.target):
            self._reason = f"{metric} {value:.4g} reached the target {self.target:g}"
        elif self.patience is not None and self._since_best >= self.patience:
            self._reason = f"{metric} has not improved{self._by()} in {self.patience} evaluations"
        if self._reason:
            session.request_stop(self._reason)

    def _by(self) -> str:
        if self._best is None:
            return " (it was never a finite number)"
        return f" by more than {self.min_delta:g}" if self.min_delta else ""

    def _rule(self) -> list[Any]:
        more = [self.min_delta] if self.min_delta else []  # which earlier versions did not have
        return [self.goal.metric, self.goal.mode, self.patience, self.target, self.min_steps, *more]

    def state_dict(self) -> dict[str, Any]:
        return {
            "rule": self._rule(),
            "best": self._best,
            "since_best": self._since_best,
            "last_step": self._last_step,
            "reason": self._reason,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._last_step = state["last_step"]
        if state["rule"][:2] == self._rule()[:2]:  # a best value of another metric means nothing here
            self._best, self._since_best = state["best"], state["since_best"]
        self._reason = state["reason"] if state["rule"] == self._rule() else ""
