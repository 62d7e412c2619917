"""Checkpoints that are written while training goes on: what is in them, when older ones go, and what a failure says."""

from __future__ import annotations

import errno
import os
import re
import threading
import time
import traceback

import pytest
import torch

from optrun.experiments import CheckpointHook, CheckpointListener, EvaluationHook, Every, Hook
from optrun.experiments.components.hooks.hook import Phase
from optrun.experiments.errors import StorageError, TransientError
from optrun.experiments.run_directory.checkpoint_files import list_checkpoints, parse_checkpoint_name
from optrun.experiments.run_directory.checkpoints import load
from optrun.experiments.system import storage
from optrun.experiments.training.session.checkpoint_writer import CheckpointWriter

from ...helpers import run_steps, small_train_op


class Disk(storage.System):
    """Calls functions, which may wait or raise, before a checkpoint gets its name and before one is deleted."""

    def __init__(self, before_name=lambda step: None, before_deletion=lambda step: None):
        self._before_name, self._before_deletion = before_name, before_deletion

    def replace(self, old, new):
        if (parsed := parse_checkpoint_name(new.name)) is not None:
            self._before_name(parsed[0])
        os.replace(old, new)

    def unlink(self, path):
        if (parsed := parse_checkpoint_name(path.name)) is not None:
            self._before_deletion(parsed[0])
        os.unlink(path)


class Do(Hook):
    """Call functions of the session after certain steps, before anything is saved."""

    def __init__(self, **at):
        self._at = {int(name[1:]): function for name, function in at.items()}

    def after_run(self, ctx, values):
        if ctx.step in self._at:
            self._at[ctx.step](ctx.session)


def steps_in(folder):
    return [file.step for file in list_checkpoints(folder)]


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "optrun checkpoint"]


def finish_writing():
    for thread in threads():
        thread.join()


def refuse(step=2):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


class Gate:
    """Lets the checkpoint of step 2 fail, when it is opened."""

    def __init__(self):
        self._is_open = threading.Event()

    def pass_by(self, step):
        if step == 2:
            self._is_open.wait(30)
            refuse()

    def open(self, session=None):
        self._is_open.set()
        finish_writing()


def test_steps_go_on_while_a_checkpoint_is_written_that_holds_its_own_step(tmp_path, monkeypatch):
    may_go_on = threading.Event()
    monkeypatch.setattr(storage, "system", Disk(before_name=lambda step: may_go_on.wait(30)))
    op, seen = small_train_op(), {}

    class Note(Hook):
        phase = Phase.PERSIST

        def after_run(self, ctx, values):
            ctx.session.write_row(more=ctx.step)
            momentum = op.optimizer.state[op.model.weight]["momentum_buffer"]
            seen[ctx.step] = op.model.weight.detach().clone(), momentum.clone(), ctx.session.rows.offset

    def look(session):
        seen["there at 5"] = steps_in(tmp_path)
        may_go_on.set()

    run_steps(op, 6, Note(), Do(_5=look), checkpoint_dir=tmp_path, save_checkpoint_steps=4)
    assert seen["there at 5"] == []
    first, last = list_checkpoints(tmp_path)
    assert (first.step, last.step) == (4, 6)
    for file in (first, last):
        tensors, facts = load(file)
        weight, momentum, offset = seen[file.step]
        assert torch.equal(tensors["model/weight"], weight)
        assert torch.equal(tensors["optimizer/state/weight/momentum_buffer"], momentum)
        assert facts["rows"]["offset"] == offset
    assert not torch.equal(seen[4][0], seen[5][0])
    assert not threads()


def test_one_is_written_at_a_time_and_none_is_left_out(tmp_path, monkeypatch):
    at_once, most = [], []

    def take_long(step):
        at_once.append(step)
        most.append(len(threads()))
        time.sleep(0.01)
        assert at_once.pop() == step

    monkeypatch.setattr(storage, "system", Disk(before_name=take_long))
    hook = CheckpointHook(Every(steps=1), keep=20)
    run_steps(small_train_op(), 9, hook, checkpoint_dir=tmp_path)
    assert steps_in(tmp_path) == list(range(1, 10))
    assert set(most) == {1}


def test_older_ones_are_deleted_when_the_new_one_is_there(tmp_path, monkeypatch):
    may_go_on, seen = threading.Event(), []
    system = Disk(
        before_name=lambda step: step < 6 or may_go_on.wait(30),
        before_deletion=lambda step: seen.append((step, steps_in(tmp_path))),
    )
    monkeypatch.setattr(storage, "system", system)

    def look(session):
        seen.append(steps_in(tmp_path))
        may_go_on.set()

    run_steps(small_train_op(), 8, CheckpointHook(Every(steps=2), keep=2), Do(_7=look), checkpoint_dir=tmp_path)
    assert seen == [[2, 4], (2, [2, 4, 6]), (4, [4, 6, 8])]


def test_the_best_stays_until_a_better_one_is_there(tmp_path, monkeypatch):
    """That of step 2 is the best when the one of step 8 is saved, and no longer while that is being written."""
    may_go_on, deleted = threading.Event(), []
    system = Disk(
        before_name=lambda step: step != 8 or may_go_on.wait(30),
        before_deletion=lambda step: deleted.append((step, steps_in(tmp_path))),
    )
    monkeypatch.setattr(storage, "system", system)
    op = small_train_op()
    evaluators = {"val": lambda interrupted: {"val/a": {2: 5.0, 9: 7.0}.get(op.global_step, 1.0)}}

    class Release(Hook):
        phase = Phase.PERSIST  # when the other hook knows that it is the best

        def after_evaluation(self, session, evaluation):
            if evaluation.step == 9:
                may_go_on.set()

    hooks = [
        EvaluationHook(Every(steps=1), ["val"], final=[]),
        CheckpointHook(Every(steps=2), keep=2, best="val/a", mode="max"),
        Release(),
    ]
    run_steps(op, 10, *hooks, checkpoint_dir=tmp_path, evaluators=evaluators)
    (there,) = [steps for step, steps in deleted if step == 2]
    assert 9 in there
    assert steps_in(tmp_path) == [9, 10]


