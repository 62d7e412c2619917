"""Data sets and DataLoaders of torch's: a batch is a function of its position, whoever makes it."""

from __future__ import annotations

import random
from types import MappingProxyType

import numpy as np
import pytest
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    StackDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from optrun.experiments import Batches, make_data
from optrun.experiments.components.data import DataFacts, LoadedBatches, LoadedData, Loading, StreamData, split
from optrun.experiments.components.data import Dataset as DataInMemory
from optrun.experiments.components.data.adopt import as_data
from optrun.experiments.components.data.example_generators import own_generators
from optrun.experiments.components.data.making import Maker
from optrun.experiments.errors import ArgumentsError, DataError, UsageError

SIZE = 23


class Noisy(Dataset):
    """Examples that draw from every generator that a data set may have."""

    def __init__(self, draws: str = "torch python numpy own", size: int = SIZE):
        self.draws, self.size = draws.split(), size
        self.rng = np.random.default_rng(7)
        self.kept = [random.Random(3), torch.Generator(), {"old": np.random.RandomState(5)}]

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        drawn = [float(number)]
        if "torch" in self.draws:
            drawn += [torch.rand(()).item(), torch.randn(()).item()]
        if "python" in self.draws:
            drawn += [random.random(), random.gauss(0, 1)]
        if "numpy" in self.draws and number % 5 == 3:  # not all draw
            drawn += [np.random.rand(), np.random.randn()]
        if "own" in self.draws:
            drawn += [self.rng.random(), self.kept[0].random(), torch.rand((), generator=self.kept[1]).item()]
            drawn += [self.kept[2]["old"].rand()]
        drawn += [0.0] * (12 - len(drawn))
        return torch.tensor(drawn, dtype=torch.float64), number % 3


def batches_of(source, workers: int = 0, seed: int = 5, **options) -> LoadedBatches:
    data = as_data(source, "the data", Loading(workers))
    assert isinstance(data, LoadedData)
    return LoadedBatches(data.part(torch.arange(len(data))), batch_size=4, seed=seed, **options)


def drawn(batches, positions) -> list[torch.Tensor]:
    found = [batches.batch(position) for position in positions]
    if isinstance(batches, LoadedBatches):
        batches.close()
    return [torch.cat([batch.inputs, batch.targets[:, None].double()], 1) for batch in found]


def are_equal(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# ---- the order -------------------------------------------------------------------------------------------------------


def test_the_order_is_that_of_the_same_data_in_memory():
    inputs, targets = torch.arange(SIZE * 2.0).reshape(SIZE, 2), torch.arange(SIZE) % 3
    in_memory = Batches(inputs, targets, batch_size=4, seed=9)
    loaded = batches_of(TensorDataset(inputs, targets), seed=9)
    assert are_equal(drawn(in_memory, range(15)), drawn(loaded, range(15)))


def test_a_sequential_loader_keeps_its_order_and_a_weighted_one_draws_by_its_weights():
    data = TensorDataset(torch.arange(40.0)[:, None], torch.zeros(40, dtype=torch.int64))
    in_order = make_data(DataLoader(data, batch_size=4, shuffle=False))
    assert isinstance(in_order, LoadedData)
    batches = LoadedBatches(in_order.part(torch.arange(40)), batch_size=40)
    assert batches.batch(1).inputs.flatten().tolist() == list(range(40))
    weights = torch.zeros(40).index_fill_(0, torch.tensor([3, 8]), 1.0)
    weights[8] = 3.0
    loader = DataLoader(data, sampler=WeightedRandomSampler(weights, 400))
    weighted = make_data(loader)
    assert isinstance(weighted, LoadedData)
    batches = LoadedBatches(weighted.part(torch.arange(40)), batch_size=400, seed=1)
    assert batches.steps_per_epoch == 1
    first = batches.batch(0).inputs.flatten()
    assert set(first.tolist()) == {3.0, 8.0}
    assert 0.65 < (first == 8).double().mean() < 0.85
    assert torch.equal(LoadedBatches(batches.part, batch_size=400, seed=1).batch(0).inputs.flatten(), first)
    assert not torch.equal(batches.batch(1).inputs.flatten(), first)


class OwnSampler(RandomSampler):
    pass


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampler": "own"}, "leave the sampler out"),
        ({"sampler": "few"}, "leave the sampler out"),
        ({"batch_sampler": [[0, 1], [2]]}, "batch_sampler"),
        ({"batch_size": None}, "batch_size"),
    ],
)
def test_an_order_that_cannot_be_addressed_is_refused_with_the_way_out(options, words):
    data = Noisy()
    if options.get("sampler") == "own":
        options = {"sampler": OwnSampler(data)}
    elif options.get("sampler") == "few":
        options = {"sampler": RandomSampler(data, num_samples=5)}
    with pytest.raises(UsageError, match=words):
        make_data(DataLoader(data, **options))


