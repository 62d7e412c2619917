"""Splits: disjoint, complete, stratified, a function of the split seed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optrun.experiments.components.data import Dataset, Splits, make_data, registry, split
from optrun.experiments.components.data.split import stratified_order
from optrun.experiments.errors import DataError, UsageError

HERE = [name for name in registry.names() if "public" not in registry.get(name).facts]  # others are downloads
WITHOUT_ARGUMENTS = [n for n in HERE if not any(a.required for a in registry.get(n).signature.arguments)]


def classes(*sizes: int, splits: dict[str, torch.Tensor] | None = None) -> Dataset:
    targets = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    inputs = torch.arange(float(len(targets)))[:, None]
    return Dataset(inputs, targets, "classes", len(sizes), splits=splits or {})


def positions(splits: Splits) -> torch.Tensor:
    parts = [part.positions for part in (splits.train, splits.val, splits.test) if part is not None]
    return torch.cat(parts)


@pytest.mark.parametrize("name", WITHOUT_ARGUMENTS)
def test_each_data_set_splits_disjointly_and_completely(name: str) -> None:
    dataset = make_data(name)
    splits = split(dataset)
    assert positions(splits).sort().values.equal(torch.arange(len(dataset)))
    for part in (splits.train, splits.val, splits.test):
        assert part is not None
        assert part.inputs.equal(splits.dataset.inputs[part.positions])
        assert part.targets.equal(splits.dataset.targets[part.positions])
        if dataset.task == "classes":
            share = part.targets.bincount(minlength=dataset.num_outputs) / len(part)
            whole = dataset.targets.bincount(minlength=dataset.num_outputs) / len(dataset)
            assert ((share - whole).abs() * len(part)).max() <= 2, "within two examples of proportion"


def test_sizes_of_the_default_split_of_digits() -> None:
    splits = split(make_data("digits"))
    assert str(splits) == "1079 train, 359 val, 359 test"
    assert splits.sizes() == {"train": 1079, "val": 359, "test": 359}


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(0, 3), st.data())
def test_every_stretch_of_the_order_is_in_proportion(sizes: list[int], seed: int, data: Any) -> None:
    targets = classes(*sizes).targets
    order = stratified_order(targets, True, seed)
    assert order.sort().values.equal(torch.arange(len(targets)))
    start = data.draw(st.integers(0, len(targets) - 1))
    end = data.draw(st.integers(start + 1, len(targets)))
    found = targets[order[start:end]].bincount(minlength=len(sizes))
    expected = torch.tensor(sizes) * (end - start) / len(targets)
    assert (found - expected).abs().max() < 1 + len(sizes) / 2


def test_the_split_seed_decides_and_nothing_else() -> None:
    dataset = classes(30, 30)
    torch.manual_seed(1)
    first = split(dataset, split_seed=3)
    torch.manual_seed(2)
    assert positions(split(dataset, split_seed=3)).equal(positions(first))
    assert not positions(split(dataset, split_seed=4)).equal(positions(first))


def test_another_val_fraction_leaves_the_test_part_alone_and_subsets_are_nested() -> None:
    dataset = classes(50, 50)
    one, two = split(dataset, val=0.2), split(dataset, val=0.3)
    assert one.test is not None
    assert two.test is not None
    assert one.test.positions.equal(two.test.positions)
    small, large = (set(split(dataset, subset=size).train.positions.tolist()) for size in (10, 20))
    assert small < large
    assert len(small) == 10
    assert split(dataset, subset=10).train.targets.bincount().tolist() == [5, 5]


def test_parts_can_be_left_out() -> None:
    splits = split(classes(5, 5), val=0, test=0)
    assert (splits.val, splits.test) == (None, None)
    assert str(splits) == "10 train"


def test_values_are_split_at_random() -> None:
    dataset = Dataset(torch.zeros(10, 1), torch.arange(10.0)[:, None], "values", 1)
    assert positions(split(dataset)).sort().values.equal(torch.arange(10))


def test_parts_that_come_with_the_data_are_used() -> None:
    own = {"train": torch.arange(15), "test": torch.arange(15, 20)}
    splits = split(classes(10, 10, splits=own), val=0.2, test=0.9)
    assert splits.test is not None
    assert splits.val is not None
    assert splits.test.positions.equal(torch.arange(15, 20))
    assert len(splits.val) == 3, "a fifth of the other 15"
    assert max(splits.train.positions) < 15


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"val": 0.5, "test": 0.5}, "leave none of the 10 examples for training"),
        ({"val": 1.0}, "val must be a fraction, at least 0 and below 1, got 1.0"),
        ({"test": -0.1}, "test must be a fraction"),
        ({"val": 0.01}, "val 0.01 of 10 examples is not one example"),
        ({"subset": 7}, "subset must be 1 to 6, the size of the training part, got 7"),
        ({"subset": 0}, "subset must be 1 to 6"),
    ],
)
def test_impossible_splits_are_refused(args: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        split(classes(5, 5), **args)


def test_overlapping_parts_are_refused() -> None:
    own = {"val": torch.tensor([1, 2]), "test": torch.tensor([2, 3])}
    with pytest.raises(DataError, match="overlap"):
        split(classes(5, 5, splits=own))
