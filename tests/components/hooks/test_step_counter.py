"""Steps a second, held against a clock that the test turns."""

from __future__ import annotations

import logging

import pytest

from optrun.experiments import Every, Hook, SummaryHook
from optrun.experiments.components.hooks.step_counter import StepCounterHook
from optrun.experiments.errors import SessionError

from ...helpers import PoisonHook, run_steps, small_train_op
from .test_summary import scalars

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Turned(Hook):
    """Give the session a clock that advances by a number of seconds a step, the number of the step itself."""

    def after_create_session(self, session):
        self._session, self._secs = session, 0.0
        session._clock = self

    def before_run(self, ctx):
        self._secs += ctx.step + 1.0

    @property
    def elapsed_secs(self):
        return self._secs

    cpu_secs = elapsed_secs


def aged(folder):
    """Give event files of an earlier second to what is there: TensorBoard reads files in the order of their names."""
    for file in folder.glob("events.out.tfevents.1*"):
        file.rename(folder / f"events.out.tfevents.{len(list(folder.iterdir())):010d}.{file.name[-6:]}")


def said(caplog):
    return [record.message for record in caplog.records if "steps/s" in record.message]


@pytest.mark.parametrize(("first", "steps"), [(None, [6, 9, 12]), (1, [4, 7, 10, 13])])
def test_the_first_firing_only_starts_the_clock(caplog, first, steps):
    """With first=1 the points are those of TensorFlow's StepCounterHook(every_n_steps=3): 4, 7, 10, …"""
    caplog.set_level(logging.INFO, "optrun")
    hook = StepCounterHook(Every(steps=3), first=first)
    run_steps(small_train_op(), 13, Turned(), hook)
    # Of the three steps up to s, each took as many seconds as its number; a batch has 16 examples.
    assert said(caplog) == [
        f"step {s}: {3 / (3 * s - 3):.4g} steps/s, {48 / (3 * s - 3):.4g} examples/s" for s in steps
    ]
    assert hook.steps_per_sec == 3 / (3 * steps[-1] - 3)


def test_rates_stand_beside_the_summaries_and_survive_a_resume(tmp_path):
    def hooks():
        return Turned(), StepCounterHook(Every(steps=2)), SummaryHook(every=Every(steps=2), fetches=("loss",))

    session = run_steps(small_train_op(), 7, *hooks(), checkpoint_dir=tmp_path)
    assert not any("steps_per_sec" in row for row in session.rows.rows())
    aged(tmp_path / "rates")
    run_steps(small_train_op(), 12, *hooks(), checkpoint_dir=tmp_path)
    found = scalars(tmp_path / "rates")
    assert set(found) == {"steps_per_sec", "examples_per_sec"}
    assert [step for step, _ in found["steps_per_sec"]] == [4, 6, 10, 12]
    assert dict(found["steps_per_sec"])[6] == pytest.approx(2 / 11)
    assert set(scalars(tmp_path)) == {"loss"}


def test_points_of_a_lost_process_are_forgotten(tmp_path):
    """A process that wrote rates up to step 8 is killed; its checkpoint is of step 4."""
    session = run_steps(small_train_op(), 4, StepCounterHook(Every(steps=2), str(tmp_path)), checkpoint_dir=tmp_path)
    assert session.step == 4
    aged(tmp_path / "rates")
    run_steps(small_train_op(), 8, StepCounterHook(Every(steps=2), str(tmp_path)))
    aged(tmp_path / "rates")
    run_steps(small_train_op(), 8, StepCounterHook(Every(steps=2), str(tmp_path)), checkpoint_dir=tmp_path)
    assert [step for step, _ in scalars(tmp_path / "rates")["steps_per_sec"]] == [4, 8]


def test_without_a_summary_hook_nothing_is_written(tmp_path):
    run_steps(small_train_op(), 6, StepCounterHook(Every(steps=2)), checkpoint_dir=tmp_path)
    assert not (tmp_path / "rates").exists()


def test_a_step_that_stays_the_same_is_said_once(caplog):
    op = small_train_op(on_nan="skip")
    op.gate.max_skips = 50
    with pytest.raises(SessionError):
        run_steps(op, 4, PoisonHook(op, *range(1, 45)), StepCounterHook(Every(steps=2)), Stuck())
    (warning,) = [record.message for record in caplog.records if "stayed at" in record.message]
    assert warning == "the global step has stayed at 1 for 20 batches: all are skipped"


class Stuck(Hook):
    """End the test at a batch."""

    def before_run(self, ctx):
        if ctx.batch == 44:
            raise SessionError("enough")


def test_a_few_skipped_batches_are_no_news(caplog):
    op = small_train_op(on_nan="skip")
    run_steps(op, 4, PoisonHook(op, 1, 2, 3), StepCounterHook(Every(steps=2)))
    assert not [record for record in caplog.records if "stayed at" in record.message]
