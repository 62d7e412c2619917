"""Checkpoints: when they are saved, and which are kept."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ...errors import UsageError
from ...registry.arguments import Positive
from ...run_directory import checkpoints
from . import register_hook
from .hook import Every, Hook, Phase


class CheckpointListener:
    """Something that is told of each checkpoint; define only what you need.

    Source: tf.train.CheckpointSaverListener, TensorFlow 1.
    """

    def begin(self, session: Any) -> None:
        """Prepare; called once, before anything is restored."""

    def before_save(self, session: Any, step: int) -> None:
        """See the session before its state of `step` completed updates is written."""

    def after_save(self, session: Any, step: int, path: Path) -> bool | None:
        """See the file that was written; True ends the session."""

    def end(self, session: Any, step: int) -> None:
        """Finish; called after the last checkpoint, whatever the outcome."""


@register_hook("checkpoint", source="tf.train.CheckpointSaverHook and tf.train.Saver (TensorFlow 1)")
class CheckpointHook(Hook):
    """Save the whole state, and keep the newest, the best and one every few hours.

    The restored step is not saved again, step 0 only where other ranks wait for it, the last step always.

    Args:
        every: when, in steps, epochs or seconds.
        keep: how many of the newest to keep, at least 2.
        best: also save and keep the step at which this metric was best, such as `val/accuracy`.
        mode: whether `max` or `min` is better.
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
        mode: Literal["max", "min"] = "max",
        keep_every_hours: Positive | None = None,
        listeners: Sequence[CheckpointListener] = (),
    ):
        if keep < 2:
            raise UsageError(f"CheckpointHook keeps at least 2 checkpoints, got keep={keep}")
        self.trigger = every
        self.keep, self.best, self.mode, self.keep_every_hours = keep, best, mode, keep_every_hours
        self.listeners = tuple(listeners)
        self.best_step: int | None = None
        self.best_value: float | None = None
        self._hourly: list[int] = []
        self._hours_kept = 0.0
        self._saved_step: int | None = None

    def begin(self, session: Any) -> None:
        self._session = session
        session.on_evaluation(self._watch)
        for listener in self.listeners:
            listener.begin(session)
            session.on_checkpoint(
                lambda step, told=listener: told.before_save(session, step),
                lambda path, told=listener: told.after_save(session, session.step, path),
            )

    def after_create_session(self, session: Any) -> None:
        self._saved_step = session.restored_step
        others_wait = int(os.environ.get("WORLD_SIZE", 1)) > 1
        if session.restored_step is None and others_wait:
            self._save()

    def after_run(self, ctx: Any, values: Mapping[str, Any]) -> None:
        self._save()

    def end(self, session: Any, outcome: str) -> None:
        # A session that failed in the middle of a step, or diverged, has nothing whole to save.
        if session.train_op is not None and session.at_boundary and outcome != "diverged" and session.step > 0:
            self._save()
        for listener in self.listeners:
            listener.end(session, session.step)

    def _watch(self, evaluation: Any) -> None:
        value = evaluation.values.get(self.best) if self.best else None
        if value is None or value != value:
            return
        if self.best_value is None or (value > self.best_value if self.mode == "max" else value < self.best_value):
            self.best_step, self.best_value = evaluation.step, value
            self._session.after_step(self._save)

    def _save(self) -> None:
        session = self._session
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
            "best_of": [self.best, self.mode],
            "best_step": self.best_step,
            "best_value": self.best_value,
            "hourly": self._hourly,
            "hours_kept": self._hours_kept,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["best_of"] == [self.best, self.mode]:  # a best value of another metric means nothing here
            self.best_step, self.best_value = state["best_step"], state["best_value"]
        self._hourly, self._hours_kept = list(state["hourly"]), state["hours_kept"]
