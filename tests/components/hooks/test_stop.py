"""Ends of a session."""

from __future__ import annotations

import pytest

from optrun.experiments import EvaluationHook, Every, MonitoredTrainingSession, StopAtStepHook
from optrun.experiments.components.hooks.stop import EarlyStoppingHook, StopAfterHook
from optrun.experiments.errors import UsageError
from optrun.experiments.training.session.saved_state import Clock

from ...helpers import run_steps, small_train_op


@pytest.mark.parametrize("arguments", [{}, {"last_step": 1, "num_steps": 1}])
def test_stop_at_step_takes_exactly_one(arguments):
    with pytest.raises(UsageError, match="exactly one"):
        StopAtStepHook(**arguments)


def test_stop_after_counts_earlier_processes_in(tmp_path):
    op = small_train_op()
    session = MonitoredTrainingSession(checkpoint_dir=tmp_path, hooks=[StopAfterHook(secs=1000.0)])
    with session:
        while not session.should_stop():
            session.run(op)
            if op.global_step == 3:
                session._clock = Clock(session.elapsed_secs + 1000.0)
    assert op.global_step == 4
    assert session.outcome == "stopped"
    again = MonitoredTrainingSession(checkpoint_dir=tmp_path, hooks=[StopAfterHook(secs=1000.0)])
    with again:
        op = small_train_op()
        again.run(op)
        assert again.elapsed_secs > 1000.0
        assert op.global_step == 4, "a spent budget buys no further step"


def stops_at(values, hook, mode_name="val/accuracy"):
    """Return the step at which a session stops whose metric takes `values`, one every second step."""
    op = small_train_op()
    evaluator = {"val": lambda interrupted: {mode_name: values[op.global_step // 2 - 1]}}
    evaluation = EvaluationHook(Every(steps=2), ["val"], final=[])
    session = run_steps(op, 2 * len(values), evaluation, hook, evaluators=evaluator)
    return op.global_step, session.outcome


def test_patience_counts_evaluations_without_a_new_best():
    values = [0.1, 0.5, 0.4, 0.5, 0.6, 0.2, 0.3, 0.6, 0.9]
    assert stops_at(values, EarlyStoppingHook("val/accuracy", patience=3)) == (16, "stopped")
    assert stops_at(values, EarlyStoppingHook("val/accuracy", patience=4)) == (18, "done")
    falling = [1.0, 0.9, 0.95, 0.96, 0.5]
    assert stops_at(falling, EarlyStoppingHook("val/accuracy", mode="min", patience=2)) == (8, "stopped")


def test_target():
    assert stops_at([0.1, 0.7, 0.8, 0.9], EarlyStoppingHook("val/accuracy", target=0.8)) == (6, "stopped")
    assert stops_at([0.9, 0.3, 0.1], EarlyStoppingHook("val/accuracy", mode="min", target=0.3)) == (4, "stopped")


def test_patience_survives_a_restart():
    hook = EarlyStoppingHook("val/accuracy", patience=3)
    stops_at([0.5, 0.4], hook)
    again = EarlyStoppingHook("val/accuracy", patience=3)
    again.load_state_dict(hook.state_dict())
    state = again.state_dict()
    assert (state["best"], state["since_best"], state["last_step"]) == (0.5, 1, 4)
    other = EarlyStoppingHook("val/loss", mode="min", patience=3)
    other.load_state_dict(hook.state_dict())
    assert other.state_dict()["best"] is None, "a best value of another metric means nothing"


def test_a_request_that_was_saved_but_not_carried_out_is_made_again():
    hook = EarlyStoppingHook("val/accuracy", target=0.5)
    stops_at([0.1, 0.6], hook)
    again = EarlyStoppingHook("val/accuracy", target=0.5)
    again.load_state_dict(hook.state_dict())
    op = small_train_op()
    session = run_steps(op, 9, again)
    assert (op.global_step, session.outcome) == (0, "stopped")


def test_a_metric_that_is_not_a_number_is_never_the_best():
    falling = [float("nan"), 3.0, 2.0, 1.0, 0.5]
    assert stops_at(falling, EarlyStoppingHook("val/accuracy", mode="min", patience=3)) == (10, "done")
