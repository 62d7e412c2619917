"""A sweep: whatever examples draw, from whichever on, it is as if all generators were seeded for each of them."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, default_collate

from optrun.experiments.components.data import LoadedBatches, LoadedData, Loading
from optrun.experiments.components.data.adopt import as_data
from optrun.experiments.system import rng

SIZE, BATCH_SIZE, SEED, POSITIONS = 22, 4, 5, range(13)  # more than two epochs


def forked() -> float:
    with torch.random.fork_rng():
        return torch.rand(()).item()


def after_own_seed() -> float:
    np.random.seed(3)
    return np.random.rand() + torch.rand(()).item()


DRAWS = {
    "nothing": lambda: 0.0,
    "python": lambda: random.random() + random.gauss(0, 1),
    "numpy": lambda: np.random.rand() + np.random.randn(),
    "torch": lambda: torch.rand(()).item() + torch.randn(()).item(),
    "all": lambda: random.random() + np.random.rand() + torch.rand(()).item(),
    "its seed from torch's": lambda: random.Random(torch.initial_seed()).random(),
    "from torch's, put back": forked,
    "from torch's, by numpy": lambda: np.random.default_rng(torch.randint(2**40, ()).item()).random(),
    "after a seed of its own": after_own_seed,
}
WHERE = ["examples", "collate", "both"]
SINCE = [0, 9, SIZE - 1]  # the first example that draws


class Drawing(Dataset):
    """Examples of their number, and of what they draw."""

    def __init__(self, draws: str, where: str, since: int):
        self.draw, self.where, self.since = DRAWS[draws], where, since

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        drawn = self.draw() if self.where != "collate" and number >= self.since else 0.0
        return torch.tensor([number, drawn], dtype=torch.float64), number % 3

    def collate_fn(self, made: list) -> list:
        inputs, targets = default_collate(made)
        if self.where != "examples" and inputs[:, 0].max() >= self.since:
            inputs = torch.cat([inputs, torch.tensor([[self.draw(), self.draw()]], dtype=torch.float64)])
            targets = torch.cat([targets, targets[:1]])
        return [inputs, targets]


def seeded(source: Drawing, position: int) -> torch.Tensor:
    """Return the inputs of a batch whose every generator is seeded for every example, by torch's own functions."""
    epoch, place = divmod(position, -(-SIZE // BATCH_SIZE))
    made = []
    for number in rng.permutation(SEED, epoch, SIZE).split(BATCH_SIZE)[place].tolist():
        key = rng.key(SEED, "example", epoch, number)
        torch.manual_seed(key)
        random.seed(key)
        np.random.seed(key % 2**32)
        made.append(source[number])
    return source.collate_fn(made)[0]


def batches_of(source: Drawing, workers: int = 0) -> LoadedBatches:
    data = as_data(source, "the data", Loading(workers))
    assert isinstance(data, LoadedData)
    return LoadedBatches(data.part(torch.arange(SIZE)), batch_size=BATCH_SIZE, seed=SEED)


def states() -> tuple:
    return random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()


def assert_as_seeded(cases, workers: int) -> int:
    """Read each data set from its beginning, and from the middle on as a resumed run does; return how many batches."""
    found = 0
    for draws, where, since in cases:
        source = Drawing(draws, where, since)
        expected = [seeded(source, position) for position in POSITIONS]
        for start in (0, 5):
            batches = batches_of(source, workers)
            for position in POSITIONS[start:]:
                _ = random.random(), np.random.randn(), torch.rand(1)  # by the model, or hooks
                before = states()
                inputs = batches.batch(position).inputs
                assert torch.equal(inputs, expected[position]), (draws, where, since, start, position)
                assert states() == before
                found += 1
            batches.close()
    return found


CASES = list(itertools.product(DRAWS, WHERE, SINCE))


def test_a_batch_is_that_of_examples_each_with_generators_of_its_own():
    cases = [case for case in CASES if case[2] == SINCE[1]]
    assert assert_as_seeded(cases, 0) == len(cases) * (13 + 8)


@pytest.mark.parametrize("workers", [1, 2])
def test_so_it_is_in_worker_processes(workers):
    cases = [("all", "examples", 9), ("its seed from torch's", "both", 0)]
    assert assert_as_seeded(cases[workers - 1 :][:1], workers) == 21


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_all_of_it(workers):
    assert assert_as_seeded(CASES, workers) == 81 * 21


def test_the_sweep_sees_what_is_not_keyed():
    source = Drawing("all", "examples", 0)
    assert len({seeded(source, 0)[0, 1].item(), seeded(source, 6)[0, 1].item(), seeded(source, 1)[0, 1].item()}) == 3
    DRAWS["nobody"] = lambda: np.random.default_rng().random()
    try:
        with pytest.raises(AssertionError):
            assert_as_seeded([("nobody", "examples", 0)], 0)
    finally:
        del DRAWS["nobody"]
