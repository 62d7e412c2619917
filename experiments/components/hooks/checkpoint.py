"""Checkpoints: when they are saved, and which are kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ...errors import UsageError
from ...registry.arguments import Positive
from ...run_directory import checkpoints
from ..metrics import own_goal
from . import register_hook
from .hook import Evaluation, Every, Hook, Phase
from .session_view import BoundSession, SessionView, StepView


class CheckpointListener:
    """Something that is told of each checkpoint; define only what you need. A hook has events of the same names.

    Source: tf.train.CheckpointSaverListener, TensorFlow 1.
    """

    def begin(self, session: SessionView) -> None:
        """Prepare; called once, before anything is restored."""

    def before_save(self, session: BoundSession, step: int) -> None:
        """See the session before its state of `step` completed updates is written."""

    def after_save(self, session: BoundSession, step: int, path: Path) -> bool | None:
        """See the file that was written; True ends the session."""

    def end(self, session: SessionView, step: int) -> None:
        """Finish; called after the last checkpoint, whatever the outcome."""


class SaveFunctions(Hook):
    """Functions around each checkpoint, for `session.on_checkpoint`.

    Args:
        before: is given the step.
        after: is given the file, and ends the session if it returns True.
    """

    def __init__(self, before: Callable[[int], object] | None, after: Callable[[Path], object] | None):
        self._before, self._after = before, after

    def before_save(self, session: BoundSession, step: int) -> None:
        if self._before is not None:
            self._before(step)

    def after_save(self, session: BoundSession, step: int, path: Path) -> bool:
        return self._after is not None and self._after(path) is True


@register_hook("checkpoint", source="tf.train.CheckpointSaverHook and tf.train.Saver (TensorFlow 1)", watches="best")
class CheckpointHook(Hook):
    """Save the whole state, and keep the newest, the best and one every few hours.

    The restored step is not saved again, step 0 only where other ranks wait for it, the last step always.

    Args:
        every: when, in steps, epochs or seconds.
        keep: how many of the newest to keep, at least 2.
        best: also save and keep the step at which this metric was best, such as `val/accuracy`.
        mode: whether `max` or `min` of it is better; left out, what the metric itself has.
        keep_every_hours: also keep one checkpoint for each so many hours of the run.
        listeners: are told of each checkpoint, in this order; in Python only.

    Raises:
        UsageError: fewer than 2 are kept: then a damaged file could be the only one.
    """

    phase = Phase.PERSIST
    chief_only = True

    def __init__(
        self,
        every: Every = Every(secs=600.0),  # noqa: B008 (frozen)
        keep: int = 5,
        best: str | None = None,
        mode: Literal["max", "min"] | None = None,
        keep_every_hours: Positive | None = None,
        listeners: Sequence[CheckpointListener] = (),
    ):
        if keep < 2:
            raise UsageError(f"CheckpointHook keeps at least 2 checkpoints, got keep={keep}")
        self.trigger = every
        self.keep, self.keep_every_hours = keep, keep_every_hours
        self.goal = None if best is None else own_goal(best, mode)
        self._best_of = [best, mode or ("max" if self.goal is None else self.goal.mode)]
        self.listeners = tuple(listeners)
        self.best_step: int | None = None
        self.best_value: float | None = None
        self._hourly: list[int] = []
        self._hours_kept = 0.0
        self._saved_step: int | None = None

    def begin(self, session: SessionView) -> None:
        for listener in self.listeners:
            listener.begin(session)

    def after_create_session(self, session: BoundSession) -> None:
        self._saved_step = session.restored_step
        others_wait = int(os.environ.get("WORLD_SIZE", 1)) > 1
        if session.restored_step is None and others_wait:
            self._save(session)

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        self._save(ctx.session)

    def before_save(self, session: BoundSession, step: int) -> None:
        for listener in self.listeners:
            listener.before_save(session, step)

    def after_save(self, session: BoundSession, step: int, path: Path) -> bool:
        answers = [listener.after_save(session, step, path) for listener in self.listeners]  # each is told
        return any(answer is True for answer in answers)

    def end(self, session: SessionView, outcome: str) -> None:
        # A session that failed in the middle of a step, or diverged, has nothing whole to save.
        if session.train_op is not None and session.is_whole and outcome != "diverged" and session.step > 0:
            self._save(session)
        for listener in self.listeners:
            listener.end(session, session.step)

    def after_evaluation(self, session: BoundSession, evaluation: Evaluation) -> None:
        value = None if self.goal is None else evaluation.values.get(self.goal.metric)
        if self.goal is not None and value is not None and self.goal.is_better(value, self.best_value):
            self.best_step, self.best_value = evaluation.step, value
            session.request_call(self)

    def _save(self, session: SessionView) -> None:
        if session.checkpoint_dir is None or self._saved_step == session.step:
            return
        if self.keep_every_hours and session.elapsed_secs / 3600 >= self._hours_kept + self.keep_every_hours:
            self._hours_kept = session.elapsed_secs / 3600
            self._hourly.append(session.step)
        session.save_checkpoint()
        self._saved_step = session.step
        protected = {*self._hourly, *([self.best_step] if self.best_step is not None else [])}
        checkpoints.prune(session.checkpoint_dir, self.keep, protected)

    def state_dict(self) -> dict[str, Any]:
        return {
            "best_of": self._best_of,
            "best_step": self.best_step,
            "best_value": self.best_value,
            "hourly": self._hourly,
            "hours_kept": self._hours_kept,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["best_of"] == self._best_of:  # a best value of another metric means nothing here
            self.best_step, self.best_value = state["best_step"], state["best_value"]
        self._hourly, self._hours_kept = list(state["hourly"]), state["hours_kept"]
