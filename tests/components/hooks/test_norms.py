"""Norms, held against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from optrun.experiments import Every, Hook, StopAtStepHook, build_train_op
from optrun.experiments.components.hooks.norms import NormsHook
from optrun.experiments.errors import UsageError

from ...helpers import PoisonHook, run_steps, small_train_op
from ...training.test_resume import rows as rows_of


def values(row):
    return {name: value for name, value in row.items() if name.startswith("norm/")}


def two_weights():
    """Return a model of two weights, (3, 4) and the bias 0, whose gradients the data below makes (6, 8) and 2."""
    model = nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, 4.0]]))
        model.bias.zero_()
    return model


def hand_made(model, **options):
    # loss = output, so the gradient of the weight is the input (3, 4) times 2, and that of the bias is 2.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = [(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 1))] * 9
    return build_train_op(model, lambda outputs, targets: 2 * outputs.sum(), optimizer, data, **options)


def test_norms_by_hand():
    session = run_steps(hand_made(two_weights()), 1, NormsHook(Every(steps=1)))
    (row,) = session.rows.rows()
    root = math.sqrt(104)
    assert values(row) == {
        "norm/grad": pytest.approx(root),
        "norm/weight": pytest.approx(5.0),
        "norm/update": pytest.approx(0.1 * root),
        "norm/ratio": pytest.approx(0.02 * root),
        "norm/grad/weight": pytest.approx(10.0),
        "norm/weight/weight": pytest.approx(5.0),
        "norm/update/weight": pytest.approx(1.0),
        "norm/ratio/weight": pytest.approx(0.2),
        "norm/grad/bias": pytest.approx(2.0),
        "norm/weight/bias": 0.0,
        "norm/update/bias": pytest.approx(0.2),
        "norm/ratio/bias": None,
    }


def test_the_gradient_is_that_before_clipping():
    session = run_steps(hand_made(two_weights(), clip_norm=1.0), 1, NormsHook(Every(steps=1), match=["weight"]))
    found = values(session.rows.rows()[0])
    assert found["norm/grad"] == pytest.approx(math.sqrt(104))
    assert found["norm/update"] == pytest.approx(0.1)
    assert found["norm/update/weight"] == pytest.approx(0.1 * 10 / math.sqrt(104))


def test_the_total_is_the_gradient_norm_of_the_train_op():
    class Fetching(Hook):
        def before_run(self, ctx):
            return self_request

        def after_run(self, ctx, values):
            fetched.append(values["grad_norm"])

    from optrun.experiments.components.hooks.hook import RunArgs

    self_request, fetched = RunArgs(("grad_norm",)), []
    session = run_steps(small_train_op(), 3, NormsHook(Every(steps=1)), Fetching())
    assert [row["norm/grad"] for row in session.rows.rows()] == pytest.approx(fetched)


def test_match_chooses_and_an_empty_list_leaves_the_totals():
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 1))
    (row,) = run_steps(small_train_op(model), 1, NormsHook(Every(steps=1), match=["norm", "2.*"])).rows.rows()
    assert {name for name in row if name.startswith("norm/grad/")} == {
        f"norm/grad/{name}" for name in ("1.weight", "1.bias", "2.weight", "2.bias")
    }
    (row,) = run_steps(small_train_op(), 1, NormsHook(Every(steps=1), match=[])).rows.rows()
    assert set(values(row)) == {"norm/grad", "norm/weight", "norm/update", "norm/ratio"}
    with pytest.raises(UsageError, match="norms 'wieght' matches none"):
        run_steps(small_train_op(), 1, NormsHook(match=["wieght"]))


def test_a_parameter_without_gradient_is_null_and_frozen_ones_are_left_out():
    class Partly(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused, self.frozen = (nn.Parameter(torch.ones(4, 1)) for _ in range(3))
            self.frozen.requires_grad_(False)

        def forward(self, inputs):
            return inputs @ (self.used * self.frozen)

    (row,) = run_steps(small_train_op(Partly()), 1, NormsHook(Every(steps=1))).rows.rows()
    assert row["norm/grad/unused"] is None
    assert (row["norm/weight/unused"], row["norm/update/unused"], row["norm/ratio/unused"]) == (2.0, 0.0, 0.0)
    assert row["norm/grad"] == row["norm/grad/used"] > 0
    assert not any("frozen" in name for name in row)


def test_sparse_and_half_precision_gradients():
    class Lookup(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(5, 2, sparse=True)
            self.scale = nn.Parameter(torch.ones(2, dtype=torch.bfloat16))

        def forward(self, inputs):
            return self.table(inputs) * self.scale

    model = Lookup()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    data = [(torch.tensor([1, 1, 3]), torch.zeros(3))]
    op = build_train_op(model, lambda outputs, targets: outputs.float().sum(), optimizer, data)
    (row,) = run_steps(op, 1, NormsHook(Every(steps=1))).rows.rows()
    # Row 1 is looked up twice, so its two gradients are 2 and 2; those of row 3 are 1 and 1.
    assert row["norm/grad/table.weight"] == pytest.approx(math.sqrt(10))
    assert row["norm/update/table.weight"] == pytest.approx(0.5 * math.sqrt(10))
    assert row["norm/weight/scale"] == pytest.approx(math.sqrt(2))


def test_only_due_steps_write_rows_and_copy_weights():
    op = small_train_op()
    hook = NormsHook(Every(steps=4))
    calls = []
    original = NormsHook.after_gradients

    class Counting(NormsHook):
        def after_gradients(self, ctx):
            calls.append(ctx.step)
            original(self, ctx)

    hook = Counting(Every(steps=4))
    session = run_steps(op, 9, hook)
    assert calls == [3, 7]
    assert [row["step"] for row in session.rows.rows()] == [4, 8]
    assert hook._before == []


def test_one_transfer_for_a_row(monkeypatch):
    """However many parameters there are, one tensor is read."""
    reads = []
    original = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: reads.append(tensor.shape) or original(tensor))
    monkeypatch.setattr(torch.Tensor, "__float__", lambda tensor: pytest.fail("a second read"))
    run_steps(small_train_op(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))), 1, NormsHook(Every(steps=1)))
    assert reads == [(12,)]


def test_a_skipped_batch_leaves_the_row_due():
    op = small_train_op(on_nan="skip")
    session = run_steps(op, 4, PoisonHook(op, 1), NormsHook(Every(steps=2), match=[]))
    rows = session.rows.rows()
    assert [(row["step"], row["batch"]) for row in rows] == [(2, 3), (4, 5)]
    assert all(row["norm/grad"] > 0 for row in rows)


def test_resumed_rows_are_the_same(tmp_path):
    run_steps(small_train_op(), 9, NormsHook(Every(steps=2)), checkpoint_dir=tmp_path / "straight")
    run_steps(small_train_op(), 5, NormsHook(Every(steps=2)), checkpoint_dir=tmp_path / "parts")
    run_steps(small_train_op(), 9, NormsHook(Every(steps=2)), checkpoint_dir=tmp_path / "parts")
    assert rows_of(tmp_path / "parts") == rows_of(tmp_path / "straight")


def test_seconds_are_refused():
    with pytest.raises(UsageError, match="metric rows belong to steps"):
        NormsHook(Every(secs=1.0))


def test_closures_are_seen_whole():
    """L-BFGS evaluates the batch several times: the gradient is that of the first, the update that of all."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)
    op = build_train_op(model, nn.functional.mse_loss, optimizer, [(torch.randn(8, 4), torch.randn(8, 1))] * 3)
    (row,) = run_steps(op, 1, NormsHook(Every(steps=1)), StopAtStepHook(last_step=1)).rows.rows()
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert op.gradient_evaluations > 1
    assert row["norm/update"] == pytest.approx((after - before).norm().item(), rel=1e-5)
    assert row["norm/weight"] == pytest.approx(before.norm().item(), rel=1e-5)


def test_a_late_gate_stays_late_between_rows():
    """On a GPU the gate's answers come late; a CPU's fused optimizer can do the same."""

    def run(deferred):
        op = small_train_op()
        op.optimizer = torch.optim.SGD(op.model.parameters(), lr=0.1, momentum=0.9, fused=True)
        assert not deferred or op.gate.defer(op.optimizer)
        session = run_steps(op, 9, NormsHook(Every(steps=4)))
        assert op.gate.deferred == deferred
        return [values(row) for row in session.rows.rows()]

    assert run(deferred=True) == run(deferred=False)
