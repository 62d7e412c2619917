"""Learning curves as a figure: one metric of several runs, or of the entries of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..learning_curves import Band
from .figure_file import COLUMN, save
from .panels import draw_curves, height_of_names


def curves_figure(
    bands: Sequence[Band | None],
    path: str | Path,
    *,
    metric: str,
    x: str = "step",
    log: bool | None = None,
    smooth: float = 0.0,
    width: float = COLUMN * 1.4,
) -> Path:
    """Draw a line for each band, and return the file.

    Args:
        bands: to draw, each in the colour of its place; None leaves the place empty.
        path: ends in .png or .svg.
        metric: beside the y axis.
        x: one of `AXES`.
        log: logarithmic y axis; by default when the values span more than 30 times.
        smooth: weight of the past in a moving average, in [0, 1); the raw values stay visible behind it.
        width: inches.

    Raises:
        UsageError: another suffix.
    """
    height = max(2.9, height_of_names(len(bands)))
    return save(
        lambda figure: draw_curves(figure.subplots(), bands, metric, x, log, smooth), path, width=width, height=height
    )
