"""What a batch of several tensors in memory costs: gathered from each, as a StackDataset, and by hand.

    python tests/benchmarks/batches_in_memory.py [--turns 30]

4,096 examples of 64 int64 and 64 float32 numbers and a class, in batches of 64, shuffled, one thread; and as many bytes
in one tensor. Each way takes 64 batches a turn, one after the other, so that what else the machine does hits all alike.
Printed are medians over the turns of processor time: of a batch, and as ratios to that of the tensors gathered.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, StackDataset

from optrun.experiments import Batches, make_data
from optrun.experiments.components.data import LoadedBatches, LoadedData

EXAMPLES, BATCH_SIZE, GATHERED = 4096, 64, "Dataset of several tensors"


def by_hand(inputs: dict[str, torch.Tensor], targets: torch.Tensor) -> Iterator[Any]:
    """Yield batches of rows, by index_select."""
    while True:
        for rows in torch.randperm(len(targets)).split(BATCH_SIZE):
            yield {name: each.index_select(0, rows) for name, each in inputs.items()}, targets.index_select(0, rows)


def by_loader(loader: DataLoader) -> Iterator[Any]:
    """Yield batches of a DataLoader, epoch after epoch."""
    while True:
        yield from loader


def of_batches(batches: Batches | LoadedBatches) -> Iterator[Any]:
    """Yield batches by their position."""
    position = 0
    while True:
        yield batches.batch(position)
        position += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=30)
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 100, (EXAMPLES, 64), generator=generator)
    inputs, targets = {"ids": ids, "mask": torch.rand(EXAMPLES, 64)}, torch.randint(0, 10, (EXAMPLES,))
    loaded = make_data((inputs, targets))
    assert isinstance(loaded, LoadedData)
    stacked = StackDataset(StackDataset(**inputs), targets)  # type: ignore[arg-type] (tensors are data sets too)
    options: dict[str, Any] = {"batch_size": BATCH_SIZE, "seed": 1}
    ways = {
        "Dataset of one tensor": of_batches(Batches(torch.rand(EXAMPLES, 192), targets, **options)),
        GATHERED: of_batches(Batches(inputs, targets, **options)),
        "StackDataset": of_batches(LoadedBatches(loaded.part(torch.arange(EXAMPLES)), **options)),
        "by hand": by_hand(inputs, targets),
        "by hand, DataLoader": by_loader(DataLoader(stacked, batch_size=BATCH_SIZE, shuffle=True)),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, batches in ways.items():
            start = time.process_time()
            for _ in range(EXAMPLES // BATCH_SIZE):
                next(batches)
            took[name].append((time.process_time() - start) / (EXAMPLES // BATCH_SIZE) * 1e6)
    for name, each in took.items():
        ratio = statistics.median(one / other for one, other in zip(each, took[GATHERED], strict=True))
        print(f"{name:28}{statistics.median(each):8.1f} us  {ratio:6.2f}")


if __name__ == "__main__":
    main()
