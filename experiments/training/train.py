"""Runs from beginning to end: train, resume, evaluate, each on a run directory."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .. import config as configuration
from ..components.hooks.hook import Hook
from ..components.registries import REGISTRIES
from ..config import Config
from ..config.changes import changed_keys, describe_changes
from ..config.plain import read_plain
from ..errors import CheckpointError, DivergedError, Interrupted, OptrunError, UsageError
from ..run_directory.checkpoint_files import checkpoints_iterator
from ..run_directory.lookup import find_run
from ..run_directory.run import Run
from ..run_directory.run_dir import CheckpointFile, RunDir, default_root, trash
from ..system import storage
from ..system.environment import changes_that_matter
from .divergence import DivergenceHook, choose_start
from .experiment import Experiment, build
from .session.saved_state import load_state
from .session.session import MonitoredTrainingSession

log = logging.getLogger("optrun")

Overrides = Mapping[str, Any] | Sequence[str]
OnStart = Callable[[Experiment, RunDir | None], Sequence[Hook]]


def load_config(target: str | Path | Mapping[str, Any], overrides: Overrides = ()) -> Config:
    """Read and check a configuration.

    Args:
        target: a path, the name of a file in ./configs or of a preset, or the configuration itself.
        overrides: values to change: {"optimizer.lr": 0.2} or ["optimizer.lr=0.2"].

    $OPTRUN_CONFIG_PATH names more folders to look in, $OPTRUN_DEVICE overrides `train.device`.

    Raises:
        ConfigError: all that is wrong with it, each at its place.
    """
    folders = [Path(folder) for folder in os.environ.get("OPTRUN_CONFIG_PATH", "").split(os.pathsep) if folder]
    overrides = _with_device(overrides, os.environ.get("OPTRUN_DEVICE"))
    return configuration.load(target, overrides, registries=REGISTRIES, config_path=folders)


def _with_device(overrides: Overrides, device: str | None) -> Overrides:
    """Put the environment's device before the overrides, which win."""
    if not device:
        return overrides
    if isinstance(overrides, Mapping):
        return {"train.device": device, **overrides}
    given = any(override.startswith("train.device=") for override in overrides)
    return overrides if given else [f"train.device={device}", *overrides]


def train(
    target: str | Path | Mapping[str, Any] = "mom",
    overrides: Overrides = (),
    *,
    name: str | None = None,
    fresh: bool = False,
    allow_change: bool = False,
    allow_code: bool = False,
    root: Path | None = None,
    on_start: OnStart | None = None,
) -> Run:
    """Train one model, and return its run.

    Args:
        target: see `load_config`.
        overrides: see `load_config`.
        name: the run directory's name. It makes the call repeatable: a finished run is returned as it is, an
            unfinished one resumed. Without it, each call makes a new directory.
        fresh: with a name, move what is there into the trash and start anew.
        allow_change: with a name, go on although the configuration is not the one that the run began with.
        allow_code: with a name, go on although the user's own code has changed since.
        root: the folder of the run directories; by default $OPTRUN_RUNS_DIR or `runs`.
        on_start: called with the experiment and its run directory before the first step; returns hooks to add.

    Raises:
        ConfigError: the configuration is wrong.
        DivergedError: the loss or a gradient was not finite, and `stop.on_nan` is `raise`.
        RunInUseError: another process works in the run directory.
        Interrupted: a signal came; all is saved.
    """
    config = load_config(target, overrides)
    root = root or default_root()
    run_dir = RunDir.named(root, name) if name is not None else None
    if run_dir is not None and run_dir.exists() and not fresh:
        return _go_on(config, run_dir, allow_change, allow_code, on_start)
    experiment = build(config)  # before any folder is made or moved: what cannot be built changes nothing
    experiment.initial_model()  # and what cannot be initialised neither
    if run_dir is not None and run_dir.exists():
        log.warning("moved %s to %s", run_dir.path, trash(run_dir.path))
    run_dir = run_dir or RunDir.create(root, config.name)
    with run_dir.lock():
        return _run(experiment, run_dir, on_start)


