"""The panels of a figure: each draws one thing on one pair of axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import NothingMatchedError, unknown_name
from ...run_directory.comparison_file import NO_RESULT
from .. import style
from ..group import Group, metric_names
from ..learning_curves import AXES, Band, aggregate, group_runs, smoothed, starts_log
from ..results import Results
from ..sensitivity import group_lines, key_across

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_group_curves(axes: Axes, group: Group) -> None:
    """Draw the metric that choices are made by: median and band over the runs of each entry, and the target."""
    runs = group_runs(group)
    bands = [aggregate(some, group.select, label=name) for name, some in runs.items()]
    if not drawn_bands(bands) and not any(bands) and (lost := [name for name in group.names if group.lost(name)]):
        draw_text(axes, f"No curves: {style.entries(lost)} {'has' if len(lost) == 1 else 'have'} no result")
        return
    if not drawn_bands(bands):
        found = metric_names([run for some in runs.values() for run in some])
        raise NothingMatchedError(unknown_name("metric", group.select, found))
    draw_curves(axes, bands, group.select, "epoch", None, 0.0)
    if group.target and group.target["metric"] == group.select:
        axes.axhline(group.target["value"], color=style.QUIET, linewidth=0.6, linestyle=(0, (3, 3)))


def draw_text(axes: Axes, text: str) -> None:
    """Write why there is nothing to draw."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=style.INK)


def draw_curves(axes: Axes, bands: Sequence[Band | None], metric: str, x: str, log: bool | None, smooth: float) -> None:
    """Draw a line for each band, its range where it stands for several runs, and a cross where a run diverged."""
    drawn = drawn_bands(bands)
    is_log = log if log is not None else starts_log(drawn)
    if is_log:
        axes.set_yscale("log", nonpositive="mask")  # a value of 0 has no place there, not even at the lower end
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
        known = np.isfinite(values) & ((values > 0) | (not is_log))
        axes.plot(places[known], values[known], color=color, linestyle=dash)
        for end in band.endings:
            at = end.x[x]
            if end.value is not None and at is not None:
                axes.plot([at], [end.value], marker="x", markersize=4, color=color, markeredgewidth=1)
        if known.any():
            ends.append((float(places[known][-1]), float(values[known][-1]), _label(band), index))
    axes.set_xlabel(AXES[x])
    axes.set_ylabel(metric)
    axes.margins(x=0.01)
    if axes.get_yscale() == "log":
        _plain_log(axes.yaxis)
    unseen = [_label(band) for band in bands if band is not None and not len(band)]
    if is_log:
        below = [(band.label, int((band.median <= 0).sum())) for band in drawn]
        unseen += [f"{style.many(count, 'value')} of 0 or less of {label}" for label, count in below if count]
    if unseen:
        axes.set_title(f"Not drawn: {'; '.join(unseen)}", loc="left")
    _label_ends(axes, ends)


def _label(band: Band) -> str:
    if not band.endings:
        return band.label
    lost = f"{len(band.endings)} of {band.num_runs} " if band.num_runs > 1 else ""
    return f"{band.label} ({lost}diverged)"


def _label_ends(axes: Axes, ends: list[tuple[float, float, str, int]]) -> None:
    """Write each line's name beside its end, moved apart until none lies on another."""
    axes.autoscale_view()
    spec = axes.get_subplotspec()
    rows = 1 if spec is None else spec.get_gridspec().nrows
    inches = axes.get_figure(root=True).get_size_inches()[1]  # type: ignore[union-attr]
    step = 9 / 72 / (inches / rows * 0.75)  # a line of text, as a share of the height of the axes
    inverse = axes.transAxes.inverted()
    places = [float(inverse.transform(axes.transData.transform((x, y)))[1]) for x, y, *_ in ends]
    needs_dashes = any(index >= len(style.LIGHT) for *_, index in ends)  # colours alone no longer tell them apart
    for at, (_, _, label, index) in zip(_apart(places, step), ends, strict=True):
        place: Any = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "center"}
        axes.annotate(label, (1.0, at), xytext=(26 if needs_dashes else 10, 0), **place)
        if needs_dashes:
            sample: Any = {"arrowstyle": "-", "color": _color(index), "linestyle": _dash(index), "linewidth": 1.2}
            axes.annotate("", (1.0, at), xytext=(22, 0), arrowprops={**sample, "shrinkA": 0, "shrinkB": 4}, **place)
        else:
            axes.annotate("●", (1.0, at), xytext=(4, 0), color=_color(index), fontsize=5, **place)


