"""The data of a page's charts, as plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...run_directory.run import Run
from .. import style
from ..group import Group, metric_names
from ..learning_curves import AXES, Band, aggregate, group_runs, starts_log, thinned
from ..results import Results
from ..sensitivity import group_lines, key_across
from ..words.states import lost_text

SCHEMA = "optrun/report-page@1"
_AXES = ("step", "epoch", "gradient_evaluations")  # seconds of runs that shared a machine are no axis to compare on


def page_data(**charts: Any) -> dict[str, Any]:
    """Return the document that a page embeds."""
    return {"schema": SCHEMA, "num_colors": len(style.LIGHT), "dashes": list(style.DASHES), **charts}


def curves_data(
    runs: Mapping[str, Sequence[Run]], *, first: Sequence[str] = (), target: Any = None
) -> dict[str, Any] | None:
    """Return learning curves of every metric, by label; None where no run has rows.

    Args:
        runs: those that each line stands for.
        first: metrics to stand first, in this order.
        target: a line to draw: its metric and value.
    """
    found = metric_names([run for group in runs.values() for run in group])
    names = list(dict.fromkeys([*(name for name in first if name in found), *found]))
    lines, metrics = {}, []
    for name in names:
        bands = [aggregate(some, name, label=label) for label, some in runs.items()]
        drawn = [band for band in bands if band is not None and len(band)]
        if drawn:
            lines[name] = [_line(index, band) for index, band in enumerate(bands) if band is not None]
            metrics.append({"key": name, "label": name, "log": starts_log(drawn)})
    if not metrics:
        return None
    axes = [{"key": key, "label": AXES[key]} for key in _AXES]
    return {"metrics": metrics, "axes": axes, "lines": lines, "target": target}


def group_curves(group: Group) -> dict[str, Any] | None:
    """Return the curves of a comparison's evaluation runs, or of a sweep's best values."""
    return curves_data(group_runs(group, "best"), first=[group.select, "val/loss", "loss"], target=group.target)


def paired_data(results: Results) -> dict[str, Any] | None:
    """Return the differences to the reference, seed by seed; None for a single entry."""
    group = results.group
    rows = [
        {
            "entry": group.names.index(against.entry),
            "label": against.entry,
            "differences": [list(item) for item in against.differences],
            "mean": against.difference,
            "low": against.interval.low if against.interval else None,
            "high": against.interval.high if against.interval else None,
        }
        for against in results.others
    ]
    facts = {
        "metric": group.metric,
        "mode": group.endpoint.mode,
        "margin": results.margin,
        "reference": results.reference,
    }
    return {**facts, "level": 1 - group.alpha, "rows": rows} if rows else None


def ranks_data(results: Results) -> dict[str, Any] | None:
    """Return the rank intervals; None for a single entry."""
    names = results.group.names
    rows = [
        {
            "entry": names.index(entry.name),
            "label": entry.name,
            "low": entry.rank.best,
            "high": entry.rank.worst,
            "ties": entry.letters,
        }
        for entry in results.analysis.entries
    ]
    return {"rows": rows} if len(rows) > 1 and results.tested else None


def sensitivity_data(group: Group) -> dict[str, Any] | None:
    """Return the trials of every entry that was tuned, as lines along one key; None when none was, or over names."""
    lines = []
    for index, line in group_lines(group):
        points = [
            {
                "value": value,
                **{key: trial.get(key) for key in ("mean", "scores", "states")},
                "lost": lost_text(trial.get("states") or []),
            }
            for value, trial in line.points
        ]
        lines.append({"entry": index, "label": line.label, "chosen": line.chosen, "points": points})
    if not lines:
        return None
    across = next(key for entry in group.entries if (key := key_across(entry)))
    return {"metric": group.select, "key": across, "lines": lines}


def _line(index: int, band: Band) -> dict[str, Any]:
    kept = thinned(len(band))
    return {
        "entry": index,
        "label": band.label,
        "runs": band.num_runs,
        "band": band.band if band.num_runs > 1 else "",
        "x": {key: _plain(band.x[key][kept]) for key in _AXES},
        "median": _plain(band.median[kept]),
        "low": _plain(band.low[kept]),
        "high": _plain(band.high[kept]),
        "counts": [int(count) for count in band.counts[kept]],
        "endings": [{"seed": e.seed, "x": {key: e.x[key] for key in _AXES}, "y": e.value} for e in band.endings],
    }


def _plain(values: np.ndarray) -> list[float | int | None]:
    """Return numbers that JSON can hold, in as few digits as a chart can show."""
    return [_short(float(value)) if math.isfinite(value) else None for value in values]


def _short(value: float) -> float | int:
    return int(value) if value.is_integer() and abs(value) < 1e15 else float(f"{value:.7g}")
