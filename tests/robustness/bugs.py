"""Bugs that a runner like this one might have, each planted in a child, to prove that the sweeps would find it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from optrun.experiments.components.hooks.checkpoint import CheckpointHook
from optrun.experiments.components.hooks.scheduled import ScheduledHook
from optrun.experiments.components.updates.ema import Ema
from optrun.experiments.run_directory import checkpoint_files, checkpoints, run_dir
from optrun.experiments.run_directory.rows import RowLog
from optrun.experiments.system import storage
from optrun.experiments.training.session import saved_state
from optrun.experiments.training.session.saved_state import Clock, SavedState
from optrun.experiments.training.step.optimizer_state import OptimizerState
from optrun.experiments.training.step.train_op import TrainOp


@dataclass(frozen=True)
class Bug:
    """What is wrong, and which test has to see it: `kill` or `power` (loss)."""

    plant: Callable[[], None]
    found_by: Literal["kill", "power"]


BUGS: dict[str, Bug] = {}


def _bug(found_by: Literal["kill", "power"]) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def register(plant: Callable[[], None]) -> Callable[[], None]:
        BUGS[plant.__name__] = Bug(plant, found_by)
        return plant

    return register


def _do_nothing(*args: Any, **options: Any) -> None:
    pass


# ---- what is forgotten at resume -------------------------------------------------------------------------------------


@_bug("kill")
def rows_are_not_cut_back() -> None:
    RowLog.rewind = _do_nothing  # type: ignore[method-assign]


def _forget(state: str) -> None:
    saved_states, restore = saved_state._random_states, saved_state._set_random_states

    def restore_the_other(states: dict[str, Any]) -> None:
        restore({**states, state: saved_states()[state]})

    saved_state._set_random_states = restore_the_other


@_bug("kill")
def python_generator_is_not_restored() -> None:
    _forget("python")


@_bug("kill")
def numpy_generator_is_not_restored() -> None:
    _forget("numpy")


def _after_load(change: Callable[[TrainOp], None]) -> None:
    load = TrainOp.load_state_dict

    def changed(self: TrainOp, state: Any) -> None:
        load(self, state)
        change(self)

    TrainOp.load_state_dict = changed  # type: ignore[method-assign]


@_bug("kill")
def data_position_is_off_by_one() -> None:
    def skip_one(op: TrainOp) -> None:
        op.batch += 1

    _after_load(skip_one)


@_bug("kill")
def data_begins_anew() -> None:
    def begin(op: TrainOp) -> None:
        op.batch = 0

    _after_load(begin)


@_bug("kill")
def step_is_off_by_one() -> None:
    def repeat(op: TrainOp) -> None:
        op.global_step -= 1

    _after_load(repeat)


def _zeroed(key: str) -> None:
    restored = OptimizerState._restored

    def changed(self: OptimizerState, *args: Any) -> dict[str, Any]:
        found = restored(self, *args)
        return {**found, key: found[key] * 0}

    OptimizerState._restored = changed  # type: ignore[method-assign]


@_bug("kill")
def first_moment_is_lost() -> None:
    _zeroed("exp_avg")


@_bug("kill")
def second_moment_is_lost() -> None:
    _zeroed("exp_avg_sq")


@_bug("kill")
def optimizer_step_count_is_lost() -> None:
    _zeroed("step")


@_bug("kill")
def average_is_lost() -> None:
    Ema.load_state_dict = _do_nothing  # type: ignore[method-assign]


@_bug("kill")
def count_of_the_average_is_lost() -> None:
    load = Ema.load_state_dict

    def changed(self: Ema, state: dict[str, Any]) -> None:
        load(self, {**state, "count": 0})

    Ema.load_state_dict = changed  # type: ignore[method-assign]


@_bug("kill")
def schedule_forgets_its_evaluations() -> None:
    ScheduledHook.load_state_dict = _do_nothing  # type: ignore[method-assign]


@_bug("kill")
def hooks_begin_anew() -> None:
    restore = SavedState.restore

    def changed(self: SavedState, *args: Any, **options: Any) -> None:
        self.sections["hooks"] = {}
        restore(self, *args, **options)

    SavedState.restore = changed  # type: ignore[method-assign]


@_bug("kill")
def best_checkpoint_is_forgotten() -> None:
    CheckpointHook.load_state_dict = _do_nothing  # type: ignore[method-assign]


@_bug("kill")
def time_begins_anew() -> None:
    Clock.__init__ = lambda self, *spent: _begin(self)  # type: ignore[method-assign, misc]


def _begin(clock: Clock) -> None:
    import time

    clock._before = 0.0, 0.0
    clock._started = time.monotonic(), time.process_time()


# ---- what is written wrongly -----------------------------------------------------------------------------------------


@_bug("kill")
def files_are_written_in_place() -> None:
    def in_place(path: Path, data: Any, durable: bool) -> None:
        pieces = [data] if isinstance(data, storage.Buffer) else list(data)
        descriptor = storage.system.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        for piece in pieces:
            storage.write_all(descriptor, piece)
        storage.system.fsync(descriptor)
        storage.system.close(descriptor)

    storage._replace = in_place


@_bug("kill")
def half_written_files_stay() -> None:
    storage.sweep_temporaries = lambda folder: []


@_bug("kill")
def old_checkpoints_go_before_the_new_one_is_there() -> None:
    save = checkpoints.save

    def changed(folder: Path, *args: Any, **options: Any) -> Any:
        for file in checkpoint_files.list_checkpoints(folder):
            storage.remove(file.path)
        return save(folder, *args, **options)

    checkpoints.save = changed


@_bug("kill")
def a_dead_run_is_called_running() -> None:
    run_dir.RunDir._is_held = lambda self, status: True  # type: ignore[method-assign]


@_bug("power")
def files_are_not_flushed() -> None:
    replace = storage._replace
    storage._replace = lambda path, data, durable: _and_flush_folder(replace, path, data)


def _and_flush_folder(replace: Callable[..., None], path: Path, data: Any) -> None:
    replace(path, data, durable=False)
    storage.fsync_dir(path.parent)


@_bug("power")
def folders_are_not_flushed() -> None:
    storage.fsync_dir = _do_nothing


@_bug("power")
def files_are_flushed_only_after_the_rename() -> None:
    replace = storage._replace

    def changed(path: Path, data: Any, durable: bool) -> None:
        replace(path, data, durable=False)
        storage.fsync_dir(path.parent)
        descriptor = storage.system.open(path, os.O_WRONLY)
        storage.system.fsync(descriptor)
        storage.system.close(descriptor)

    storage._replace = changed


@_bug("power")
def rows_are_not_flushed_before_a_checkpoint() -> None:
    RowLog.sync = _do_nothing  # type: ignore[method-assign]


@_bug("power")
def old_checkpoints_go_before_the_new_one_is_safe() -> None:
    replace = storage._replace

    def changed(path: Path, data: Any, durable: bool) -> None:
        for file in checkpoint_files.list_checkpoints(path.parent):
            storage.remove(file.path)
        replace(path, data, durable)

    storage._replace = changed
