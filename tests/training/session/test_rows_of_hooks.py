"""What hooks write into the log and into the final values: readable, or refused with the hook's name."""

from __future__ import annotations

import numpy as np
import pytest

from optrun.experiments import Hook
from optrun.experiments.errors import SessionError

from ...helpers import run_steps, small_train_op


def hook_that(**events):
    return type("OwnHook", (Hook,), events)()


@pytest.mark.parametrize("name", ["step", "batch", "examples", "epoch", "time"])
def test_a_value_under_a_key_of_the_position_is_refused(name):
    hook = hook_that(after_run=lambda self, ctx, values: ctx.session.write_row(**{name: 3}))
    with pytest.raises(SessionError, match=f"'{name}' of a row says where training is") as caught:
        run_steps(small_train_op(), 2, hook)
    assert "hook 'own'" in str(caught.value.__notes__)


def test_a_row_that_cannot_be_read_names_the_hook_and_the_key():
    hook = hook_that(after_run=lambda self, ctx, values: ctx.session.write_row(large=10**30))
    with pytest.raises(ValueError, match="'large' of a row cannot be read back") as caught:
        run_steps(small_train_op(), 2, hook)
    assert "in after_run of hook 'own', at step 1" in str(caught.value.__notes__)


@pytest.mark.parametrize(
    "value", ["text", b"x", [1], {"a": 1}, np.zeros(2), True, object()], ids=lambda value: str(type(value))
)
def test_a_final_value_that_is_no_number_fails_the_session_by_name(value):
    hook = hook_that(end=lambda self, session, outcome: session.final.update(score=value))
    with pytest.raises(SessionError, match=r"the final value 'score' is .*: give a number"):
        run_steps(small_train_op(), 1, hook)


def test_numbers_of_other_libraries_are_numbers():
    hook = hook_that(end=lambda self, session, outcome: session.final.update(a=np.float32(0.5), b=np.int64(2), c=None))
    session = run_steps(small_train_op(), 1, hook)
    assert session.final == {"a": 0.5, "b": 2, "c": None}
    assert [type(value) for value in session.final.values()] == [float, int, type(None)]
