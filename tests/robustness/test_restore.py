"""Restores that fail at any point, on every way to one: the folder stays as it was, what comes next is unhurt.

A run is cut at step 5 of 6, as a kill leaves it, with its last row torn. A fault is planted at one step of the restore;
afterwards checkpoints, rows, configuration, records and result are compared byte for byte, and without the fault the
run goes on to the bits of the run that was never disturbed.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from optrun.experiments import MonitoredTrainingSession, StopAtStepHook, build, load_config, resume, train
from optrun.experiments.comparison import worker
from optrun.experiments.components.hooks.hook import Hook, Phase
from optrun.experiments.components.updates.ema import Ema
from optrun.experiments.errors import OptrunError, TransientError
from optrun.experiments.run_directory import rows
from optrun.experiments.run_directory.checkpoint_files import list_checkpoints
from optrun.experiments.system import storage
from optrun.experiments.training.divergence import DivergenceHook
from optrun.experiments.training.session import saved_state
from optrun.experiments.training.step import op_state
from optrun.experiments.training.step.finite_gate import Gate
from optrun.experiments.training.step.optimizer_state import OptimizerState

from ..helpers import in_turn, small_train_op
from .sweep import PARTS, config, differences, report, state_of

TORN = b'{"step":'
FREE = {"status.json", "log.txt", ".lock", "metrics.csv"}  # what a restore that fails may write; the last is derived


class Planted(RuntimeError):
    """The fault of a case."""


class Settled(Hook):
    """Lets saves be over before the next step, so that nobody writes to the folder while it is looked at."""

    def after_save(self, session, step, path): ...


class Cut(Settled):
    """Copy the run's folder as it is after some step."""

    phase = Phase.PERSIST

    def __init__(self, source: Path, target: Path):
        self.source, self.target = source, target

    def after_run(self, ctx, values):
        if ctx.step == 5:
            shutil.copytree(self.source, self.target)


class Stumble(Settled):
    """Raise a passing error once, and from then on let restores fail."""

    def __init__(self, plant):
        self.plant, self.done = plant, False

    def after_run(self, ctx, values):
        if ctx.step == 5 and not self.done:
            self.done = True
            self.plant()
            raise TransientError("the line is busy")


class Greedy(Hook):
    """Save and write in every event after which a session may turn out not to be restored."""

    def after_create_session(self, session):
        session.write_row(greedy=session.step)
        if session.checkpoint_dir is not None and session.step:
            session.save_checkpoint()

    def end(self, session, outcome):
        if outcome == "failed":
            session.write_row(greedy=-1)
            session.save_checkpoint()


@pytest.fixture(scope="module")
def cut(fast_folder):
    """A configuration, its undisturbed run, and the folder of one that was cut."""
    folder = Path(tempfile.mkdtemp(prefix="restore-", dir=fast_folder))
    target = folder / "swept.yaml"
    more = "stop: {patience: 50}\nlog: {every: 1 step, to: [jsonl, csv]}\n"
    target.write_text(config().replace("log: {every: 1 step}\n", more).replace("name: swept", "name: run"))
    shutil.copy(PARTS, folder / "parts.py")
    random.seed(3)
    np.random.seed(3)
    true, start = folder / "true", folder / "cut"
    train(target, name="run", root=true, on_start=lambda experiment, run: [Cut(run.path, start / "run")])
    with (start / "run" / "metrics.jsonl").open("ab") as file:
        file.write(TORN)
    (start / "run" / "pairing.json").write_text("{}")  # which a run of a comparison has
    assert [file.step for file in list_checkpoints(start / "run" / "checkpoints")][-1] == 4
    return SimpleNamespace(folder=folder, target=target, true=state_of(true), start=start, hooks=_hooks(target))


def _hooks(target):
    classes = {type(hook) for hook in build(load_config(target)).hooks}
    return sorted(classes, key=lambda each: each.__name__)


def _raise(*args, **kwargs):
    raise Planted("planted")


def _counters(patch):
    patch.setattr(op_state, "COUNTERS", (*op_state.COUNTERS, "no_such_counter"))


def _method(cls, name):
    return lambda patch: patch.setattr(cls, name, _raise)


def _in_the_rows(change):
    def plant(patch):
        read = rows.AppendFile.read
        patch.setattr(rows.AppendFile, "read", lambda self: change(read(self)))

    return plant


def faults(hooks):
    """Return every fault by name: a function that plants it."""
    found = {
        "model": _method(nn.Module, "load_state_dict"),
        "optimizer": _method(OptimizerState, "load_state_dict"),
        "update": _method(Ema, "load_state_dict"),
        "counters": _counters,
        "gate": _method(Gate, "forget"),
        "random states": lambda patch: patch.setattr(saved_state, "_set_random_states", _raise),
        "the checkpoint's file": lambda patch: patch.setattr(storage, "read_bytes", _raise),
        "rows: missing": _in_the_rows(lambda content: b""),
        "rows: shorter": _in_the_rows(lambda content: content[:40]),
        "rows: edited": _in_the_rows(lambda content: content.replace(b"1", b"2", 1)),
        "rows: cannot be cut": _method(rows.AppendFile, "truncate"),
    }
    for cls in hooks:
        found[f"begin of {cls.__name__}"] = _method(cls, "begin")
        found[f"after_create_session of {cls.__name__}"] = _method(cls, "after_create_session")
        if cls.load_state_dict is not Hook.load_state_dict:
            found[f"load_state_dict of {cls.__name__}"] = _method(cls, "load_state_dict")
    return found


