"""A comparison or sweep as it lies on disk: `comparison.json` and the run directories that it names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import DataError, NothingMatchedError
from ..run_directory.run import Run
from ..run_directory.run_dir import is_run
from ..system import storage

SCHEMA = "optrun/comparison@1"
FILE_NAME = "comparison.json"
FINISHED = ("done", "diverged")


@dataclass(frozen=True, eq=False)
class Record:
    """One planned run of a group.

    Args:
        entry: the contender that it belongs to.
        role: `tune` or `evaluate`.
        seed: of the run.
        settings: what it used on top of its entry's configuration.
        path: as the file says it, relative to the folder of all runs.
        state: `planned`, `running`, `done`, `diverged` or `failed`.
        cached: it was there before.
        message: what went wrong, if anything did.
        run: the run, None while there is none at the path.
    """

    entry: str
    role: str
    seed: int
    settings: dict[str, Any]
    path: str
    state: str
    cached: bool
    message: str
    run: Run | None

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Return the run's result; empty until there is one."""
        return {} if self.run is None else self.run.summary

    def value(self, metric: str) -> float | None:
        """Return the run's final value of a metric; None when it diverged or has none."""
        return None if self.state == "diverged" else (self.summary.get("final") or {}).get(metric)


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
        self.data = _read(self.path / FILE_NAME)

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
    def mode(self) -> str:
        return str(self.protocol.get("mode") or "max")

    @property
    def alpha(self) -> float:
        return float(self.protocol.get("alpha") or 0.05)

    @property
    def margin(self) -> float:
        return float(self.protocol.get("margin") or 0.0)

    @property
    def target(self) -> dict[str, Any] | None:
        """Return the metric and value whose first reaching is timed, if the plan has one."""
        return self.protocol.get("target")

    @property
    def tuned(self) -> bool:
        return bool(self.protocol.get("tuned"))

    @property
    def exploratory(self) -> bool:
        """Tell whether seeds were added after a verdict had been seen."""
        return any(look.get("exploratory") for look in self.data.get("looks") or [])

    @cached_property
    def records(self) -> list[Record]:
        """Return the planned runs, in the order of the file."""
        root = self.path.parent
        return [_record(item, root) for item in self.data.get("runs") or []]

    def of(self, entry: str | None = None, role: str | None = None) -> list[Record]:
        """Return the records of an entry, of a role, or of both."""
        return [r for r in self.records if entry in (None, r.entry) and role in (None, r.role)]

    def finished(self, entry: str, role: str = "evaluate") -> list[Record]:
        """Return the records whose runs came to an end, `diverged` among them, in order of their seeds."""
        return sorted((r for r in self.of(entry, role) if r.state in FINISHED), key=lambda r: r.seed)

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


def is_group(path: str | Path) -> bool:
    """Tell whether a folder holds a comparison or a sweep."""
    return (Path(path) / FILE_NAME).is_file()


def find_groups(root: str | Path) -> list[Path]:
    """Return the groups directly below a folder, in order of their names."""
    root = Path(root)
    return sorted(path for path in root.iterdir() if is_group(path)) if root.is_dir() else []


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


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(storage.read_bytes(path))
    except storage.MissingFileError:
        raise NothingMatchedError(f"{path.parent} is no comparison: it has no {FILE_NAME}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        said = data.get("schema") if isinstance(data, dict) else type(data).__name__
        raise DataError(f"{path} says {said!r}, and this version reads '{SCHEMA}': compare again to rewrite it")
    return data


def _record(item: dict[str, Any], root: Path) -> Record:
    path = str(item.get("path") or "")
    there = bool(path) and is_run(root / path)
    return Record(
        entry=str(item["entry"]),
        role=str(item.get("role", "evaluate")),
        seed=int(item.get("seed", 0)),
        settings=item.get("settings") or {},
        path=path,
        state=str(item.get("state", "planned")),
        cached=bool(item.get("cached")),
        message=str(item.get("message") or ""),
        run=Run(root / path) if there else None,
    )


def _final(record: Record, metric: str) -> float | None:
    if record.state == "diverged":
        return None
    final = record.summary.get("final") or {}
    if metric not in final:
        there = ", ".join(final) or "none"
        raise DataError(f"run {record.path} is done, but its summary has no '{metric}' (there: {there})")
    return final[metric]
