"""Everything that a comparison has, on one figure as wide as a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..sensitivity import lines_of
from .figure_file import PAGE, save
from .panels import draw_group_curves, draw_paired, draw_ranks, draw_sensitivity, height_of_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..report import Report


def overview_figure(report: Report, path: str | Path) -> Path:
    """Draw curves, differences, sensitivity and ranks, as far as there are any, and return the file.

    Args:
        report: of a comparison or a sweep.
        path: ends in .png or .svg.
    """
    group, results = report.group, report.results
    panels: list[Callable[[Axes], None]] = [lambda axes: draw_group_curves(axes, group)]
    if results is not None and results.others:
        panels.append(lambda axes: draw_paired(axes, results))
    if any(lines_of(entry) for entry in group.entries):
        panels.append(lambda axes: draw_sensitivity(axes, group))
    if results is not None and results.others:
        panels.append(lambda axes: draw_ranks(axes, results))
    rows = (len(panels) + 1) // 2

    def draw(figure: Figure) -> None:
        if len(panels) == 1:
            return panels[0](figure.subplots())
        grid = figure.subplots(rows, 2, squeeze=False)
        for place, panel in enumerate(panels):
            panel(grid[place // 2][place % 2])
        for place in range(len(panels), rows * 2):
            grid[place // 2][place % 2].set_axis_off()
        return None

    return save(draw, path, width=PAGE, height=rows * max(2.5, height_of_names(len(group.names))))
