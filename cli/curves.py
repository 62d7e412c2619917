"""The learning curves that `plot` and `compare` draw: lines by run, or by entry with the median over its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..experiments.errors import NothingMatchedError, unknown_name
from ..experiments.report.group import Group, metric_names, unique_labels
from ..experiments.report.learning_curves import Band, aggregate, smoothed
from ..experiments.report.page.page_data import starts_log, worst_of
from ..experiments.run_directory.comparison_file import FINISHED
from ..experiments.run_directory.run import Run


def run_bands(runs: Sequence[Run], metric: str | None) -> tuple[str, list[Band]]:
    """Return the metric, by default the one that the first run is judged by, and a line for each run that has it.

    Raises:
        NothingMatchedError: no run has it; the message has the nearest name.
    """
    judged = (runs[0].summary.get("metric") or {}).get("name")
    name = _chosen(metric, [judged, "val/loss", "loss"], runs)
    return name, _bands({label: [run] for label, run in zip(unique_labels(runs), runs, strict=True)}, name, "max")


def group_bands(group: Group, metric: str | None = None) -> tuple[str, list[Band]]:
    """Return the metric, by default the one that choices are made by, and a line for each entry of a comparison.

    A sweep has a line for each of its values.

    Raises:
        NothingMatchedError: no run has it; the message has the nearest name.
    """
    runs: dict[str, list[Run]] = {}
    for record in group.records:
        is_part = record.state in FINISHED and record.role == ("evaluate" if group.kind == "compare" else "tune")
        if is_part and record.run is not None:
            label = record.entry if group.kind == "compare" else _settings(record.settings)
            runs.setdefault(label, []).append(record.run)
    name = _chosen(
        metric, [group.protocol.get("select"), group.metric], [run for some in runs.values() for run in some]
    )
    return name, _bands(runs, name, group.mode)


def smooth_bands(bands: Sequence[Band], weight: float) -> list[Band]:
    """Return the lines with a moving average over each."""
    return [replace(band, median=smoothed(band.median, weight)) for band in bands]


def spans_much(bands: Sequence[Band]) -> bool:
    """Tell whether a logarithmic axis shows more of the lines."""
    drawn = [band for band in bands if len(band)]
    return bool(drawn) and starts_log(drawn)


def group_figure(bands: Sequence[Band], x: str, log: bool | None, smooth: float, path: str) -> Any:
    """Draw the lines of a comparison, and return the file."""
    from ..experiments.report.figures.figures import COLUMN, save
    from ..experiments.report.figures.panels import draw_curves

    def draw(figure: Any) -> None:
        draw_curves(figure.subplots(), bands, bands[0].name, x, log, smooth)

    return save(draw, path, width=COLUMN * 1.4, height=2.9)


def _settings(settings: Mapping[str, Any]) -> str:
    return " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in settings.items())


def _chosen(metric: str | None, first: Sequence[str | None], runs: Sequence[Run]) -> str:
    found = metric_names(runs)
    if metric is not None and metric not in found:
        raise NothingMatchedError(unknown_name("metric", metric, found))
    name = metric or next((name for name in [*first, *found] if name in found), None)
    if name is None:
        raise NothingMatchedError("the runs have no metric rows yet")
    return name


def _bands(runs: dict[str, list[Run]], metric: str, mode: str) -> list[Band]:
    bands = [aggregate(some, metric, label=label, worst=worst_of(metric, mode)) for label, some in runs.items()]
    return [band for band in bands if band is not None]
