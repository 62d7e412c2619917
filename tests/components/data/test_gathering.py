"""Rows taken at once are what torch's own data sets and `default_collate` make of them one by one."""

from __future__ import annotations

import random
from collections import OrderedDict

import pytest
import torch
from torch.utils.data import ConcatDataset, StackDataset, Subset, TensorDataset, default_collate, random_split
from torch.utils.data._utils.collate import default_collate_fn_map

from optrun.experiments.components.data.gathering import gathered

SIZE = 12
SHAPES = [(), (1,), (5,), (0,), (1, 4, 4), (3, 4, 4), (3, 1, 1), (1, 1, 1), (2, 1, 3, 3, 3), (4, 1, 5)]
TYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64]


def tensor(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return (10 * torch.randn(SIZE, *shape, generator=generator)).to(dtype)


def rows() -> TensorDataset:
    return TensorDataset(tensor(3), tensor(dtype=torch.int64))


def one_by_one(source, numbers):
    return default_collate([source[number] for number in numbers])


def assert_same(first, second) -> None:
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert list(first) == list(second)
        first, second = list(first.values()), list(second.values())
    if isinstance(first, list):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
        return
    assert (first.dtype, first.shape, first.stride()) == (second.dtype, second.shape, second.stride())
    assert (
        first.is_contiguous(memory_format=torch.channels_last)
        == second.is_contiguous(memory_format=torch.channels_last)
        if first.dim() == 4
        else True
    )
    assert torch.equal(first, second)
    assert first.data_ptr() != second.data_ptr() or not first.numel()


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_tensors_of_all_shapes_and_types(dtype):
    for shape in SHAPES:
        source = TensorDataset(tensor(*shape, dtype=dtype), tensor(dtype=torch.int64))
        for numbers in ([3], [0, 11, 5], [7, 7, 2, 2], list(range(SIZE))):
            assert_same(gathered(source, default_collate, numbers), one_by_one(source, numbers))


NESTED = {
    "tensor": lambda: tensor(2),
    "one tensor": lambda: TensorDataset(tensor(2)),
    "subset": lambda: Subset(rows(), [5, 1, 8, 8, 0, 2, 3]),
    "subset of a subset": lambda: Subset(Subset(rows(), range(3, 12)), [5, 1, 8, 0, 0, 2, 3]),
    "split": lambda: random_split(rows(), [7, 5], torch.Generator().manual_seed(1))[0],
    "stacked": lambda: StackDataset(tensor(2), rows(), tensor()),
    "stacked by name": lambda: StackDataset(StackDataset(ids=tensor(2), mask=tensor(1)), tensor(dtype=torch.int64)),
    "by name": lambda: StackDataset(b=Subset(rows(), range(SIZE)), a=tensor(1)),
    "one after the other": lambda: ConcatDataset([Subset(rows(), range(7)), rows(), rows()]),
}


@pytest.mark.parametrize("name", NESTED)
def test_data_sets_of_data_sets(name):
    source, order = NESTED[name](), random.Random(0)
    for _ in range(20):
        numbers = [order.randrange(7) for _ in range(order.randint(1, 6))]
        assert_same(gathered(source, default_collate, numbers), one_by_one(source, numbers))


def test_parts_one_after_the_other_are_told_apart():
    source = ConcatDataset([TensorDataset(tensor(2)), TensorDataset(tensor(2) + 100)])
    assert_same(gathered(source, default_collate, [12, 23]), one_by_one(source, [12, 23]))
    assert_same(gathered(source, default_collate, [0, 11]), one_by_one(source, [0, 11]))
    assert gathered(source, default_collate, [11, 12]) is None


class Noisy(TensorDataset):
    def __getitem__(self, number):
        return [each + torch.rand(()) for each in super().__getitem__(number)]


class OwnSubset(Subset):
    def __getitem__(self, number):
        return super().__getitem__(number)[0]

    def __getitems__(self, numbers):
        return [self[number] for number in numbers]


class Marked(torch.Tensor):
    pass


def picture(memory_format: torch.memory_format) -> torch.Tensor:
    return tensor(3, 4, 4).to(memory_format=memory_format)


ONE_BY_ONE = {
    "of the user's own": lambda: Noisy(tensor(3)),
    "a subset of the user's own": lambda: OwnSubset(rows(), range(7)),
    "in another": lambda: StackDataset(tensor(2), Noisy(tensor(3))),
    "a list": lambda: [(tensor(2), 1)] * 8,
    "stacked with a list": lambda: StackDataset(tensor(2), list(range(SIZE))),
    "another memory format": lambda: TensorDataset(picture(torch.channels_last), tensor()),
    "transposed": lambda: TensorDataset(tensor(3, 4).mT),
    "expanded": lambda: TensorDataset(torch.zeros(1, 3).expand(SIZE, 3)),
    "with gradients": lambda: TensorDataset(tensor(3).requires_grad_()),
    "sparse": lambda: TensorDataset(tensor(3).to_sparse()),
    "conjugate": lambda: TensorDataset(tensor(3, dtype=torch.complex64).conj()),
    "another kind of tensor": lambda: TensorDataset(tensor(3).as_subclass(Marked)),
    "a parameter": lambda: TensorDataset(torch.nn.Parameter(tensor(3))),
    "counted from the end": lambda: Subset(rows(), [-1] * 8),
    "numbers of numpy": lambda: Subset(rows(), torch.arange(8).numpy()),
    "masks": lambda: Subset(rows(), [True] * 8),
    "out of range": lambda: Subset(rows(), [12] * 8),
}


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_what_might_be_otherwise_is_made_one_by_one(name):
    assert gathered(ONE_BY_ONE[name](), default_collate, [3, 1]) is None


def test_another_collate_function_is_called(monkeypatch):
    assert gathered(rows(), list, [3]) is None
    assert gathered(rows(), default_collate, []) is None
    assert gathered(rows(), default_collate, [3]) is not None
    monkeypatch.setitem(default_collate_fn_map, OrderedDict, lambda batch, **_: batch)
    assert gathered(rows(), default_collate, [3]) is None
    monkeypatch.delitem(default_collate_fn_map, OrderedDict)
    monkeypatch.setitem(default_collate_fn_map, torch.Tensor, lambda batch, **_: batch)
    assert gathered(rows(), default_collate, [3]) is None
