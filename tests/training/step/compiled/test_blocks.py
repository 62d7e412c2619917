"""Compiled steps against eager ones, and against themselves in blocks of other lengths."""

from __future__ import annotations

import os

import pytest
import torch
import torch._dynamo.config
import torch._inductor.config
from torch import nn

from optrun.experiments import Update
from optrun.experiments.components.optimizers import registry
from optrun.experiments.training.step.compiled.blocks import CompiledBlocks
from optrun.experiments.training.step.compiled.cannot import CannotCompile
from optrun.experiments.training.step.compiled.reasons import why_eager

from .work import RATE, assert_same_bits, assert_update_is, batches, classification, small_mlp, state_of, take, train_op

NAMES = [name for name in registry.names() if "/" not in name]
FLAVORS = [(name, flavor) for name in NAMES for flavor in (registry.get(name).variants or [""])]
EAGER = {"lbfgs", "sam", "sparse_adam", "muon"}
COMPILED = [(name, flavor) for name, flavor in FLAVORS if name not in EAGER]
UNDECAYED = {"mom", "rprop"}
PENALISED = {"ftrl", "adagrad_da", "proximal_gradient_descent", "proximal_adagrad"}


def from_a_common_state(make, num_before=3):
    """Return two train ops in the same state, after a few eager steps, and the number of their next batch."""
    one, other = make(), make()
    for _ in range(num_before):
        one.run({"lr": RATE})
    other.load_state_dict(one.state_dict())
    return one, other


def assert_one_step_is_eager(make, num_before=3):
    """Compare losses and updates of one step, eager and compiled, from a common state."""
    eager, compiled = from_a_common_state(make, num_before)
    before = state_of(eager)
    assert why_eager(compiled) is None
    eager.run({"lr": RATE})
    rates = torch.tensor([[RATE * group["lr_scale"] for group in compiled.optimizer.param_groups]], dtype=torch.float64)
    losses, good = CompiledBlocks(compiled).run(*batches(compiled, num_before, 1), rates)
    assert good.tolist() == [True]
    assert losses.item() == pytest.approx(eager.last_loss.item(), rel=1e-5)
    assert_update_is(before, state_of(eager), state_of(compiled))
    return eager, compiled


def test_a_step_is_the_eager_one():
    eager, _ = assert_one_step_is_eager(train_op)
    assert eager.optimizer.state  # which the comparison has looked at
    assert_one_step_is_eager(train_op, num_before=0)  # state that begins there


def test_no_bit_depends_on_the_lengths_of_blocks():
    """Nor on how many steps a graph has: one alone, or eight in a row."""
    whole, parts, mixed = train_op(), train_op(), train_op()
    losses = take(whole, [19])
    assert take(parts, [1] * 19) == losses
    assert take(mixed, [3, 1, 8, 7]) == losses
    assert_same_bits(state_of(whole), state_of(parts))
    assert_same_bits(state_of(whole), state_of(mixed))
    assert len(set(losses)) == 19  # rates and batches of each step were its own


@pytest.mark.parametrize(("bad", "value"), [(0, "nan"), (1, "inf"), (2, "nan"), (3, "nan"), (2, "1e9")])
def test_after_a_bad_step_nothing_moves(bad, value):
    poisoned, good = train_op(), train_op()
    inputs, targets = batches(poisoned, 0, 4)
    inputs[bad, :, 1] = float(value)  # the last is finite, and leads to a loss above its bound
    rates = torch.full((4, 1), RATE)
    losses, flags = CompiledBlocks(poisoned).run(inputs, targets, rates)
    assert flags.tolist() == [step < bad for step in range(4)]
    assert not losses[bad] <= 1e6
    if bad:
        wanted, _ = CompiledBlocks(good).run(inputs[:bad], targets[:bad], rates[:bad])
        assert torch.equal(wanted, losses[:bad])
    assert_same_bits(state_of(poisoned), state_of(good))


def test_a_run_goes_on_from_a_checkpoint_bit_for_bit_and_eagerly():
    whole, first, second = train_op(), train_op(), train_op()
    take(whole, [6])
    take(first, [2])
    second.load_state_dict(first.state_dict())
    scale = torch.tensor([[RATE / (1 + step)] for step in range(2, 6)], dtype=torch.float64)
    CompiledBlocks(second).run(*batches(second, 2, 4), scale)
    assert_same_bits(state_of(whole), state_of(second))
    weight = next(second.model.parameters())
    second.run({"lr": RATE})
    assert not torch.equal(weight, next(whole.model.parameters()))


def test_torchs_own_compiler_is_left_as_it_was():
    op = train_op()
    inputs, targets = batches(op, 0, 1)
    before = (torch._inductor.config.save_config_portable(), torch._dynamo.config.save_config_portable())
    folder, generator = os.environ.get("TORCHINDUCTOR_CACHE_DIR"), torch.get_rng_state()
    CompiledBlocks(op).run(inputs, targets, torch.full((1, 1), RATE))
    assert (torch._inductor.config.save_config_portable(), torch._dynamo.config.save_config_portable()) == before
    assert os.environ.get("TORCHINDUCTOR_CACHE_DIR") == folder
    assert torch.equal(torch.get_rng_state(), generator)


class Counting(nn.Module):
    """A model that counts its calls in Python, where a graph sees nothing."""

    def __init__(self):
        super().__init__()
        self.layer, self.calls = nn.Linear(4, 3), 0

    def forward(self, inputs):
        self.calls += 1
        return self.layer(inputs)