def _apart(places: Sequence[float], step: float) -> list[float]:
    """Move places as little as possible (in squares) until each is at least `step` from the next; keep their order.

    They end within 0 and 1, where there is room for all.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    blocks: list[list[float]] = []  # of places less their share of steps, pooled while they are out of order
    for rank, index in enumerate(order):
        blocks.append([places[index] - rank * step])
        while len(blocks) > 1 and sum(blocks[-2]) / len(blocks[-2]) > sum(blocks[-1]) / len(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    level = [sum(block) / len(block) for block in blocks for _ in block]
    moved = [0.0] * len(places)
    for rank, index in enumerate(order):
        lowest, highest = rank * step, 1.0 - (len(places) - 1 - rank) * step  # that leave room for those beyond
        place = level[rank] + rank * step
        moved[index] = min(max(place, lowest), highest) if lowest <= highest else place
    return moved


def height_of_names(number: int) -> float:
    """Return how high a panel is, in inches, in which so many names stand below one another."""
    return 0.6 + 0.17 * number


def _plain_log(axis: Any) -> None:
    """Write the ticks of a logarithmic axis as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    narrow = low > 0 and high / low < 100
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,), numticks=9))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def draw_paired(axes: Axes, results: Results) -> None:
    """Draw the differences to the reference, seed by seed, with mean, interval and margin."""
    group = results.group
    if margin := results.margin:
        axes.axvspan(-margin, margin, color=style.INK, alpha=0.08, linewidth=0)
    axes.axvline(0, color=style.INK, linewidth=0.6)
    labels = []
    for place, against in enumerate(results.others):
        color = _color(group.names.index(against.entry))
        values = [d for _, d in against.differences if d is not None]
        shifted = [place + (-0.16, 0.06, -0.04, 0.16)[i % 4] for i in range(len(values))]
        _dots(axes, values, shifted, color, 2.6, 0.5)
        if against.interval is not None:
            axes.plot([against.interval.low, against.interval.high], [place, place], color=color, linewidth=1.4)
        if against.difference is not None:
            edge = {"markeredgecolor": "white", "markeredgewidth": 0.5}
            axes.plot([against.difference], [place], "D", markersize=4, color=color, **edge)
        lost, runs = len(against.differences) - len(values), len(against.differences)
        labels.append(f"{against.entry}\n({lost} of {runs} withheld:\ndiverged)" if lost else against.entry)
    axes.set_yticks(range(len(labels)), labels, color=style.INK)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(False, axis="y")
    gap = " " if len(results.reference) < 16 else "\n"
    axes.set_xlabel(f"{group.metric},{gap}difference to {results.reference}")
    reach = max((abs(end) for end in axes.get_xlim()), default=1.0)
    axes.set_xlim(-reach, reach)


def draw_ranks(axes: Axes, results: Results) -> None:
    """Draw the rank intervals with their tie letters."""
    entries = results.analysis.entries
    for place, entry in enumerate(entries):
        color, ends = _color(results.group.names.index(entry.name)), [entry.rank.best, entry.rank.worst]
        axes.plot(ends, [place, place], color=color, marker="o", markersize=4)
        above: dict[str, Any] = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center", "color": style.QUIET}
        axes.annotate(entry.letters, (sum(ends) / 2, place), **above)
    axes.set_yticks(range(len(entries)), [entry.name for entry in entries], color=style.INK)
    axes.set_xticks(range(1, len(entries) + 1, 1 + len(entries) // 12))
    axes.set_xlim(0.7, len(entries) + 0.3)
    axes.set_ylim(len(entries) - 0.5, -0.7)
    axes.grid(False, axis="y")
    axes.set_xlabel("rank")


def draw_sensitivity(axes: Axes, group: Group) -> None:
    """Draw scores by the value that was tried: means, single runs, what was chosen; a cross where runs diverged.

    Of several keys the first is drawn along, and each combination of the others has a line of its own. A square stands
    where runs have no result: they failed, measured nothing, or did not come to an end.
    """
    ends = []
    tuned = group_lines(group)
    for index, line in tuned:
        color = _color(index)
        means = np.array([np.nan if t.get("mean") is None else t["mean"] for _, t in line.points], dtype=float)
        values = np.array([value for value, _ in line.points], dtype=float)
        axes.plot(values, means, color=color, linestyle=_dash(index), marker="o", markersize=2.6)
        for value, trial in line.points:
            mean = trial.get("mean")
            scores = [score for score in trial.get("scores") or [] if score is not None]
            _dots(axes, [value] * len(scores), scores, color, 1.8, 0.45)
            states = trial.get("states") or []
            at: dict[str, Any] = {"color": color, "transform": axes.get_xaxis_transform(), "markerfacecolor": "none"}
            if "diverged" in states:
                axes.plot([value], [0.02], "x", markersize=4, **at)
            if any(state in NO_RESULT for state in states):
                axes.plot([value], [0.06 if "diverged" in states else 0.02], "s", markersize=3.5, **at)
            if value == line.chosen and mean is not None:
                ring: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": style.INK, "markeredgewidth": 0.8}
                axes.plot([value], [mean], "o", markersize=6.5, **ring)
        known = np.isfinite(means)
        if known.any():
            ends.append((float(values[known][-1]), float(means[known][-1]), line.label, index))
    if all(value > 0 for _, line in tuned for value, _ in line.points):
        axes.set_xscale("log")
        _plain_log(axes.xaxis)
    axes.set_xlabel(next(key for entry in group.entries if (key := key_across(entry))))
    axes.set_ylabel(group.select)
    _label_ends(axes, ends)


def _dots(axes: Axes, xs: Sequence[float], ys: Sequence[float], color: str, size: float, alpha: float) -> None:
    axes.plot(xs, ys, "o", markersize=size, color=color, alpha=alpha, markeredgewidth=0)


def drawn_bands(bands: Sequence[Band | None]) -> list[Band]:
    return [band for band in bands if band is not None and np.isfinite(band.median).any()]


def _color(index: int) -> str:
    return style.LIGHT[index % len(style.LIGHT)]


def _dash(index: int) -> Any:
    pattern = style.DASHES[index // len(style.LIGHT) % len(style.DASHES)]
    return (0, tuple(float(part) / 2 for part in pattern.split())) if pattern else "-"
