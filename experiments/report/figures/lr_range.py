"""The curve of a learning-rate range test, on a logarithmic axis of rates: in text, and as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import style
from .figure_file import COLUMN, save
from .terminal import Canvas, columns_for, framed, line_mark, scaled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKERS = "oD^s"


@dataclass(frozen=True)
class RangeCurve:
    """The curve of a test, to be drawn.

    Args:
        rates: increasing.
        losses: after a step at each.
        smoothed: their moving average.
        suggestions: rates by rule, without those that found none.
    """

    rates: Sequence[float]
    losses: Sequence[float]
    smoothed: Sequence[float]
    suggestions: Mapping[str, float]


def range_text(curve: RangeCurve, *, width: int = 80, height: int = 12, unicode: bool = True) -> list[str]:
    """Draw the smoothed loss, with the suggestions marked on it; no line is longer than `width`.

    Args:
        curve: of two rates or more.
        width: in characters, at least 30.
        height: of the picture, in lines.
        unicode: braille dots and round marks, else ASCII.
    """
    values = np.asarray(curve.smoothed)
    low, high = _levels(values)
    labels = [style.number(value, 3) for value in (high, (low + high) / 2, low)]
    canvas = Canvas(columns_for(labels, width), height, unicode)
    canvas.line(_places(curve, curve.rates), scaled(values, low, high), "." if not unicode else " ")
    marks = range_marks(unicode)
    for index, rate in enumerate(curve.suggestions.values()):
        place, level = _places(curve, [rate])[0], scaled(np.array([_smoothed_at(curve, rate)]), low, high)[0]
        canvas.mark(place, level, marks[index % len(marks)])
    return framed(canvas, labels, (f"{curve.rates[0]:.3g}", f"rate {curve.rates[-1]:.3g}"), unicode)


def range_marks(unicode: bool) -> str:
    """Return the marks of the suggestions, in their order."""
    return "".join(line_mark(index, unicode) for index in range(len(_MARKERS)))


def range_figure(curve: RangeCurve, path: str | Path) -> Path:
    """Draw losses, smoothed loss and suggestions, and return the file.

    Args:
        curve: of two rates or more.
        path: ends in .png or .svg.
    """

    from matplotlib.ticker import FuncFormatter

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # no figure of ours has formulas
        axes.plot(curve.rates, curve.losses, color=style.LIGHT[0], alpha=0.3, linewidth=0.6)
        axes.plot(curve.rates, curve.smoothed, color=style.LIGHT[0], label="smoothed loss")
        for index, (rule, rate) in enumerate(curve.suggestions.items()):
            color, marker = style.LIGHT[(index + 1) % len(style.LIGHT)], _MARKERS[index % len(_MARKERS)]
            place = _smoothed_at(curve, rate)
            axes.plot([rate], [place], marker, color=color, markersize=4, label=f"{rule}: {rate:.2g}")
        bottom, top = _levels(np.asarray(curve.smoothed))
        bottom = min(bottom, *curve.losses)  # how far single losses fall shows how far the smoothed one lags behind
        margin = 0.2 * (top - bottom) or 0.5 * abs(top) or 1.0
        axes.set_ylim(bottom - margin, top + margin)
        axes.set_xlabel("learning rate")
        axes.set_ylabel("loss after a step at this rate")
        axes.legend(frameon=False, loc="lower left")  # where curves that begin high leave room

    return save(draw, path, width=COLUMN * 1.4, height=2.9)


def _levels(smoothed: np.ndarray) -> tuple[float, float]:
    """Return the bounds of the picture: what lies far above the start, the end of the test, would flatten the rest."""
    lowest = int(smoothed.argmin())
    low, before = float(smoothed[lowest]), float(smoothed[: lowest + 1].max())
    return low, min(float(smoothed.max()), before + 0.5 * (before - low)) if lowest else float(smoothed.max())


def _places(curve: RangeCurve, rates: Sequence[float]) -> np.ndarray:
    return scaled(np.log10(rates), np.log10(curve.rates[0]), np.log10(curve.rates[-1]))


def _smoothed_at(curve: RangeCurve, rate: float) -> float:
    return float(np.interp(np.log10(rate), np.log10(curve.rates), curve.smoothed))
