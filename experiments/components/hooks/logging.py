"""Metric rows and log lines."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import UsageError
from ...registry.arguments import Count
from . import register_hook
from .hook import Every, Hook, RunArgs
from .session_view import StepView

log = logging.getLogger("optrun")


@register_hook("logging", source="tf.train.LoggingTensorHook (TensorFlow 1)")
class LoggingHook(Hook):
    """Write a metrics row, a log line, or both, of the values that it fetches.

    A trigger in seconds writes lines only: rows belong to steps, so that a resumed run writes the same ones.

    Args:
        every: when.
        fetches: what: `loss`, `lr`, `grad_norm`, a hyperparameter; in lines also `param:NAME`.
        rows: whether to write metric rows.
        lines: whether to write lines to the log.
        first: the step of the first one; by default one interval. TensorFlow 1 logs its first at step 1.
    """

    only_reads = only_values = True
    may_draw = False

    def __init__(
        self,
        every: Every = Every(steps=100),  # noqa: B008 (frozen)
        fetches: Sequence[str] = ("loss", "lr"),
        rows: bool = True,
        lines: bool = True,
        first: Count | None = None,
    ):
        self.trigger = every.starting(first)
        self._rows = rows and every.secs is None
        self._lines = lines
        self.name = "logging" if self._rows else "logging_lines"
        if self._rows and (vectors := [name for name in fetches if name.startswith("param:")]):
            raise UsageError(f"{vectors[0]} is no number for a metrics row: use rows=False, which writes lines only")
        if not (self._rows or lines):
            raise UsageError("LoggingHook has nothing to write: rows need a trigger in steps or epochs")
        self.fetches = tuple(fetches)

    def before_run(self, ctx: StepView) -> RunArgs:
        return RunArgs(tuple(self.fetches))

    def fetches_at(self, step: int) -> Sequence[str]:
        return self.fetches

    def after_run(self, ctx: StepView, values: Mapping[str, Any]) -> None:
        if self._rows:
            ctx.session.write_row(**values)
        if self._lines and log.isEnabledFor(logging.INFO):
            log.info("step %d: %s", ctx.step, ", ".join(f"{name} {_short(value)}" for name, value in values.items()))


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else str(value)
