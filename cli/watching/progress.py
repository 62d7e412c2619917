"""Progress: one live line where a person watches, plain lines at a steady pace where a file does."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from ...experiments.components.hooks.hook import NEVER, Evaluation, Every, Hook, RunArgs
from ...experiments.components.hooks.session_view import BoundSession, SessionView, StepView
from ...experiments.report.style import duration, large
from ..terminal.charts import bar, sparkline
from ..terminal.console import say
from ..terminal.live import LIVE_SECS, Silence, live_display, with_bars
from ..terminal.screen import columns
from ..terminal.streams import is_utf8

_SMALLEST_BAR, _LARGEST_BAR = 4, 18  # with the space before it; in steps of 3, so that it does not tremble
_LINES_PER_RUN = 10
_FIRST_SILENCE_SECS, _LONGEST_SILENCE_SECS = 2.0, 30.0
_SHORT_NAMES = {"accuracy": "acc"}


class ProgressHook(Hook):
    """Base of live and plain progress: the latest values, the pace, the time that is left.

    Args:
        run_name: of the run.
        num_steps: in the whole run, or None when a clock ends it.
        steps_per_epoch: in one pass over the data.
        metric: that decides what is best, such as `val/accuracy`.
    """

    name = "progress"
    chief_only = True

    def __init__(self, run_name: str, num_steps: int | None, steps_per_epoch: int | None, metric: str):
        self._run_name = run_name
        self._num_steps, self._steps_per_epoch, self._metric = num_steps, steps_per_epoch, metric
        self._value: float | None = None
        self._request = RunArgs(("loss", "lr", "examples", "skipped"))

    def after_create_session(self, session: BoundSession) -> None:
        self._first = (time.monotonic(), session.step, session.train_op.examples)
        if session.step:
            say(f"going on from step {session.step}{f' of {self._num_steps}' if self._num_steps else ''}")

    def before_run(self, ctx: StepView) -> RunArgs | None:
        return self._request

    def after_evaluation(self, session: BoundSession, evaluation: Evaluation) -> None:
        self._value = evaluation.values.get(self._metric, self._value)

    def _rates(self, step: int, examples: int) -> tuple[float, float | None]:
        """Return examples per second, and the seconds that are left."""
        start, first_step, first_examples = self._first
        secs = max(time.monotonic() - start, 1e-9)
        left = (self._num_steps - step) * secs / max(step - first_step, 1) if self._num_steps else None
        return (examples - first_examples) / secs, left

    def _epoch(self, step: int) -> str:
        """Return the epoch that the step belongs to: `3/8`; empty for a run that is not whole epochs long."""
        if not self._steps_per_epoch or not self._num_steps or self._num_steps % self._steps_per_epoch:
            return ""
        return f"{max(1, math.ceil(step / self._steps_per_epoch))}/{self._num_steps // self._steps_per_epoch}"


class LiveProgressHook(ProgressHook):
    """One line that is drawn anew, ten times a second at most."""

    trigger = Every(secs=LIVE_SECS)

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._display = live_display(sys.stderr)
        self._losses: deque[float] = deque(maxlen=200)
        self._unicode = is_utf8(sys.stderr)

    def begin(self, session: SessionView) -> None:
        session.on_close(self._display.clear)

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        self._losses.append(values["loss"])
        self._display.draw(with_bars(self.text(ctx.step, values, min(columns(sys.stderr), 100) - 1)))

    def text(self, step: int, values: Mapping[str, Any], width: int) -> str:
        """Return the line, as much of it as fits into `width` columns: what matters least goes first."""
        rate, left = self._rates(step, values["examples"])
        split, metric = self._metric.rpartition("/")[::2]
        share = step / self._num_steps if self._num_steps else None
        parts = [  # the less it matters, the higher its number
            (0, f"epoch {self._epoch(step)}" if self._epoch(step) else f"step {step}"),
            (0, f"{share:.0%}" if share is not None else ""),
            (2, f"loss {values['loss']:.3f}"),
            (7, sparkline(list(self._losses), 6, self._unicode)),
            (3, f"{split} {_SHORT_NAMES.get(metric, metric)} {self._value:.3f}" if self._value is not None else ""),
            (4, f"lr {values['lr']:.2g}"),
            (6, f"{large(rate, 1_000, 3)} ex/s"),
            (5, f"{values['skipped']} skipped" if values["skipped"] else ""),
            (1, f"eta {duration(left)}" if left is not None else ""),
        ]
        parts = [part for part in parts if part[1]]
        smallest = _SMALLEST_BAR if share is not None else 0
        while (room := width - len("  ".join(text for _, text in parts))) < smallest and max(parts)[0] > 0:
            parts.remove(max(parts))
        if share is not None and room >= smallest:
            parts[0] = (0, f"{parts[0][1]} {bar(share, min((room - 1) // 3 * 3, _LARGEST_BAR), self._unicode)}")
        return "  ".join(text for _, text in parts)[:width]


class LineProgressHook(ProgressHook):
    """A line at each tenth of the run, and after a silence: at first of 2 seconds, then longer, at last of 30."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._pace = -(-self._num_steps // _LINES_PER_RUN) if self._num_steps else 0
        self._silence = Silence(_FIRST_SILENCE_SECS, _LONGEST_SILENCE_SECS)

    def next_look(self, step: int) -> int:
        if self._silence.is_over():
            return step + 1
        return step - step % self._pace + self._pace if self._pace else NEVER

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        self._silence.broken()
        rate, left = self._rates(ctx.step, values["examples"])
        parts = [
            self._run_name,
            f"epoch={self._epoch(ctx.step)}" if self._epoch(ctx.step) else "",
            f"step={ctx.step}",
            f"loss={values['loss']:.4g}",
            f"{self._metric}={self._value:.4g}" if self._value is not None else "",
            f"lr={values['lr']:.4g}",
            f"ex/s={rate:.0f}",
            f"skipped={values['skipped']}" if values["skipped"] else "",
            f"eta={left:.0f}s" if left is not None else "",
        ]
        say(" ".join(part for part in parts if part))
