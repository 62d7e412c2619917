"""Figures fit for a paper, as PNG (300 dpi) and SVG (text as text): the same files from the same runs, bit for bit."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import NothingMatchedError, UsageError, unknown_name
from ...run_directory.run import Run
from ...system import storage
from ..group import Group, metric_names, unique_labels
from ..learning_curves import AXES, aggregate
from ..page.page_data import worst_of
from ..results import Results
from ..sensitivity import trials_of
from .panels import draw_curves, draw_paired, draw_ranks, draw_sensitivity, drawn_bands, group_curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.3, 6.9  # widths of one column and of a page, in inches
SUFFIXES = (".png", ".svg")
_DPI = 300
_SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that a figure is the same on every machine
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.titlesize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#59636e",
    "axes.labelcolor": "#1b1f24",
    "text.color": "#1b1f24",
    "xtick.color": "#59636e",
    "ytick.color": "#59636e",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e7ea",
    "grid.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "svg.fonttype": "none",
    "svg.hashsalt": "optrun",
    "axes.unicode_minus": True,
    "text.parse_math": False,  # names are shown as they are, dollar signs included
}


def plot_runs(
    runs: Sequence[Run],
    y: str | None = None,
    x: str = "step",
    log: bool | None = None,
    smooth: float = 0.0,
    path: str | Path = "runs.png",
) -> Path:
    """Draw one metric of several runs, one line each, and return the file.

    Args:
        runs: to draw.
        y: metric; by default the one that the first run is judged by.
        x: `step`, `epoch`, `gradient_evaluations` or `secs`.
        log: logarithmic y axis; by default when the values span more than 30 times.
        smooth: weight of the past in a moving average, in [0, 1); the raw values stay visible behind it.
        path: ends in .png or .svg.

    Raises:
        NothingMatchedError: no run has the metric; the message has the nearest name.
        UsageError: an unknown axis or suffix, or a weight out of range.
    """
    if x not in AXES:
        raise UsageError(unknown_name("axis", x, AXES))
    if not 0 <= smooth < 1:
        raise UsageError(f"smooth = {smooth}: give a number of at least 0 and below 1")
    metric = y or _default_metric(runs)
    bands = []
    for label, run in zip(unique_labels(runs), runs, strict=True):
        bands.append(aggregate([run], metric, label=label, worst=worst_of(metric, "max")))
    drawn = drawn_bands(bands)
    if not drawn:
        raise NothingMatchedError(unknown_name("metric", metric, metric_names(runs)))

    def draw(figure: Figure) -> None:
        draw_curves(figure.subplots(), bands, metric, x, log, smooth)

    return save(draw, path, width=PAGE if len(runs) > 4 else COLUMN * 1.4, height=2.9)


def curves_figure(group: Group, path: str | Path, *, metric: str | None = None, x: str = "epoch") -> Path:
    """Draw the learning curves of a comparison: median and band over seeds.

    Args:
        group: to draw.
        path: ends in .png or .svg.
        metric: by default the one that choices were made by.
        x: `step`, `epoch`, `gradient_evaluations` or `secs`.
    """
    return save(lambda figure: group_curves(figure.subplots(), group, metric, x), path, width=COLUMN, height=2.5)


def paired_figure(results: Results, path: str | Path) -> Path:
    """Draw the differences to the reference, seed by seed, with mean, interval and margin."""
    height = 0.8 + 0.42 * max(1, len(results.group.names) - 1)
    return save(lambda figure: draw_paired(figure.subplots(), results), path, width=COLUMN, height=height)


def ranks_figure(results: Results, path: str | Path) -> Path:
    """Draw the rank intervals."""
    height = 0.6 + 0.28 * len(results.group.names)
    return save(lambda figure: draw_ranks(figure.subplots(), results), path, width=COLUMN, height=height)


def sensitivity_figure(group: Group, path: str | Path) -> Path:
    """Draw scores by the setting that was tuned.

    Raises:
        NothingMatchedError: nothing was tuned.
    """
    if not any(trials_of(entry) for entry in group.entries):
        raise NothingMatchedError(f"{group.path}: nothing was tuned, so there is no sensitivity to draw")
    return save(lambda figure: draw_sensitivity(figure.subplots(), group), path, width=COLUMN, height=2.4)


def group_figure(group: Group, results: Results | None, path: str | Path) -> Path:
    """Draw everything that a comparison has on one page-wide figure."""
    panels: list[Callable[[Axes], None]] = [lambda axes: group_curves(axes, group, None, "epoch")]
    if results is not None and len(group.names) > 1:
        panels.append(lambda axes: draw_paired(axes, results))
    if any(trials_of(entry) for entry in group.entries):
        panels.append(lambda axes: draw_sensitivity(axes, group))
    if results is not None and len(group.names) > 1:
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

    return save(draw, path, width=PAGE, height=2.5 * rows)


def save(draw: Callable[[Figure], None], path: str | Path, *, width: float, height: float) -> Path:
    """Draw a figure and write it, whole or not at all; the same drawing gives the same bytes.

    Args:
        draw: puts axes on the figure.
        path: ends in .png or .svg.
        width, height: inches.

    Raises:
        UsageError: another suffix.
        StorageError: it cannot be written.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path}: a figure ends in {' or '.join(SUFFIXES)}")
    storage.write_derived(path, render(draw, path.suffix[1:], width=width, height=height))
    return path


def render(draw: Callable[[Figure], None], kind: str, *, width: float, height: float) -> bytes:
    """Return the bytes of a figure as `png` or `svg`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with house_style():
        figure = Figure(figsize=(width, height), layout="constrained", dpi=_DPI)
        canvas = FigureCanvasSVG(figure) if kind == "svg" else FigureCanvasAgg(figure)
        draw(figure)
        out = io.BytesIO()
        metadata = {"Date": None, "Creator": "optrun"} if kind == "svg" else {"Software": "optrun"}
        canvas.print_figure(out, format=kind, dpi=_DPI, metadata=metadata)
    return out.getvalue()


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the style of all figures within a `with` block, whatever the user's own settings are."""
    import matplotlib as mpl

    settings: Any = {key: value for key, value in mpl.rcParamsDefault.items() if not key.startswith("backend")}
    with mpl.rc_context(settings | _SETTINGS):
        yield


def _default_metric(runs: Sequence[Run]) -> str:
    found = metric_names(runs)
    metric = str((runs[0].summary.get("metric") or {}).get("name", "")) if runs else ""
    if metric in found:
        return metric
    return next((name for name in ("val/loss", "loss") if name in found), found[0] if found else "loss")
