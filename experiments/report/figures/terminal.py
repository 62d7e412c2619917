"""Learning curves in text, for a terminal: braille dots, or plain characters where a stream has no others."""

from __future__ import annotations

import itertools
import math
import string
from collections.abc import Sequence

import numpy as np

from .. import style
from ..learning_curves import AXES, Band

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # bit of each dot, by row and column
_BLANK = 0x2800
_LETTERS = (string.ascii_letters + string.digits).replace("X", "")  # for more lines than signs; X is a run's end
_MARKS = "ox+*#@%&" + _LETTERS.replace("o", "").replace("x", "")
_LINES = "●◆▲■◇○△□" + _LETTERS
_CROSS = ("×", "X")


def curves_text(
    bands: Sequence[Band],
    *,
    x: str = "step",
    width: int = 80,
    height: int = 12,
    unicode: bool = True,
    log: bool = False,
) -> list[str]:
    """Draw the medians of several lines, with a legend below; none of the lines is longer than `width`.

    Args:
        bands: to draw, each by its own mark where a line has a value, the marks drawn at the ends of the lines.
        x: `step`, `epoch`, `gradient_evaluations` or `secs`.
        width: in characters, at least 30.
        height: of the picture, in lines.
        unicode: braille dots and round marks, else ASCII.
        log: logarithmic y axis; values of 0 and less are left out.
    """
    drawn = [_points(band, x, log) for band in bands]
    places = np.concatenate([points[0] for points in drawn] or [np.array([])])
    values = np.concatenate([points[1] for points in drawn] or [np.array([])])
    if not len(values):
        return _legend(bands, width, unicode, log)
    low, high = _span(values)
    right = float(places.max())
    labels = [_axis_number(value, log) for value in (high, (low + high) / 2, low)]
    canvas = Canvas(columns_for(labels, width), height, unicode)
    start = min(0.0, float(places.min()))
    for index, (xs, ys) in enumerate(drawn):
        canvas.line(scaled(xs, start, right), scaled(ys, low, high), line_mark(index, unicode))
    for band in bands:
        for end in band.endings:
            at, value = end.x.get(x), end.value
            if at is not None and value is not None and (value > 0 or not log):
                value = math.log10(value) if log else value
                place, level = scaled(np.array([at]), start, right)[0], scaled(np.array([value]), low, high)[0]
                canvas.mark(place, level, _CROSS[not unicode])
    ends = f"{AXES[x]} {style.number(right)}"
    lines = framed(canvas, labels, (style.number(start), ends), unicode)
    return [*lines, *_legend(bands, width, unicode, log)]


def columns_for(labels: Sequence[str], width: int) -> int:
    """Return how many columns a picture has beside the labels of its y axis."""
    return max(10, width - max(map(len, labels)) - 3)


