"""Examples in memory that consist of several tensors: the rows that one tensor of the same seed has."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from torch.utils.data import ConcatDataset, StackDataset, Subset, TensorDataset

from optrun.experiments.components.data import (
    Batches,
    Dataset,
    LoadedBatches,
    LoadedData,
    PartInMemory,
    make_data,
    split,
)
from optrun.experiments.components.data.batch_parts import BatchParts
from optrun.experiments.components.data.loaded import Loading
from optrun.experiments.errors import DataError, UsageError

SIZE = 40
IDS = torch.randint(0, 9, (SIZE, 5), generator=torch.Generator().manual_seed(1))
MASK = torch.rand(SIZE, 5, generator=torch.Generator().manual_seed(2)) > 0.3
SIZES = torch.rand(SIZE, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
LABELS = (torch.arange(SIZE) % 4 == 0).long() + (torch.arange(SIZE) % 7 == 0).long()


class Pair(NamedTuple):
    ids: Any
    mask: Any


@dataclass(frozen=True)
class Record:
    ids: Any
    mask: Any
    other: Any = None


KINDS: dict[str, Callable[[Any, Any], Any]] = {
    "dict": lambda ids, mask: {"ids": ids, "mask": mask},
    "tuple": lambda ids, mask: (ids, mask),
    "list": lambda ids, mask: [ids, mask],
    "named tuple": Pair,
    "data class": Record,
    "read-only mapping": lambda ids, mask: MappingProxyType({"ids": ids, "mask": mask}),
    "another mapping": lambda ids, mask: UserDict({"ids": ids, "mask": mask}),
    "nested": lambda ids, mask: {"ids": ids, "more": (mask, [ids])},
}


def leaves(tree: Any) -> list[Any]:
    """Return the tensors of one of the kinds."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    if isinstance(tree, Record):
        return [tree.ids, tree.mask]
    return [leaf for child in (tree.values() if isinstance(tree, Mapping) else tree) for leaf in leaves(child)]


def numbered() -> Dataset:
    """Return one tensor whose only column is the number of the row."""
    return Dataset(torch.arange(SIZE, dtype=torch.float32)[:, None], LABELS, "classes", 3)


