"""Averages of the weights, and statistics of batch norm, in compiled steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from optrun.experiments.components.updates.batch_norm import BatchNormUpdate, batch_norm, tf_batch_norm
from optrun.experiments.components.updates.ema import Ema
from optrun.experiments.training.step.compiled.blocks import CompiledBlocks
from optrun.experiments.training.step.compiled.cannot import CannotCompile
from optrun.experiments.training.step.compiled.updates import average_cells, is_settled
from optrun.experiments.training.step.train_op import TrainOp

from .work import RATE, assert_same_bits, batches, small_mlp, take, train_op

ALMOST_ALL = {"decay": 0.9, "num_updates": True}


def averaged(**options: Any) -> TrainOp:
    model = small_mlp()
    return train_op(model=model, updates=[Ema(model, **ALMOST_ALL)], **options)


def ema_of(op: TrainOp) -> Ema:
    (update,) = op.updates
    assert isinstance(update, Ema)
    return update


@pytest.mark.parametrize("num_updates", [False, True])
def test_the_arithmetic_of_an_average_is_that_of_the_update(num_updates):
    models = [small_mlp().double() for _ in range(2)]
    eager, ruled = (Ema(model, decay=0.3, num_updates=num_updates) for model in models)
    (cell,) = average_cells([ruled], list(models[1].parameters()))
    for step in range(4):
        cell.count()
        (share,) = cell.numbers([RATE])[0]
        with torch.no_grad():
            for weights in zip(*(model.parameters() for model in models), strict=True):
                for weight in weights:
                    weight.mul_(1.5 + step)
            eager.apply()
            for weight, state in zip(cell.weights, cell.states, strict=True):
                kept, found = cell.rule.update(cell.group, [torch.tensor(share)], weight, weight, state)
                assert kept is weight
                state["shadow"].copy_(found["shadow"])
        cell.end(torch.optim.SGD(cell.weights), [RATE])
        assert ruled.count == eager.count
        for name, shadow in eager.shadows.items():
            torch.testing.assert_close(ruled.shadows[name], shadow, rtol=1e-6, atol=0)


def test_the_step_that_takes_in_a_freed_weight_is_another_one():
    """Its average begins at what the optimizer has made of it, which no later one does."""
    model = small_mlp()
    layer = model[0].requires_grad_(False)
    ema = Ema(model, decay=0.9)
    assert is_settled(ema)
    layer.requires_grad_(True)
    assert not is_settled(ema)
    ema.apply()
    assert is_settled(ema)


def test_an_average_of_what_the_loss_does_not_know_is_refused():
    model = small_mlp()
    with pytest.raises(CannotCompile, match="is averaged"):
        average_cells([Ema(model)], list(model.parameters())[1:])


@pytest.mark.slow
def test_averages_are_those_of_eager_steps_in_blocks_of_any_length_and_stay_where_a_step_is_bad():
    whole, parts, eager = averaged(), averaged(), averaged()
    take(whole, [11])
    take(parts, [1, 2, 8])
    for step in range(11):
        eager.run({"lr": RATE / (1 + step)})
    assert_same_bits(ema_of(whole).shadows, ema_of(parts).shadows)
    assert [ema_of(op).count for op in (whole, parts, eager)] == [11] * 3
    for name, shadow in ema_of(eager).shadows.items():
        torch.testing.assert_close(ema_of(whole).shadows[name], shadow, rtol=1e-4, atol=1e-6)
        assert not torch.equal(shadow, dict(eager.model.named_parameters())[name])
    before = {name: shadow.clone() for name, shadow in ema_of(whole).shadows.items()}
    inputs, targets = batches(whole, 0, 2)
    inputs[0, 0, 0] = float("nan")
    _, good = CompiledBlocks(whole).run(inputs, targets, torch.full((2, 1), RATE))
    assert good.tolist() == [False, False]
    assert_same_bits(ema_of(whole).shadows, before)
    assert ema_of(whole).count == 11


NORMS: dict[str, dict[str, Any]] = {
    "batch_norm": {},
    "batch_norm, biased": {"variance": "biased", "decay": 0.5},
    "tf_batch_norm": {},
    "tf_batch_norm, unbiased": {"variance": "unbiased", "eps": None},
    "tf_batch_norm, as it is": {"zero_debias": False},
}


class Normed(nn.Module):
    """One layer is used twice, one not at each step, unless `reaches`."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.one, self.two, self.other = nn.BatchNorm1d(6), nn.BatchNorm1d(6, affine=False), nn.BatchNorm1d(6)
        self.reaches = False

    def forward(self, inputs):
        hidden = self.one(self.first(inputs)).relu()
        hidden = self.one(self.second(hidden)).relu()
        if self.reaches:
            hidden = self.other(hidden)
        return self.last(self.two(hidden))


