"""Summaries, read back by TensorBoard's own reader."""

from __future__ import annotations

import pytest

from optrun.experiments import Every, LoggingHook, SummaryHook
from optrun.experiments.errors import UsageError

from ...helpers import run_steps, small_train_op

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def test_tensorboard_reads_what_was_written(tmp_path):
    session = run_steps(
        small_train_op(), 10, LoggingHook(Every(steps=5)), SummaryHook(every=Every(steps=5)), checkpoint_dir=tmp_path
    )
    found = scalars(tmp_path)
    rows = session.rows.rows()
    assert set(found) == {"loss", "lr"}
    for tag, points in found.items():
        assert points == [(row["step"], pytest.approx(row[tag])) for row in rows]


def test_after_a_resume_the_summaries_hold_what_the_metrics_hold(tmp_path):
    def hooks():
        return LoggingHook(Every(steps=2)), SummaryHook(every=Every(steps=2))

    run_steps(small_train_op(), 7, *hooks(), checkpoint_dir=tmp_path)
    session = run_steps(small_train_op(), 12, *hooks(), checkpoint_dir=tmp_path)
    assert [step for step, _ in scalars(tmp_path)["loss"]] == [2, 4, 6, 8, 10, 12]
    assert [row["step"] for row in session.rows.rows()] == [2, 4, 6, 8, 10, 12]


def test_nowhere_to_write_is_an_error():
    with pytest.raises(UsageError, match="SummaryHook needs log_dir"):
        run_steps(small_train_op(), 1, SummaryHook())
