"""TensorBoard summaries."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...registry.arguments import Count
from ...run_directory.json_shapes import Position
from ...system import storage
from . import register_hook
from .hook import Evaluation, Every, Hook, RunArgs
from .output import output_path
from .session_view import BoundSession, SessionView, StepView

_OURS = ".optrun"  # at the end of the files that this hook may delete


@register_hook("summary", source="tf.train.SummarySaverHook (TensorFlow 1)")
class SummaryHook(Hook):
    """Write scalars for TensorBoard: what it fetches at its trigger, and every evaluation.

    The event files are derived: when a run is resumed they are written anew from the metrics log, so that they hold
    neither more nor less than it. If the log lacks what this hook fetches, the old files stay, and TensorBoard is told
    to forget their points after the restored step.

    Args:
        log_dir: the folder of the event files, relative to the run directory; null for the session's summary_dir.
        every: when to fetch.
        fetches: what: `loss`, `lr`, `grad_norm`, a hyperparameter.
        first: the step of the first one; by default one interval. TensorFlow 1 writes its first at step 1.
        outside: let the folder lie outside of the run directory.
    """

    only_reads = True
    chief_only = True
    log_to = "tensorboard"
    may_draw = False

    def __init__(
        self,
        log_dir: str | None = None,
        every: Every = Every(steps=100),  # noqa: B008 (frozen)
        fetches: Sequence[str] = ("loss", "lr"),
        first: Count | None = None,
        outside: bool = False,
    ):
        self.trigger = every.starting(first)
        self.log_dir, self.outside = log_dir, outside
        self.fetches = tuple(fetches)
        self._writer: Any = None

    def begin(self, session: SessionView) -> None:
        self._folder = self.folder(session)
        self._suffix = _OURS if self.log_dir is None else f".{_short_digest(session)}{_OURS}"  # others may write there
        session.on_close(_keep_writers_quiet())
        session.on_close(self._close)

    def folder(self, session: SessionView) -> Path:
        """Return where the event files are written."""
        return output_path(self, session, self.log_dir, "", "SummaryHook needs log_dir", self.outside)

    def after_create_session(self, session: BoundSession) -> None:
        self._close()
        with storage.explain("write", self._folder):
            self._open(session)

    def _open(self, session: BoundSession) -> None:
        from torch.utils.tensorboard import SummaryWriter

        rows = session.rows.rows()
        if rows and not all(any(name in row for row in rows) for name in self.fetches):
            self._writer = SummaryWriter(str(self._folder), purge_step=session.step + 1, filename_suffix=self._suffix)
            return
        for old in self._folder.glob(f"events.out.tfevents.*{self._suffix}"):
            os.unlink(old)
        self._writer = SummaryWriter(str(self._folder), filename_suffix=self._suffix)
        for row in rows:
            values = {name: value for name, value in row.items() if name not in Position._fields and value is not None}
            self._write(row["step"], values)

    def before_run(self, ctx: StepView) -> RunArgs:
        return RunArgs(tuple(self.fetches))

    def fetches_at(self, step: int) -> Sequence[str]:
        return self.fetches

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        self._write(ctx.step, values)

    def after_evaluation(self, session: BoundSession, evaluation: Evaluation) -> None:
        self._write(evaluation.step, evaluation.values)

    def end(self, session: SessionView, outcome: str) -> None:
        if self._writer is not None:
            with storage.explain("write", self._folder):
                self._writer.flush()

    def _write(self, step: int, values: Mapping[str, Any]) -> None:
        with storage.explain("write", self._folder):
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def _close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with storage.explain("write", self._folder):
                writer.close()


def _short_digest(session: SessionView) -> str:
    """Return a few digits that stand for the run's folder."""
    return hashlib.sha256(str(session.summary_dir and session.summary_dir.resolve()).encode()).hexdigest()[:8]


def _keep_writers_quiet() -> Callable[[], None]:
    """Let TensorBoard's threads die of a disk that refuses without a traceback; return what undoes this.

    The next call of the writer raises the error again, in the thread that can do something about it.
    """
    before = threading.excepthook

    def unless_known(failure: Any) -> None:
        if not (isinstance(failure.exc_value, OSError) and "tensorboard" in type(failure.thread).__module__):
            before(failure)

    threading.excepthook = unless_known

    def undo() -> None:
        if threading.excepthook is unless_known:
            threading.excepthook = before

    return undo
