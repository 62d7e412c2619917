"""A worker that waits for the chief."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from optrun.experiments import MonitoredTrainingSession, StopAtStepHook
from optrun.experiments.components.hooks.step_waiter import StepWaiterHook
from optrun.experiments.errors import Interrupted, SessionError, UsageError, WaitTimeoutError

from ...helpers import Recorder, run_steps, small_train_op


def worker(folder, waiter, last_step=8):
    """Run a session as another rank, and return the step that it starts from."""
    options = {"checkpoint_dir": folder, "is_chief": False, "recovery_wait_secs": 0.01, "max_wait_secs": 5.0}
    recorder, op = Recorder(), small_train_op()
    hooks = [StopAtStepHook(last_step), waiter, recorder]
    with MonitoredTrainingSession(op, hooks=hooks, **options) as session:
        while not session.should_stop():
            session.run(op)
    (started_at,) = recorder.steps("after_create_session")
    return started_at


def test_the_worker_starts_from_the_step_that_it_waited_for(tmp_path):
    run_steps(small_train_op(), 2, checkpoint_dir=tmp_path)
    seen = []

    def chief():
        while not seen:
            time.sleep(0.01)
        run_steps(small_train_op(), 6, checkpoint_dir=tmp_path)

    class Watched(StepWaiterHook):
        def _reached(self, session):
            seen.append(super()._reached(session))
            return seen[-1]

    thread = threading.Thread(target=chief)
    thread.start()
    assert worker(tmp_path, Watched(wait_until_step=5, poll_secs=0.01, max_wait_secs=30)) == 6
    thread.join()
    assert seen[0] == 2
    assert seen[-1] == 6


@pytest.mark.parametrize("step", [0, 3])
def test_what_is_reached_already_is_not_waited_for(tmp_path, step):
    run_steps(small_train_op(), 3, checkpoint_dir=tmp_path)
    assert worker(tmp_path, StepWaiterHook(step, poll_secs=1000)) == 3
    chief = StepWaiterHook(step)
    assert run_steps(small_train_op(), 4, chief, checkpoint_dir=tmp_path).step == 4


def test_the_time_out_says_what_was_waited_for(tmp_path):
    run_steps(small_train_op(), 3, checkpoint_dir=tmp_path)
    with pytest.raises(WaitTimeoutError, match=r"waited 0\.05 s for step 9, but the newest .* is of step 3"):
        worker(tmp_path, StepWaiterHook(9, poll_secs=0.01, max_wait_secs=0.05))


def test_a_signal_ends_the_wait(tmp_path):
    run_steps(small_train_op(), 3, checkpoint_dir=tmp_path)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(Interrupted):
        worker(tmp_path, StepWaiterHook(9, poll_secs=0.01))
    timer.join()


def test_the_chief_does_not_wait_for_itself(tmp_path):
    with pytest.raises(SessionError, match="the chief would wait for itself to reach step 9"):
        run_steps(small_train_op(), 1, StepWaiterHook(9), checkpoint_dir=tmp_path)


def test_no_folder_is_an_error():
    with pytest.raises(UsageError, match="give the session its checkpoint_dir"):
        run_steps(small_train_op(), 1, StepWaiterHook(9))
