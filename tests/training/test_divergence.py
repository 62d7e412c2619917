"""What is found and kept of a batch that the gate refused, against models whose first bad tensor is known."""

from __future__ import annotations

import json
from collections import OrderedDict

import pytest
import safetensors
import torch
from safetensors.torch import load_file
from torch import nn

from optrun.experiments import Batches, Hook, build_train_op, make_optimizer
from optrun.experiments.errors import DivergedError
from optrun.experiments.run_directory.checkpoint_files import list_checkpoints
from optrun.experiments.run_directory.run_dir import RunDir
from optrun.experiments.training import divergence
from optrun.experiments.training.divergence import DivergenceHook, choose_start
from optrun.experiments.training.investigation import investigate
from optrun.experiments.training.step.hyperparameters import Hyperparameters

from ..helpers import PoisonHook, linear_problem, run_steps, small_train_op

NAN = float("nan")


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, inputs):
        return inputs * self.factor


def refused(op):
    with pytest.raises(DivergedError):
        op.run()
    return op.refused


def facts_of(model, loss=nn.functional.mse_loss, data=None, **options):
    torch.manual_seed(0)
    op = build_train_op(
        model,
        loss,
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        data if data is not None else Batches(*linear_problem(16), batch_size=16),
        **options,
    )
    return investigate(op, refused(op)), op


def state(op):
    found = op.state_dict()
    tensors = [*found["model"].values(), *(t for s in found["optimizer"]["state"].values() for t in s.values())]
    return [t.clone() for t in tensors if isinstance(t, torch.Tensor)], found["counters"]


# ---- the first bad tensor --------------------------------------------------------------------------------------------


def test_the_first_bad_output_is_named_with_what_follows():
    """Row i of the inputs is i: times 1e38, rows 4 and up overflow float32, whose largest number is 3.4e38."""
    model = nn.Sequential(OrderedDict(first=nn.Linear(1, 1), big=Times(1e38), head=nn.Linear(1, 1)))
    nn.init.ones_(model.first.weight)
    nn.init.zeros_(model.first.bias)
    facts, _ = facts_of(model, data=[(torch.arange(10.0)[:, None], torch.zeros(10, 1))])
    assert facts["first_bad"] == "output of big (inf, 6 of 10 values)"
    assert [text.split(" (")[0] for text in facts["then"]] == ["loss", "gradient of head.bias"]
    assert (facts["cause"], facts["note"], facts["evaluation"], facts["micro_batch"]) == ("forward", None, 1, None)
    names = [bad["name"] for bad in facts["trail"]]
    assert names[:4] == ["output of big", "output of head", "output of the model", "loss"]
    assert names.index("gradient of head.bias") < names.index("gradient of first.weight"), "in backward order"


