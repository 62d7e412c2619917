"""What the tests of compiled steps train."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from optrun.experiments import Batches, build_train_op, make_optimizer
from optrun.experiments.training.step.compiled.blocks import CompiledBlocks
from optrun.experiments.training.step.train_op import TrainOp

RATE = 0.05


def classification(num_examples: int = 64) -> tuple[Tensor, Tensor]:
    """Return inputs (num_examples, 4) and classes (num_examples,), three of them."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(num_examples, 4, generator=generator)
    return inputs, torch.randint(0, 3, (num_examples,), generator=generator)


def small_mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def train_op(optimizer: str = "mom", model: nn.Module | None = None, data: Any = None, **options: Any) -> TrainOp:
    """Return a train op, by default of an MLP 4-8-3 with momentum, in batches of 8, with a bound on its loss."""
    model = small_mlp() if model is None else model
    settings = {key.removeprefix("optimizer_"): options.pop(key) for key in [*options] if key.startswith("optimizer_")}
    made = make_optimizer(model, optimizer, **{"lr": RATE, **settings})
    data = Batches(*classification(), batch_size=8) if data is None else data
    options = {"loss_above": 1e6 if options.get("on_nan", "raise") else None, **options}
    loss = options.pop("loss", nn.functional.cross_entropy)
    return build_train_op(model, loss, made, data, **options)


def batches(op: TrainOp, first: int, count: int) -> tuple[Tensor, Tensor]:
    """Return batches as one: inputs (count, examples, ...) and targets (count, examples)."""
    found = [op.data.batch(first + place) for place in range(count)]
    return torch.stack([inputs for inputs, _ in found]), torch.stack([targets for _, targets in found])


def take(op: TrainOp, lengths: list[int], rate: float = RATE, blocks: CompiledBlocks | None = None) -> list[float]:
    """Take blocks of these lengths from the first batch on, at rates that change; return the losses."""
    blocks = blocks or CompiledBlocks(op)
    first, losses = 0, []
    for count in lengths:
        scales = [group["lr_scale"] for group in op.optimizer.param_groups]
        rates = [[rate * scale / (1 + step) for scale in scales] for step in range(first, first + count)]
        found, good = blocks.run(*batches(op, first, count), torch.tensor(rates, dtype=torch.float64))
        assert good.all()
        op.batch += count
        losses += found.tolist()
        first += count
    return losses


def state_of(op: TrainOp) -> dict[str, Tensor]:
    """Return copies of all that steps move: weights, buffers, the optimizer's state."""
    found = dict(op.trained.state_dict())
    for name, state in op.optimizer_state.state_dict()["state"].items():
        found |= {f"{name}/{key}": torch.as_tensor(value) for key, value in state.items()}
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def assert_same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different


def assert_update_is(
    before: dict[str, Tensor], wanted: dict[str, Tensor], found: dict[str, Tensor], rtol: float = 1e-5
) -> None:
    """Compare what a step has moved, where that is above the noise of its tensor; state that began counts as moved."""
    assert wanted.keys() == found.keys()
    for name, tensor in wanted.items():
        ours = found[name]
        assert (tensor.dtype, tensor.shape, tensor.stride()) == (ours.dtype, ours.shape, ours.stride()), name
        start = before.get(name, torch.zeros_like(tensor))
        moved, moved_here = (tensor - start).double(), (ours - start).double()
        noise = 2 * torch.finfo(tensor.dtype).eps * start.abs().max().item() if tensor.is_floating_point() else 0.0
        largest = moved.abs().max().item()
        torch.testing.assert_close(
            moved_here, moved, rtol=rtol, atol=rtol * largest + noise, msg=lambda m, n=name: f"{n}: {m}"
        )
