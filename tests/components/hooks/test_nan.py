"""The policy that NanHook sets, against batches of NaN."""

from __future__ import annotations

import pytest
import torch

from optrun.experiments.components.hooks.nan import NanHook
from optrun.experiments.errors import DivergedError, SessionError

from ...helpers import PoisonHook, run_steps, small_train_op


def weights(op):
    return torch.cat([parameter.detach().flatten() for parameter in op.model.parameters()])


def test_raise_is_fail_on_nan_loss():
    op = small_train_op(on_nan="skip")
    with pytest.raises(DivergedError, match="diverged in batch 3 after 3 steps"):
        run_steps(op, 9, PoisonHook(op, 3), NanHook())
    assert torch.isfinite(weights(op)).all()


def test_stop_ends_the_session_with_good_weights():
    good, op = small_train_op(), small_train_op()
    run_steps(good, 3)
    session = run_steps(op, 9, PoisonHook(op, 3), NanHook("stop"))
    assert (session.outcome, op.global_step) == ("diverged", 3)
    assert torch.equal(weights(op), weights(good))


def test_skip_draws_the_next_batch():
    op = small_train_op()
    session = run_steps(op, 9, PoisonHook(op, 3), NanHook("skip"))
    assert (session.outcome, op.global_step, op.skipped) == ("done", 9, 1)


def test_skip_protects_buffers_too():
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    op = small_train_op(model)
    run_steps(op, 5, PoisonHook(op, 3), NanHook("skip"))
    assert torch.isfinite(model[0].running_mean).all()


def test_a_late_gate_answers_at_once_from_then_on():
    """On a GPU the gate's answers come late; a CPU's fused optimizer can do the same."""
    model = torch.nn.Linear(4, 1)
    op = small_train_op(model)
    op.optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=True)
    assert op.gate.defer(op.optimizer)
    run_steps(op, 2, NanHook("skip"))
    assert not op.gate.deferred
    again = small_train_op()
    again.optimizer = torch.optim.SGD(again.model.parameters(), lr=0.1, fused=True)
    assert again.gate.defer(again.optimizer)
    run_steps(again, 2, NanHook("stop"))
    assert again.gate.deferred


def test_without_a_gate_there_is_no_policy():
    with pytest.raises(SessionError, match=r"the train op has none \(on_nan=None\)"):
        run_steps(small_train_op(on_nan=None), 1, NanHook())


def test_two_that_disagree_are_refused():
    with pytest.raises(SessionError, match="several NanHooks disagree: skip, stop"):
        run_steps(small_train_op(), 1, NanHook("skip"), NanHook("stop"))
    run_steps(small_train_op(), 1, NanHook("skip"), NanHook("skip"))
