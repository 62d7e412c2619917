"""Checkpoint listeners: told before and after, in order, and able to end the session."""

from __future__ import annotations

import pytest

from optrun.experiments import CheckpointHook, CheckpointListener, Every, Hook

from ...helpers import run_steps, small_train_op


class Listener(CheckpointListener):
    def __init__(self, log, name="", stop_at=None):
        self.log, self.name, self.stop_at = log, name, stop_at

    def begin(self, session):
        self.log.append(f"{self.name}begin")

    def before_save(self, session, step):
        self.log.append(f"{self.name}before {step}")

    def after_save(self, session, step, path):
        assert path.exists()
        assert session.step == step
        self.log.append(f"{self.name}after {step}")
        return step == self.stop_at

    def end(self, session, step):
        self.log.append(f"{self.name}end {step}")


def test_the_order_of_events(tmp_path):
    log = []
    hook = CheckpointHook(Every(steps=4), listeners=[Listener(log, "a "), Listener(log, "b ")])
    run_steps(small_train_op(), 6, hook, checkpoint_dir=tmp_path)
    assert log == [
        *("a begin", "b begin"),
        *("a before 4", "b before 4", "a after 4", "b after 4"),
        *("a before 6", "b before 6", "a after 6", "b after 6"),
        *("a end 6", "b end 6"),
    ]


def test_true_ends_the_session(tmp_path):
    log = []
    hook = CheckpointHook(Every(steps=2), listeners=[Listener(log, stop_at=4)])
    session = run_steps(small_train_op(), 100, hook, checkpoint_dir=tmp_path)
    assert session.step == 4
    assert (session.outcome, session.reason) == ("stopped", "asked for after the checkpoint of step 4")


def test_an_error_of_a_listener_ends_the_session_and_is_named(tmp_path):
    class Bad(CheckpointListener):
        def after_save(self, session, step, path):
            raise RuntimeError("upload failed")

    with pytest.raises(RuntimeError, match="upload failed") as caught:
        run_steps(small_train_op(), 3, CheckpointHook(Every(steps=2), listeners=[Bad()]), checkpoint_dir=tmp_path)
    assert "in after_run of hook 'checkpoint', at step 2" in caught.value.__notes__


def test_any_hook_may_listen(tmp_path):
    files = []

    class Upload(Hook):
        def begin(self, session):
            session.on_checkpoint(after=files.append)

    run_steps(small_train_op(), 5, Upload(), checkpoint_dir=tmp_path, save_checkpoint_steps=2)
    assert [int(path.name[5:13]) for path in files] == [2, 4, 5]
