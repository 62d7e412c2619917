"""Metric rows for MLflow."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import UsageError
from . import register_hook
from .remote import Params, RemoteHook
from .session_view import BoundSession

_PARAMS_AT_ONCE, _METRICS_AT_ONCE = 100, 1000  # MLflow's own limits
_STATUS = {"done": "FINISHED", "stopped": "FINISHED", "interrupted": "KILLED", "diverged": "FAILED", "failed": "FAILED"}
_POSITION = ("step", "time")  # which each point has anyway


@register_hook("mlflow", source="MLflow Tracking (mlflow.org), MlflowClient.log_batch")
class MlflowHook(RemoteHook):
    """Send metric rows and final values to MLflow; needs `pip install 'optrun[mlflow]'`.

    The tracking server is that of $MLFLOW_TRACKING_URI; without it, rows go into `mlflow.db` in the run directory, for
    `mlflow ui --backend-store-uri sqlite:///…/mlflow.db`. A run that is resumed goes on with the same MLflow run, which
    gets what it lacks and nothing twice. Where it was begun after all, it also gets the rows from before.

    Args:
        experiment: the MLflow experiment, made where it is missing; null for $MLFLOW_EXPERIMENT_NAME, or else `optrun`.
        run_name: null for the run directory's name.
        params: what to show as the run's parameters; with `log.to` this is the whole configuration.

    Raises:
        UsageError: mlflow cannot be imported, or there is nowhere to write.
    """

    package = "mlflow"
    log_to = "mlflow"

    def __init__(self, experiment: str | None = None, run_name: str | None = None, params: Params | None = None):
        super().__init__(params)
        self.experiment, self.run_name = experiment, run_name
        self._there: dict[str, set[tuple[int, float]]] = {}  # points of the run that was gone on with
        self._last: dict[str, tuple[int, float]] = {}  # sent: rows of one step share their epoch, final values repeat

    def _open(self, session: BoundSession) -> bool:
        uri, place = os.environ.get("MLFLOW_TRACKING_URI"), None
        if not uri:
            if session.summary_dir is None:
                raise UsageError("MlflowHook needs MLFLOW_TRACKING_URI in a session that keeps nothing")
            folder = Path(session.summary_dir).resolve()
            uri, place = f"sqlite:///{folder.as_posix()}/mlflow.db", (folder / "mlflow-artifacts").as_uri()
        self._session = session
        self._client = self._module.MlflowClient(tracking_uri=uri)
        if self.run_id is not None:
            self._client.update_run(self.run_id, status="RUNNING")
            return False
        name = self.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "optrun"
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name, artifact_location=place)
        run_name = self.run_name or (session.summary_dir.name if session.summary_dir else None)
        run_id: str = self._client.create_run(experiment, run_name=run_name).info.run_id
        params = [self._module.entities.Param(name, str(value)) for name, value in self.params.items()]
        for start in range(0, len(params), _PARAMS_AT_ONCE):
            self._client.log_batch(run_id, params=params[start : start + _PARAMS_AT_ONCE])
        self.run_id = run_id
        return True

    def _missing(self, rows: list[dict[str, Any]], unsent: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self._there = {
            name: {(point.step, point.value) for point in self._client.get_metric_history(self.run_id, name)}
            for name in self._client.get_run(self.run_id).data.metrics
        }
        return rows  # of which _send leaves out what is there

    def _send(self, rows: list[dict[str, Any]]) -> None:
        began = time.time() - self._session.elapsed_secs
        points, last = [], dict(self._last)
        for row in rows:
            millis = int(1000 * (began + row["time"]))
            for name, value in row.items():
                point = row["step"], float(value)
                if name in _POSITION or point == last.get(name) or point in self._there.get(name, ()):
                    continue
                points.append(self._module.entities.Metric(name, float(value), millis, row["step"]))
                last[name] = point
        for start in range(0, len(points), _METRICS_AT_ONCE):
            self._client.log_batch(self.run_id, metrics=points[start : start + _METRICS_AT_ONCE])
        self._last = last

    def _finish(self, outcome: str, final: Mapping[str, float], step: int) -> None:
        self._send([{"step": step, "time": self._session.elapsed_secs, **final}])
        self._client.set_terminated(self.run_id, status=_STATUS[outcome])
