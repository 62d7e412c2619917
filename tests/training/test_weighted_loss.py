"""Losses in which examples count by weights that a configuration names: rows, evaluations, and what is refused."""

from __future__ import annotations

import pytest
import torch
from sklearn import metrics

from optrun.experiments import Dataset
from optrun.experiments.config import ConfigError
from optrun.experiments.training.build import build

GENERATOR = torch.Generator().manual_seed(0)
INPUTS, WEIGHTS = torch.randn(60, 4, generator=GENERATOR), torch.rand(60, generator=GENERATOR)
TARGETS = torch.arange(60) % 3


def in_memory():
    return Dataset(INPUTS, TARGETS, "classes", 3, weights={"w": WEIGHTS, "few": (torch.arange(60) == 7).float()})


class Dicts(torch.utils.data.Dataset):
    num_classes, targets, task = 3, TARGETS, "classes"

    def __len__(self):
        return 60

    def __getitem__(self, number):
        return {"input": INPUTS[number], "labels": TARGETS[number], "w": WEIGHTS[number]}


def experiment(data=in_memory, weights="w", augment=(), **more):
    settings = {
        "data": {"name": data, "batch_size": 16, "augment": list(augment)},
        "model": {"name": torch.nn.Linear, "in_features": 4, "out_features": 3},
        "loss": {"name": "cross_entropy", "weights": weights, "class_weights": [1, 2, 0.5]},
        "metrics": ["accuracy"],
        "optimizer": "sgd",
        "train": {"epochs": 1},
    }
    return build({**settings, **more})


@pytest.mark.parametrize("data", [in_memory, Dicts])
def test_an_evaluation_is_that_of_scikit_learn_with_sample_weight(data):
    made = experiment(data)
    measured, rows = made.evaluators["val"](), made.splits.val.positions
    with torch.no_grad():
        outputs = made.train_op.model(INPUTS[rows])
    weights = WEIGHTS[rows] * torch.tensor([1, 2, 0.5])[TARGETS[rows]]
    expected = metrics.log_loss(TARGETS[rows], outputs.double().softmax(1), sample_weight=weights)
    assert measured["val/loss"] == pytest.approx(expected, rel=1e-5)
    assert measured["val/accuracy"] == pytest.approx((outputs.argmax(1) == TARGETS[rows]).double().mean().item())


def test_the_steps_are_the_same_from_memory_and_from_a_part_of_the_batch_and_in_micro_batches():
    weights = []
    for data, train in [(in_memory, {}), (Dicts, {}), (in_memory, {"accumulate": 4})]:
        op = experiment(data, train={"epochs": 1, **train}).train_op
        for _ in range(3):
            op.run()
        weights.append(op.model.weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert torch.allclose(weights[0], weights[2], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("settings", "key", "words"),
    [
        ({"weights": "v"}, "loss.weights", "no weights called 'v'"),
        ({"weights": 2}, "loss.weights", "no weights called '2'"),
        ({"data": Dicts, "weights": "v"}, "loss.weights", "no 'v' for the weights"),
        ({"weights": "few"}, "loss.weights", "of all 12 examples of .* are 0"),
        ({"loss": {"name": "output", "weights": "w"}}, "loss.weights", "loss of each example"),
        ({"weights": [1]}, "loss.weights", "expected"),
        ({"weights": -0.5}, "loss.weights", "expected"),
    ],
)
def test_what_cannot_weigh_is_refused_at_its_key(settings, key, words):
    with pytest.raises(ConfigError, match=words) as caught:
        experiment(**settings)
    assert caught.value.problems[0].key == key


def test_examples_that_count_by_weights_are_not_mixed():
    with pytest.raises(ConfigError, match="cannot be mixed"):
        experiment(augment=["mixup"])