def normed(name: str) -> tuple[Normed, BatchNormUpdate]:
    model = Normed()
    make = tf_batch_norm if name.startswith("tf") else batch_norm
    return model, make(model, **NORMS[name])


def norm_state(model: nn.Module, update: BatchNormUpdate) -> dict[str, torch.Tensor]:
    found = {name: buffer.clone() for name, buffer in model.named_buffers()}
    found |= {f"{name}/count": torch.as_tensor(-1 if count is None else count) for name, count in update.counts.items()}
    return found | {
        f"{name}/{place}": each.clone() for name, pair in update.averages.items() for place, each in enumerate(pair)
    }


@pytest.mark.parametrize("is_trained", [False, True])
@pytest.mark.parametrize("name", NORMS)
def test_statistics_that_move_in_the_forward_pass_are_those_of_the_update(name, is_trained):
    both = [normed(name) for _ in range(2)]
    (eager, noted), (ruled, moving) = both
    for model, _ in both:
        model.double()
        if is_trained:
            model.one.running_mean.fill_(3.0)
            model.two.num_batches_tracked.fill_(5)
    moving.begin_moving()
    for step in range(6):
        inputs = torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(step)) + step
        eager.reaches = ruled.reaches = step in (2, 5)
        with torch.no_grad():
            eager(inputs)
            if step == 3:  # a step that is not compiled
                ruled(inputs)
                moving.apply()
                moving.begin_moving()
            else:
                with moving.moving():
                    ruled(inputs)
                moving.end_moving()
            noted.apply()
        wanted, found = norm_state(eager, noted), norm_state(ruled, moving)
        assert wanted.keys() == found.keys()
        for key, value in wanted.items():
            torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-9, msg=lambda m, k=key: f"{k}: {m}")
    assert not any(layer.noted != [[]] for layer in moving.layers.values())


def test_a_run_of_a_time_when_layers_had_one_count_is_not_compiled():
    _, update = normed("tf_batch_norm")
    assert is_settled(update)
    update.load_state_dict({"averages": update.averages, "count": 3})
    assert not is_settled(update)


@pytest.mark.slow
@pytest.mark.parametrize("name", NORMS)
def test_compiled_statistics_are_those_of_eager_steps(name):
    def make():
        model, update = normed(name)
        return train_op(model=model, updates=[update], on_nan="skip")

    whole, parts, eager = make(), make(), make()
    (update,) = whole.updates
    take(whole, [9])
    take(parts, [1, 8])
    for step in range(9):
        eager.run({"lr": RATE / (1 + step)})
    assert_same_bits(norm_state(whole.model, update), norm_state(parts.model, parts.updates[0]))
    wanted, found = norm_state(eager.model, eager.updates[0]), norm_state(whole.model, update)
    assert wanted["one/count" if update.zero_debias else "one.num_batches_tracked"] == 18
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")
    before = norm_state(whole.model, update)
    inputs, targets = batches(whole, 0, 2)
    inputs[0, 0, 0] = float("nan")
    _, good = CompiledBlocks(whole).run(inputs, targets, torch.full((2, 1), RATE))
    assert good.tolist() == [False, False]
    assert_same_bits(norm_state(whole.model, update), before)