# ---- what examples draw ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draws", ["", "torch", "python", "numpy", "own", "torch python numpy own"])
def test_examples_are_the_same_from_any_position_on(draws):
    whole = drawn(batches_of(Noisy(draws)), range(14))
    again = batches_of(Noisy(draws))
    assert are_equal([drawn(again, [position])[0] for position in reversed(range(14))][::-1], whole)
    assert are_equal(drawn(batches_of(Noisy(draws)), range(9, 14)), whole[9:])


@pytest.mark.parametrize("workers", [1, 2])
def test_examples_are_the_same_in_worker_processes(workers):
    whole = drawn(batches_of(Noisy()), range(14))
    assert are_equal(drawn(batches_of(Noisy(), workers), range(14)), whole)
    assert are_equal(drawn(batches_of(Noisy(), workers), range(9, 14)), whole[9:])


def test_epochs_and_seeds_draw_other_numbers():
    one = {tuple(row.tolist()) for batch in drawn(batches_of(Noisy()), range(6)) for row in batch}
    other_epoch = {tuple(row.tolist()) for batch in drawn(batches_of(Noisy()), range(6, 12)) for row in batch}
    other_seed = {tuple(row.tolist()) for batch in drawn(batches_of(Noisy(), seed=6), range(6)) for row in batch}
    assert len(one) == SIZE
    assert not one & other_epoch
    assert not one & other_seed


def test_the_generators_of_the_process_are_left_as_they_were():
    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = states()
    batches = batches_of(Noisy())
    drawn(batches, range(3))
    list(batches.part.batches(5))
    assert states() == before


def test_evaluation_reads_in_order_and_draws_the_same_each_time():
    part = batches_of(Noisy()).part
    first, second = (torch.cat([batch.inputs for batch in part.batches(size)]) for size in (5, 8))
    assert first[:, 0].tolist() == list(range(SIZE))
    assert torch.equal(first, second)


class AtOnce(Noisy):
    def __getitems__(self, numbers: list[int]):
        return [self[number] for number in numbers]


def test_a_data_set_that_makes_several_examples_at_once_is_asked_for_them():
    whole = drawn(batches_of(AtOnce()), range(8))
    assert are_equal(drawn(batches_of(AtOnce()), range(5, 8)), whole[5:])
    subset = drawn(batches_of(Subset(Noisy(), range(SIZE))), range(8))  # has __getitems__, and makes one by one
    assert are_equal(subset, drawn(batches_of(Noisy()), range(8)))


GLOBAL = np.random.default_rng(1)


class WithGlobal(Dataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int):
        return GLOBAL.random(), number


def test_generators_are_found_in_attributes_closures_and_modules():
    hidden = torch.Generator()

    def transform(x):
        return x + torch.rand((), generator=hidden)

    class Transformed(Noisy):
        def __init__(self):
            super().__init__()
            self.transforms = [transform]

    assert {id(each) for each in own_generators(Transformed())} >= {id(hidden)}
    assert len(list(own_generators(Noisy()))) == 5  # GLOBAL is one
    assert [id(each) for each in own_generators(WithGlobal())] == [id(GLOBAL)]
    made = Maker(WithGlobal(), torch.utils.data.default_collate, 0)
    assert made[0, [1]][0] == made[0, [1]][0]


class Unseeded(Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int):
        return torch.tensor(np.random.default_rng().random(2)), number


def test_what_draws_without_a_seed_is_noticed():
    for source, is_repeatable in ((Unseeded(), False), (Noisy(), True)):
        data = make_data(source)
        assert isinstance(data, LoadedData)
        assert data.is_repeatable() is is_repeatable
        assert len(data.sha256()) == 64


# ---- workers that fail -----------------------------------------------------------------------------------------------


class Failing(Dataset):
    def __init__(self, how: str):
        self.how = how

    def __len__(self) -> int:
        return 12

    def __getitem__(self, number: int):
        if number == 7 and self.how == "raise":
            raise ValueError("no such picture")
        if number == 7 and self.how == "stop":
            raise StopIteration
        if number == 7 and self.how == "die":
            import os

            os.kill(os.getpid(), 9)
        return torch.zeros(2), (lambda: 1) if self.how == "unsendable" else number


