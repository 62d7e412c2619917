"""Figures fit for a paper, as PNG (300 dpi) and SVG (text as text): the same files from the same runs, bit for bit."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import storage
from ..errors import NothingMatchedError, UsageError, unknown_name
from ..run import Run
from . import style
from .curves import AXES, Band, aggregate, smoothed
from .group import Group, metric_names
from .page_data import starts_log, worst_of
from .results import Results
from .sensitivity import trials_of

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
    from .html import unique_labels

    if x not in AXES:
        raise UsageError(unknown_name("axis", x, AXES))
    if not 0 <= smooth < 1:
        raise UsageError(f"smooth = {smooth}: give a number of at least 0 and below 1")
    metric = y or _default_metric(runs)
    bands = []
    for label, run in zip(unique_labels(runs), runs, strict=True):
        bands.append(aggregate([run], metric, label=label, worst=worst_of(metric, "max")))
    drawn = _drawn(bands)
    if not drawn:
        raise NothingMatchedError(unknown_name("metric", metric, metric_names(runs)))

    def draw(figure: Figure) -> None:
        _draw_curves(figure.subplots(), bands, metric, x, log, smooth)

    return save(draw, path, width=PAGE if len(runs) > 4 else COLUMN * 1.4, height=2.9)


def curves_figure(group: Group, path: str | Path, *, metric: str | None = None, x: str = "epoch") -> Path:
    """Draw the learning curves of a comparison: median and band over seeds.

    Args:
        group: to draw.
        path: ends in .png or .svg.
        metric: by default the one that choices were made by.
        x: `step`, `epoch`, `gradient_evaluations` or `secs`.
    """
    return save(lambda figure: _group_curves(figure.subplots(), group, metric, x), path, width=COLUMN, height=2.5)


def paired_figure(results: Results, path: str | Path) -> Path:
    """Draw the differences to the reference, seed by seed, with mean, interval and margin."""
    height = 0.8 + 0.42 * max(1, len(results.group.names) - 1)
    return save(lambda figure: _draw_paired(figure.subplots(), results), path, width=COLUMN, height=height)


def ranks_figure(results: Results, path: str | Path) -> Path:
    """Draw the rank intervals."""
    height = 0.6 + 0.28 * len(results.group.names)
    return save(lambda figure: _draw_ranks(figure.subplots(), results), path, width=COLUMN, height=height)


def sensitivity_figure(group: Group, path: str | Path) -> Path:
    """Draw scores by the setting that was tuned.

    Raises:
        NothingMatchedError: nothing was tuned.
    """
    if not any(trials_of(entry) for entry in group.entries):
        raise NothingMatchedError(f"{group.path}: nothing was tuned, so there is no sensitivity to draw")
    return save(lambda figure: _draw_sensitivity(figure.subplots(), group), path, width=COLUMN, height=2.4)


def group_figure(group: Group, results: Results | None, path: str | Path) -> Path:
    """Draw everything that a comparison has on one page-wide figure."""
    panels: list[Callable[[Axes], None]] = [lambda axes: _group_curves(axes, group, None, "epoch")]
    if results is not None and len(group.names) > 1:
        panels.append(lambda axes: _draw_paired(axes, results))
    if any(trials_of(entry) for entry in group.entries):
        panels.append(lambda axes: _draw_sensitivity(axes, group))
    if results is not None and len(group.names) > 1:
        panels.append(lambda axes: _draw_ranks(axes, results))
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
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    defaults = {key: value for key, value in mpl.rcParamsDefault.items() if not key.startswith("backend")}
    with mpl.rc_context({**defaults, **_SETTINGS}):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=_DPI)
        canvas = FigureCanvasSVG(figure) if kind == "svg" else FigureCanvasAgg(figure)
        draw(figure)
        out = io.BytesIO()
        metadata = {"Date": None, "Creator": "optrun"} if kind == "svg" else {"Software": "optrun"}
        canvas.print_figure(out, format=kind, dpi=_DPI, metadata=metadata)
    return out.getvalue()


def _group_curves(axes: Axes, group: Group, metric: str | None, x: str) -> None:
    metric = metric or str(group.protocol.get("select") or group.metric)
    runs: Mapping[str, list[Run]] = {
        name: [r.run for r in group.finished(name, "evaluate" if group.kind == "compare" else "tune") if r.run]
        for name in group.names
    }
    bands = [aggregate(some, metric, label=name, worst=worst_of(metric, group.mode)) for name, some in runs.items()]
    if not _drawn(bands):
        found = metric_names([run for some in runs.values() for run in some])
        raise NothingMatchedError(unknown_name("metric", metric, found))
    _draw_curves(axes, bands, metric, x, None, 0.0)
    target = group.target
    if target and target["metric"] == metric:
        axes.axhline(target["value"], color="#59636e", linewidth=0.6, linestyle=(0, (3, 3)))


def _draw_curves(
    axes: Axes, bands: Sequence[Band | None], metric: str, x: str, log: bool | None, smooth: float
) -> None:
    drawn = _drawn(bands)
    if log if log is not None else starts_log(drawn):
        axes.set_yscale("log")
    ends = []
    for index, band in enumerate(bands):
        if band is None or not len(band):
            continue
        color, dash = _color(index), _dash(index)
        places, values = band.x[x], band.median
        if band.num_runs > 1:
            axes.fill_between(places, band.low, band.high, color=color, alpha=0.16, linewidth=0)
        if smooth:
            axes.plot(places, values, color=color, alpha=0.3, linewidth=0.6)
            values = smoothed(values, smooth)
        known = np.isfinite(values)
        axes.plot(places[known], values[known], color=color, linestyle=dash)
        for end in band.endings:
            if end.value is not None and end.x[x] is not None:
                axes.plot([end.x[x]], [end.value], marker="x", markersize=4, color=color, markeredgewidth=1)
        if known.any():
            ends.append((float(places[known][-1]), float(values[known][-1]), _label(band), color))
    axes.set_xlabel(AXES[x])
    axes.set_ylabel(metric)
    axes.margins(x=0.01)
    unseen = [_label(band) for band in bands if band is not None and not len(band)]
    if unseen:
        axes.set_title(f"Not drawn: {'; '.join(unseen)}", loc="left")
    _label_ends(axes, ends)


def _label(band: Band) -> str:
    if not band.endings:
        return band.label
    return f"{band.label} ({len(band.endings)} of {band.num_runs} diverged)" if band.num_runs > 1 else f"{band.label} (diverged)"


def _label_ends(axes: Axes, ends: list[tuple[float, float, str, str]]) -> None:
    """Write each line's name beside its end, moved apart until none lies on another."""
    figure = axes.figure
    height = axes.get_window_extent().height if figure is None else figure.get_figure(root=True).bbox.height * 0.7  # type: ignore[union-attr]
    step = 9 * _DPI / 72 / height
    transform = axes.transData
    axes.autoscale_view()
    inverse = axes.transAxes.inverted()
    placed = sorted((float(inverse.transform(transform.transform((x, y)))[1]), label, color) for x, y, label, color in ends)
    heights = [item[0] for item in placed]
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + step)
    if heights and heights[-1] > 1:
        heights = [value - (heights[-1] - 1) for value in heights]
    for at, (_, label, color) in zip(heights, placed, strict=True):
        axes.annotate("●", (1.0, at), xycoords="axes fraction", xytext=(4, 0), textcoords="offset points", color=color, va="center", fontsize=5)
        axes.annotate(label, (1.0, at), xycoords="axes fraction", xytext=(10, 0), textcoords="offset points", va="center")


