"""What the DataLoader path costs: its steps per second as a ratio to a hand-written DataLoader loop.

    python tests/benchmarks/loader_overhead.py [--workers 0 1 2] [--blocks 30] [--steps 20] [--clock cpu]

The data set makes pictures of 3x32x32 from bytes, cropped and flipped at random, in batches of 64; the model is a small
convolutional net, SGD with momentum, one thread. Both loops read the same data set through torch's DataLoader with the
same number of workers; optrun's draws by keys, restores generators, checks for values that are not finite, and runs its
session with a metrics row per 100 steps.

Both advance in turn in one process, a block of steps each, so that whatever else the machine does hits them alike; the
ratio is that of the median block times.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from optrun.experiments import LoggingHook, MonitoredTrainingSession, StopAtStepHook, build_train_op


class Pictures(Dataset):
    """Bytes that become floating point, cropped and flipped at random, as a hand-written data set does it."""

    def __init__(self, size: int = 2048, draws: str = "torch"):
        random = np.random.default_rng(0)
        self.pictures = random.integers(0, 256, (size, 3, 40, 40), dtype=np.uint8)
        self.targets, self.draws = random.integers(0, 10, size).tolist(), draws

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        if self.draws == "torch":
            top, left, flip = torch.randint(0, 8, (3,)).tolist()
        else:
            top, left, flip = np.random.randint(0, 8, 3).tolist()
        picture = torch.from_numpy(self.pictures[number, :, top : top + 32, left : left + 32]).float().div_(255)
        return (picture.flip(2) if flip % 2 else picture).sub_(0.5), self.targets[number]


def net() -> nn.Module:
    """Return the model, the same one each time."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def by_hand(loader: DataLoader) -> Iterator[None]:
    """Train by a hand-written loop, a step each time."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    while True:
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), targets)
            loss.backward()
            optimizer.step()
            yield


def by_session(loader: DataLoader) -> Iterator[None]:
    """Train by optrun's session, a step each time."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    train_op = build_train_op(model, nn.functional.cross_entropy, optimizer, data=loader, seed=1)
    with MonitoredTrainingSession(hooks=[StopAtStepHook(last_step=10**9), LoggingHook()]) as session:
        while not session.should_stop():
            session.run(train_op)
            yield


def main() -> None:
    """Print a line for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--blocks", type=int, default=30)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--draws", choices=["torch", "numpy"], default="torch")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    args = parser.parse_args()
    torch.set_num_threads(1)
    clock: Callable[[], float] = time.perf_counter if args.clock == "wall" else time.process_time
    for workers in args.workers:
        data = Pictures(draws=args.draws)
        options = {"batch_size": 64, "shuffle": True, "num_workers": workers, "persistent_workers": workers > 0}
        loops = {"hand": by_hand(DataLoader(data, **options)), "optrun": by_session(DataLoader(data, **options))}
        times: dict[str, list[float]] = {name: [] for name in loops}
        for block in range(args.blocks + 2):
            for name in list(loops) if block % 2 else list(loops)[::-1]:
                start = clock()
                for _ in range(args.steps):
                    next(loops[name])
                if block >= 2:  # the first warm up
                    times[name].append((clock() - start) / args.steps)
        for loop in loops.values():
            loop.close()
        hand, ours = (statistics.median(times[name]) for name in ("hand", "optrun"))
        print(
            f"{workers} workers, draws from {args.draws}: {hand * 1e3:.2f} ms by hand, {ours * 1e3:.2f} ms, "
            f"ratio {hand / ours:.3f} ({args.clock})",
            flush=True,
        )


if __name__ == "__main__":
    main()
