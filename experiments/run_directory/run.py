"""Runs for notebooks and reports: read from their directories, finished or still running, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError, NothingMatchedError, unknown_name
from ..system.frames import data_frame
from ..system.html_text import html_table
from ..system.places import shown
from .checkpoint_files import CheckpointFile, list_checkpoints
from .json_shapes import Position, lacking
from .rows import read_rows
from .run_dir import RunDir

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

NOT_METRICS = frozenset(Position._fields)  # keys of a metric row that say where it stands


class UnknownMetricError(NothingMatchedError, KeyError):
    """The run has no metric of that name."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes


@dataclass(frozen=True, eq=False)
class Curve:
    """One metric over a run, as arrays of the same length; what a row does not say is NaN.

    Args:
        name: as in the metric rows.
        steps: global steps, int64.
        values: float64; NaN where the run had no finite value.
        epochs: passes over the data, float64.
        secs: the rows' `time` in seconds, float64.
    """

    name: str
    steps: np.ndarray
    values: np.ndarray
    epochs: np.ndarray
    secs: np.ndarray

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def last(self) -> float:
        """Return the last value, NaN when there is none."""
        return float(self.values[-1]) if len(self) else float("nan")

    def __repr__(self) -> str:
        return (
            f"Curve({self.name!r}, {len(self)} points to step {self.steps[-1] if len(self) else 0}, last {self.last:g})"
        )


class Metrics(Mapping[str, Curve]):
    """The metrics of a run by name: `metrics["val/accuracy"].values`.

    Args:
        rows: metric rows, in order.
    """

    def __init__(self, rows: list[dict[str, Any]]):
        self._rows = rows
        self._names = list(dict.fromkeys(key for row in rows for key in row if _is_metric(key, row[key])))

    def names(self) -> list[str]:
        """Return the names in order of appearance."""
        return list(self._names)

    def __getitem__(self, name: str) -> Curve:
        """Return the metric's curve over the rows that have it.

        Raises:
            UnknownMetricError: no row has it; the message has the nearest name.
        """
        import numpy as np

        if name not in self._names:
            raise UnknownMetricError(unknown_name("metric", name, self._names))
        rows = [row for row in self._rows if name in row and _is_metric(name, row[name])]
        columns = [np.array([_number(row.get(key)) for row in rows]) for key in (name, "epoch", "time")]
        steps = np.array([row.get("step", 0) for row in rows], dtype=np.int64)
        return Curve(name, steps, *columns)

    def to_pandas(self) -> Any:
        """Return all rows as a data frame: where training was, then each metric; NaN where a row does not have it.

        Raises:
            UsageError: pandas is not installed.
        """
        return data_frame(self._rows, [*Position._fields, *self._names])

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"Metrics({', '.join(self._names) or 'none yet'})"