def test_gradients_that_are_not_finite_under_a_finite_loss():
    """The derivative of the square root at 0 is infinite."""
    model = nn.Linear(4, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    facts, _ = facts_of(model, loss=lambda outputs, targets: outputs.abs().sqrt().mean())
    assert facts["reason"] == "the gradient of weight is not finite"
    assert facts["first_bad"].startswith("gradient of the output of the model (nan, 16 of 16")  # inf * sign(0)
    assert facts["then"] == ["gradient of weight (nan, 4 of 4 values)"] or facts["then"] == ["gradient of bias (nan)"]
    assert facts["cause"] == "backward"


@pytest.mark.parametrize("value", [NAN, float("inf"), float("-inf")])
def test_bad_inputs_and_targets_come_first(value):
    inputs, targets = linear_problem(16)
    inputs[3, 1] = value
    facts, _ = facts_of(nn.Linear(4, 1), data=[(inputs, targets)])
    kind = "nan" if value != value else "inf"
    assert (facts["first_bad"], facts["cause"]) == (f"inputs ({kind}, 1 of 64 values)", "batch")
    inputs, targets = linear_problem(16)
    targets[5] = value
    facts, _ = facts_of(nn.Linear(4, 1), data=[(inputs, targets)])
    assert (facts["first_bad"], facts["cause"]) == (f"targets ({kind}, 1 of 16 values)", "batch")


def test_the_micro_batch_is_named():
    """10 examples in 4 micro-batches are 3, 3, 2, 2: example 7 is in the third."""
    inputs, targets = linear_problem(10)
    inputs[7] *= 1e38
    facts, op = facts_of(nn.Linear(4, 1), data=[(inputs, targets)], accumulate=4)
    assert (facts["micro_batch"], facts["evaluation"]) == (3, 1)
    assert facts["first_bad"].startswith(("output of the model", "loss"))
    assert op.batch == op.global_step == 0


@pytest.mark.parametrize(("optimizer", "options"), [("lbfgs", {"lr": 1e30}), ("sam", {"rho": 1e30, "lr": 0.1})])
def test_the_evaluation_of_an_optimizer_with_a_closure_is_named(optimizer, options):
    model = nn.Linear(4, 1)
    op = build_train_op(
        model, nn.functional.mse_loss, make_optimizer(model, optimizer, **options), [linear_problem(16)]
    )
    before = state(op)
    facts = investigate(op, refused(op))
    assert facts["evaluation"] == 2
    assert facts["trail"][0]["name"] in ("output of the model", "loss")
    for was, now in zip(before[0], state(op)[0], strict=True):
        assert torch.equal(was, now)


def test_a_penalty_that_overflows_is_named():
    model = nn.Linear(4, 1)
    with torch.no_grad():
        model.weight[0, 0] = 1e30  # finite; its square is not
    inputs, targets = linear_problem(8)
    inputs[:, 0] = 0.0
    facts, _ = facts_of(model, data=[(inputs, targets)], l2=1.0)
    assert facts["first_bad"] == "l2 penalty (inf)"
    assert facts["largest_weight"]["name"] == "weight"
    assert facts["largest_weight"]["value"] == pytest.approx(1e30)


def test_weights_that_an_update_made_infinite_come_first(tmp_path):
    """The gradients were finite and the rate was not too large for a float: only their product overflows."""
    op = small_train_op(lr=3e38)
    hook = DivergenceHook(tmp_path / "diverged", seed=0)
    with pytest.raises(DivergedError):
        run_steps(op, 3, hook, checkpoint_dir=tmp_path / "checkpoints")
    assert hook.facts["first_bad"].startswith("weight weight (")
    assert (hook.facts["cause"], hook.facts["step"], hook.facts["checkpoint"]) == ("weights", 1, None)
    assert not list_checkpoints(tmp_path / "diverged"), "such a state is not kept"


def test_a_save_of_infinite_weights_is_explained_too(tmp_path):
    op = small_train_op(lr=3e38)
    hook = DivergenceHook(tmp_path / "diverged", seed=0)
    with pytest.raises(DivergedError, match="step 1: model/"):
        run_steps(op, 3, hook, checkpoint_dir=tmp_path / "checkpoints", save_checkpoint_steps=1)
    assert hook.facts["first_bad"].startswith("weight weight (")
    assert hook.facts["batch_file"] is None


def test_a_hook_that_spoils_gradients_is_to_blame():
    class Spoiler(Hook):
        def after_gradients(self, ctx):
            ctx.train_op.model.weight.grad.fill_(NAN)

    op = small_train_op()
    with pytest.raises(DivergedError):
        run_steps(op, 1, Spoiler())
    facts = investigate(op, op.refused)
    assert (facts["cause"], facts["first_bad"]) == ("hook", None)
    assert facts["note"] == "a hook made it so in after_gradients: the gradient of weight is not finite"


def test_a_bound_on_the_loss_has_no_bad_tensor():
    facts, _ = facts_of(nn.Linear(4, 1), loss_above=1e-9)
    assert (facts["cause"], facts["first_bad"], facts["note"]) == ("bound", None, None)


def test_what_does_not_happen_again_is_said():
    calls = []

    def loss(outputs, targets):
        calls.append(1)
        return nn.functional.mse_loss(outputs, targets) * (NAN if len(calls) == 1 else 1.0)

    facts, _ = facts_of(nn.Linear(4, 1), loss=loss)
    assert (facts["cause"], facts["first_bad"]) == ("unknown", None)
    assert "do not compute the same twice" in facts["note"]


def test_a_model_that_fails_the_second_time_hides_nothing():
    class Once(nn.Linear):
        calls = 0

        def forward(self, inputs):
            self.calls += 1
            if self.calls > 1:
                raise RuntimeError("only once")
            return super().forward(inputs) * NAN

    facts, op = facts_of(Once(4, 1))
    assert facts["note"] == "the batch could not be evaluated again: RuntimeError: only once"
    assert facts["reason"] == "loss is nan"
    assert (op.batch, op.global_step) == (0, 0)


def test_nested_inputs_and_sparse_gradients():
    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(5, 2, sparse=True)

        def forward(self, inputs):
            return self.table(inputs["words"]).sum(1) * inputs["scales"]

    inputs = {"words": torch.tensor([[0, 1], [2, 3]]), "scales": torch.tensor([[1.0], [NAN]])}
    model = Bag()
    op = build_train_op(
        model, nn.functional.mse_loss, torch.optim.SGD(model.parameters(), lr=0.1), [(inputs, torch.zeros(2, 2))]
    )
    facts = investigate(op, refused(op))
    assert facts["first_bad"] == "inputs/scales (nan, 1 of 2 values)"
    assert any(bad["name"] == "gradient of table.weight" for bad in facts["trail"])


# ---- the replay is exact and changes nothing -------------------------------------------------------------------------


class Remember(nn.Module):
    """Keep everything that passes."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, inputs):
        self.seen.append(inputs.detach().clone())
        return inputs


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_dropout_falls_as_it_fell(accumulate, precision):
    memory = Remember()
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), memory, nn.Linear(8, 1))
    bad = []
    op = small_train_op(model, accumulate=accumulate, precision=precision, lr=0.01)
    loss = op.loss
    op.loss = lambda outputs, targets: loss(outputs, targets) * (NAN if bad else 1.0)
    for _ in range(3):
        op.run()
    memory.seen.clear()
    bad.append(True)
    torch.rand(7)  # whatever else draws from the default generator has no say
    before = refused(op)
    torch.rand(3)
    first, memory.seen = memory.seen, []
    facts = investigate(op, before)
    assert facts["first_bad"].startswith("loss (nan)")
    assert len(first) == accumulate == len(memory.seen)
    for was, again in zip(first, memory.seen, strict=True):
        assert (was == 0).any()
        assert torch.equal(was, again)


@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_neither_refusal_nor_replay_leaves_a_trace(policy):
    """Batch norm's statistics, momentum, counters and an average: all as before the batch."""

    def make(**options):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1))
        return small_train_op(model, updates=["ema"], lr=0.001, **options)

    op, good = make(on_nan=policy), make()
    for _ in range(3):
        op.run()
        good.run()
    inputs, targets = op.data.batch(3)
    feed = {"batch": (torch.full_like(inputs, NAN), targets), "lr": 0.5}
    if policy == "raise":
        with pytest.raises(DivergedError):
            op.run(feed)
    else:
        assert not op.run(feed)
        good.batch, good.skipped, good.skipped_in_row = 4, 1, 1
    counters = op.gradient_evaluations
    investigate(op, op.refused)
    assert op.gradient_evaluations == counters
    good.gradient_evaluations = counters
    tensors, others = state(op)
    expected, wanted = state(good)
    assert others == wanted
    assert all(torch.equal(one, other) for one, other in zip(tensors, expected, strict=True))
    averages = [each.updates[0].state_dict() for each in (op, good)]
    assert str(averages[0]) == str(averages[1])
    op.gate.policy = "raise"
    op.run()
    good.run()
    assert all(torch.equal(one, other) for one, other in zip(state(op)[0], state(good)[0], strict=True))