# ---- failures --------------------------------------------------------------------------------------------------------


class Sees(CheckpointListener):
    """Lets each save be over before the next step."""


def failing_run(folder, *hooks, last=8, **options):
    """Return the session and error of a run whose checkpoint at step 2 fails, when it is over."""
    op = small_train_op()
    sessions = []
    keep = Do(_1=sessions.append)
    with pytest.raises(StorageError) as caught:
        run_steps(op, last, keep, *hooks, checkpoint_dir=folder, **options)
    finish_writing()
    return sessions[0], caught.value


def test_a_write_that_fails_is_told_before_the_next_block_as_one_within_the_step_is(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "system", Disk(before_name=refuse))
    waited = failing_run(tmp_path, CheckpointHook(Every(steps=2), listeners=[Sees()]))
    gate = Gate()
    monkeypatch.setattr(storage, "system", Disk(before_name=gate.pass_by))
    behind = failing_run(tmp_path, Do(_3=gate.open), CheckpointHook(Every(steps=2)))
    assert (waited[0].step, behind[0].step) == (2, 3)
    for session, error in (waited, behind):
        assert session.outcome == "failed"
        assert session.error is error
        assert isinstance(error.__cause__, OSError)
        assert re.fullmatch(rf"cannot write {tmp_path}/step-00000002-\w+.safetensors: Input/output error", str(error))
        assert error.__notes__ == ["in after_run of hook 'checkpoint', at step 2"]
    assert any(frame.f_code.co_name == "write_atomic" for frame, _ in traceback.walk_tb(behind[1].__traceback__))
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


@pytest.mark.parametrize("last", [2, 3])
def test_one_that_is_over_only_after_the_last_step_is_told_too(tmp_path, monkeypatch, last):
    """At step 3 the loop is over before anybody looks; nothing is saved then, as after any error."""

    def fail_late(step):
        time.sleep(0.1)
        refuse()

    monkeypatch.setattr(storage, "system", Disk(before_name=fail_late))
    session, error = failing_run(tmp_path, CheckpointHook(Every(steps=2)), last=last)
    assert (session.step, session.outcome) == (last, "failed")
    assert error.__notes__ == ["in after_run of hook 'checkpoint', at step 2"]
    assert not threads()


def test_one_beside_another_error_is_noted_on_it(tmp_path, monkeypatch):
    gate = Gate()
    monkeypatch.setattr(storage, "system", Disk(before_name=gate.pass_by))

    def fail(session):
        gate.open()
        raise ValueError("of a hook")

    with pytest.raises(ValueError, match="of a hook") as caught:
        run_steps(small_train_op(), 8, CheckpointHook(Every(steps=2)), Do(_3=fail), checkpoint_dir=tmp_path)
    assert any("while ending: StorageError: cannot write" in note for note in caught.value.__notes__)


def test_a_save_by_hand_meets_the_error_of_the_one_before(tmp_path, monkeypatch):
    gate = Gate()
    monkeypatch.setattr(storage, "system", Disk(before_name=gate.pass_by))

    def save(session):
        gate.open()
        session.save_checkpoint()

    session, _ = failing_run(tmp_path, CheckpointHook(Every(steps=2)), Do(_3=save))
    assert session.step == 3
    assert steps_in(tmp_path) == []


def test_a_session_goes_back_to_the_checkpoint_that_is_being_written(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "system", Disk(before_name=lambda step: time.sleep(0.05)))
    failed = []

    def fail(session):
        if not failed:
            failed.append(steps_in(tmp_path))
            raise TransientError("it passes")

    hooks = [CheckpointHook(Every(steps=2)), Do(_5=fail)]
    session = run_steps(small_train_op(), 6, *hooks, checkpoint_dir=tmp_path, retry_wait_secs=0.0)
    assert failed == [[2]]
    assert session.restored_step == 4


# ---- processes -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process is forked here")
@pytest.mark.filterwarnings("error")
def test_a_process_is_forked_when_the_checkpoint_is_there(tmp_path, monkeypatch):
    """It would keep the copied state in memory, and the file open, as long as it lives."""
    monkeypatch.setattr(storage, "system", Disk(before_name=lambda step: time.sleep(0.05)))
    codes = []

    def fork(session):
        assert steps_in(tmp_path) == []
        child = os.fork()
        if child == 0:
            os._exit(0 if steps_in(tmp_path) == [2] and not threads() else 1)
        codes.append(os.waitpid(child, 0)[1])

    run_steps(small_train_op(), 4, CheckpointHook(Every(steps=2)), Do(_3=fork), checkpoint_dir=tmp_path)
    assert codes == [0]
    assert steps_in(tmp_path) == [2, 4]


def test_an_error_is_raised_once():
    writer = CheckpointWriter()
    writer.start(refuse)
    with pytest.raises(OSError, match="Input/output error"):
        writer.wait()
    writer.wait()
    writer.check()
    done = []
    writer.start(lambda: done.append(1))
    writer.start(lambda: done.append(2))
    writer.wait()
    assert done == [1, 2]