def resume(
    run: Run | RunDir | str | Path,
    overrides: Overrides = (),
    *,
    allow_change: bool = False,
    allow_code: bool = False,
    root: Path | None = None,
    on_start: OnStart | None = None,
) -> Run:
    """Go on with a run from its latest checkpoint; a finished one is returned as it is.

    Args:
        run: a run, or what names one: a name, the beginning of one, `@1` for the latest, a path.
        overrides: values to change; they need `allow_change`.
        allow_change: accept the changes.
        allow_code: load the user's own code although it is not what the run was made with.
        root: the folder of the run directories.
        on_start: see `train`.

    Raises:
        UsageError: overrides change the configuration, or code has changed, without the permission for it.
    """
    run_dir = _run_dir(run, root)
    config = _stored_config(run_dir, overrides, allow_code)
    return _go_on(config, run_dir, allow_change, allow_code, on_start)


def evaluate(
    run: Run | RunDir | str | Path,
    *,
    checkpoint: str | int = "last",
    split: str = "test",
    weights: str | None = None,
    allow_code: bool = False,
    root: Path | None = None,
) -> dict[str, Any]:
    """Measure a checkpoint of a run on one split of its data.

    Args:
        run: see `resume`.
        checkpoint: `last`, `best` or a step.
        split: `train`, `val` or `test`.
        weights: `raw` or `ema`; by default as the run's configuration says.
        allow_code: see `resume`.
        root: the folder of the run directories.

    Returns:
        The step, and the measured values by name.

    Raises:
        UsageError: there is no such split, checkpoint or average.
        CheckpointError: the checkpoint is damaged.
    """
    run_dir = _run_dir(run, root)
    file = Run(run_dir.path).checkpoint(checkpoint)
    return _Measurement(run_dir, split, weights, allow_code)(file)


def evaluate_each(
    run: Run | RunDir | str | Path,
    *,
    split: str = "val",
    weights: str | None = None,
    allow_code: bool = False,
    min_interval_secs: float = 0.0,
    timeout_secs: float | None = None,
    root: Path | None = None,
) -> Iterator[dict[str, Any]]:
    """Measure the newest checkpoint of a run, and each newer one as it appears, until the run is over.

    Args:
        run: see `resume`; it may still be going on, in another process.
        split: see `evaluate`.
        weights: see `evaluate`.
        allow_code: see `resume`.
        min_interval_secs: the least time between two measurements.
        timeout_secs: how long to wait for a new checkpoint, whether the run goes on or may be resumed; None waits as
            long as the run goes on.
        root: the folder of the run directories.

    Yields:
        What `evaluate` returns.

    Raises:
        as `evaluate` does.

    Source: the evaluation loop around tf.train.checkpoints_iterator, TensorFlow 1.
    """
    run_dir = _run_dir(run, root)
    measure = _Measurement(run_dir, split, weights, allow_code)
    pause = 0.5 if timeout_secs is None else timeout_secs
    for file in checkpoints_iterator(
        run_dir.checkpoints_path,
        min_interval_secs=min_interval_secs,
        timeout_secs=pause,
        timeout_fn=(lambda: run_dir.status().get("state") != "running") if timeout_secs is None else None,
        poll_secs=min(1.0, pause),
    ):
        try:
            yield measure(file)
        except CheckpointError:
            if file.path.exists():
                raise  # else the run has deleted it meanwhile, because there are newer ones


class _Measurement:
    """Measures checkpoints of one run, for which everything is built once."""

    def __init__(self, run_dir: RunDir, split: str, weights: str | None, allow_code: bool):
        self._run_dir, self._split = run_dir, split
        config = _stored_config(run_dir, {"eval.weights": weights} if weights else (), allow_code)
        self._experiment = build(config)
        if split not in self._experiment.evaluators:
            raise UsageError(f"{run_dir.name} has no split '{split}': {', '.join(self._experiment.evaluators)}")

    def __call__(self, file: CheckpointFile) -> dict[str, Any]:
        state = load_state(file)
        self._experiment.train_op.load_state_dict(state.sections)
        values = self._experiment.evaluators[self._split]()
        return {"run": self._run_dir.name, "step": state.step, "split": self._split, **(values or {})}


