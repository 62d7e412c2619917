"""A comparison or sweep as it lies on disk: `comparison.json` and the run directories that it names."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from ..config.goal import Goal, recorded_goal
from ..errors import DataError
from ..run_directory.comparison_file import (
    FILE_NAME,
    FINISHED,
    NO_RESULT,
    Record,
    ResultState,
    read_group,
    read_records,
)
from ..run_directory.looks import why_exploratory
from ..run_directory.run import Run
from ..system.places import absolute

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
        folder = absolute(getattr(path, "path", path))
        self.path = folder.parent if folder.name == FILE_NAME else folder
        self.data = read_group(self.path)
        _add_states(self.data)

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
    def mismatch(self) -> str:
        """Return what was not the same in runs that should have started alike; empty where all of it was."""
        return str((self.data.get("pairing") or {}).get("mismatch") or "")

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

    def result_state(self, record: Record) -> ResultState:
        """Return what came of a run for the metric that it was made for: the selector of a trial, else the endpoint."""
        return record.result_state(self.select if record.role == "tune" else self.metric)

    def judged(self, entry: str) -> list[Record]:
        """Return the evaluation runs of an entry that have a result on the endpoint, in order of their seeds.

        Raises:
            DataError: a run was moved or removed; the message names it.
        """
        finished = self.finished(entry)
        for record in finished:
            _check_there(record)
        return [record for record in finished if self.result_state(record) not in NO_RESULT]

    def lost(self, entry: str) -> list[Record]:
        """Return the runs of an entry by which it can have no result any more; none while it has one, or may get one.

        They are its evaluation runs, or its trials where none of these had a result, so that nothing was evaluated.
        """
        records = self.of(entry, "evaluate")
        if not records and (tuning := self.entry(entry).get("tuning")) and tuning.get("chosen") is None:
            records = self.of(entry, "tune")
        is_lost = all(self.result_state(record) in ("failed", "changed", "unmeasured") for record in records)
        return records if is_lost else []

    def missing(self) -> list[Record]:
        """Return the evaluation runs that no verdict counts: failed, changed since, unmeasured or unfinished."""
        return [r for r in self.of(role="evaluate") if self.result_state(r) in NO_RESULT]

    def without_result(self) -> list[Record]:
        """Return the runs for which a set is not whole: failed, changed, or unmeasured where a result was to be read.

        A trial without a value is one, where it and others like it leave nothing to choose.
        """
        chosen = {entry["name"]: (entry.get("tuning") or {}).get("chosen") for entry in self.entries}
        read = [r for r in self.records if r.role == "evaluate" or chosen[r.entry] is None]
        unmeasured = {id(record) for record in read if self.result_state(record) == "unmeasured"}
        return [record for record in self.records if record.state in ("failed", "changed") or id(record) in unmeasured]

    def values(self, metric: str | None = None) -> dict[str, dict[int, float | None]]:
        """Return the final values of finished runs by entry and seed; None for one that diverged or has no value.

        Args:
            metric: by default the primary endpoint.

        Raises:
            DataError: a run was moved or removed; the message names it.
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
    _check_there(record)
    return record.value(metric)


def _check_there(record: Record) -> None:
    """Refuse to count a run that is said to be done, and is not there."""
    if record.state == "done" and record.run is None:
        raise DataError(
            f"run {record.path} is not there any more: it was moved or removed. Compare again, which makes it anew, or "
            "move it back (`.trash` beside it has what `optrun rm` took)"
        )


def _add_states(data: Mapping[str, Any]) -> None:
    """Give each trial of a file of 0.2.0 or before what came of its runs, as later files have it beside the scores."""
    trials = [trial for entry in data.get("entries") or [] for trial in (entry.get("tuning") or {}).get("trials") or []]
    if all("states" in trial for trial in trials):
        return
    known = {str(run.get("path")): str(run.get("state")) for run in data.get("runs") or []}
    for trial in trials:
        paths = trial.get("runs") or []
        states = [known.get(path, "") for path in paths] + [""] * len(trial.get("scores") or [])
        scored = zip(trial.get("scores") or [], states, strict=False)
        trial.setdefault("states", [_state_of(score, state) for score, state in scored])


def _state_of(score: float | None, state: str) -> ResultState:
    if score is not None:
        return "done"
    if state in ("diverged", "failed"):
        return state
    return "unfinished" if state in ("planned", "running") else "unmeasured"
