"""Moving averages of the weights in compiled steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from optrun.experiments.components.updates.ema import Ema
from optrun.experiments.training.step.compiled.averages import average_cells, is_settled
from optrun.experiments.training.step.compiled.blocks import CompiledBlocks
from optrun.experiments.training.step.compiled.cannot import CannotCompile
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
