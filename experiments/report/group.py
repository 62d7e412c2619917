"""A comparison or sweep as it lies on disk: `comparison.json` and the run directories that it names."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ..config.goal import Goal, recorded_goal
from ..errors import DataError
from ..run_directory.comparison_file import FILE_NAME, FINISHED, Record, read_group, read_records
from ..run_directory.looks import why_exploratory
from ..run_directory.run import Run

Row = dict[str, Any]


class Group:
    """A comparison or sweep, read from its folder.

    Args:
        path: the group's folder, its `comparison.json`, or an object that has the folder as `path`.

    Raises:
        NothingMatchedError: there is no `comparison.json`.
        DataError: it is damaged, or of a version that this program does not know.
    """

    def __init__(self, path: Any):
        folder = Path(getattr(path, "path", path))
        self.path = folder.parent if folder.name == FILE_NAME else folder
        self.data = read_group(self.path)

    @property
    def name(self) -> str:
        return str(self.data.get("name") or self.path.resolve().name)

    @property
    def kind(self) -> str:
        return str(self.data.get("kind", "compare"))

    @property
    def protocol(self) -> dict[str, Any]:
        return self.data.get("protocol") or {}

    @property
    def entries(self) -> list[dict[str, Any]]:
        return self.data.get("entries") or []

    @property
    def names(self) -> list[str]:
        return [str(entry["name"]) for entry in self.entries]

    @property
    def metric(self) -> str:
        """Return the primary endpoint; in a sweep, the metric that trials are chosen by."""
        return str(self.protocol.get("metric" if self.kind == "compare" else "select") or self.protocol.get("metric"))

    @property
    def select(self) -> str:
        """Return the metric that choices are made by."""
        return str(self.protocol.get("select") or self.metric)

    @cached_property
    def endpoint(self) -> Goal:
        """Return the primary endpoint with the smallest difference that matters; in a sweep, the selector."""
        return endpoint_of(self.protocol) if self.kind == "compare" else self.selector

    @cached_property
    def selector(self) -> Goal:
        """Return the metric that choices are made by, with its own direction and margin.

        An older file has them of the endpoint alone: those of another metric are what the runs recorded.
        """
        protocol, endpoint = self.protocol, endpoint_of(self.protocol)
        if protocol.get("select_mode") in ("max", "min"):
            return Goal(self.select, protocol["select_mode"], protocol.get("select_margin"))
        return endpoint.on(self.select) or self._recorded(self.select) or Goal(self.select, "max")

    def goal(self, metric: str) -> Goal | None:
        """Return any metric of the runs with its own direction; None for what has none, such as `lr`."""
        return self.endpoint.on(metric) or self.selector.on(metric) or self._recorded(metric)

    def _recorded(self, metric: str) -> Goal | None:
        return recorded_goal(metric, (record.summary for record in self.records))

    @property
    def alpha(self) -> float:
        return float(self.protocol.get("alpha") or 0.05)

    @property
    def target(self) -> dict[str, Any] | None:
        """Return the metric and value whose first reaching is timed, if the plan has one."""
        return self.protocol.get("target")

    @property
    def tuned(self) -> bool:
        return bool(self.protocol.get("tuned"))

    @property
    def looks(self) -> list[dict[str, Any]]:
        """Return the times that a verdict was read, the last of which is this one."""
        return self.data.get("looks") or []

    @property
    def exploratory(self) -> bool:
        """Return True if the seeds are others than those of the first verdict that was read."""
        return bool(why_exploratory(self.looks))

    @property
    def paired(self) -> bool:
        """Return False where entries have different problems, so that their runs cannot be held against each other."""
        return bool(self.protocol.get("paired", True))

    @property
    def problem(self) -> str:
        """Return what all entries had to learn, in words; empty where it was not noted, or differs."""
        return str(self.protocol.get("problem") or "")

    def label(self, name: str) -> str:
        """Return what tables and figures call an entry."""
        return str(self.entry(name).get("label") or name)

    def labelled(self) -> Group:
        """Return the same group with its entries under their labels, to be shown."""
        labels = {name: self.label(name) for name in self.names}
        if all(name == label for name, label in labels.items()):
            return self
        shown, data = copy.copy(self), copy.deepcopy(self.data)
        for entry in data["entries"]:
            entry["name"] = labels[entry["name"]]
        for record in data.get("runs") or []:
            record["entry"] = labels[record["entry"]]
        for difference in (data.get("pairing") or {}).get("differences") or []:
            difference["values"] = {labels[name]: value for name, value in difference["values"].items()}
        if (baseline := data["protocol"].get("baseline")) is not None:
            data["protocol"]["baseline"] = labels[baseline]
        shown.data = data
        shown.__dict__.pop("records", None)
        return shown

    @cached_property
    def records(self) -> list[Record]:
        """Return the planned runs, in the order of the file."""
        return read_records(self.data, self.path.parent)

    def entry(self, name: str) -> dict[str, Any]:
        """Return the entry of that name, as the file has it."""
        return next(entry for entry in self.entries if entry["name"] == name)

    def of(self, entry: str | None = None, role: str | None = None) -> list[Record]:
        """Return the records of an entry, of a role, or of both."""
        return [r for r in self.records if entry in (None, r.entry) and role in (None, r.role)]

    def finished(self, entry: str, role: str = "evaluate") -> list[Record]:
        """Return the records whose runs came to an end, `diverged` among them, in order of their seeds."""
        return sorted((r for r in self.of(entry, role) if r.state in FINISHED), key=lambda r: r.seed)

    def has_failed(self, entry: str) -> bool:
        """Return True if each evaluation run of an entry has failed."""
        records = self.of(entry, "evaluate")
        return bool(records) and all(record.state == "failed" for record in records)

    def missing(self) -> list[Record]:
        """Return the evaluation runs that no verdict counts: planned, running or failed."""
        return [r for r in self.of(role="evaluate") if r.state not in FINISHED]

    def values(self, metric: str | None = None) -> dict[str, dict[int, float | None]]:
        """Return the final values by entry and seed; None for a run that diverged.

        Args:
            metric: by default the primary endpoint.

        Raises:
            DataError: a run is said to be done, but has no value; the message names it.
        """
        name = metric or self.metric
        return {entry: {r.seed: _final(r, name) for r in self.finished(entry)} for entry in self.names}


def endpoint_of(protocol: Mapping[str, Any]) -> Goal:
    """Return the primary endpoint of a protocol."""
    return Goal(str(protocol.get("metric")), protocol.get("mode") or "max", protocol.get("margin"))


def metric_names(runs: Sequence[Run]) -> list[str]:
    """Return the metrics that the runs have rows of, `lr` apart, in order of appearance."""
    names = dict.fromkeys(name for run in runs for name in run.metrics.names())
    return [name for name in names if name != "lr"]


def unique_labels(runs: Sequence[Run]) -> list[str]:
    """Return the runs' names, with the folder before them where names are shared."""
    names = [run.name for run in runs]
    return [
        name if names.count(name) == 1 else f"{run.path.resolve().parent.name}/{name}"
        for name, run in zip(names, runs, strict=True)
    ]


def _final(record: Record, metric: str) -> float | None:
    if record.state == "diverged":
        return None
    if record.run is None:
        raise DataError(
            f"run {record.path} is not there any more: it was moved or removed. Compare again, which makes it anew, or "
            "move it back (`.trash` beside it has what `optrun rm` took)"
        )
    final = record.summary.get("final") or {}
    if metric not in final:
        there = ", ".join(final) or "none"
        raise DataError(f"run {record.path} is done, but its summary has no '{metric}' (there: {there})")
    return final[metric]
