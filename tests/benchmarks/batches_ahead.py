"""What it gains that a thread makes batches ahead: steps taken with and without, in turn.

    python tests/benchmarks/batches_ahead.py [--turns 12] [--threads 1]

Images are bytes in memory, or in a file that is mapped; batches of CIFAR's shape are of 8 to 128 images, batches of
photographs of 32 images of 224 by 224 pixels. `crop` pads and cuts, `flip` mirrors, `standardise` goes by image. Models
are a logistic one, an MLP with 256 hidden units and a network of two convolutions with batch norm. Printed are medians:
the step and the making of a batch, in ms, and, pair by pair, how many times as fast it is with a thread, from the first
tenth to the last.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from optrun.experiments import Batches, build_train_op
from optrun.experiments.components.data import Stored, make_augmentation
from optrun.experiments.components.data.stored import Pixels

CROPPED = (("crop", {"padding": 4}), ("flip", {}), ("standardise", {}))
WORK: dict[str, tuple[str, int, int, Any]] = {
    "8 of 32x32, cropped": ("memory", 32, 8, CROPPED),
    "32 of 32x32, cropped": ("memory", 32, 32, CROPPED),
    "64 of 32x32, cropped": ("memory", 32, 64, CROPPED),
    "128 of 32x32, cropped": ("memory", 32, 128, CROPPED),
    "128 of 32x32": ("memory", 32, 128, ()),
    "128 of 32x32, mapped": ("file", 32, 128, ()),
    "32 of 224x224, mirrored": ("memory", 224, 32, (("flip", {}),)),
}


def images(size: int, where: str, folder: Path) -> torch.Tensor:
    """Return random images as bytes."""
    num = 20_000 if size == 32 else 400
    made = torch.randint(256, (num, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    if where == "memory":
        return made
    np.save(folder / f"{size}.npy", made.numpy())
    return torch.from_numpy(np.load(folder / f"{size}.npy", mmap_mode="c"))


def model(name: str, size: int) -> nn.Module:
    """Return one of the models."""
    torch.manual_seed(0)
    if name == "logistic":
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, 10))
    if name == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, 256), nn.ReLU(), nn.Linear(256, 10))
    first = [nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()]
    second = [nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU()]
    return nn.Sequential(*first, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def block_secs(train_op: Any, count: int) -> float:
    """Return how long a step takes, in a block of so many."""
    start = time.perf_counter()
    train_op.run_block(count, lambda _: {})
    return (time.perf_counter() - start) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'batch':24} {'model':9} {'step':>8} {'making':>8}  times as fast")
    with tempfile.TemporaryDirectory() as folder:
        for name, (where, size, batch_size, augment) in WORK.items():
            stored = Stored(images(size, where, Path(folder)), steps=[Pixels()], mapped=where == "file")
            targets = torch.arange(len(stored)) % 10
            for kind in ("logistic", "mlp", "conv"):
                ops = []
                for is_ahead in (False, True):
                    chosen = [make_augmentation(each, **args) for each, args in augment]
                    data = Batches(stored, targets, batch_size=batch_size, augment=chosen)
                    if is_ahead:
                        data.make_ahead()
                    own = model(kind, size)
                    optimizer = torch.optim.SGD(own.parameters(), lr=0.01, momentum=0.9)
                    ops.append(build_train_op(own, nn.functional.cross_entropy, optimizer, data))
                count = 10 if size == 224 or kind == "conv" else 40
                block_secs(ops[0], 3), block_secs(ops[1], 3)
                pairs = []
                for turn in range(options.turns):
                    first, second = (ops[turn % 2], ops[1 - turn % 2])
                    secs = {id(op): block_secs(op, count) for op in (first, second)}
                    pairs.append((secs[id(ops[0])], secs[id(ops[1])]))
                plain = Batches(stored, targets, batch_size=batch_size, augment=ops[0].data.augment)
                start = time.perf_counter()
                for position in range(count):
                    plain.batch(position)
                making = (time.perf_counter() - start) / count
                ratios = sorted(without / with_thread for without, with_thread in pairs)
                tenth = len(ratios) // 10
                step = statistics.median(without for without, _ in pairs)
                print(
                    f"{name:24} {kind:9} {1000 * step:8.2f} {1000 * making:8.2f}  {statistics.median(ratios):.2f} "
                    f"({ratios[tenth]:.2f} to {ratios[-1 - tenth]:.2f})",
                    flush=True,
                )
                ops[1].data.close()


if __name__ == "__main__":
    main()
