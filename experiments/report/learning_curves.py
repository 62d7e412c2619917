"""Learning curves over seeds: median and band on the common evaluation grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..config.goal import recorded_goal
from ..errors import NothingMatchedError, unknown_name
from ..run_directory.comparison_file import FINISHED
from ..run_directory.run import Curve, Run
from .group import Group, metric_names, unique_labels
from .trials import chosen_trial

AXES = {
    "step": "step",
    "epoch": "epoch",
    "examples": "examples",
    "gradient_evaluations": "gradient evaluations",
    "secs": "seconds",
}
QUARTILES_FROM = 5  # runs, below which a band of quartiles says less than the extremes do
_DIVERGED = "diverged"
_AUTO_LOG = 30  # times between the ends of an axis, from which it starts out logarithmic


@dataclass(frozen=True)
class Ending:
    """Where the curve of a run that diverged breaks off.

    Args:
        seed: of the run.
        step: of its last finite value; 0 when it has none.
        value: that value, None when there is none.
        x: the place on each axis, by the axis's name.
    """

    seed: int
    step: int
    value: float | None
    x: dict[str, float | None]


@dataclass(frozen=True, eq=False)
class Band:
    """One metric of several runs, step by step. Every array has one value for each step of the grid.

    A run that diverged counts as worse than every number from then on, so that median and band do not become better
    because runs are lost; where the median itself has diverged it is NaN. Which numbers are worse is known of what runs
    are judged by; of others, such as `lr`, it is left out from then on. A run that merely stopped early is left out
    after its end, and `counts` says how many there still are.

    Args:
        name: of the metric.
        label: of the line.
        num_runs: all runs, those without a value too.
        x: places on each axis, by the axis's name.
        median, low, high: of the runs; low and high are quartiles, or the extremes of fewer than 5 runs.
        band: `quartiles` or `min-max`.
        counts: runs with a finite value.
        endings: of the runs that diverged.
    """

    name: str
    label: str
    num_runs: int
    x: dict[str, np.ndarray]
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    band: str
    counts: np.ndarray
    endings: list[Ending] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.median)

    @property
    def steps(self) -> np.ndarray:
        return self.x["step"]


def aggregate(runs: Sequence[Run], metric: str, *, label: str = "") -> Band | None:
    """Return median and band of a metric over runs, on the steps at which any of them has a row of it.

    Args:
        runs: of one entry, over its seeds.
        metric: its name; None is returned where no run has it, and none diverged before it could.
        label: of the line.
    """
    curves = [run.metrics.get(metric) for run in runs]
    steps = np.unique(np.concatenate([c.steps for c in curves if c is not None] or [np.array([], dtype=np.int64)]))
    if not len(steps) and not any(run.state == _DIVERGED for run in runs):
        return None
    table = np.full((len(runs), len(steps)), np.nan)
    goal = recorded_goal(metric, (run.summary for run in runs))
    worst = math.nan if goal is None else goal.worst
    endings = []
    for row, (run, curve) in enumerate(zip(runs, curves, strict=True)):
        if curve is not None:
            table[row, np.searchsorted(steps, curve.steps)] = np.where(np.isfinite(curve.values), curve.values, np.nan)
        last = np.flatnonzero(np.isfinite(table[row]))
        if run.state == _DIVERGED or (curve is not None and len(curve) and not np.isfinite(curve.values[-1])):
            table[row, last[-1] + 1 if len(last) else 0 :] = worst
        if run.state == _DIVERGED:  # any other merely has no finite value of this metric
            endings.append(_ending(run, curve, table[row], last, steps))
    band = "quartiles" if len(runs) >= QUARTILES_FROM else "min-max"
    share = 0.25 if band == "quartiles" else 0.0
    return Band(
        name=metric,
        label=label,
        num_runs=len(runs),
        x=_axes(runs, curves, steps),
        median=_quantile(table, 0.5),
        low=_quantile(table, share),
        high=_quantile(table, 1 - share),
        band=band,
        counts=np.isfinite(table).sum(axis=0),
        endings=endings,
    )


def run_bands(runs: Sequence[Run], metric: str | None = None) -> tuple[str, dict[str, Band | None]]:
    """Return the metric, by default the one that the first run is judged by, and each run's line, None without it.

    Raises:
        NothingMatchedError: no run has it; the message has the nearest name.
    """
    judged = (runs[0].summary.get("metric") or {}).get("name")
    lines = {label: [run] for label, run in zip(unique_labels(runs), runs, strict=True)}
    return _bands(lines, metric, [judged, "val/loss", "loss"])


def group_bands(group: Group, metric: str | None = None, trials: str = "all") -> tuple[str, dict[str, Band | None]]:
    """Return the metric, by default the one that choices are made by, and the line of each name of `group_runs`.

    Raises:
        NothingMatchedError: no run has it; the message has the nearest name.
    """
    return _bands(group_runs(group, trials), metric, [group.select, group.metric])


def group_runs(group: Group, trials: str = "all") -> dict[str, list[Run]]:
    """Return the runs behind each line: of a comparison the evaluation runs of each entry; of a sweep its trials.

    Args:
        group: a comparison or a sweep.
        trials: of a sweep: `all` of an entry, those with its `best` value, or a line `each` for its values.
    """
    role = "evaluate" if group.kind == "compare" else "tune"
    runs: dict[str, list[Run]] = {}
    for entry in group.names:
        best = (chosen_trial(group.entry(entry)) or {}).get("runs") or []
        if role == "tune" and trials == "each":
            for record in group.of(entry, role):
                if record.run is not None and record.state in FINISHED:
                    runs.setdefault(_settings(record.settings), []).append(record.run)
        else:
            is_any = role == "evaluate" or trials == "all"
            runs[entry] = [r.run for r in group.finished(entry, role) if r.run and (is_any or r.path in best)]
    return runs


def starts_log(bands: Sequence[Band]) -> bool:
    """Return True if the values span so much, all above 0, that a logarithmic axis shows more of them."""
    values = np.concatenate([part for band in bands for part in (band.low, band.high)] or [np.array([])])
    values = values[np.isfinite(values)]
    return bool(len(values)) and float(values.min()) > 0 and float(values.max()) > _AUTO_LOG * float(values.min())


def smooth_bands(bands: Sequence[Band], weight: float) -> list[Band]:
    """Return the lines with a moving average over each."""
    return [replace(band, median=smoothed(band.median, weight)) for band in bands]


def thinned(length: int, most: int = 240) -> np.ndarray:
    """Return at most `most` of the places 0 … length - 1, evenly spread, the last among them."""
    return np.arange(length) if length <= most else np.unique(np.linspace(0, length - 1, most).round().astype(int))


def smoothed(values: np.ndarray, weight: float) -> np.ndarray:
    """Return the exponential moving average m_i = weight m_{i-1} + (1 - weight) v_i, corrected by 1 - weight^i.

    Args:
        values: in order; what is not finite is left as NaN and passed over.
        weight: of the past, in [0, 1); 0 changes nothing.
    """
    if not 0 <= weight < 1:
        raise ValueError(f"smooth = {weight}: give a number of at least 0 and below 1")
    out, mean, mass = np.full(len(values), np.nan), 0.0, 0.0
    for index, value in enumerate(values):
        if math.isfinite(value):
            mean, mass = weight * mean + (1 - weight) * value, weight * mass + (1 - weight)
            out[index] = mean / mass
    return out


def gradients_per_step(run: Run) -> float:
    """Return gradient evaluations per step over the whole run: 1 for most optimizers, 2 for SAM; 1 when unknown."""
    summary = run.summary
    gradients, steps = summary.get("gradient_evaluations"), summary.get("steps")
    return gradients / steps if gradients and steps else 1.0


def examples_by_step(run: Run) -> dict[int, float]:
    """Return the examples that the run had drawn at each step that has a metric row."""
    return {row["step"]: row["examples"] for row in run.rows if row.get("examples") is not None}


def _settings(settings: Mapping[str, Any]) -> str:
    return " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in settings.items())


def _bands(
    runs: Mapping[str, Sequence[Run]], metric: str | None, defaults: Sequence[str | None]
) -> tuple[str, dict[str, Band | None]]:
    every = [run for some in runs.values() for run in some]
    found, there = metric_names(every), {name for run in every for name in run.metrics.names()}  # the rate among these
    if metric is not None and metric not in there:
        raise NothingMatchedError(unknown_name("metric", metric, sorted(there)))
    name = metric or next((name for name in [*defaults, *found] if name in found), None)
    if name is None:
        raise NothingMatchedError("the runs have no metric rows yet")
    return name, {label: aggregate(some, name, label=label) for label, some in runs.items()}


def _axes(runs: Sequence[Run], curves: Sequence[Curve | None], steps: np.ndarray) -> dict[str, np.ndarray]:
    """Return the steps' places on every axis: epochs and examples as any run has them, seconds as the runs' median."""
    epochs, examples = np.full(len(steps), np.nan), np.full(len(steps), np.nan)
    secs = np.full((len(runs), len(steps)), np.nan)
    for row, (run, curve) in enumerate(zip(runs, curves, strict=True)):
        if curve is not None:
            places = np.searchsorted(steps, curve.steps)
            epochs[places], secs[row, places] = curve.epochs, curve.secs
            drawn = examples_by_step(run)
            examples[places] = [drawn.get(int(step), math.nan) for step in curve.steps]
    rates = [gradients_per_step(run) for run, curve in zip(runs, curves, strict=True) if curve is not None] or [1.0]
    return {
        "step": steps,
        "epoch": epochs,
        "gradient_evaluations": steps * float(np.median(rates)),
        "secs": _quantile(secs, 0.5),
        "examples": examples,
    }


def _ending(run: Run, curve: Curve | None, row: np.ndarray, finite: np.ndarray, steps: np.ndarray) -> Ending:
    seed = int(run.config.get("seed") or 0)
    if not len(finite) or curve is None:
        return Ending(seed, 0, None, dict.fromkeys(AXES))
    place = finite[-1]
    step = int(steps[place])
    index = int(np.searchsorted(curve.steps, step))
    x: dict[str, Any] = {"step": step, "epoch": curve.epochs[index], "secs": curve.secs[index]}
    x["gradient_evaluations"] = step * gradients_per_step(run)
    x["examples"] = examples_by_step(run).get(step, math.nan)
    return Ending(seed, step, float(row[place]), {key: float(value) for key, value in x.items()})


def _quantile(table: np.ndarray, share: float) -> np.ndarray:
    """Return a quantile of each column over what is not NaN, linear between neighbours; NaN where it is infinite."""
    ordered = np.sort(table, axis=0)  # NaN last
    if not table.size:
        return np.full(table.shape[1], np.nan)
    counts = (~np.isnan(table)).sum(axis=0)
    place = share * np.maximum(counts - 1, 0)
    columns = np.arange(table.shape[1])
    low, high = ordered[np.floor(place).astype(int), columns], ordered[np.ceil(place).astype(int), columns]
    with np.errstate(invalid="ignore"):  # inf - inf
        value = low + (high - low) * (place - np.floor(place))
    value = np.where(low == high, low, value)
    return np.where(np.isfinite(value) & (counts > 0), value, np.nan)
