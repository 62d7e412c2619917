"""Progress: one live line where a person watches, plain lines at a steady pace where a file does."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from ..experiments.hook import Evaluation, Every, Hook, RunArgs
from .charts import bar, duration, short_number, sparkline
from .console import console, say, unicode_ok

_LIVE_SECS = 0.1
_LINES_PER_RUN = 10
_LONGEST_SILENCE_SECS = 30.0


class ProgressHook(Hook):
    """What live and plain progress share: the pace, and the latest values.

    Args:
        name: of the run.
        num_steps: in the whole run, or None when a clock ends it.
        steps_per_epoch: in one pass over the data.
        metric: that decides what is best, such as `val/accuracy`.
    """

    chief_only = True

    def __init__(self, name: str, num_steps: int | None, steps_per_epoch: int | None, metric: str):
        self._run_name = name
        self._num_steps, self._steps_per_epoch, self._metric = num_steps, steps_per_epoch, metric
        self._value: float | None = None
        self._losses: deque[float] = deque(maxlen=200)
        self._request = RunArgs(("loss", "lr", "examples", "skipped"))

    @property
    def name(self) -> str:
        return "progress"

    def begin(self, session: Any) -> None:
        session.on_evaluation(self._evaluated)

    def after_create_session(self, session: Any) -> None:
        self._first = (time.monotonic(), session.step, session.train_op.examples)

    def before_run(self, ctx: Any) -> RunArgs:
        return self._request

    def _evaluated(self, evaluation: Evaluation) -> None:
        self._value = evaluation.values.get(self._metric, self._value)

    def _rates(self, step: int, examples: int) -> tuple[float, float | None]:
        """Return examples per second, and the seconds that are left."""
        start, first_step, first_examples = self._first
        secs = max(time.monotonic() - start, 1e-9)
        left = (self._num_steps - step) * secs / max(step - first_step, 1) if self._num_steps else None
        return (examples - first_examples) / secs, left

    def _epochs(self, step: int) -> str:
        if not self._steps_per_epoch or not self._num_steps:
            return ""
        return f"{step / self._steps_per_epoch:.0f}/{self._num_steps / self._steps_per_epoch:.0f}"


class LiveProgressHook(ProgressHook):
    """One line that redraws itself, ten times a second at most."""

    trigger = Every(secs=_LIVE_SECS)

    def begin(self, session: Any) -> None:
        from rich.live import Live

        super().begin(session)
        self._console = console(sys.stderr)
        self._live = Live("", console=self._console, auto_refresh=False, transient=True)
        self._live.start()
        session.on_close(self._live.stop)

    def after_run(self, ctx: Any, values: Mapping[str, Any]) -> None:
        from rich.text import Text

        self._losses.append(values["loss"])
        text = self._line(ctx.step, values, min(self._console.width, 100))
        self._live.update(Text(text, no_wrap=True, overflow="crop"), refresh=True)

    def _line(self, step: int, values: Mapping[str, Any], width: int) -> str:
        unicode = unicode_ok(sys.stderr)
        rate, left = self._rates(step, values["examples"])
        name, metric = self._metric.rpartition("/")[0], self._metric.rpartition("/")[2]
        parts = [
            f"epoch {self._epochs(step)}" if self._epochs(step) else f"step {step}",
            f"loss {values['loss']:.3f} {sparkline(list(self._losses), 6, unicode)}".rstrip(),
            *([f"{name} {metric[:3]} {self._value:.3f}"] if self._value is not None else []),
            f"lr {values['lr']:.2g}",
            f"{short_number(rate)} ex/s",
            *([f"{values['skipped']} skipped"] if values["skipped"] else []),
            *([duration(left)] if left is not None else []),
        ]
        dot = " · " if unicode else ", "
        if self._num_steps:
            used = len(dot.join(parts)) + 7
            share = step / self._num_steps
            parts.insert(1, f"{bar(share, max(4, min(20, width - used - 4)), unicode)} {share:.0%}")
        return dot.join(parts)


class LineProgressHook(ProgressHook):
    """A line at each tenth of the run, and whenever nothing was said for half a minute."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._pace = max(1, self._num_steps // _LINES_PER_RUN) if self._num_steps else 0
        self._said = time.monotonic()

    def before_run(self, ctx: Any) -> RunArgs | None:
        step = ctx.step + 1
        due = self._pace and step % self._pace == 0
        return self._request if due or time.monotonic() - self._said >= _LONGEST_SILENCE_SECS else None

    def after_run(self, ctx: Any, values: Mapping[str, Any]) -> None:
        if not values:
            return
        self._said = time.monotonic()
        rate, left = self._rates(ctx.step, values["examples"])
        parts = [
            self._run_name,
            *([f"epoch={self._epochs(ctx.step)}"] if self._epochs(ctx.step) else []),
            f"step={ctx.step}",
            f"loss={values['loss']:.4g}",
            *([f"{self._metric}={self._value:.4g}"] if self._value is not None else []),
            f"lr={values['lr']:.4g}",
            f"ex/s={rate:.0f}",
            *([f"skipped={values['skipped']}"] if values["skipped"] else []),
            *([f"eta={left:.0f}s"] if left is not None else []),
        ]
        say(" ".join(parts))