def test_an_answer_that_comes_late_is_explained_as_well(tmp_path):
    """As on a GPU: the batch is drawn again, and the rate that was fed then is fed now."""
    op = small_train_op()
    inputs, targets = linear_problem()
    order = op.data.order(0)
    bad = inputs.clone()
    bad[order[2 * 16 + 5]] = NAN  # in batch 2
    op.data = Batches(bad, targets, batch_size=16)
    op.optimizer = torch.optim.SGD(op.model.parameters(), lr=0.1, momentum=0.9, fused=True)
    op.hyperparameters = Hyperparameters(op.optimizer)
    assert op.gate.defer(op.optimizer)
    for step in range(4):
        op.run({"lr": 0.1 / (step + 1)})
    with pytest.raises(DivergedError, match="after 2 steps"):
        op.read_late_checks()
    late = op.refused
    assert (late.position, late.step, late.num_late, late.is_whole) == (2, 2, 1, True)
    assert late.rates == pytest.approx((0.1 / 3,))
    op.read_late_checks()  # asked again, it has nothing to add
    assert (op.global_step, op.batch, op.examples) == (2, 2, 32)
    assert investigate(op, late)["first_bad"] == "inputs (nan, 4 of 64 values)"


def test_what_hooks_counted_too_late_is_not_kept(tmp_path):
    """A hook that sees every step has seen steps that the late answer takes back: its state fits no step."""

    class Counting(Hook):
        count = 0

        def after_run(self, ctx, values):
            self.count += 1

        def state_dict(self):
            return {"count": self.count}

    for hooks, kept in (([], [3]), ([Counting()], [])):
        folder = tmp_path / str(len(hooks))
        op = small_train_op()
        op.optimizer = torch.optim.SGD(op.model.parameters(), lr=0.1, fused=True)
        assert op.gate.defer(op.optimizer)
        hook = DivergenceHook(folder / "diverged", seed=0)
        with pytest.raises(DivergedError):
            run_steps(op, 9, PoisonHook(op, 3), *hooks, hook, checkpoint_dir=folder / "checkpoints")
        assert [file.step for file in list_checkpoints(folder / "diverged")] == kept
        assert hook.facts["note"] == "the batch was fed by a hook, and is gone"


