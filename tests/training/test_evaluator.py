"""Measuring: true means, no traces."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from optrun.experiments.components.data import PartInMemory
from optrun.experiments.training.evaluator import Evaluator

from ..helpers import linear_problem


def model_with_state():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
def test_means_are_over_examples_whatever_the_batch_size(batch_size):
    inputs, targets = linear_problem(50)
    model = model_with_state()
    absolute = {"mae": lambda outputs, targets: (outputs - targets).abs().mean(1)}
    measured = Evaluator(
        "val", model, nn.functional.mse_loss, absolute, PartInMemory(inputs, targets), batch_size=batch_size
    )()
    model.eval()
    with torch.no_grad():
        error = model(inputs) - targets
    assert measured == pytest.approx(
        {"val/loss": error.square().mean().item(), "val/mae": error.abs().mean().item()}, rel=1e-5
    )


def test_measuring_changes_neither_the_model_nor_the_random_state():
    inputs, targets = linear_problem(50)
    model = model_with_state().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    Evaluator("val", model, nn.functional.mse_loss, {}, PartInMemory(inputs, targets), batch_size=8)()
    assert model.training
    assert torch.equal(torch.get_rng_state(), random_state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_an_interruption_gives_nothing_and_leaves_the_mode_alone():
    inputs, targets = linear_problem(50)
    model = model_with_state().train()
    asked = []

    def interrupted():
        asked.append(1)
        return len(asked) > 3

    assert (
        Evaluator("val", model, nn.functional.mse_loss, {}, PartInMemory(inputs, targets), batch_size=8)(interrupted)
        is None
    )
    assert len(asked) == 4, "asked before each batch"
    assert model.training
