"""Augmented batches of CIFAR's shape: examples a second, next to a DataLoader that augments one sample at a time.

    python tests/benchmarks/augmentation.py [--device cuda]

Both pad to 36x36, cut out 32x32, mirror half of the images, and standardise each; the hand-written loader draws and
works sample by sample, as a Dataset with transforms does, with as many workers as given (0: in the training process,
as optrun does; each worker is a process more).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable, Iterator

import torch
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Samples

from optrun.experiments.components.data import Batches, Stored, make_augmentation
from optrun.experiments.components.data.stored import Pixels

NUM_EXAMPLES, BATCH_SIZE = 10_000, 128


class OneByOne(Samples):
    """The same data and augmentation, one sample at a time."""

    def __init__(self, images: torch.Tensor, targets: torch.Tensor):
        self.images, self.targets = images, targets

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = functional.pad(self.images[index].float().div_(255), (2, 2, 2, 2))
        top, left = torch.randint(5, (2,)).tolist()
        image = image[:, top : top + 32, left : left + 32]
        if torch.rand(()) < 0.5:
            image = image.flip(2)
        std = image.std(correction=0).clamp(min=image.numel() ** -0.5)
        return (image - image.mean()) / std, self.targets[index]


def epoch_secs(batches: Iterable[tuple[torch.Tensor, torch.Tensor]], device: str) -> float:
    """Return how long one pass over the data takes."""
    start = time.perf_counter()
    for inputs, _targets in batches:
        inputs.to(device)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2])
    parser.add_argument("--epochs", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (NUM_EXAMPLES, 3, 32, 32), dtype=torch.uint8, generator=generator)
    targets = torch.randint(10, (NUM_EXAMPLES,), generator=generator)
    augment = [make_augmentation("crop", padding=2), make_augmentation("flip"), make_augmentation("standardise")]
    stored = Stored(images, None, [Pixels()])
    batches = Batches(stored, targets, batch_size=BATCH_SIZE, augment=augment, device=options.device)
    loaders = {
        workers: DataLoader(
            OneByOne(images, targets), BATCH_SIZE, shuffle=True, num_workers=workers, persistent_workers=workers > 0
        )
        for workers in options.workers
    }

    def ours() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return (batches.batch(position) for position in range(batches.steps_per_epoch))

    # In turn, an epoch each, so that whatever else the machine does hits them alike; the first one warms up.
    own, theirs = [], {workers: [] for workers in loaders}
    for _ in range(options.epochs + 1):
        own.append(epoch_secs(ours(), options.device))
        for workers, loader in loaders.items():
            theirs[workers].append(epoch_secs(loader, options.device))
    fastest = statistics.median(own[1:])
    print(f"optrun, {options.device}: {NUM_EXAMPLES / fastest:,.0f} examples/s")
    for workers, secs in theirs.items():
        middle = statistics.median(secs[1:])
        ratio = f"optrun is {middle / fastest:.1f} times as fast"
        print(f"DataLoader, {workers} workers: {NUM_EXAMPLES / middle:,.0f} examples/s; {ratio}")


if __name__ == "__main__":
    main()
