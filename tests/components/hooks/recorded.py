"""Stand-ins for the packages of experiment trackers, which note what is asked of them."""

from __future__ import annotations

import types
from typing import Any


class Mlflow(types.ModuleType):
    """As much of mlflow as MlflowHook uses; `runs` survives what a process does not."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.calls: list[Any] = []
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.broken = False
        self.entities = types.SimpleNamespace(
            Metric=lambda key, value, timestamp, step: types.SimpleNamespace(
                key=key, value=value, timestamp=timestamp, step=step
            ),
            Param=lambda key, value: types.SimpleNamespace(key=key, value=value),
        )

    def MlflowClient(self, tracking_uri: str) -> _Client:  # noqa: N802 (mlflow's own name)
        self.calls.append(("MlflowClient", tracking_uri))
        return _Client(self)

    def points(self) -> dict[str, list[tuple[int, float]]]:
        """Return (step, value) by metric, of the only run there is."""
        ((_, run),) = self.runs.items()
        found: dict[str, list[tuple[int, float]]] = {}
        for point in run["metrics"]:
            found.setdefault(point.key, []).append((point.step, point.value))
        return found


class _Client:
    def __init__(self, module: Mlflow):
        self._module = module

    def get_experiment_by_name(self, name: str) -> Any:
        known = self._module.experiments.get(name)
        return types.SimpleNamespace(experiment_id=known) if known else None

    def create_experiment(self, name: str, artifact_location: str | None) -> str:
        self._module.calls.append(("create_experiment", name, artifact_location))
        return self._module.experiments.setdefault(name, f"experiment of {name}")

    def create_run(self, experiment_id: str, run_name: str | None) -> Any:
        run_id = f"run{len(self._module.runs)}"
        run = {"experiment": experiment_id, "name": run_name, "status": "RUNNING", "metrics": [], "params": {}}
        self._module.runs[run_id] = run
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_id))

    def update_run(self, run_id: str, status: str) -> None:
        self._check()
        self._module.runs[run_id]["status"] = status

    set_terminated = update_run

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        self._check()
        assert len(metrics) <= 1000
        assert len(params) <= 100
        self._module.runs[run_id]["metrics"] += metrics
        self._module.runs[run_id]["params"] |= {param.key: param.value for param in params}

    def get_run(self, run_id: str) -> Any:
        names = {point.key: point.value for point in self._module.runs[run_id]["metrics"]}
        return types.SimpleNamespace(data=types.SimpleNamespace(metrics=names))

    def get_metric_history(self, run_id: str, key: str) -> list[Any]:
        return [point for point in self._module.runs[run_id]["metrics"] if point.key == key]

    def _check(self) -> None:
        if self._module.broken:
            raise OSError("the server is gone")


class Wandb(types.ModuleType):
    """As much of wandb as WandbHook uses."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.broken = False
        self.inits: list[dict[str, Any]] = []
        self.runs: list[WandbRun] = []
        self.Settings = dict

    def init(self, **options: Any) -> WandbRun:
        self.inits.append(options)
        self.runs.append(WandbRun(self))
        return self.runs[-1]


class WandbRun:
    """One process's part of a W&B run."""

    dir = "wandb/offline-run/files"

    def __init__(self, module: Wandb) -> None:
        self._module = module
        self.rows: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.defined: list[tuple[str, str]] = []
        self.exit_code: int | None = None

    def define_metric(self, name: str, step_metric: str) -> None:
        self.defined.append((name, step_metric))

    def log(self, row: dict[str, Any]) -> None:
        assert self.exit_code is None, "a finished run takes no rows"
        if self._module.broken:
            raise OSError("the service is gone")
        self.rows.append(row)

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code
