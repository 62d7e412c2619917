"""What a session sets up by itself: at the steps at which TensorFlow 1's does."""

from __future__ import annotations

import logging

import pytest

from optrun.experiments import (
    CheckpointHook,
    EarlyStoppingHook,
    EvaluationHook,
    Every,
    Hook,
    LearningRateSetterHook,
    MonitoredTrainingSession,
    StopAtStepHook,
    make_schedule,
)
from optrun.experiments.components.hooks.step_counter import StepCounterHook
from optrun.experiments.errors import SessionError, UsageError

from ...helpers import run_steps, small_train_op


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_summaries_are_written_at_tensorflows_steps(tmp_path):
    """SummarySaverHook(save_steps=3) wrote at 1, 4, 7 and 10."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_steps(small_train_op(), 10, checkpoint_dir=tmp_path, save_summaries_steps=3)
    accumulator = EventAccumulator(str(tmp_path))
    accumulator.Reload()
    assert [point.step for point in accumulator.Scalars("loss")] == [1, 4, 7, 10]


def test_steps_are_counted_at_tensorflows_steps(tmp_path, caplog):
    """StepCounterHook(every_n_steps=3) arms at step 1 and wrote at 4, 7 and 10."""
    with caplog.at_level(logging.INFO, logger="optrun"):
        run_steps(small_train_op(), 11, checkpoint_dir=tmp_path, log_step_count_steps=3)
    said = [record.getMessage() for record in caplog.records if "steps/s" in record.getMessage()]
    assert [line.split(":")[0] for line in said] == ["step 4", "step 7", "step 10"]


@pytest.mark.parametrize(
    ("options", "phrase"),
    [
        ({"save_checkpoint_secs": 1, "save_checkpoint_steps": 1}, "save_checkpoint_secs and save_checkpoint_steps"),
        ({"save_summaries_secs": 1, "save_summaries_steps": 1}, "save_summaries_secs and save_summaries_steps"),
        ({"save_summaries_steps": 1}, "need a folder"),
    ],
)
def test_what_excludes_each_other_is_refused(options, phrase):
    with pytest.raises(SessionError, match=phrase):
        MonitoredTrainingSession(small_train_op(), hooks=[StopAtStepHook(last_step=1)], **options)


def test_only_the_chief_has_default_hooks(tmp_path):
    options = {"save_checkpoint_steps": 2, "save_summaries_steps": 2, "log_step_count_steps": 2}
    hooks = [StopAtStepHook(last_step=1)]
    chief = MonitoredTrainingSession(hooks=hooks, checkpoint_dir=tmp_path, is_chief=True, **options)
    other = MonitoredTrainingSession(hooks=hooks, checkpoint_dir=tmp_path, is_chief=False, **options)
    assert list(chief.named_hooks) == ["stop_at_step", "step_counter", "summary", "checkpoint"]
    assert list(other.named_hooks) == ["stop_at_step"]


class Measured:
    """An evaluator that says what it measures."""

    metrics = ("accuracy",)

    def __call__(self, interrupted):
        return {"val/loss": 1.0, "val/accuracy": 0.5}


@pytest.mark.parametrize(
    "hook",
    [
        lambda metric: EarlyStoppingHook(metric, mode="max", patience=1),
        lambda metric: CheckpointHook(best=metric, mode="max"),
        lambda metric: LearningRateSetterHook(make_schedule("plateau", metric=metric, mode="max")),
    ],
)
def test_a_metric_that_nothing_evaluates_is_refused_when_the_session_is_made(hook):
    def session(metric, *splits, more=()):
        evaluations = [EvaluationHook(Every(steps=1), splits, final=[])] if splits else []
        hooks = [StopAtStepHook(1), hook(metric), *evaluations, *more]
        return MonitoredTrainingSession(hooks=hooks, evaluators={"val": Measured(), "test": Measured()})

    session("val/accuracy", "val")
    with pytest.raises(UsageError, match="nothing is evaluated"):
        session("val/accuracy")
    with pytest.raises(UsageError, match="evaluated are: test"):
        session("val/accuracy", "test")

    class Own(Hook):
        publishes = ("own/accuracy",)

    session("own/accuracy", more=[Own()])
    session("val/accuracy", more=[Own()])  # which may publish it


def test_a_misspelt_metric_is_named_with_the_nearest():
    hooks = [EvaluationHook(Every(steps=1), ["val"], final=[]), EarlyStoppingHook("val/acuracy", "max", patience=1)]
    with pytest.raises(UsageError, match=r"'early_stopping' waits for it: .*Did you mean 'val/accuracy'"):
        MonitoredTrainingSession(hooks=[StopAtStepHook(1), *hooks], evaluators={"val": Measured()})


def test_nothing_is_set_up_unasked_but_checkpoints(tmp_path):
    session = MonitoredTrainingSession(hooks=[StopAtStepHook(last_step=1)], checkpoint_dir=tmp_path)
    assert [type(hook) for hook in session.hooks] == [StopAtStepHook, CheckpointHook]
    assert not any(isinstance(hook, StepCounterHook) for hook in session.hooks)