def assert_rows(found: Any, kind: str, numbers: torch.Tensor) -> None:
    expected = KINDS[kind](IDS[numbers], MASK[numbers])
    assert type(found) is (dict if kind == "read-only mapping" else type(expected))
    assert len(leaves(found)) == len(leaves(expected))
    for one, other in zip(leaves(found), leaves(expected), strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_and_batches_have_the_rows_that_one_tensor_of_the_seed_has(kind: str) -> None:
    one, several = (
        split(data, split_seed=3) for data in (numbered(), Dataset(KINDS[kind](IDS, MASK), LABELS, "classes", 3))
    )
    assert one.sizes() == several.sizes()
    for name in ("train", "val", "test"):
        for plain, batch in zip(getattr(one, name).batches(7), getattr(several, name).batches(7), strict=True):
            assert_rows(batch.inputs, kind, plain.inputs[:, 0].long())
            assert torch.equal(batch.targets, plain.targets)
    parts: list[PartInMemory] = [one.train, several.train]  # type: ignore[list-item]
    plain, batches = (Batches(part.inputs, part.targets, batch_size=5, seed=2) for part in parts)
    for position in (0, 1, 4, 5, 23, 3):
        expected, batch = plain.batch(position), batches.batch(position)
        assert_rows(batch.inputs, kind, expected.inputs[:, 0].long())
        assert torch.equal(batch.targets, expected.targets)


@pytest.mark.parametrize("kind", ["dict", "tuple", "another mapping"])
def test_tensors_as_they_are_make_the_same_batches(kind: str) -> None:
    tree = KINDS[kind](IDS, MASK)
    data, expected = make_data((tree, LABELS)), numbered()
    assert isinstance(data, LoadedData)
    assert (data.task, data.num_outputs, len(data), data.input_shape) == ("classes", 3, SIZE, None)
    one, several = split(expected), split(data)
    batches = LoadedBatches(several.train, batch_size=5, seed=2)  # type: ignore[arg-type]
    plain = Batches(one.train.inputs, one.train.targets, batch_size=5, seed=2)  # type: ignore[attr-defined]
    for position in (0, 6, 2):
        numbers = plain.batch(position).inputs[:, 0].long()
        for found, leaf in zip(leaves(batches.batch(position).inputs), (IDS, MASK), strict=True):
            assert torch.equal(found, leaf[numbers])


def test_what_is_target_is_said_as_of_batches() -> None:
    columns = {"ids": IDS, "mask": MASK, "label": LABELS, "kind": LABELS.flip(0)}
    plain = make_data(columns)
    assert torch.equal(plain.targets, LABELS)
    assert set(plain.first.inputs) == {"ids", "mask", "kind"}
    other = make_data(columns, loading=Loading(parts=BatchParts("kind", "ids")))
    assert torch.equal(other.targets, LABELS.flip(0))
    assert torch.equal(other.first.inputs, IDS[:1])
    weighed = make_data((IDS, LABELS, LABELS + 5), loading=Loading(parts=BatchParts(weights_from=2)))
    assert torch.equal(weighed.targets, LABELS), "weights are no classes"
    first = make_data(TensorDataset(LABELS, IDS), loading=Loading(parts=BatchParts(targets_from=0)))
    assert torch.equal(first.targets, LABELS)
    several = make_data(({"ids": IDS}, {"kind": LABELS, "size": SIZES}))
    assert several.targets is None
    assert several.first.targets["size"].item() == SIZES[0].item()
    with pytest.raises(UsageError, match="nothing says what the target is"):
        make_data({"ids": IDS, "mask": MASK}).first  # noqa: B018 (it is made when it is asked for)
    parts = make_data({"train": (columns | {}), "val": {name: each[:9] for name, each in columns.items()}})
    assert {name: len(rows) for name, rows in parts.splits.items()} == {"train": SIZE, "val": 9}


@pytest.mark.parametrize(
    "tree", [Record(IDS, MASK), Pair(IDS, MASK), {1: IDS}, {"ids": IDS, "more": Record(IDS, None)}]
)
def test_what_batches_would_not_have_as_it_is_is_refused(tree: Any) -> None:
    with pytest.raises(UsageError, match=r"tensors/0(/more)? must be in a tuple or a mapping with names; `Dataset"):
        make_data((tree, LABELS))


def test_batches_in_a_loop_of_ones_own_take_them() -> None:
    batches = Batches({"ids": IDS, "sizes": SIZES}, LABELS, batch_size=8, seed=1)
    order = Batches(torch.arange(SIZE)[:, None], LABELS, batch_size=8, seed=1)
    assert torch.equal(batches.batch(7).inputs["sizes"], SIZES[order.batch(7).inputs[:, 0]])
    with pytest.raises(UsageError, match="inputs/sizes has 39 rows, and inputs/ids has 40"):
        Batches({"ids": IDS, "sizes": SIZES[1:]}, LABELS, batch_size=8)
    with pytest.raises(UsageError, match="as many inputs as targets, and some, got 40 and 39"):
        Batches({"ids": IDS}, LABELS[1:], batch_size=8)


def test_steps_are_given_all_of_them() -> None:
    def without_mask(inputs: Any) -> Any:
        return {"ids": inputs["ids"] * inputs["mask"]}

    data = Dataset({"ids": IDS, "mask": MASK}, LABELS, "classes", 3, decode=without_mask)
    part = data.part(torch.arange(4, 9))
    assert torch.equal(part.examples(1, 3).inputs["ids"], (IDS * MASK)[5:7])
    twice = part.after(lambda inputs: {"ids": inputs["ids"] * 2}).to("cpu")
    assert torch.equal(twice.examples(0, 5).inputs["ids"], 2 * (IDS * MASK)[4:9])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "inputs must be a tensor with one row per example, got a dict with nothing"),
        ((), "inputs must be a tensor with one row per example, got a tuple of 0"),
        ({"ids": IDS, "mask": {}}, "inputs/mask must be a tensor.*got a dict with nothing"),
        (
            {"a": None},
            "inputs must have a tensor with one row per example, got a dict with 'a'|tensors/0/a must be in a",
        ),
        (
            {"ids": IDS, "mask": MASK[:39]},
            "inputs/mask has 39 rows, and inputs/ids has 40: each has one row per example",
        ),
        ((IDS, [MASK, MASK[1:]]), "inputs/1/1 has 39 rows, and inputs/0 has 40"),
        ({"ids": IDS.numpy()}, "inputs/ids must be a tensor.*got a numpy array of shape .40, 5.*torch.as_tensor"),
        ({"ids": IDS.tolist(), "mask": MASK}, "inputs/ids must be a tensor with one row per example, got a list of 40"),
        ({"ids": IDS, "text": ["a"] * SIZE}, "inputs/text must be a tensor with one row per example, got a list of 40"),
        ({"ids": IDS, "temperature": 0.5}, r"inputs/temperature must be a tensor.*got 0.5 \(float\)"),
        ({"ids": IDS, "temperature": torch.tensor(0.5)}, r"inputs/temperature must be a tensor.*of shape \(\)"),
        ([torch.zeros(3), torch.zeros(5)], "inputs/1 has 5 rows, and inputs/0 has 3: .*padded, or made by a data set"),
    ],
)
def test_what_is_no_tensor_with_a_row_per_example_is_refused_where_it_is(inputs: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Dataset(inputs, LABELS, "classes", 3)
    with pytest.raises(UsageError, match=message.replace("inputs", "tensors/0")):
        make_data((inputs, LABELS) if isinstance(inputs, Mapping | tuple) else (tuple(inputs), LABELS))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"targets": LABELS[1:]}, DataError, "40 inputs do not match 39 targets"),
        ({"targets": LABELS + 1}, DataError, "class numbers must be 0 to 2, got 1 to 3"),
        ({"targets": LABELS.float()}, DataError, "class targets must be int64"),
        ({"task": "values"}, DataError, "targets must be floating point"),
        (
            {"targets": {"a": LABELS}},
            UsageError,
            r"must be one tensor, got a dict with 'a': .*return the tensors as they",
        ),
        (
            {"num_tokens": 9},
            UsageError,
            "`num_tokens` is about inputs that are one tensor, got a dict .*`model.num_tok",
        ),
        ({"standardised": ("inputs",)}, UsageError, "`standardised` is about inputs that are one tensor"),
        ({"columns": ("a", "b")}, UsageError, "`columns` is about inputs that are one tensor"),
        ({"mapped": True}, UsageError, "`mapped` is about inputs that are one tensor"),
        ({"weights": {"w": -SIZES}}, DataError, "row 0: weights 'w' must be finite and at least 0"),
    ],
)
def test_targets_and_facts_are_checked_as_of_one_tensor(given: dict, error: type[Exception], message: str) -> None:
    made = {"inputs": {"ids": IDS, "mask": MASK}, "targets": LABELS, "task": "classes", "num_outputs": 3}
    with pytest.raises(error, match=message):
        Dataset(**made | given)