def framed(canvas: Canvas, labels: Sequence[str], ends: tuple[str, str], unicode: bool) -> list[str]:
    """Return a picture with its axes.

    Args:
        canvas: the picture, at least 3 lines high.
        labels: of the y axis: at its top, middle and bottom.
        ends: of the x axis: the text at its left end and at its right end.
        unicode: draw the axes in lines, else in ASCII.
    """
    bar, corner, dash = ("│", "└", "─") if unicode else ("|", "+", "-")
    rows = canvas.rows()
    margin, columns = max(map(len, labels)) + 1, canvas.columns
    at_row = {0: labels[0], len(rows) // 2: labels[1], len(rows) - 1: labels[2]}
    lines = [f"{at_row.get(row, ''):>{margin - 1}} {bar}{text}".rstrip() for row, text in enumerate(rows)]
    lines.append(f"{'':>{margin}}{corner}{dash * columns}")
    lines.append(f"{'':>{margin + 1}}{ends[0]}{ends[1]:>{columns - len(ends[0])}}")
    return lines


def _points(band: Band, x: str, log: bool) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(band.median) & np.isfinite(band.x[x])
    if log:
        known &= band.median > 0
    values = band.median[known]
    return band.x[x][known].astype(float), np.log10(values) if log else values


def _span(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if low == high:
        return low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    return low, high


def scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return where values lie between the ends of an axis, from 0 to 1; what lies beyond is at its end."""
    return np.clip((values - low) / ((high - low) or 1.0), 0, 1)


def _axis_number(value: float, log: bool) -> str:
    return style.number(10**value if log else value, 3)


def line_mark(index: int, unicode: bool) -> str:
    """Return the mark of the line at a place in their order."""
    marks = _LINES if unicode else _MARKS
    return marks[index % len(marks)]


def _legend(bands: Sequence[Band], width: int, unicode: bool, log: bool) -> list[str]:
    """Return one line for each band: its mark, its name, its last value, the runs that diverged."""
    lines = []
    for index, band in enumerate(bands):
        known = np.flatnonzero(np.isfinite(band.median))
        last = f" {style.number(float(band.median[known[-1]]))}" if len(known) else ""
        lost = f", {len(band.endings)} of {band.num_runs} diverged" if band.endings else ""
        below = int((band.median[known] <= 0).sum()) if log else 0
        hidden = f", {style.many(below, 'value')} of 0 or less not drawn" if below else ""
        name = style.shortened(band.label, max(8, width - 6 - len(last) - len(lost) - len(hidden)))
        name = name if unicode else name.replace("…", "~")
        lines.append(f"  {line_mark(index, unicode)} {name}{last}{lost}{hidden}"[:width])
    return [*lines, "  (log scale)"] if log else lines


class Canvas:
    """Dots of 2 x 4 to a character in braille, of 1 x 1 in ASCII; marks lie above the dots."""

    def __init__(self, columns: int, height: int, unicode: bool):
        self.columns, self._height, self._unicode = columns, height, unicode
        self._across, self._down = (2 * columns, 4 * height) if unicode else (columns, height)
        self._dots = np.zeros((self._down, self._across), dtype=bool)
        self._marks: dict[tuple[int, int], str] = {}

    def line(self, xs: np.ndarray, ys: np.ndarray, mark: str) -> None:
        """Draw a line through points in [0, 1] x [0, 1], with its mark at the end; in ASCII it is made of marks."""
        cells = [
            (round((1 - y) * (self._down - 1)), round(x * (self._across - 1))) for x, y in zip(xs, ys, strict=True)
        ]
        for (row, column), (next_row, next_column) in itertools.pairwise(cells):
            steps = max(abs(next_row - row), abs(next_column - column), 1)
            for step in range(steps + 1):
                place = (
                    round(row + (next_row - row) * step / steps),
                    round(column + (next_column - column) * step / steps),
                )
                self._dot(place, mark)
        if cells:
            self._mark(cells[-1], mark)

    def mark(self, x: float, y: float, mark: str) -> None:
        """Put a character at a point."""
        self._mark((round((1 - y) * (self._down - 1)), round(x * (self._across - 1))), mark)

    def _dot(self, place: tuple[int, int], mark: str) -> None:
        self._dots[place] = True
        if not self._unicode:
            self._marks.setdefault(place, mark)

    def _mark(self, place: tuple[int, int], mark: str) -> None:
        row, column = place
        self._marks[(row // 4, column // 2) if self._unicode else place] = mark

    def rows(self) -> list[str]:
        """Return the picture, line by line."""
        return ["".join(self._cell(row, column) for column in range(self.columns)) for row in range(self._height)]

    def _cell(self, row: int, column: int) -> str:
        if (row, column) in self._marks:
            return self._marks[row, column]
        if not self._unicode:
            return " "
        bits = sum(
            bit
            for down, pair in enumerate(_DOTS)
            for across, bit in enumerate(pair)
            if self._dots[4 * row + down, 2 * column + across]
        )
        return chr(_BLANK + bits) if bits else " "