def dry_run(config: Config, on_start: OnStart | None = None) -> dict[str, float]:
    """Build everything and take one step, leaving nothing behind; return its loss and what train and val measure."""
    experiment = build(config)
    hooks = list(on_start(experiment, None)) if on_start else []
    train_op = experiment.train_op
    with experiment.session(None, hooks) as session:
        session.run(train_op)
        values = train_op.fetch(["loss", "lr"])
        for split, evaluator in experiment.evaluators.items():
            if split != "test":  # read when the choices are made
                values |= evaluator() or {}
    return values


def _go_on(config: Config, run_dir: RunDir, allow_change: bool, allow_code: bool, on_start: OnStart | None) -> Run:
    """Resume a run that exists, or hand it back when nothing is left to do."""
    with run_dir.lock():
        changes = changed_keys(read_plain(run_dir.config_path), config.to_dict())
        if changes and not allow_change:
            raise UsageError(
                f"{run_dir.name} was begun with another configuration:\n{describe_changes(changes)}\n"
                "Add --allow-change to go on with the new one, or --fresh to start again"
            )
        if any(change.key.startswith("data.") for change in changes) and Run(run_dir.path).checkpoints:
            log.warning(
                "the data has changed: the run goes on at batch N of the new order, which it has not seen in full"
            )
        state = run_dir.status().get("state")
        if not changes and state in ("done", "stopped"):
            return Run(run_dir.path)
        if not allow_code:
            _stored_config(run_dir, (), allow_code)  # refuses code that has changed
        experiment = build(config)
        if changes and state == "diverged":
            log.warning(choose_start(run_dir, [change.key for change in changes]))
        return _run(experiment, run_dir, on_start)


def _run(experiment: Experiment, run_dir: RunDir, on_start: OnStart | None) -> Run:
    """Train in a run directory that this process holds, from its latest checkpoint if there is one."""
    with _log_file(run_dir):
        session = experiment.session(run_dir.path)
        evidence = DivergenceHook(run_dir.diverged_path, experiment.config.seed)
        _record(experiment, run_dir)
        try:
            session.add_hooks([*(on_start(experiment, run_dir) if on_start else ()), evidence])
            with session:
                while not session.should_stop():
                    session.run(experiment.train_op)
        except BaseException as error:
            _conclude_after(error, experiment, session, run_dir, evidence.facts)
            raise
        _conclude(experiment, session, run_dir, evidence.facts)
    return Run(run_dir.path)


def _record(experiment: Experiment, run_dir: RunDir) -> None:
    """Write what the run is made of, and say what may keep a resumed one from being bit-exact."""
    environment = experiment.environment()
    before = run_dir.read_json("env.json")
    if before and (changes := changes_that_matter(before, environment)):
        experiment.notes.append(f"not bit-exact with what ran before: {', '.join(changes)}")
    for note in experiment.notes:
        log.warning(note)
    config = experiment.config
    run_dir.write_config(config.to_yaml())
    run_dir.write_json("origins.json", {key: origin.place for key, origin in config.origins.items()})
    run_dir.write_json("env.json", environment)
    run_dir.set_status("running")


def _conclude(
    experiment: Experiment, session: MonitoredTrainingSession, run_dir: RunDir, diverged: dict[str, Any] | None
) -> None:
    """Write the result, whatever it is."""
    outcome = session.outcome or "failed"
    message = str(session.error or session.reason)
    run_dir.write_json("summary.json", {**summarise(experiment, session, outcome, message), "diverged": diverged})
    kept = {"batch_file": diverged["batch_file"]} if diverged else {}
    run_dir.set_status(outcome, step=session.step, message=message, **kept)  # type: ignore[arg-type]


