"""The hook that measures the speed of training."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...registry.arguments import Count
from . import register_hook
from .hook import Every, Hook
from .output import output_path
from .session_view import BoundSession, SessionView, StepView
from .summary import SummaryHook

log = logging.getLogger("optrun")

_PATIENCE = 20  # observations of one and the same step, as in TensorFlow 1


@register_hook("step_counter", source="tf.train.StepCounterHook (TensorFlow 1)")
class StepCounterHook(Hook):
    """Log how many steps and examples a second are done, at a trigger.

    The first firing only starts the clock, so that what happens once at the start does not count. Evaluations and
    checkpoints between two firings do. Rates are times: they go to the log and to TensorBoard, and never into metric
    rows, which are the same in a resumed run. For TensorBoard they are a run of their own, `rates`, in the folder of
    that name below the summaries; what an earlier process wrote there stays.

    Args:
        every: when; the interval in which steps are counted.
        log_dir: the folder below which `rates` is written, relative to the run directory; null for that of the
            session's SummaryHook, if it has one.
        first: the completed step at which the clock starts; by default one interval. TensorFlow 1 starts it at step 1.
        outside: let the folder lie outside of the run directory.
    """

    only_reads = True
    chief_only = True
    may_draw = False

    def __init__(
        self,
        every: Every = Every(steps=100),  # noqa: B008 (frozen)
        log_dir: str | None = None,
        first: Count | None = None,
        outside: bool = False,
    ):
        self.trigger = every.starting(first)
        self.log_dir, self.outside = log_dir, outside
        self.steps_per_sec: float | None = None  # the latest
        self.examples_per_sec: float | None = None
        self._since: tuple[int, int, float] | None = None  # step, examples and seconds at the last firing
        self._writer: Any = None
        self._seen_step, self._observations, self._warned = -1, 0, False

    def begin(self, session: SessionView) -> None:
        summaries = next((hook for hook in session.hooks if isinstance(hook, SummaryHook)), None)
        self._folder: Path | None = None
        if self.log_dir is not None:
            self._folder = output_path(self, session, f"{self.log_dir}/rates", "rates", "", self.outside)
        elif summaries is not None and (summaries.log_dir is not None or session.summary_dir is not None):
            self._folder = summaries.folder(session) / "rates"
        session.on_close(self._close)

    def after_create_session(self, session: BoundSession) -> None:
        self._since = None
        self._close()
        if self._folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            # TensorBoard forgets what a lost process wrote after its last checkpoint.
            self._writer = SummaryWriter(str(self._folder), purge_step=session.step + 1)

    def before_run(self, ctx: StepView) -> None:
        """Watch whether the step advances: a skipped batch leaves this hook due."""
        self._observations = self._observations + 1 if ctx.step == self._seen_step else 1
        self._seen_step = ctx.step
        if self._observations > _PATIENCE and not self._warned:
            self._warned = True
            log.warning("the global step has stayed at %d for %d batches: all are skipped", ctx.step, _PATIENCE)

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        here = ctx.step, ctx.train_op.examples, ctx.session.elapsed_secs
        before, self._since = self._since, here
        if before is None or here[2] <= before[2]:
            return
        secs = here[2] - before[2]
        self.steps_per_sec, self.examples_per_sec = (here[0] - before[0]) / secs, (here[1] - before[1]) / secs
        log.info("step %d: %.4g steps/s, %.4g examples/s", ctx.step, self.steps_per_sec, self.examples_per_sec)
        if self._writer is not None:
            self._writer.add_scalar("steps_per_sec", self.steps_per_sec, ctx.step)
            self._writer.add_scalar("examples_per_sec", self.examples_per_sec, ctx.step)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