def test_a_hash_is_of_every_row_and_of_every_name() -> None:
    data = Dataset({"ids": IDS, "mask": MASK}, LABELS, "classes", 3)
    other_ids, other_mask = IDS.clone(), MASK.clone()
    other_ids[33, 4] += 1
    other_mask[39, 0] ^= True
    hashes = [data.sha256()]
    for inputs in ({"ids": other_ids, "mask": MASK}, {"ids": IDS, "mask": other_mask}, {"ids": IDS, "masks": MASK}):
        hashes.append(replace(data, inputs=inputs).sha256())
    assert len(set(hashes)) == 4
    assert replace(data, inputs={"ids": IDS.clone(), "mask": MASK.clone()}).sha256() == hashes[0]


@pytest.mark.parametrize(
    "source",
    [
        lambda ids: (ids, LABELS),
        lambda ids: {"train": (ids, LABELS), "val": (MASK, LABELS)},
        lambda ids: {"train": (MASK, LABELS), "val": (ids, LABELS)},
        lambda ids: TensorDataset(ids, LABELS),
        lambda ids: Subset(StackDataset(ids, LABELS), [33, 2]),
        lambda ids: ConcatDataset([TensorDataset(MASK, LABELS), TensorDataset(ids, LABELS)]),
    ],
)
def test_a_hash_of_rows_in_data_sets_of_torchs_is_of_all_of_them(source: Callable[[torch.Tensor], Any]) -> None:
    other = IDS.clone()
    other[33, 4] += 1
    assert make_data(source(IDS)).sha256() == make_data(source(IDS.clone())).sha256()
    assert make_data(source(IDS)).sha256() != make_data(source(other)).sha256()