@pytest.mark.parametrize("workers", [0, 1])
def test_an_example_that_fails_is_named(workers):
    batches = batches_of(Failing("raise"), workers)
    with pytest.raises(ValueError, match="no such picture") as caught:
        for position in range(3):
            batches.batch(position)
    assert "example 7 of the data" in caught.value.__notes__
    assert batches._reading is None  # the workers have ended
    with pytest.raises(RuntimeError, match="example 7 of the data raised StopIteration"):
        list(batches_of(Failing("stop"), workers).part.batches(3))


def test_a_worker_that_dies_is_an_error_of_the_data():
    with pytest.raises(DataError, match=r"died, killed by SIGKILL: out of memory\?"):
        list(batches_of(Failing("die"), 1).part.batches(4))


def test_a_batch_that_cannot_be_sent_is_refused():
    data = as_data(Failing("unsendable"), "the data", Loading(1, collate=list))
    assert isinstance(data, LoadedData)
    with pytest.raises(UsageError, match="cannot be sent"):
        list(data.part(torch.arange(4)).batches(4))


# ---- what is known of the data ---------------------------------------------------------------------------------------


def test_the_facts_of_a_data_set_are_found():
    data = make_data(TensorDataset(torch.zeros(6, 2, 3), torch.tensor([0, 2, 1, 0, 1, 2])))
    assert (data.task, data.num_outputs, data.input_shape) == ("classes", 3, (2, 3))
    facts = DataFacts.of(data)
    assert facts.input_type == "float32"
    assert DataFacts.from_dict(facts.as_dict()) == facts
    texts = make_data([("a", 1), ("b", 2)])
    facts = DataFacts.of(texts)
    assert (facts.input_shape, facts.task, facts.num_outputs) == (None, None, None)
    assert DataFacts.from_dict(facts.as_dict()) == facts


def test_a_data_set_that_contradicts_itself_is_refused():
    source = TensorDataset(torch.zeros(4, 2), torch.arange(4) % 3)
    source.classes, source.num_classes = ["a", "b", "c", "background"], 3
    with pytest.raises(UsageError, match="its classes have 4 names, and its num_classes is 3"):
        as_data(source, "the data", Loading())
    source.num_classes = 4
    assert as_data(source, "the data", Loading()).num_outputs == 4


def test_parts_of_their_own_become_splits():
    train, test = (
        TensorDataset(torch.zeros(6, 2), torch.arange(6) % 2),
        TensorDataset(torch.ones(3, 2), torch.ones(3).long()),
    )
    splits = split(make_data({"train": train, "test": test}), val=0.5)
    assert splits.sizes() == {"train": 3, "val": 3, "test": 3}
    assert splits.test is not None
    assert splits.test.examples(0, 3).inputs.tolist() == [[1.0, 1.0]] * 3


class Endless(IterableDataset):
    def __iter__(self):
        yield 1


def test_an_iterable_data_set_is_a_stream_that_is_not_split():
    for made in (Endless(), DataLoader(Endless(), batch_size=2), DataLoader(Endless(), batch_size=None)):
        for given in (made, {"train": made}):
            data = as_data(given, "data 'x'", Loading())
            assert isinstance(data, StreamData)
            with pytest.raises(ArgumentsError, match="Endless is a stream, of which no share can be set aside"):
                split(data)


@pytest.mark.parametrize(("made", "error"), [(7, UsageError), ({"train": 3}, UsageError), ([], DataError)])
def test_what_is_no_data_is_refused(made, error):
    with pytest.raises(error):
        as_data(made, "data 'x'", Loading())


@pytest.mark.parametrize("kind", [dict, tuple, list, MappingProxyType])
def test_several_targets_in_memory_are_no_dataset_and_are_data_all_the_same(kind):
    ids, mask, labels = torch.rand(30, 4), torch.ones(30, 4), torch.arange(30) % 3
    tree = kind({"ids": ids, "mask": mask}) if kind in (dict, MappingProxyType) else kind([ids, mask])
    with pytest.raises(UsageError, match=rf"targets must be one tensor, got an? {kind.__name__}.*tensors as they are"):
        DataInMemory(ids, tree, "classes", 3)
    data = as_data(StackDataset(StackDataset(ids=ids, mask=mask), labels), "mine", Loading())
    assert (data.task, data.num_outputs, data.input_shape) == ("classes", 3, None)
    batch = data.part(torch.tensor([2, 7])).examples(0, 2)
    assert torch.equal(batch.inputs["mask"], mask[[2, 7]])
    assert torch.equal(batch.inputs["ids"], ids[[2, 7]])
    assert batch.targets.tolist() == [2, 1]
