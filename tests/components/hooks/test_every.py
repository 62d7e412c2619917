"""Triggers that start elsewhere than at a multiple, against a plain count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrun.experiments import Every, LoggingHook, SummaryHook

from ...helpers import Recorder, run_steps, small_train_op


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 300))
def test_it_fires_at_first_and_then_every_so_many(steps, first, last):
    trigger = Every(steps=steps, first=first)
    fired = [step for step in range(1, last + 1) if trigger.is_due(step)]
    assert fired == list(range(first, last + 1, steps))
    step, following = 0, []
    while (step := trigger.following(step)) <= last:
        following.append(step)
    assert following == fired


def test_summaries_come_at_tensorflows_steps(tmp_path):
    """SummarySaverHook(save_steps=3) writes at steps 1, 4, 7 and 10."""
    session = run_steps(small_train_op(), 10, LoggingHook(Every(steps=3), first=1), checkpoint_dir=tmp_path)
    assert [row["step"] for row in session.rows.rows()] == [1, 4, 7, 10]
    assert SummaryHook(every=Every(steps=3), first=1).trigger == Every(steps=3, first=1)


def test_a_resumed_session_fires_at_the_same_steps(tmp_path):
    for last in (5, 12):
        recorder = Recorder(trigger=Every(steps=5, first=2))
        run_steps(small_train_op(), last, recorder, checkpoint_dir=tmp_path)
        seen = [entry for entry in recorder.log if "after_run" in str(entry)]
        assert len(seen) == {5: 1, 12: 2}[last]  # 2; then 7 and 12


@pytest.mark.parametrize("wrong", [{"first": 0}, {"first": 1.5}, {"first": True}])
def test_first_is_a_step(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        Every(steps=3, **wrong)


def test_seconds_have_no_first_step():
    with pytest.raises(ValueError, match="with steps or epochs only"):
        Every(secs=3, first=1)


def test_it_says_so():
    assert str(Every(steps=3)) == "every 3 steps"
    assert str(Every(steps=3, first=1)) == "every 3 steps from step 1"
