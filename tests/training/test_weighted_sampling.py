"""Examples drawn by weights that a configuration names: one order wherever the weights stand, and resumed exactly."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, WeightedRandomSampler

from optrun.experiments import Dataset
from optrun.experiments.config import ConfigError
from optrun.experiments.training.build import build

GENERATOR = torch.Generator().manual_seed(0)
INPUTS, WEIGHTS = torch.randn(40, 4, generator=GENERATOR), torch.rand(40, generator=GENERATOR)
TARGETS = torch.arange(40) % 3


def in_memory():
    about = {"class_names": ("a", "b", "c"), "weights": {"w": WEIGHTS}}
    return Dataset(INPUTS, TARGETS, "classes", 3, **about)


class Attributed(torch.utils.data.Dataset):
    classes, w, targets = ("a", "b", "c"), WEIGHTS.numpy(), TARGETS

    def __len__(self):
        return 40

    def __getitem__(self, number):
        return INPUTS[number], TARGETS[number]


def loader():
    sampler = WeightedRandomSampler(WEIGHTS.tolist(), 40)
    return DataLoader(Attributed(), batch_size=8, sampler=sampler)


def experiment(data, **more):
    section = {"name": data, "batch_size": 8, "val": 0, "test": 0, **more}
    settings = {"model": "logistic", "loss": "cross_entropy", "optimizer": "sgd", "train": {"epochs": 2}, "seed": 3}
    return build({"data": section, **settings})


def test_the_same_weights_draw_the_same_examples_wherever_they_stand():
    expected = experiment(loader).train_op.data
    for data in (in_memory, Attributed):
        found = experiment(data, sampling={"weights": "w"}).train_op.data
        for epoch in (0, 1):
            assert torch.equal(found.order(epoch), expected.order(epoch))
        assert torch.equal(found.batch(7).inputs, expected.batch(7).inputs)


def test_classes_weigh_by_name_and_by_number():
    named = experiment(in_memory, sampling={"class_weights": {"a": 0, "c": 3, "b": 1}}).train_op.data
    numbered = experiment(Attributed, sampling={"class_weights": [0, 1, 3]}).train_op.data
    drawn = torch.cat([named.order(epoch) for epoch in range(50)])
    assert torch.equal(drawn, torch.cat([numbered.order(epoch) for epoch in range(50)]))
    counts = TARGETS[drawn].bincount(minlength=3)
    members = TARGETS.bincount(minlength=3)
    share = 3 * members[2] / (members[1] + 3 * members[2])
    assert counts[0] == 0
    assert abs(counts[2] / len(drawn) - share) < 5 * (share * (1 - share) / len(drawn)).sqrt()


@pytest.mark.parametrize(
    ("data", "sampling", "key", "words"),
    [
        (in_memory, {"weights": "v"}, "data.sampling.weights", "no weights called 'v'"),
        ("iris", {"weights": "w"}, "data.sampling.weights", "comes without weights"),
        (Attributed, {"weights": "v"}, "data.sampling.weights", "as an attribute of this name"),
        (in_memory, {"class_weights": {"a": 1}}, "data.sampling.class_weights", "'b' has no weight"),
        (in_memory, {"class_weights": [0, 0, 0]}, "data.sampling", "none of the training examples"),
        (in_memory, {"class_weights": [1, 1, -1]}, "data.sampling.class_weights.2", "a number >= 0"),
        (in_memory, {"class_weights": {"a": "much"}}, "data.sampling.class_weights.a", "a number >= 0"),
        (in_memory, {"class_weights": [1, 1, 1], "weights": "w"}, "data.sampling", "one of"),
        (in_memory, {}, "data.sampling", "one of"),
        ("diabetes", {"class_weights": [1, 1]}, "data.sampling", "class"),
    ],
)
def test_what_cannot_be_drawn_by_is_refused_at_its_key(data, sampling, key, words):
    with pytest.raises(ConfigError, match=words) as caught:
        experiment(data, sampling=sampling)
    (problem,) = caught.value.problems
    assert problem.key == key


def test_any_batch_can_be_asked_for_first():
    """What a resumed run needs: batch n is the same, whatever was drawn before it, and of a subset."""
    settings = {"sampling": {"weights": "w"}, "subset": 30}
    first, other = (experiment(in_memory, **settings).train_op.data for _ in range(2))
    batches = [first.batch(position) for position in range(8)]
    for position in (7, 3, 5, 0):
        assert torch.equal(other.batch(position).inputs, batches[position].inputs)
    assert (torch.cat([first.order(epoch) for epoch in range(9)]) < 30).all()


def test_class_weights_of_a_loss_go_by_name():
    settings = {"model": "logistic", "optimizer": "sgd", "train": {"steps": 1}, "data": in_memory}
    made = build({**settings, "loss": {"name": "cross_entropy", "class_weights": {"c": 5, "a": 1, "b": 0}}})
    outputs, targets = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    expected = torch.nn.functional.cross_entropy(outputs, targets, torch.tensor([1.0, 0.0, 5.0]))
    assert torch.equal(made.train_op.loss(outputs, targets), expected)
    with pytest.raises(ConfigError, match="'d' is no class") as caught:
        build({**settings, "loss": {"name": "cross_entropy", "class_weights": {"d": 5, "a": 1, "b": 0, "c": 1}}})
    assert caught.value.problems[0].key == "loss.class_weights"
