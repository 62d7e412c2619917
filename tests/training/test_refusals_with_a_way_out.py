"""Refusals before the training: at the key that decides, with the value and a way out that works."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from optrun.experiments import train
from optrun.experiments.components.data.weights import weights_by_class
from optrun.experiments.components.losses.class_weights import refuse_no_weight
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import ArgumentsError

TINY = {
    "data": "iris",
    "model": "logistic",
    "loss": "cross_entropy",
    "optimizer": {"name": "sgd", "lr": 0.1},
    "train": {"steps": 2},
}


class Plain(Dataset):
    num_classes = 2
    targets = torch.arange(40) % 2

    def __len__(self):
        return 40

    def __getitem__(self, number):
        return torch.full((4,), number / 40), number % 2


class Twice(Plain):
    def __getitem__(self, number):
        inputs, target = super().__getitem__(number)
        return inputs, inputs, target


class Named(Plain):
    def __getitem__(self, number):
        inputs, target = super().__getitem__(number)
        return {"image": inputs, "other": inputs, "label": target}


class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)

    def forward(self, batch):
        return self.layer(batch)


def refused(config, overrides=()):
    """Return the only problem of a configuration."""
    with pytest.raises(ConfigError) as caught:
        train({**TINY, **config}, overrides)
    (problem,) = caught.value.problems
    return problem


# ---- data --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: DataLoader(Plain(), batch_size=None), "batch_size=None, which makes no batches of its examples"),
        (
            lambda: {"training": Plain(), "val": Plain()},
            "a part called 'training': parts are train, val, test; did you",
        ),
        (lambda: {"train": Plain(), "dev": DataLoader(Plain())}, "a part called 'dev': parts are train, val, test"),
    ],
)
def test_data_that_is_almost_right(made, said):
    problem = refused({"data": made})
    assert problem.key == "data"
    assert said in problem.message


@pytest.mark.parametrize("made", [Plain, lambda: DataLoader(Plain()), lambda: {"train": Plain(), "val": Plain()}])
def test_what_the_hints_offer_trains(made):
    assert train({**TINY, "data": made}).state == "done"


def test_an_object_is_refused_with_a_way_that_there_is():
    assert refused({"data": DataLoader(Plain())}).hint == "give a function that returns it: lambda: DataLoader(…)"
    assert refused({"data": Plain()}).hint.endswith(
        "give the class, {'name': Plain, …} with its arguments, or a function that returns one: lambda: Plain(…)"
    )


def test_classes_without_names_are_listed_by_their_numbers():
    problem = refused({"data": {"name": Plain, "sampling": {"class_weights": {"a": 1.0}}}})
    assert problem.key.startswith("data.sampling")
    assert "'a' is no class of the data: they are 0, 1" in problem.message
    with pytest.raises(ArgumentsError, match="numbers from 0 on"):
        weights_by_class({"a": 1.0}, (), None)


# ---- weights -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["iris", Plain])
def test_weights_by_which_nothing_counts(data):
    zeros = [0, 0, 0] if data == "iris" else [0, 0]
    problem = refused({"data": data, "loss": {"name": "cross_entropy", "class_weights": zeros}})
    assert problem.key == "loss.class_weights"
    assert "class_weights are all 0" in problem.message


def test_weights_of_classes_that_do_not_occur():
    targets = torch.tensor([[0, 1], [1, -100]])
    refuse_no_weight((0.0, 0.5, 0.0), targets)
    refuse_no_weight((0.0, 0.0, 0.5), torch.rand(2, 3))  # probabilities: each class occurs
    with pytest.raises(ArgumentsError, match=r"0 for all classes of the training targets \(0, 1\)"):
        refuse_no_weight((0.0, 0.0, 0.5), targets)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_of_a_file_that_are_no_numbers(value):
    state = {"layer.weight": torch.zeros(2, 4), "layer.bias": torch.tensor([0.0, value])}
    torch.save(state, "start.pt")
    config = {"data": Plain, "model": Line, "init": {"from": "start.pt"}}
    problem = refused(config)
    assert problem.key == "init"
    assert "layer.bias of start.pt has 1 of 2 values that are not finite" in problem.message
    again = {**config, "init": {"from": "start.pt", "fresh": ["layer.bias"]}}
    assert train({**TINY, **again}).state == "done"


# ---- the place ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("optimizer.groups=[{match: 'q.*'}]", "optimizer.groups.0.match"),
        ("optimizer.groups=[{match: ['*bias', 'q.*'], lr: 0.2}]", "optimizer.groups.0.match"),
        ("optimizer.groups=[{match: '*'}, {match: '*bias'}]", "optimizer.groups.1.match"),
        ("optimizer.weight_decay={rate: 0.1, include: ['q.*']}", "optimizer.weight_decay.include"),
        ("optimizer.weight_decay={rate: 0.1, exclude: ['q.*']}", "optimizer.weight_decay.exclude"),
        ("train.l2={rate: 0.1, include: ['q.*']}", "train.l2"),
        ("train.freeze=['q.*']", "train.freeze"),
    ],
)
def test_a_selector_that_selects_nothing_is_told_where_it_was_written(override, key):
    Path("mine.yaml").write_text(
        "data: iris\nmodel: logistic\nloss: cross_entropy\noptimizer: {name: sgd, lr: 0.1}\ntrain: {steps: 2}\n"
    )
    with pytest.raises(ConfigError) as caught:
        train("mine.yaml", [override])
    (problem,) = caught.value.problems
    assert (problem.origin.kind, problem.key) == ("override", key)


# ---- the call of the model ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "said", "chosen"),
    [
        (Twice, "The model was called with a tuple of 2 tensors as one", 0),
        (Named, "The model was called with a dict with 'image', 'other' as one", "image"),
    ],
)
def test_a_model_that_takes_one_of_several_inputs(data, said, chosen):
    problem = refused({"data": data, "model": Line})
    assert problem.key == "model"
    assert "TypeError: linear(): argument 'input'" in problem.message
    assert said in problem.message
    assert "data.inputs_from" in problem.message
    assert train({**TINY, "data": {"name": data, "inputs_from": chosen}, "model": Line}).state == "done"