class Marking(nn.Module):
    """A large buffer, written to in one pass only, in place or by putting another tensor there; and a mask."""

    def __init__(self, at, in_place):
        super().__init__()
        self.register_buffer("marks", torch.zeros(70_000))
        self.register_buffer("mask", torch.zeros(70_000))
        self.calls, self.at, self.in_place = 0, at, in_place

    def forward(self, inputs):
        self.calls += 1
        if self.calls == self.at and self.in_place:
            self.marks += 1
        elif self.calls == self.at:
            self.marks = self.marks + 1
        return inputs


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize(("at", "marks"), [(2, 1.0), (4, 0.0)])
def test_large_buffers_are_put_back_too(at, marks, in_place):
    """Batch 3, evaluated in the fourth pass, is refused: what that pass wrote goes, what the second wrote stays."""
    model = nn.Sequential(Marking(at, in_place), nn.Linear(4, 1))
    op = small_train_op(model)
    with pytest.raises(DivergedError):
        run_steps(op, 9, PoisonHook(op, 3))
    assert op.global_step == 3
    assert (model[0].marks == marks).all()


def test_large_buffers_that_nothing_writes_are_copied_once(monkeypatch):
    model = nn.Sequential(Marking(3, True), nn.Linear(4, 1))
    op = small_train_op(model)
    copied = []
    copy = torch._foreach_copy_
    monkeypatch.setattr(torch, "_foreach_copy_", lambda to, what: (copied.append(len(what)), copy(to, what)))
    run_steps(op, 6)
    assert copied == [1], "the marks, before the step after they were written"


# ---- what is kept ----------------------------------------------------------------------------------------------------


def kept(op, tmp_path, *hooks, num_steps=9):
    hook = DivergenceHook(tmp_path / "diverged", seed=7)
    with pytest.raises(DivergedError):
        run_steps(op, num_steps, *hooks, hook, checkpoint_dir=tmp_path / "checkpoints")
    path = tmp_path / hook.facts["batch_file"]
    with safetensors.safe_open(path, "pt") as file:
        return load_file(path), json.loads(file.metadata()["optrun"]), hook


def test_the_batch_is_kept_and_any_reader_can_open_it(tmp_path):
    op = small_train_op()
    tensors, record, hook = kept(op, tmp_path, PoisonHook(op, 4))
    assert torch.equal(tensors["targets/value"], op.data.batch(4).targets)
    assert tensors["inputs/value"].isnan().all()
    assert (record["step"], record["batch"], record["seed"], record["rates"]) == (4, 4, 7, [0.1])
    assert record["first_bad"] == hook.facts["first_bad"] == "inputs (nan, 64 of 64 values)"
    assert [file.step for file in list_checkpoints(tmp_path / "diverged")] == [4]
    assert not list_checkpoints(tmp_path / "checkpoints")


