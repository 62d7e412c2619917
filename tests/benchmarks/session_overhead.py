"""What the session costs: its steps per second as a ratio to a hand-written loop.

    python tests/benchmarks/session_overhead.py [--blocks 200] [--steps 100] [--clock cpu]
    python tests/benchmarks/session_overhead.py --work resnet20 --blocks 20 --steps 2

The work is an MLP 64-128-10 (9,610 parameters) on digits in batches of 64, or He et al.'s ResNet-20 (269,722
parameters) on images of CIFAR-10's shape in batches of 128; SGD with momentum, one thread, default hooks, a metrics row
per 100 steps. The hand-written loop draws the same in-memory batches, uses the same optimizer implementation and sets
the rate at each step from the same schedule. With the gate on, it is also held against a loop that makes the same
finite check.

All loops advance in turn, a block of steps each, so that whatever else the machine does hits them alike; the ratio is
that of the median block times.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from optrun.experiments import build, load_config

MLP = {
    "name": "overhead",
    "data": {"name": "digits", "batch_size": 64},
    "model": {"name": "mlp", "hidden": [128]},
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "mom", "lr": 0.05, "momentum": 0.9},
    "schedule": {"name": "piecewise", "boundaries": ["50%", "75%"], "factors": [1, 0.1, 0.01]},
    "log": {"every": "100 steps"},
    "train": {"threads": 1, "steps": 10_000_000},
    "eval": {"every": "10000001 steps"},  # evaluating is work, not overhead: the hand-written loop does none
}
RESNET20 = {
    **MLP,
    "data": {"name": "arrays", "path": "cifar-shaped.npz", "batch_size": 128, "test": 0.0, "val": 0.1},
    "model": {"name": "resnet", "depth": 20, "width": 16},
}


def config_of(work: str, folder: Path) -> dict[str, Any]:
    """Return the configuration, with noise of CIFAR-10's shape for data where it takes images."""
    if work == "mlp":
        return MLP
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (1500, 3, 32, 32), dtype=np.uint8)
    np.savez(folder / "cifar-shaped.npz", inputs=images, targets=np.arange(1500) % 10)
    return {**RESNET20, "data": {**RESNET20["data"], "path": str(folder / "cifar-shaped.npz")}}


def plain_loop(config: dict[str, Any], num_steps: int, finite_check: bool) -> Iterator[int]:
    """Take `num_steps` hand-written steps at a time; yield how many they were."""
    made = build(load_config(config))
    op, schedule = made.train_op, made.schedule
    model, optimizer, loss_function, data = op.model, op.optimizer, op.loss, op.data
    parameters = list(model.parameters())
    found, one = torch.zeros(()), torch.ones(())
    base = optimizer.defaults["lr"]
    steps = itertools.count()
    while True:
        for _ in range(num_steps):
            step = next(steps)
            inputs, targets = data.batch(step)
            for group in optimizer.param_groups:
                group["lr"] = base * schedule(step)
            optimizer.zero_grad(set_to_none=True)
            loss = loss_function(model(inputs), targets)
            loss.backward()
            if finite_check:
                gradients = [loss.detach(), *(p.grad for p in parameters)]
                torch._amp_foreach_non_finite_check_and_unscale_(gradients, found, one)
                if found.item():
                    raise FloatingPointError
            optimizer.step()
        yield num_steps


def session_loop(config: dict[str, Any], num_steps: int, gate: bool) -> Iterator[int]:
    """Take at least `num_steps` steps of the monitored session at a time, in its blocks; yield how many they were."""
    made = build(load_config(config))
    op = made.train_op
    if not gate:
        op.gate = None
    with tempfile.TemporaryDirectory() as folder, made.session(Path(folder)) as session:
        session.evaluators = dict.fromkeys(session.evaluators, lambda interrupted: {})
        while not session.should_stop():
            before = op.global_step
            while not session.should_stop() and op.global_step < before + num_steps:
                session.run_block(op)
            yield op.global_step - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", choices=["mlp", "resnet20"], default="mlp")
    parser.add_argument("--blocks", type=int, default=200)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: for a machine that is shared")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(config_of(args.work, Path(folder)), args)


def measure(config: dict[str, Any], args: argparse.Namespace) -> None:
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    loops = {
        "plain": plain_loop(config, args.steps, finite_check=False),
        "session, gate off": session_loop(config, args.steps, gate=False),
        "plain with check": plain_loop(config, args.steps, finite_check=True),
        "session, gate on": session_loop(config, args.steps, gate=True),
    }
    secs: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(min(10, args.blocks)):  # warm up
        for loop in loops.values():
            next(loop)
    for block in range(args.blocks):
        names = list(loops)
        names = names[block % 4 :] + names[: block % 4]  # each comes first, second, third and last equally often
        for name in names:
            start = clock()
            num_steps = next(loops[name])
            secs[name].append((clock() - start) / num_steps)
    for loop in loops.values():
        loop.close()
    for name, times in secs.items():
        best, median = min(times) * 1e6, statistics.median(times) * 1e6
        print(f"{name:<20} {best:7.1f} us/step best, {median:7.1f} median")
    for name, base in (
        ("session, gate off", "plain"),
        ("session, gate on", "plain with check"),
        ("session, gate on", "plain"),
    ):
        ratio = statistics.median(secs[base]) / statistics.median(secs[name])
        print(f"{name} / {base}: {ratio:.3f} of medians, {min(secs[base]) / min(secs[name]):.3f} of best times")


if __name__ == "__main__":
    main()