def _draw_paired(axes: Axes, results: Results) -> None:
    group = results.group
    others = [entry.name for entry in results.analysis.entries if entry.name != results.reference]
    if group.margin:
        axes.axvspan(-group.margin, group.margin, color="#1b1f24", alpha=0.08, linewidth=0)
    axes.axvline(0, color="#1b1f24", linewidth=0.6)
    labels = []
    for place, name in enumerate(others):
        against, color = results.against(name), _color(group.names.index(name))
        values = [d for _, d in against.differences if d is not None]
        shifts = [(-0.16, 0.06, -0.04, 0.16)[i % 4] for i in range(len(values))]
        axes.plot(values, [place + shift for shift in shifts], "o", markersize=2.6, color=color, alpha=0.5, markeredgewidth=0)
        if against.interval is not None:
            axes.plot([against.interval.low, against.interval.high], [place, place], color=color, linewidth=1.4)
        if against.difference is not None:
            axes.plot([against.difference], [place], "D", markersize=4, color=color, markeredgecolor="white", markeredgewidth=0.5)
        lost = len(against.differences) - len(values)
        labels.append(f"{name}\n({lost} of {len(against.differences)} withheld:\ndiverged)" if lost else name)
    axes.set_yticks(range(len(others)), labels, color="#1b1f24")
    axes.set_ylim(len(others) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.set_xlabel(f"{group.metric}, difference to {results.reference}")
    reach = max((abs(end) for end in axes.get_xlim()), default=1.0)
    axes.set_xlim(-reach, reach)


def _draw_ranks(axes: Axes, results: Results) -> None:
    entries = results.analysis.entries
    for place, entry in enumerate(entries):
        color, ends = _color(results.group.names.index(entry.name)), [entry.rank.best, entry.rank.worst]
        axes.plot(ends, [place, place], color=color, marker="o", markersize=4)
        axes.annotate(entry.letters, (sum(ends) / 2, place), xytext=(0, 4), textcoords="offset points", ha="center", color="#59636e")
    axes.set_yticks(range(len(entries)), [entry.name for entry in entries], color="#1b1f24")
    axes.set_xticks(range(1, len(entries) + 1))
    axes.set_xlim(0.7, len(entries) + 0.3)
    axes.set_ylim(len(entries) - 0.5, -0.7)
    axes.grid(False, axis="y")
    axes.set_xlabel("rank")


def _draw_sensitivity(axes: Axes, group: Group) -> None:
    ends = []
    tuned = [(index, entry) for index, entry in enumerate(group.entries) if trials_of(entry)]
    for index, entry in tuned:
        color, trials = _color(index), trials_of(entry)
        means = np.array([np.nan if t.get("mean") is None else t["mean"] for t in trials], dtype=float)
        values = np.array([t["value"] for t in trials], dtype=float)
        axes.plot(values, means, color=color, linestyle=_dash(index), marker="o", markersize=2.6)
        for trial in trials:
            scores = [score for score in trial.get("scores") or [] if score is not None]
            axes.plot([trial["value"]] * len(scores), scores, "o", markersize=1.8, color=color, alpha=0.45, markeredgewidth=0)
            if len(scores) < len(trial.get("scores") or []):
                axes.plot([trial["value"]], [0.02], "x", markersize=4, color=color, transform=axes.get_xaxis_transform())
            if trial["value"] == entry["tuning"].get("chosen") and trial.get("mean") is not None:
                axes.plot([trial["value"]], [trial["mean"]], "o", markersize=6.5, markerfacecolor="none", markeredgecolor="#1b1f24", markeredgewidth=0.8)
        known = np.isfinite(means)
        if known.any():
            ends.append((float(values[known][-1]), float(means[known][-1]), str(entry["name"]), color))
    if all(trial["value"] > 0 for _, entry in tuned for trial in trials_of(entry)):
        axes.set_xscale("log")
    axes.set_xlabel(str(tuned[0][1]["tuning"].get("key", "optimizer.lr")))
    axes.set_ylabel(str(group.protocol.get("select") or group.metric))
    _label_ends(axes, ends)


def _drawn(bands: Sequence[Band | None]) -> list[Band]:
    return [band for band in bands if band is not None and np.isfinite(band.median).any()]


def _color(index: int) -> str:
    return style.LIGHT[index % len(style.LIGHT)]


def _dash(index: int) -> Any:
    pattern = style.DASHES[index // len(style.LIGHT) % len(style.DASHES)]
    return (0, tuple(float(part) / 2 for part in pattern.split())) if pattern else "-"


def _default_metric(runs: Sequence[Run]) -> str:
    found = metric_names(runs)
    metric = str((runs[0].summary.get("metric") or {}).get("name", "")) if runs else ""
    if metric in found:
        return metric
    return next((name for name in ("val/loss", "loss") if name in found), found[0] if found else "loss")