def test_a_giant_batch_is_kept_by_its_indices(tmp_path, monkeypatch):
    monkeypatch.setattr(divergence, "MAX_BYTES", 100)
    op = small_train_op(loss_above=1e-3)
    tensors, record, _ = kept(op, tmp_path)
    first = record["batch"]
    assert list(tensors) == ["indices"]
    assert torch.equal(tensors["indices"], op.data.order(0)[16 * first : 16 * (first + 1)])
    assert (tmp_path / "diverged" / f"batch-{first}.safetensors").stat().st_size < 4096


def test_a_giant_batch_of_a_hook_is_kept_by_its_number(tmp_path, monkeypatch):
    monkeypatch.setattr(divergence, "MAX_BYTES", 100)
    op = small_train_op()
    tensors, record, _ = kept(op, tmp_path, PoisonHook(op, 4))
    assert (tensors, record["batch"]) == ({}, 4)


def test_skipped_batches_are_kept_up_to_a_bound(tmp_path, caplog):
    op = small_train_op(on_nan="skip")
    hook = DivergenceHook(tmp_path / "diverged", seed=0)
    bad = [2, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23]
    session = run_steps(op, 30, PoisonHook(op, *bad), hook)
    assert (session.outcome, op.skipped, hook.facts) == ("done", 12, None)
    names = {path.name for path in (tmp_path / "diverged").iterdir()}
    assert names == {f"batch-{number}.safetensors" for number in bad[:10]}
    assert "batch 2 skipped: loss is nan; first not finite: inputs" in caplog.messages[0]
    assert "further skipped batches are counted, but not kept" in caplog.messages[10]
    assert len(caplog.messages) == 11


def test_keeping_skipped_batches_changes_no_weights(tmp_path):
    def run(*hooks):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
        op = small_train_op(model, on_nan="skip", updates=["ema"], lr=0.001)
        run_steps(op, 12, PoisonHook(op, 2, 5, 6), *hooks)
        return state(op)[0]

    plain, watched = run(), run(DivergenceHook(tmp_path / "diverged", seed=0))
    assert all(torch.equal(one, other) for one, other in zip(plain, watched, strict=True))


# ---- where a run goes on ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "changed", "left", "said"),
    [
        ({}, ["optimizer.lr"], [4], "goes on from step 4"),
        ({}, ["schedule.name", "train.epochs"], [4], "goes on from step 4"),
        ({}, ["stop.on_nan"], [4, 6], "goes on from there, with batch 6"),
        ({}, ["optimizer.lr", "data.batch_size"], [4, 6], "goes on from there"),
        ({"evaluation": 3}, ["optimizer.lr"], [4, 6], "goes on from there"),
        ({"cause": "hook", "evaluation": None}, ["hooks"], [4, 6], "goes on from there"),
        ({"checkpoint": None}, ["stop.on_nan"], [4], "goes on from step 4"),
    ],
)
@pytest.mark.parametrize("in_rotation", [False, True])
def test_a_run_goes_on_from_where_the_change_can_help(facts, changed, left, said, in_rotation, tmp_path):
    run_dir = RunDir(tmp_path / "run")
    name = f"step-00000006-{'a' * 64}.safetensors"
    folder = "checkpoints" if in_rotation else "diverged"
    run_dir.checkpoints_path.mkdir(parents=True)
    run_dir.diverged_path.mkdir()
    (run_dir.checkpoints_path / f"step-00000004-{'b' * 64}.safetensors").touch()
    (run_dir.path / folder / name).touch()
    known = {"step": 6, "batch": 6, "evaluation": 1, "cause": "forward", "checkpoint": f"{folder}/{name}"}
    run_dir.write_json("summary.json", {"diverged": {**known, **facts}})
    assert said in choose_start(run_dir, changed)
    assert [file.step for file in list_checkpoints(run_dir.checkpoints_path)] == left
    assert said in choose_start(run_dir, changed), "after a kill, the same again"
    assert [file.step for file in list_checkpoints(run_dir.checkpoints_path)] == left


def test_a_run_of_an_older_version_goes_on_from_its_latest_checkpoint(tmp_path):
    run_dir = RunDir(tmp_path / "run")
    run_dir.path.mkdir()
    run_dir.write_json("summary.json", {"outcome": "diverged"})
    assert "goes on from its latest checkpoint" in choose_start(run_dir, ["optimizer.lr"])
