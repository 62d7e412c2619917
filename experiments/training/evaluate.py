"""What the checkpoints of a run measure on a split of the data, once or as each appears."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..components.data import Fitted
from ..errors import CheckpointError, UsageError
from ..run_directory.checkpoint_files import CheckpointFile, checkpoints_iterator
from ..run_directory.run import Run
from ..run_directory.run_dir import RunDir
from ..system.places import held_places
from ..system.raised import refusing_exits
from ..system.switches import held_switches
from .build import build
from .configured_stream import no_split
from .experiment import Experiment
from .load import run_dir_of, stored_config, stored_fitted
from .record import RunRecord, refuse_changes
from .session.saved_state import load_state

log = logging.getLogger("optrun")


@held_places()
@held_switches()
@refusing_exits()
def evaluate(
    run: Run | RunDir | str | Path,
    *,
    checkpoint: str | int = "last",
    split: str = "test",
    weights: str | None = None,
    allow_code: bool = False,
    allow_change: bool = False,
    root: Path | None = None,
) -> dict[str, Any]:
    """Measure a checkpoint of a run on one split of its data.

    Args:
        run: see `resume`.
        checkpoint: `last`, `best` or a step.
        split: `train`, `val` or `test`.
        weights: `raw`, `training`, `average`, `ema`, …, see `eval.weights`; by default as the run's configuration says.
        allow_code: see `resume`.
        allow_change: measure on data files that are not those that the run was made with.
        root: the folder of the run directories.

    Returns:
        The step, and the measured values by name.

    Raises:
        UsageError: there is no such split, checkpoint or average.
        CheckpointError: the checkpoint is damaged.
    """
    run_dir = run_dir_of(run, root)
    file = Run(run_dir.path).checkpoint(checkpoint)
    return _Measurement(run_dir, split, weights, allow_code, allow_change)(file)


def evaluate_each(
    run: Run | RunDir | str | Path,
    *,
    split: str = "val",
    weights: str | None = None,
    allow_code: bool = False,
    allow_change: bool = False,
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
        allow_change: see `evaluate`.
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
    run_dir = run_dir_of(run, root)
    with refusing_exits():
        measure = _Measurement(run_dir, split, weights, allow_code, allow_change)
    pause = 0.5 if timeout_secs is None else timeout_secs
    for file in checkpoints_iterator(
        run_dir.checkpoints_path,
        min_interval_secs=min_interval_secs,
        timeout_secs=pause,
        timeout_fn=(lambda: run_dir.status().get("state") != "running") if timeout_secs is None else None,
        poll_secs=min(1.0, pause),
    ):
        try:
            with refusing_exits():
                measured = measure(file)
        except CheckpointError:
            if file.path.exists():
                raise  # else the run has deleted it meanwhile, because there are newer ones
        else:
            yield measured


def _rebuilt(run_dir: RunDir, fitted: Fitted, weights: str | None, allow_code: bool, allow_change: bool) -> Experiment:
    """Build what a run was made of, once nothing of it has changed, or may have."""
    record = RunRecord(run_dir)
    config = stored_config(run_dir, {"eval.weights": weights} if weights else (), allow_code)
    found = record.changes(config)
    code, changed = ([each for each in found if each.kind == kind] for kind in ("code", "data"))
    refuse_changes(run_dir.name, "--allow-code", [] if allow_code else code)
    refuse_changes(run_dir.name, "--allow-change", [] if allow_change else changed)
    experiment = build(config, fitted, trains=False)
    if not allow_change:
        refuse_changes(run_dir.name, "--allow-change", record.example_changes(config, experiment.data))
    for note in experiment.notes:
        log.warning(note)
    return experiment


class _Measurement:
    """Measures checkpoints of one run, for which everything is built once."""

    def __init__(self, run_dir: RunDir, split: str, weights: str | None, allow_code: bool, allow_change: bool):
        self._run_dir, self._split = run_dir, split
        self._options = weights, allow_code, allow_change
        self._experiment = _rebuilt(run_dir, stored_fitted(run_dir), *self._options)
        if split not in self._experiment.evaluators:
            there, dataset = list(self._experiment.evaluators), self._experiment.data
            raise UsageError(no_split(run_dir.name, split, there, dataset))

    def __call__(self, file: CheckpointFile) -> dict[str, Any]:
        state = load_state(file)
        if state.fitted is not None and (fitted := Fitted.from_dict(state.fitted)) != self._experiment.splits.fitted:
            # The checkpoint is of before the run went on with other data.
            self._experiment = _rebuilt(self._run_dir, fitted, *self._options)
        with self._experiment.located():
            self._experiment.train_op.load_state_dict(state.sections)
            values = self._experiment.evaluators[self._split]()
        return {"run": self._run_dir.name, "step": state.step, "split": self._split, **(values or {})}
