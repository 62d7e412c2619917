"""Ends of a session."""

from __future__ import annotations

import pytest

from optrun.experiments import CheckpointHook, EvaluationHook, Every, MonitoredTrainingSession, StopAtStepHook
from optrun.experiments.components.hooks.stop import EarlyStoppingHook, StopAfterHook
from optrun.experiments.errors import UsageError
from optrun.experiments.run_directory.checkpoint_files import list_checkpoints
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
    assert stops_at(falling, EarlyStoppingHook("val/loss", patience=2), "val/loss") == (8, "stopped")


@pytest.mark.parametrize(("mode", "sign"), [("max", 1), ("min", -1)])
def test_an_improvement_exceeds_min_delta(mode, sign):
    """As in Keras and Lightning: a change of exactly min_delta is none, and the best value stays what it was."""

    def stop(values, **more):
        hook = EarlyStoppingHook("val/own", mode=mode, patience=2, **more)
        return stops_at([sign * value for value in values], hook, "val/own")

    assert stop([0.0, 0.25, 0.25, 0.5, 0.5], min_delta=0.25) == (6, "stopped")  # exactly by min_delta, twice
    assert stop([0.0, 0.25, 0.25, 0.5, 0.5], min_delta=0.2) == (10, "done")
    assert stop([0.0, 0.25, 0.5, 0.75, 1.0], min_delta=0.25) == (10, "done")  # 0.5 against 0, 1.0 against 0.5
    assert stop([0.0, 0.25, 0.5, 0.5, 0.75, 9.0], min_delta=0.25) == (10, "stopped")


def test_a_state_of_a_version_without_min_delta_asks_for_the_same_end():
    hook = EarlyStoppingHook("val/accuracy", target=0.5)
    stops_at([0.1, 0.6], hook)
    assert hook.state_dict()["rule"] == ["val/accuracy", "max", None, 0.5, 0]


@pytest.mark.parametrize("args", [{}, {"target": 0.5, "min_delta": 0.1}])
def test_what_would_never_stop_or_has_no_patience_to_end_is_refused(args):
    with pytest.raises(UsageError, match="give patience"):
        EarlyStoppingHook("val/accuracy", **args)


@pytest.mark.parametrize("make", [EarlyStoppingHook, lambda metric, **args: CheckpointHook(best=metric, **args)])
def test_a_direction_is_the_metrics_own_or_given(make):
    more = {"patience": 2} if make is EarlyStoppingHook else {}
    assert make("val/loss", **more).goal.mode == make("val/loss", mode="min", **more).goal.mode == "min"
    assert make("test/accuracy", **more).goal.mode == "max"
    assert make("val/own", mode="min", **more).goal.mode == "min"
    with pytest.raises(UsageError, match="mode='max' contradicts the direction of 'val/loss': less is better"):
        make("val/loss", mode="max", **more)
    with pytest.raises(UsageError, match="nothing says whether more or less of 'val/own' is better"):
        make("val/own", **more)


def test_target():
    assert stops_at([0.1, 0.7, 0.8, 0.9], EarlyStoppingHook("val/accuracy", target=0.8)) == (6, "stopped")
    assert stops_at([0.9, 0.3, 0.1], EarlyStoppingHook("val/loss", target=0.3), "val/loss") == (4, "stopped")


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
    evaluation = EvaluationHook(Every(steps=2), ["val"], final=[])
    session = run_steps(op, 9, again, evaluation, evaluators={"val": lambda interrupted: {}})
    assert (op.global_step, session.outcome) == (0, "stopped")


def test_a_metric_that_is_not_a_number_is_never_the_best():
    falling = [float("nan"), 3.0, 2.0, 1.0, 0.5]
    assert stops_at(falling, EarlyStoppingHook("val/loss", patience=3), "val/loss") == (10, "done")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("metric", ["val/loss", "val/accuracy"])
def test_where_no_value_is_finite_there_is_no_best_and_it_is_said(tmp_path, bad, metric):
    op, hooks = small_train_op(), [EarlyStoppingHook(metric, patience=3), CheckpointHook(Every(steps=99), best=metric)]
    evaluation = EvaluationHook(Every(steps=2), ["val"], final=[])
    evaluators = {"val": lambda interrupted: {metric: bad}}
    session = run_steps(op, 20, evaluation, *hooks, evaluators=evaluators, checkpoint_dir=tmp_path)
    assert op.global_step == 6
    assert session.reason == f"{metric} has not improved (it was never a finite number) in 3 evaluations"
    assert (hooks[1].best_step, hooks[1].best_value) == (None, None)
    assert [file.step for file in list_checkpoints(tmp_path)] == [6]
