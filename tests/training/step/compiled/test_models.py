"""Compiled steps of networks with convolutions, batch norm, attention; in float32, float64 and bfloat16."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from optrun.experiments import Batches, make_model
from optrun.experiments.components.losses import make_loss
from optrun.experiments.training.step.compiled.blocks import CompiledBlocks
from optrun.experiments.training.step.train_op import TrainOp

from .work import RATE, assert_same_bits, assert_update_is, batches, state_of, take, train_op

MODELS = ["convnet", "resnet", "gpt"]


def op_of(name: str, optimizer: str = "mom", **options) -> TrainOp:
    """Return a train op of a small network, with odd numbers of examples, channels and tokens."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    if name == "gpt":
        tokens = torch.randint(0, 11, (21, 8), generator=generator)
        model = make_model(
            "gpt", input_shape=(7,), num_outputs=11, width=12, depth=2, heads=2, **options.pop("args", {})
        )
        data = Batches(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), batch_size=7)
        return train_op(optimizer, model, data, loss=make_loss("next_token"), **options)
    inputs = torch.randn(21, 3, 9, 9, generator=generator)
    more = {"depth": 8, "width": 5} if name == "resnet" else {"channels": (4, 6)}
    model = make_model(name, input_shape=(3, 9, 9), num_outputs=3, **more, **options.pop("args", {}))
    data = Batches(inputs, torch.randint(0, 3, (21,), generator=generator), batch_size=7)
    return train_op(optimizer, model, data, **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_no_bit_depends_on_the_lengths_of_blocks(name):
    whole, parts, mixed = op_of(name), op_of(name), op_of(name)
    losses = take(whole, [16])
    assert take(parts, [1] * 16) == losses
    assert take(mixed, [4, 1, 3, 8]) == losses
    assert_same_bits(state_of(whole), state_of(parts))
    assert_same_bits(state_of(whole), state_of(mixed))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("optimizer", ["mom", "adamw"])
def test_a_step_is_the_eager_one(name, optimizer):
    eager, compiled = op_of(name, optimizer), op_of(name, optimizer)
    for _ in range(3):
        eager.run({"lr": RATE})
    compiled.load_state_dict(eager.state_dict())
    before = state_of(eager)
    eager.run({"lr": RATE})
    losses, _ = CompiledBlocks(compiled).run(*batches(compiled, 3, 1), torch.full((1, 1), RATE))
    assert losses.item() == pytest.approx(eager.last_loss.item(), rel=1e-5)
    wanted, found = state_of(eager), state_of(compiled)
    gradients = {name: weight.grad for name, weight in eager.trained.named_parameters()}
    largest = max(gradient.abs().max() for gradient in gradients.values())
    for name, gradient in gradients.items():  # Adam makes whole steps of what is noise, as the bias of keys has it
        found[name] = torch.where(gradient.abs() > 1e-6 * largest, found[name], wanted[name])
    assert_update_is(before, wanted, found, rtol=1e-4 if optimizer == "adamw" else 1e-5)


@pytest.mark.slow
def test_a_skipped_batch_leaves_running_statistics_alone():
    poisoned, good = op_of("resnet"), op_of("resnet")
    inputs, targets = batches(poisoned, 0, 3)
    inputs[1, 0, 0, 0, 0] = float("nan")
    rates = torch.full((3, 1), RATE)
    _, flags = CompiledBlocks(poisoned).run(inputs, targets, rates)
    assert flags.tolist() == [True, False, False]
    CompiledBlocks(good).run(inputs[:1], targets[:1], rates[:1])
    assert_same_bits(state_of(poisoned), state_of(good))
    assert {int(n) for name, n in state_of(good).items() if name.endswith("num_batches_tracked")} == {1}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_is_that_of_eager_steps_within_its_precision(name):
    eager, compiled = op_of(name, precision="bf16"), op_of(name, precision="bf16")
    before = state_of(eager)
    eager.run({"lr": RATE})
    losses, _ = CompiledBlocks(compiled).run(*batches(compiled, 0, 1), torch.full((1, 1), RATE))
    assert losses.item() == pytest.approx(eager.last_loss.item(), rel=0.01)
    wanted, found = state_of(eager), state_of(compiled)
    for name, tensor in wanted.items():
        if name in before and tensor.is_floating_point():
            moved, ours = tensor - before[name], found[name] - before[name]
            assert (ours - moved).norm() <= 0.05 * moved.norm() + 1e-6


@pytest.mark.slow
def test_a_model_in_double_precision():
    def made():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
        generator = torch.Generator().manual_seed(1)
        inputs = torch.randn(16, 4, generator=generator, dtype=torch.float64)
        return train_op("adam", model, Batches(inputs, torch.randint(0, 3, (16,), generator=generator), batch_size=8))

    eager, compiled = made(), made()
    before = state_of(eager)
    eager.run({"lr": RATE})
    CompiledBlocks(compiled).run(*batches(compiled, 0, 1), torch.full((1, 1), RATE, dtype=torch.float64))
    assert_update_is(before, state_of(eager), state_of(compiled), rtol=1e-10)


@pytest.mark.slow
def test_layers_that_are_frozen_and_freed_and_another_mode_are_captured_anew():
    op = op_of("resnet")
    blocks = CompiledBlocks(op)
    weights = [p for p in op.model.parameters() if p.dim() == 4]
    weights[0].requires_grad_(False)
    frozen = weights[0].clone()
    blocks.run(*batches(op, 0, 2), torch.full((2, 1), RATE))
    assert torch.equal(weights[0], frozen)
    weights[0].requires_grad_(True)
    blocks.begin()
    blocks.run(*batches(op, 2, 1), torch.full((1, 1), RATE))
    assert not torch.equal(weights[0], frozen)
    op.model.eval()
    blocks.begin()
    kept = {name: buffer.clone() for name, buffer in op.model.named_buffers()}
    blocks.run(*batches(op, 0, 1), torch.full((1, 1), RATE))
    assert_same_bits(dict(op.model.named_buffers()), kept)
