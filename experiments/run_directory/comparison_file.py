"""`comparison.json`: the file that makes a folder a group (a comparison or a sweep), and the runs that it names."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ..errors import DataError, NothingMatchedError
from ..system import storage
from ..system.places import shown
from .contents import changed_files
from .run import Run
from .run_dir import is_run

SCHEMA = "optrun/comparison@1"
FILE_NAME = "comparison.json"
FINISHED = ("done", "diverged")  # states of a record whose run has a result
NO_RESULT = ("failed", "changed", "unmeasured", "unfinished")  # what came of runs of which nothing is known
_WRITTEN = ("entry", "role", "seed", "settings", "path", "state", "cached", "message")


#: What came of a run for a metric: it has a value, or it diverged, failed, was changed since the group was made, has no
#: such value, or is not there yet.
ResultState = Literal["done", "diverged", "failed", "changed", "unmeasured", "unfinished"]


@dataclass(eq=False)
class Record:
    """One planned run of a group.

    Args:
        entry: the contender that it belongs to.
        role: `tune` or `evaluate`.
        seed: of the run.
        settings: what it uses on top of its entry's configuration, by key.
        path: the run directory, relative to the folder of all runs.
        state: `planned`, `running`, `done`, `diverged` or `failed`; `changed` where it had a result, and is another run
            now: resumed with other settings, edited, or replaced.
        cached: it was there before.
        message: what went wrong, if anything did.
        run: the run, None while there is none at the path.
        sha256: of the files that hold its result, when it was recorded as finished; empty in files of earlier versions.
    """

    entry: str
    role: str
    seed: int
    settings: dict[str, Any]
    path: str
    state: str = "planned"
    cached: bool = False
    message: str = ""
    run: Run | None = None
    sha256: dict[str, str] = field(default_factory=dict)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Return the run's result; empty while there is no run, and where what is there is another one."""
        return {} if self.run is None or self.state == "changed" else self.run.summary

    def value(self, metric: str) -> float | None:
        """Return the run's final value of a metric; None when it did not end well, or has none."""
        return (self.summary.get("final") or {}).get(metric) if self.state == "done" else None

    def result_state(self, metric: str) -> ResultState:
        """Return what came of the run for a metric; a value that is not finite is none.

        Of a run that was removed since, no more is known than that it was done.
        """
        if self.state == "diverged" or self.state == "failed" or self.state == "changed":
            return self.state
        if self.state != "done":
            return "unfinished"
        return "unmeasured" if self.run is not None and self.value(metric) is None else "done"

    def as_dict(self) -> dict[str, Any]:
        """Return what the file keeps."""
        kept = {name: getattr(self, name) for name in _WRITTEN}
        return {**kept, "sha256": self.sha256} if self.sha256 else kept


def outcome(run: Run) -> str | None:
    """Return the state that a run gives its record: one of `FINISHED`, or None while the run has no result."""
    state = run.state
    return "done" if state == "stopped" else state if state in FINISHED else None


def read_group(folder: Path) -> dict[str, Any]:
    """Return the content of a group's file.

    Raises:
        NothingMatchedError: the folder has none.
        DataError: it is damaged, or of a version that this program does not know.
    """
    path = folder / FILE_NAME
    try:
        data = json.loads(storage.read_bytes(path))
    except storage.MissingFileError:
        raise NothingMatchedError(f"{shown(folder)} is no comparison: it has no {FILE_NAME}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{shown(path)} is damaged: {error}") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        said = data.get("schema") if isinstance(data, dict) else type(data).__name__
        raise DataError(f"{shown(path)} says {said!r}, and this version reads '{SCHEMA}': compare again to rewrite it")
    return data


def read_records(data: dict[str, Any], root: Path) -> list[Record]:
    """Return the planned runs that a file names, in its order.

    Args:
        data: the content of the file.
        root: the folder of all runs.
    """
    return [_record(item, root) for item in data.get("runs") or []]


def is_group(path: str | Path) -> bool:
    """Return True if a folder holds a comparison or a sweep."""
    return (Path(path) / FILE_NAME).is_file()


def find_groups(root: str | Path) -> list[Path]:
    """Return the groups directly below a folder, in order of their names."""
    root = Path(root)
    return sorted(path for path in root.iterdir() if is_group(path)) if root.is_dir() else []


def users_of(root: Path, runs: Iterable[Path], apart_from: Collection[Path] = ()) -> dict[Path, list[str]]:
    """Return which comparisons name each of some runs; those that none names are left out.

    Args:
        root: the folder of all runs.
        runs: their folders.
        apart_from: groups that do not count, since they are to go themselves.

    Raises:
        DataError: a comparison's file is damaged: what it uses is not known.
    """
    left_out = {path.resolve() for path in apart_from}
    named = {
        group.name: {(root / str(item.get("path") or "")).resolve() for item in read_group(group).get("runs") or []}
        for group in find_groups(root)
        if group.resolve() not in left_out
    }
    users = {run: [name for name, paths in named.items() if run.resolve() in paths] for run in runs}
    return {run: names for run, names in users.items() if names}


def _record(item: dict[str, Any], root: Path) -> Record:
    path = str(item.get("path") or "")
    there = bool(path) and is_run(root / path)
    state, message = str(item.get("state", "planned")), str(item.get("message") or "")
    sha256 = item.get("sha256") or {}
    if there and state in FINISHED and (changed := changed_files(root / path, sha256)):
        state, message = "changed", f"changed since it was made: {', '.join(changed)}"
    return Record(
        entry=str(item["entry"]),
        role=str(item.get("role", "evaluate")),
        seed=int(item.get("seed", 0)),
        settings=item.get("settings") or {},
        path=path,
        state=state,
        cached=bool(item.get("cached")),
        message=message,
        run=Run(root / path) if there else None,
        sha256=sha256,
    )