def _conclude_after(
    error: BaseException,
    experiment: Experiment,
    session: MonitoredTrainingSession,
    run_dir: RunDir,
    diverged: dict[str, Any] | None,
) -> None:
    """Write the result of a run that ends with an error, which must not be hidden by a second one."""
    session.error = session.error or error
    try:
        _conclude(experiment, session, run_dir, diverged)
    except OptrunError as second:
        error.add_note(f"and its result could not be written: {second}")


def summarise(experiment: Experiment, session: MonitoredTrainingSession, outcome: str, message: str) -> dict[str, Any]:
    """Return `summary.json`: what the run was and what came of it, with everything that lists and reports need."""
    train_op = session.train_op or experiment.train_op
    metric, mode = experiment.eval_metric
    target = experiment.config.eval.target
    rows = session.rows.rows()
    scored = [row for row in rows if row.get(metric) is not None]
    if metric in session.final and (not scored or scored[-1]["step"] < train_op.global_step):
        scored.append({**session.position(), metric: session.final[metric]})  # measured at the end, between evaluations
    best = (max if mode == "max" else min)(scored, key=lambda row: row[metric], default=None)
    reached = None
    if target is not None:
        reached = next((r for r in scored if (r[metric] >= target if mode == "max" else r[metric] <= target)), None)
    where = ("step", "epoch", "examples", "time")
    steps_per_epoch = experiment.length.steps_per_epoch
    return {
        "schema": "optrun/summary@1",
        "outcome": outcome,
        "message": message,
        "steps": train_op.global_step,
        "num_steps": experiment.length.num_steps,
        "epochs": train_op.batch / steps_per_epoch if steps_per_epoch else None,
        "batches": train_op.batch,
        "skipped": train_op.skipped,
        "examples": train_op.examples,
        "gradient_evaluations": train_op.gradient_evaluations,
        "train_secs": round(session.elapsed_secs, 3),
        "cpu_secs": round(session.cpu_secs, 3),
        "num_parameters": experiment.num_parameters,
        "splits": experiment.splits.sizes(),
        "metric": {"name": metric, "mode": mode, "target": target},
        "final": session.final,
        "best": {metric: best[metric], **{key: best.get(key) for key in where}} if best else None,
        "target_reached": {key: reached.get(key) for key in where} if reached else None,
        "curve": _thinned([row[metric] for row in scored]),
        "config": experiment.config.to_dict(),
    }


def _thinned(values: list[float], most: int = 40) -> list[float]:
    """Return at most `most` of the values, evenly spread: enough for a sparkline in a list of runs."""
    if len(values) <= most:
        return values
    return [values[round(index * (len(values) - 1) / (most - 1))] for index in range(most)]


def _stored_config(run_dir: RunDir, overrides: Overrides, allow_code: bool) -> Config:
    trusted = None if allow_code else (run_dir.read_json("env.json") or {}).get("code", {})
    return configuration.load(run_dir.config_path, overrides, registries=REGISTRIES, trusted=trusted)


def _run_dir(run: Run | RunDir | str | Path, root: Path | None) -> RunDir:
    if isinstance(run, RunDir):
        return run
    return RunDir(run.path) if isinstance(run, Run) else find_run(str(run), root)


class _LogFile(logging.FileHandler):
    """Writes `log.txt`; a line that the disk refuses is lost, and no more: what matters is saved elsewhere."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):  # it would write again what it could not
            super().close()


@contextmanager
def _log_file(run_dir: RunDir) -> Iterator[None]:
    """Send what is said during the run to `log.txt` as well."""
    with storage.explain("open", run_dir.log_path):
        handler = _LogFile(run_dir.log_path, encoding="utf-8")
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    except (DivergedError, Interrupted) as news:
        log.info("%s", news)
        raise
    except OptrunError as error:
        log.error("%s", error)
        raise
    except Exception:
        log.exception("failed")
        raise
    finally:
        log.setLevel(level)
        log.removeHandler(handler)
        handler.close()
