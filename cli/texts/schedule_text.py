"""The learning rates of a whole run, before it is run: computed, as a table, as JSON, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...experiments.components.schedules import watching
from ...experiments.components.schedules.rate import LearningRate, is_absolute
from ...experiments.errors import UsageError
from ...experiments.report.figures.figure_file import COLUMN, save
from ...experiments.report.figures.terminal import curves_text
from ...experiments.report.learning_curves import AXES, Band
from ...experiments.report.style import LIGHT
from ...experiments.report.tables.table import aligned
from ...experiments.training.build import build_schedule
from ...experiments.training.load import load_config
from ..terminal.console import filled
from ..terminal.screen import width
from ..terminal.streams import is_utf8, results

_POINTS = 480  # of a curve, besides those beside the boundaries
_MOST_ROWS = 24  # boundaries in the table and lines in a figure


@dataclass(frozen=True)
class RateCurve:
    """The rates of one target: at a selection of steps, and at both sides of each boundary."""

    label: str
    schedule: str
    num_steps: int
    is_rate: bool  # else a multiple of the optimizer's own rate, which is not known
    watches: tuple[str, ...]
    steps: list[int]
    values: list[float]
    boundaries: Sequence[tuple[int, float, float]]


def rate_curve(target: str, overrides: Sequence[str], steps: int | None) -> RateCurve:
    """Return the rates of a target, as far as `steps`, or over the whole run.

    Raises:
        UsageError: no number of steps is known.
    """
    config = load_config(target, overrides)
    schedule, length = build_schedule(config)
    num_steps = steps or length.num_steps
    if num_steps is None:
        raise UsageError(f"{target}: only a clock ends this run; say how far to draw: --steps 1000")
    own = None if is_absolute(schedule) else config.optimizer.args.get("lr")
    rate = LearningRate(schedule) if own is None else LearningRate(schedule, float(own))
    boundaries = rate.boundaries(num_steps)
    shown = _places(num_steps, [boundary.step for boundary in boundaries])
    return RateCurve(
        label=config.name,
        schedule=str(schedule),
        num_steps=num_steps,
        is_rate=own is not None or is_absolute(schedule),
        watches=tuple(dict.fromkeys(part.metric for part in watching(schedule))),
        steps=shown,
        values=[rate(step) for step in shown],
        boundaries=boundaries,
    )


def _places(num_steps: int, boundaries: Sequence[int]) -> list[int]:
    """Return the steps that are drawn: evenly spread ones, and those on both sides of every boundary."""
    spread = {round(point * (num_steps - 1) / _POINTS) for point in range(_POINTS + 1)}
    return sorted(spread.union(boundaries, (step - 1 for step in boundaries)))


def curve_document(curve: RateCurve) -> dict[str, Any]:
    """Return the rates as JSON has them."""
    boundaries = [{"step": step, "before": before, "at": at} for step, before, at in curve.boundaries]
    return {
        "label": curve.label,
        "schedule": curve.schedule,
        "num_steps": curve.num_steps,
        "unit": _unit(curve),
        "watches": list(curve.watches),
        "boundaries": boundaries,
        "x": curve.steps,
        "y": curve.values,
    }


def _unit(curve: RateCurve) -> str:
    return "learning rate" if curve.is_rate else "multiple of the optimizer's rate"


def _bands(curves: Sequence[RateCurve]) -> list[Band]:
    bands = []
    for curve in curves:
        steps, values = np.array(curve.steps), np.array(curve.values)
        x = {axis: steps if axis == "step" else np.full(len(steps), np.nan) for axis in AXES}
        ones = np.ones(len(steps), dtype=int)
        bands.append(Band(_unit(curve), curve.label, 1, x, values, values, values, "min-max", ones))
    return bands


def schedule_lines(curves: Sequence[RateCurve], log: bool) -> list[str]:
    """Return a picture of all curves, and a table for each."""
    columns = width(results())
    lines = [_unit(curves[0]), *curves_text(_bands(curves), width=columns, unicode=is_utf8(results()), log=log)]
    for curve in curves:
        described = f"{curve.label}: {curve.schedule}, {curve.num_steps:,} steps"
        lines += ["", *filled(described, indent=2, break_long_words=True)]
        lines += _table(curve)
    return lines


def _table(curve: RateCurve) -> list[str]:
    """List the first step, the boundaries and the last step, with the rates before and at them."""
    rows = [("step", "rate before", "rate")]
    rows.append(("0", "", f"{curve.values[0]:.6g}"))
    rows += [(str(step), f"{before:.6g}", f"{at:.6g}") for step, before, at in curve.boundaries[:_MOST_ROWS]]
    if (more := len(curve.boundaries) - _MOST_ROWS) > 0:
        rows.append((f"({more:,} more)", "", ""))
    last = curve.num_steps - 1
    if last and (not curve.boundaries or curve.boundaries[-1][0] != last):
        rows.append((str(last), "", f"{curve.values[-1]:.6g}"))
    return [f"  {line}" for line in aligned(rows, right=(0, 1, 2))]


def write_figure(curves: Sequence[RateCurve], log: bool, path: str) -> None:
    """Draw the curves into a file."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for index, curve in enumerate(curves):
            dash = "-" if index < len(LIGHT) else (0, (3, 1.5))
            axes.plot(curve.steps, curve.values, color=LIGHT[index % len(LIGHT)], linestyle=dash, label=curve.label)
        if len(curves) == 1:
            for step, *_ in curves[0].boundaries[:_MOST_ROWS]:
                axes.axvline(step, color="#59636e", linewidth=0.6, linestyle=(0, (3, 3)))
        axes.set(xlabel="step", ylabel=_unit(curves[0]), yscale="log" if log else "linear")
        axes.margins(x=0.01)
        # Not at the ends of the lines, as for learning curves: schedules tend to end all at the same place.
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)

    save(draw, path, width=COLUMN * 1.4, height=2.9)