class Peeking(nn.Module):
    """A model that looks at a value."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, inputs):
        outputs = self.layer(inputs)
        return outputs * 2 if outputs.sum().item() > 0 else outputs


class Noisy(nn.Module):
    """A model that draws from what it computes."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, inputs):
        outputs = self.layer(inputs)
        return outputs * torch.bernoulli(outputs.detach().sigmoid())


class Dropping(nn.Module):
    """A model with two kinds of dropout and noise that is added."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 9), nn.Linear(9, 3)

    def forward(self, inputs):
        hidden = nn.functional.dropout1d(self.first(inputs + 0.1 * torch.randn_like(inputs))[:, None], 0.4)[:, 0]
        return self.second(nn.functional.dropout(hidden, 0.3)) + torch.rand(3)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Noisy, "draw random numbers"),
        (Counting, "torch cannot compile model and loss"),
        (Peeking, "torch cannot compile model and loss"),
    ],
)
def test_what_a_graph_does_not_hold_is_refused_and_nothing_has_moved(model, reason):
    torch.manual_seed(0)
    op = train_op(model=model())
    before = state_of(op)
    with pytest.raises(CannotCompile, match=reason) as found:
        take(op, [2])
    assert "\n" not in str(found.value)
    assert_same_bits(state_of(op), before)


@pytest.mark.parametrize(("name", "flavor"), FLAVORS)
def test_each_optimizer_is_compiled_or_says_why_not(name, flavor):
    op = train_op(name, **({"optimizer_flavor": flavor} if flavor else {}))
    reason = why_eager(op)
    assert (reason is None) == (name not in EAGER)
    if reason is not None:
        assert type(op.optimizer).__name__ in reason


def test_reasons_of_the_step():
    assert "micro-batches" in str(why_eager(train_op(accumulate=2)))
    assert why_eager(train_op(updates=["ema"])) is None
    normalised = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    assert why_eager(train_op(model=normalised, updates=["ema", "batch_norm"])) is None

    class Other(Update):
        """One that nothing is known of."""

    assert "Other has no compiled form" in str(why_eager(train_op(updates=[Other()])))
    op = train_op()
    next(op.model.parameters()).register_hook(lambda gradient: gradient * 2)
    assert "hooks on its gradient" in str(why_eager(op))
    op = train_op()
    op.model.register_full_backward_hook(lambda *args: None)
    assert "backward hooks" in str(why_eager(op))
    op = train_op()
    op.optimizer.register_step_post_hook(lambda *args: None)
    assert "hooks of its own" in str(why_eager(op))


def test_reasons_of_the_machine(monkeypatch, tmp_path):
    assert why_eager(train_op()) is None
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    shared.chmod(0o777)
    with monkeypatch.context() as patch:
        patch.setenv("OPTRUN_COMPILED_DIR", str(shared))
        assert f"chmod 700 {shared}" in str(why_eager(train_op()))
        patch.setenv("OPTRUN_COMPILED_DIR", str(tmp_path / "new"))
        assert why_eager(train_op()) is None
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        assert "C++ compiler" in str(why_eager(train_op()))
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")
    assert "switched off" in str(why_eager(train_op()))


def test_shapes_that_never_end_changing_are_refused():
    op = train_op()
    blocks = CompiledBlocks(op)
    blocks._num_compiled = 16  # as many as there may be
    inputs, targets = classification()
    with pytest.raises(CannotCompile, match="changed 16 times"):
        blocks.run(inputs[None], targets[None], torch.full((1, 1), RATE))


def dropping() -> nn.Module:
    torch.manual_seed(0)
    return Dropping()


@pytest.mark.sample
def test_noise_is_that_of_eager_steps_in_blocks_of_any_length():
    whole, parts, eager = (train_op(model=dropping()) for _ in range(3))
    losses = take(whole, [4])
    assert take(parts, [1, 3]) == losses
    assert_same_bits(state_of(whole), state_of(parts))
    for step in range(4):
        eager.run({"lr": RATE / (1 + step)})
        assert losses[step] == pytest.approx(eager.last_loss.item(), rel=1e-4)  # another mask is another loss by far


@pytest.mark.slow
@pytest.mark.parametrize(("name", "flavor"), COMPILED)
def test_every_compiled_rule_is_the_eager_one(name, flavor):
    settings = {"optimizer_flavor": flavor} if flavor else {}
    penalties = {} if name in UNDECAYED else {"optimizer_weight_decay": 0.1}
    penalties = {"optimizer_l1": 0.01, "optimizer_l2": 0.1} if name in PENALISED else penalties
    assert_one_step_is_eager(lambda: train_op(name, **settings, **penalties))
    assert_one_step_is_eager(lambda: train_op(name, **settings), num_before=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"clip_norm": 0.1},
        {"clip_value": 0.01},
        {"l2": 0.1},
        {"l2": {"rate": 0.1, "exclude": ["bias"]}},
        {"on_nan": None},
        {"loss_above": None},
        {
            "optimizer_groups": [{"match": "0.*", "lr": 0.5}],
            "optimizer_weight_decay": {"rate": 0.1, "exclude": ["bias"]},
        },
    ],
)
def test_options_of_a_step_are_the_eager_ones(options):
    assert_one_step_is_eager(lambda: train_op(**options))


def test_the_model_of_the_tests_is_the_same_each_time():
    assert_same_bits(small_mlp().state_dict(), small_mlp().state_dict())