def by_resume(cut, root, plant=None):
    """Resume by name."""
    (plant or (lambda: None))()
    resume("run", root=root)


def by_name(cut, root, plant=None):
    """Train under a name that is taken."""
    (plant or (lambda: None))()
    train(cut.target, name="run", root=root)


def by_change(cut, root, plant=None):
    """Resume with another configuration; without the fault, with the old one."""
    if plant is None:
        return by_resume(cut, root)
    plant()
    return resume("run", ["log.lines=1s"], root=root, allow_change=True)


def by_comparison(cut, root, plant=None):
    """Go on as a comparison's worker does."""
    (plant or (lambda: None))()
    order = worker.Order(0, load_config(cut.target).to_dict(), str(root / "run"))
    told = []
    worker.run([order], tell=lambda number, made: told.append(made))
    ((state, why),) = told
    if state == "failed":
        raise Planted(why)


def by_recovery(cut, root, plant=None):
    """Go back to a checkpoint within a session."""
    if plant is None:
        return by_resume(cut, root)
    return resume("run", root=root, on_start=lambda experiment, run: [Stumble(plant)])


def by_session(cut, root, plant=None):
    """Open a session in Python on the run's folders."""
    (plant or (lambda: None))()
    experiment = build(load_config(cut.target))
    with experiment.session(root / "run", [Greedy()] if plant else []) as session:
        while not session.should_stop():
            session.run(experiment.train_op)


WAYS = [by_resume, by_name, by_change, by_comparison, by_recovery, by_session]


def content(root):
    """Return all that a restore must leave alone, by name."""
    files = {path.relative_to(root): path for path in root.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name.name not in FREE}


def case(cut, way, name, fault):
    """Let a restore fail, go on without the fault, and return what is wrong."""
    root = cut.folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(cut.start, root)
    before, found = content(root), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "_pipe", SimpleNamespace(send=lambda *args: None, poll=lambda: False))

        def plant():
            before.update(content(root))  # a recovery has a session before it
            fault(patch)

        try:
            way(cut, root, plant)
            return [f"{way.__name__}, {name}: nothing failed"]
        except (Planted, OptrunError, AttributeError, KeyError):
            pass
    after = content(root)
    if way is by_recovery:  # a session that has begun ends with a result
        before[Path("run/summary.json")] = after[Path("run/summary.json")]
    found += [f"{file} changed" for file in sorted({*before, *after}) if before.get(file) != after.get(file)]
    way(cut, root)
    true = cut.true if way is not by_session else {**cut.true, "summary": None, "state": None}
    found += differences(true, root)
    return [f"{way.__name__}, {name}: {problem}" for problem in found]


def skipped(way, name):
    """Return True for what a way does not do: a recovery begins no hooks, and reads its own rows."""
    return way is by_recovery and (name.startswith("begin of") or name == "the checkpoint's file")


def sweep(cut, stride):
    hooks = [*cut.hooks, DivergenceHook]
    names = faults(hooks)
    cases = [(way, name) for way in WAYS for name in names if not skipped(way, name)]
    cases = [(way, name) for way, name in cases if not (way is by_session and "DivergenceHook" in name)]
    found = [problem for way, name in cases[::stride] for problem in case(cut, way, name, names[name])]
    report("restores that fail", len(cases[::stride]), found)


@pytest.mark.parametrize("stride", [pytest.param(7, marks=pytest.mark.sample), pytest.param(1, marks=pytest.mark.slow)])
def test_a_restore_that_fails_leaves_the_folder_as_it_was(cut, stride):
    sweep(cut, stride)


@pytest.mark.parametrize(
    ("way", "name"), in_turn(WAYS, ["rows: edited", "random states", "after_create_session of CheckpointHook"])
)
def test_a_restore_that_fails_changes_nothing(cut, way, name):
    assert not case(cut, way, name, faults(cut.hooks)[name])


def test_a_row_log_that_was_removed_is_not_made_anew(cut):
    root = cut.folder / "missing"
    shutil.copytree(cut.start, root)
    (root / "run" / "metrics.jsonl").rename(root / "kept")
    before = content(root)
    with pytest.raises(OptrunError, match="Put the file back"):
        resume("run", root=root)
    assert content(root) == before
    (root / "kept").rename(root / "run" / "metrics.jsonl")
    resume("run", root=root)
    assert not differences(cut.true, root)


def test_a_session_that_was_not_restored_takes_no_step(tmp_path):
    op = small_train_op()
    with MonitoredTrainingSession(op, checkpoint_dir=tmp_path, hooks=[StopAtStepHook(2)]) as session:
        while not session.should_stop():
            session.run(op)

    class Bad(Hook):
        def after_create_session(self, session):
            raise Planted("planted")

    op = small_train_op()
    with MonitoredTrainingSession(checkpoint_dir=tmp_path, hooks=[StopAtStepHook(4), Bad()]) as session:
        with pytest.raises(Planted):
            session.run(op)
        with pytest.raises(OptrunError, match="could not be restored"):
            session.run(op)
    assert [file.step for file in list_checkpoints(tmp_path)] == [2]


def test_every_event_of_every_hook_is_in_the_sweep(cut):
    names = faults(cut.hooks)
    with_state = [cls.__name__ for cls in cut.hooks if cls.load_state_dict is not Hook.load_state_dict]
    assert {"CheckpointHook", "EvaluationHook", "EarlyStoppingHook", "Drawing"} <= set(with_state)
    assert all(f"load_state_dict of {name}" in names for name in with_state)