class Run:
    """A run as its directory describes it; what may still change is read again at each access.

    Args:
        path: the run directory.

    Raises:
        NothingMatchedError: there is no run.
    """

    def __init__(self, path: str | Path | RunDir):
        self.dir = path if isinstance(path, RunDir) else RunDir(path)
        self._rows: tuple[tuple[int, int], list[dict[str, Any]], Metrics] | None = None
        if not self.dir.exists():
            raise NothingMatchedError(f"{shown(self.dir.path)} is no run directory: it has no status.json")

    @property
    def path(self) -> Path:
        return self.dir.path

    @property
    def name(self) -> str:
        return self.dir.name

    @property
    def status(self) -> dict[str, Any]:
        """Return `state` (running, done, stopped, interrupted, diverged, failed), `step`, `started` and more."""
        return self.dir.status()

    @property
    def state(self) -> str:
        return str(self.status.get("state", "unknown"))

    @property
    def summary(self) -> dict[str, Any]:
        """Return the result; empty until there is one."""
        return self.dir.read_json("summary.json") or {}

    @property
    def result(self) -> dict[str, Any]:
        """Return the result of a run that has ended, with all that a result has.

        Raises:
            DataError: there is none, or it lacks something.
        """
        summary = self.summary
        if wrong := lacking(summary):
            raise DataError(f"{shown(self.path / 'summary.json')} is damaged: {wrong}")
        return summary

    @cached_property
    def config(self) -> dict[str, Any]:
        """Return the resolved configuration."""
        summary = self.summary
        if "config" in summary:
            return summary["config"]
        from ..config.plain import read_plain  # YAML is slow to read, and finished runs need none

        return read_plain(self.dir.config_path) if self.dir.config_path.exists() else {}

    @cached_property
    def env(self) -> dict[str, Any]:
        """Return versions, commit, device and threads."""
        return self.dir.read_json("env.json") or {}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Return the metric rows written so far."""
        return self._read()[0]

    @property
    def metrics(self) -> Metrics:
        """Return the metrics written so far, by name."""
        return self._read()[1]

    def _read(self) -> tuple[list[dict[str, Any]], Metrics]:
        try:
            stat = self.dir.metrics_path.stat()
            version = (stat.st_size, stat.st_mtime_ns)
        except FileNotFoundError:
            version = (0, 0)
        if self._rows is None or self._rows[0] != version:
            rows = read_rows(self.dir.metrics_path)
            self._rows = (version, rows, Metrics(rows))
        return self._rows[1:]

    @property
    def checkpoints(self) -> list[CheckpointFile]:
        """Return the checkpoints, oldest first."""
        return list_checkpoints(self.dir.checkpoints_path)

    def checkpoint(self, which: int | str = "last") -> CheckpointFile:
        """Return one checkpoint.

        Args:
            which: `last`, `best` (see `best_step`), or a global step.

        Raises:
            NothingMatchedError: it is not there; the message lists the steps that are.
        """
        files = self.checkpoints
        step: Any = which
        if which == "last" and files:
            return files[-1]
        if which == "best":
            step = self.best_step
        for file in reversed(files):
            if step is not None and str(file.step) == str(step):
                return file
        there = ", ".join(str(file.step) for file in files) or "none"
        wanted = f"'{which}' (step {step})" if which == "best" and step is not None else f"'{which}'"
        raise NothingMatchedError(f"{shown(self.path)} has no checkpoint {wanted}; there are: {there}")

    def load_model(
        self,
        checkpoint: int | str = "best",
        averages: bool = True,
        *,
        weights: str | None = None,
        allow_code: bool = False,
    ) -> nn.Module:
        """Return the trained model, in evaluation mode; no data is read for that. This imports torch.

        Args:
            checkpoint: `best` (see `best_step`), `last`, or a global step.
            averages: take an average of the weights where the run keeps one: that of the update `ema`, of `asgd`, of
                `schedule_free`; False takes those that are trained.
            weights: takes these, by name, whatever `averages` says: see `eval.weights`.
            allow_code: load the user's own code although it is not what the run was made with.

        Raises:
            NothingMatchedError: there is no such checkpoint.
            UsageError: there are no such weights, or several averages to choose from; the user's code has changed.
            DataError: the checkpoint is damaged.
        """
        from .. import trained_model

        chosen = None if weights is not None else averages
        return trained_model(self, checkpoint=checkpoint, weights=weights, averages=chosen, allow_code=allow_code)

    @property
    def best_step(self) -> int | None:
        """Return the step that is best by `eval.metric`; None where nothing was measured.

        A summary says so; the rows do where a run has none yet, or has gone on since, as one that was killed has.
        """
        newest = max((file.step for file in self.checkpoints), default=0)
        summary = self.summary
        if summary and summary.get("steps", newest) >= newest:
            return _best_of(summary).get("step")
        from ..config.goal import Goal, recorded_goal  # which listing runs has no need of

        judged = self.config.get("eval") or {}
        goal = recorded_goal(str(judged.get("metric")), [summary])
        if (mode := judged.get("mode")) in ("max", "min"):
            goal = Goal(str(judged.get("metric")), mode)
        if goal is None:
            return None
        saved = [row for row in self.rows if row.get("step", 0) <= newest and _is_number(row.get(goal.metric))]
        best = goal.best(saved, lambda row: row[goal.metric])
        return best["step"] if best else None

    def _facts(self) -> dict[str, str]:
        status, summary = self.status, self.summary
        facts = {key: status[key] for key in ("state", "step", "started", "message") if status.get(key) is not None}
        facts |= {f"best {key}": value for key, value in _best_of(summary).items() if value is not None}
        return {key: f"{value:g}" if isinstance(value, float) else str(value) for key, value in facts.items()}

    def __repr__(self) -> str:
        status = self.status
        step = f", step {status['step']}" if "step" in status else ""
        return f"<Run {self.name}: {status.get('state', 'unknown')}{step}>"

    def _repr_html_(self) -> str:
        facts = html_table(list(self._facts().items()), caption=self.name)
        curves = [self.metrics[name] for name in self.metrics.names()]
        final = self.summary.get("final") or {}
        rows = [(each.name, _written(each.last), str(each.steps[-1])) for each in curves if len(each)]
        rows += [(name, _written(value), "end") for name, value in final.items() if name not in self.metrics]
        return facts + (html_table(rows, ("metric", "last", "step"), right=(1, 2)) if rows else "")


def _best_of(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a summary calls the best; nothing where its value is null, as earlier versions may have for nan."""
    best = summary.get("best") or {}
    return {} if best.get((summary.get("metric") or {}).get("name"), 0) is None else best


def _is_metric(key: str, value: Any) -> bool:
    return key not in NOT_METRICS and (value is None or _is_number(value))


def _written(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
