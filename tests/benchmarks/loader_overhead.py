"""What the DataLoader path costs: its steps per second as a ratio to hand-written DataLoader loops.

    python tests/benchmarks/loader_overhead.py [--data tensors rows pictures] [--workers 0 2] [--pieces 15]
    python tests/benchmarks/loader_overhead.py --data pictures --draws numpy --pieces 200 --secs 0.02   # a busy machine
    python tests/benchmarks/loader_overhead.py --data pictures --instructions        # a busier one, and ten minutes

Four data sets, read in batches of 64 with shuffle=True, one thread:

* `tensors`: a TensorDataset of 4,096 rows of 64 numbers, whose examples cost nothing; an MLP 64-128-10.
* `rows`: the same rows from a Dataset of the user's own, `return self.inputs[number], self.targets[number]`.
* `pictures`: 2,048 JPEG pictures of 40x40, each decoded, cropped to 32x32, flipped, and made numbers: about 100 us of
  work for an example; a small convolutional net. `--draws` says from which generator crop and flip are drawn.
* `photos`: 256 JPEG pictures of 256x256, cropped to 224x224: about 2 ms of work for an example; the same net.

By hand: zero_grad, forward, loss, backward, step, and nothing else; and the same with a check that loss and gradients
are finite, as optrun makes it. optrun: its session, with a metrics row per 100 steps, on the same DataLoader. Both use
SGD with momentum of torch's, and keep their workers from one epoch to the next.

The loops advance in turn in one process, a piece of steps each, in changing order, so that whatever else the machine
does hits them alike. Printed are medians over the pieces: the time of a step, and the ratio of two pieces of one turn,
with its quartiles and that of the fastest tenths, which a busy machine disturbs least. `cpu` is the time for which the
process and its workers computed, `wall` that which went by; before each piece workers fill their queues, so that none
begins with what another left over.

`--instructions` counts what the processor does instead, by valgrind, without workers: the instructions of 40 steps, as
the difference of two processes. No other work on the machine has a part in them.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from optrun.experiments import LoggingHook, MonitoredTrainingSession, StopAtStepHook, build_train_op

BATCH_SIZE = 64
PICTURES = {"pictures": (2048, 40, 32), "photos": (256, 256, 224)}  # how many, sides of files and of crops
COUNTED = (4, 44)  # steps of the two processes whose instructions are counted
HAND, CHECKED, OURS = "by hand", "by hand with a check", "optrun"


class Rows(Dataset):
    """Tensors in memory, as many data sets begin."""

    def __init__(self, inputs: torch.Tensor, targets: torch.Tensor):
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inputs[number], self.targets[number]


class Pictures(Dataset):
    """JPEG pictures, decoded, cropped and flipped at random, as a hand-written data set does it."""

    def __init__(self, draws: str, number: int, side: int, crop: int):
        noise = np.random.default_rng(0)
        self.targets = noise.integers(0, 10, number).tolist()
        self.files = [_jpeg(noise.integers(0, 256, (8, 8, 3), dtype=np.uint8), side) for _ in range(number)]
        self.draw, self.crop = DRAWS[draws], crop

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        left, top, flip = self.draw()
        picture = Image.open(io.BytesIO(self.files[number])).crop((left, top, left + self.crop, top + self.crop))
        if flip % 2:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        numbers = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
        return numbers.float().div_(255).sub_(0.5), self.targets[number]


DRAWS: dict[str, Callable[[], list[int]]] = {
    "none": lambda: [4, 4, 0],
    "python": lambda: [random.randrange(8) for _ in range(3)],
    "numpy": lambda: np.random.randint(0, 8, 3).tolist(),
    "torch": lambda: torch.randint(0, 8, (3,)).tolist(),
}


def _jpeg(pixels: np.ndarray, side: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def data_of(kind: str, draws: str) -> Dataset:
    """Return a data set by its name."""
    if kind in PICTURES:
        return Pictures(draws, *PICTURES[kind])
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(4096, 64, generator=generator), torch.randint(0, 10, (4096,), generator=generator)
    return TensorDataset(*rows) if kind == "tensors" else Rows(*rows)


def net(kind: str) -> nn.Module:
    """Return the model for a data set, the same one each time."""
    torch.manual_seed(0)
    if kind not in PICTURES:
        return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def by_hand(kind: str, loader: DataLoader, checks: bool) -> Iterator[None]:
    """Train by a hand-written loop, a step each time."""
    model = net(kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    parameters, found, one = list(model.parameters()), torch.zeros(()), torch.ones(())
    while True:
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), targets)
            loss.backward()
            if checks:
                tensors: list[Any] = [loss.detach(), *(each.grad for each in parameters)]
                torch._amp_foreach_non_finite_check_and_unscale_(tensors, found, one)
                if found.item():
                    raise FloatingPointError
            optimizer.step()
            yield


def by_session(kind: str, loader: DataLoader) -> Iterator[None]:
    """Train by optrun's session, a step each time."""
    model = net(kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    train_op = build_train_op(model, nn.functional.cross_entropy, optimizer, data=loader, seed=1)
    with MonitoredTrainingSession(hooks=[StopAtStepHook(last_step=10**9), LoggingHook()]) as session:
        while not session.should_stop():
            session.run(train_op)
            yield


def cpu_secs() -> float:
    """Return for how long this process and its workers have computed."""
    workers = multiprocessing.active_children()
    clocks = [(~each.pid << 3) | 2 for each in workers if each.pid]  # as clock_getcpuclockid makes them on Linux
    return time.process_time() + sum(map(time.clock_gettime, clocks))


def wait_until_idle(workers: int) -> None:
    """Return when the workers have filled their queues."""
    before = -1.0
    while workers and (now := cpu_secs()) - before > 0.001:
        before = now
        time.sleep(0.05)


def measure(kind: str, draws: str, workers: int, pieces: int, secs: float) -> None:
    """Print lines for one data set and one number of workers."""
    data = data_of(kind, draws)
    options = {"batch_size": BATCH_SIZE, "shuffle": True, "num_workers": workers, "persistent_workers": workers > 0}
    loaders = [DataLoader(data, **options) for _ in range(3)]
    loops = {
        HAND: by_hand(kind, loaders[0], checks=False),
        CHECKED: by_hand(kind, loaders[1], checks=True),
        OURS: by_session(kind, loaders[2]),
    }
    for loop in loops.values():
        advance(loop, 20)
    start = time.perf_counter()
    advance(loops[HAND], 20)
    steps = max(1, round(secs * 20 / (time.perf_counter() - start)))
    taken: dict[str, dict[str, list[float]]] = {
        "cpu": {name: [] for name in loops},
        "wall": {name: [] for name in loops},
    }
    names = list(loops)
    for piece in range(pieces):
        for name in names[piece % 3 :] + names[: piece % 3]:
            wait_until_idle(workers)
            wall, cpu = time.perf_counter(), cpu_secs()
            advance(loops[name], steps)
            taken["wall"][name].append((time.perf_counter() - wall) / steps * 1e3)
            wait_until_idle(workers)
            taken["cpu"][name].append((cpu_secs() - cpu) / steps * 1e3)
    for loop in loops.values():
        loop.close()
    what = f"{kind}, draws from {draws}" if kind in PICTURES else kind
    print(f"{what}, {workers} workers, {pieces} pieces of {steps} steps", flush=True)
    for clock, times in taken.items():
        medians = ", ".join(f"{name} {statistics.median(times[name]):.3f} ms" for name in names)
        against = ", ".join(f"{ratio(times[name], times[OURS])} {name}" for name in (HAND, CHECKED))
        print(f"  {clock:<4}  {medians}; of the speed: {against}", flush=True)


def count(kind: str, draws: str) -> None:
    """Print the instructions of a step of each loop, and the ratio."""
    if shutil.which("valgrind") is None:
        raise SystemExit("--instructions needs valgrind")
    per_step = {}
    for name in (HAND, CHECKED, OURS):
        few, many = (_instructions(kind, draws, name, steps) for steps in COUNTED)
        per_step[name] = (many - few) / (COUNTED[1] - COUNTED[0])
    each = ", ".join(f"{name} {number / 1e6:.2f}M" for name, number in per_step.items())
    against = ", ".join(f"{per_step[name] / per_step[OURS]:.3f} {name}" for name in (HAND, CHECKED))
    print(f"{kind}, draws from {draws}, instructions of a step\n  {each}; of the speed: {against}", flush=True)


def _instructions(kind: str, draws: str, name: str, steps: int) -> int:
    """Return how many instructions a process executes that takes some steps of a loop."""
    work = [sys.executable, __file__, "--data", kind, "--draws", draws, "--loop", name, str(steps)]
    tool = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    done = subprocess.run([*tool, *work], env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True)
    found = re.search(r"I +refs: +([\d,]+)", done.stderr)
    if done.returncode or found is None:
        raise SystemExit(done.stderr)
    return int(found[1].replace(",", ""))


def take_steps(kind: str, draws: str, name: str, steps: int) -> None:
    """Take some steps of a loop, for those who count instructions."""
    torch.manual_seed(0)
    loader = DataLoader(data_of(kind, draws), batch_size=BATCH_SIZE, shuffle=True)
    loop = by_session(kind, loader) if name == OURS else by_hand(kind, loader, checks=name == CHECKED)
    advance(loop, steps)
    loop.close()


def advance(loop: Iterator[None], steps: int) -> None:
    """Take some steps."""
    for _ in range(steps):
        next(loop)


def ratio(hand: list[float], ours: list[float]) -> str:
    """Return the median of the ratios, with its quartiles, and the ratio of the fastest tenths."""
    low, middle, high = statistics.quantiles([a / b for a, b in zip(hand, ours, strict=True)], n=4)
    fastest = [statistics.fmean(sorted(times)[: max(1, len(times) // 10)]) for times in (hand, ours)]
    return f"{middle:.3f} ({low:.3f} to {high:.3f}; fastest tenth {fastest[0] / fastest[1]:.3f})"


def main() -> None:
    """Print lines for each data set and number of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=["tensors", "rows", *PICTURES], default=["tensors", "pictures"])
    parser.add_argument("--draws", nargs="+", choices=list(DRAWS), default=["torch"])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--pieces", type=int, default=15)
    parser.add_argument("--secs", type=float, default=0.3, help="that a piece of the loop by hand takes, about")
    parser.add_argument("--instructions", action="store_true", help="count them instead of taking times")
    parser.add_argument("--loop", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.loop:
        take_steps(args.data[0], args.draws[0], args.loop[0], int(args.loop[1]))
        return
    for kind in args.data:
        for draws in args.draws if kind in PICTURES else ["none"]:
            if args.instructions:
                count(kind, draws)
                continue
            for workers in args.workers:
                measure(kind, draws, workers, args.pieces, args.secs)


if __name__ == "__main__":
    main()
