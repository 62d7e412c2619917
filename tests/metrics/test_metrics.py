"""Every registered metric; values counted by hand."""

from __future__ import annotations

import inspect
import re

import pytest
import torch

from optrun.experiments.errors import UsageError
from optrun.experiments.metrics import make_metric, registry

NAMES = registry.names()


@pytest.mark.parametrize("name", NAMES)
def test_each_is_documented_and_says_what_is_better_by_how_much(name: str) -> None:
    component = registry.get(name)
    doc = inspect.getdoc(component.build) or ""
    assert re.fullmatch(r"[A-Z][^\n]*\.", component.summary)
    described = set(re.findall(r"^    (\w+): ", doc.split("Args:\n")[1].split("\n\n")[0], re.MULTILINE))
    assert described == {"outputs", "targets", *component.signature.names()}
    assert component.source
    assert "Source: " in doc
    assert component.facts["mode"] in ("max", "min")
    assert component.facts["margin"] > 0
    assert component.facts["task"] in ("classes", "values")


@pytest.mark.parametrize("name", NAMES)
def test_each_gives_one_value_per_example_whatever_the_batch(name: str) -> None:
    outputs = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(6) % 4 if registry.get(name).facts["task"] == "classes" else outputs.flip(0)
    metric = make_metric(name)
    values = metric(outputs, targets)
    assert values.shape == (6,)
    assert values.is_floating_point()
    assert values.equal(torch.cat([metric(outputs[:2], targets[:2]), metric(outputs[2:], targets[2:])]))


def test_accuracy_counts_right_answers() -> None:
    outputs = torch.tensor([[0.1, 0.9], [0.9, 0.1], [2.0, 1.0]])
    assert make_metric("accuracy")(outputs, torch.tensor([1, 1, 0])).tolist() == [1.0, 0.0, 1.0]


def test_scores_that_are_not_numbers_are_wrong_answers() -> None:
    nan = float("nan")
    outputs = torch.tensor([[nan, nan], [nan, 1.0], [1.0, float("inf")]])
    assert make_metric("accuracy")(outputs, torch.tensor([0, 0, 1])).tolist() == [0.0, 0.0, 1.0]


def test_mse_averages_over_the_outputs_of_each_example() -> None:
    outputs, targets = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert make_metric("mse")(outputs, targets).tolist() == [2.0, 12.5]


@pytest.mark.parametrize(("ours", "theirs"), [((3, 1), (3,)), ((3,), (3, 1)), ((3, 1), (3, 1)), ((3,), (3,))])
def test_mse_never_broadcasts(ours: tuple, theirs: tuple) -> None:
    outputs, targets = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 0.0, 0.0])
    assert make_metric("mse")(outputs.reshape(ours), targets.reshape(theirs)).tolist() == [0.0, 4.0, 9.0]
    with pytest.raises(UsageError, match="do not match"):
        make_metric("mse")(torch.zeros(3, 2), torch.zeros(3))
