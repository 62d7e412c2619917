"""The L2 penalty as a part of the loss: beside coupled weight decay, whose gradient it has."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from optrun.experiments import build_train_op, make_optimizer, train
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import SessionError, UsageError

from ...helpers import linear_problem

BATCHES = [tuple(part[i : i + 8] for part in linear_problem()) for i in range(0, 64, 8)]


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)).double()


def weights_after(accumulate: int = 1, decay=0.0, l2=None) -> tuple[list[torch.Tensor], list[float]]:
    model = net()
    batches = [(x.double(), y.double()) for x, y in BATCHES]
    optimizer = make_optimizer(model, "mom", lr=0.05, weight_decay=decay)
    train_op = build_train_op(model, nn.functional.mse_loss, optimizer, batches, l2=l2, accumulate=accumulate)
    losses = []
    for _ in batches:
        train_op.run()
        losses.append(train_op.fetch(["loss"])["loss"])
    return [parameter.detach() for parameter in model.parameters()], losses


@pytest.mark.parametrize("selection", [{}, {"include": ["linear"], "exclude": ["bias"]}], ids=["all", "some"])
def test_it_moves_the_weights_as_coupled_weight_decay_does(selection) -> None:
    rule = {"rate": 0.1, **selection} if selection else 0.1
    with_decay, _ = weights_after(decay=rule)
    with_penalty, _ = weights_after(l2=rule)
    for one, other in zip(with_decay, with_penalty, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


def test_it_is_part_of_the_loss() -> None:
    squares = sum(float((p.detach() ** 2).sum()) for p in net().parameters())
    (_, plain), (_, penalised) = weights_after(), weights_after(l2=0.1)
    assert penalised[0] - plain[0] == pytest.approx(0.1 * squares / 2, rel=1e-12)


def test_accumulation_counts_it_once() -> None:
    model = nn.Linear(4, 1).double()
    batch = BATCHES[0][0].double(), BATCHES[0][1].double()
    losses = []
    for accumulate in (1, 4):
        optimizer = make_optimizer(model, "sgd", lr=1e-12)
        train_op = build_train_op(model, nn.functional.mse_loss, optimizer, [batch], l2=0.3, accumulate=accumulate)
        train_op.run()
        losses.append(train_op.fetch(["loss"])["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def test_what_cannot_work_is_refused() -> None:
    model = nn.Linear(4, 1)
    optimizer = make_optimizer(model, "sgd")
    for wrong, error, phrase in (
        (-1.0, SessionError, "l2 must be greater than 0"),
        ({"rate": 0.0}, SessionError, "l2 must be greater than 0"),
        ({"rate": 0.1, "include": ["wieght"]}, UsageError, r"l2\.include 'wieght' matches none"),
        ({"rate": 0.1, "exclude": ["*"]}, UsageError, "leave no parameter"),
    ):
        with pytest.raises(error, match=phrase):
            build_train_op(model, nn.functional.mse_loss, optimizer, BATCHES, l2=wrong)


def test_a_configuration_names_it() -> None:
    small = {"data": {"name": "digits", "subset": 64}, "model": "logistic", "optimizer": "sgd", "loss": "cross_entropy"}
    run = train(
        {**small, "train": {"steps": 2, "l2": {"rate": 0.01, "include": ["linear"]}}, "log": {"every": "1 step"}}
    )
    assert run.config["train"]["l2"] == {"rate": 0.01, "include": ["linear"]}
    with pytest.raises(ConfigError, match=r"train\.l2"):
        train({**small, "train": {"steps": 2, "l2": {"rate": 0.01, "include": ["lin"]}}})
    with pytest.raises(ConfigError, match=r"train\.l2\.rate"):
        train({**small, "train": {"steps": 2, "l2": {"rate": -1}}})
