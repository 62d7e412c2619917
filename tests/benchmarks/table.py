"""The speed of one training, by hand, by optrun and by other tools, as ratios to the loop by hand.

    python tests/benchmarks/table.py [--only NAME ...] [--pieces 50] [--steps 200] [--clock cpu] [--json]

The work is an MLP 64-128-10 (9,610 parameters) on digits in batches of 64, SGD with momentum 0.9 at a rate of 0.05,
float32, one thread on one core. Each contender draws shuffled batches from the same tensors in memory; none reads
through a DataLoader. Those of torch use its fused SGD. All but optrun begin with the same weights and draw the same
batches, and that they have trained the same is checked after the first piece.

* by hand: zero_grad, forward, loss, backward, step; "checked" also looks whether loss and gradients are finite.
* optrun: its session with the default hooks and the check, in its own blocks, a metrics row per 100 steps; "compiled"
  with `train.compile: true`.
* Accelerate: a loop by hand with prepared model and optimizer, and its own `backward`.
* Ignite: an Engine without handlers. Lightning: `Trainer(barebones=True)`, without logging, checkpoints, progress bar,
  summary and sanity check. Keras, on torch: `fit` from a generator, without metrics.
* JAX with optax: one jitted function per step, or one for a piece, with lax.scan. Inputs stay on the device.

All advance in turn in one process, a piece of steps each, in changing order, so that whatever else the machine does
hits them alike. Loops by hand, optrun, Accelerate and JAX's steps go on where they were; where the tool owns the loop
(Ignite, Lightning, Keras, lax.scan), each piece is a call of its own, timed from its first step to its last. What comes
before, compiling included, is the start: making the contender and its first piece. Printed are medians over the
pieces, ratios of two pieces of one turn with their quartiles. `--clock cpu` counts the time for which the process
computed, all its threads together, for a machine that others use as well.

The other tools are no dependencies of optrun, and those that are not installed are said to be so:

    pip install -c constraints.txt accelerate jax keras lightning optax pytorch-ignite
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import contenders
import numpy as np
import torch
from contenders import Loop, Work

ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


@dataclass(frozen=True)
class Contender:
    """One row of the table.

    Args:
        label: as printed, with a place for the version of the first package that it needs.
        make: its loop.
        needs: packages, with the module of each.
    """

    label: str
    make: Callable[[Work, Watch], Loop]
    needs: Mapping[str, str] = field(default_factory=dict)

    def is_installed(self) -> bool:
        return all(importlib.util.find_spec(module) is not None for module in self.needs.values())


BASE = "hand"
CONTENDERS = {
    BASE: Contender("by hand", contenders.by_hand),
    "checked": Contender("by hand, checked", contenders.checked),
    "optrun": Contender("optrun", contenders.optrun),
    "compiled": Contender("optrun, compiled", contenders.optrun_compiled),
    "ignite": Contender("Ignite{}", contenders.ignite, {"pytorch-ignite": "ignite"}),
    "accelerate": Contender("Accelerate{}", contenders.accelerate, {"accelerate": "accelerate"}),
    "lightning": Contender("Lightning{}", contenders.lightning, {"lightning": "lightning"}),
    "keras": Contender("Keras{} on torch", contenders.keras, {"keras": "keras"}),
    "jax": Contender("JAX{}, jit per step", contenders.jax_step, {"jax": "jax", "optax": "optax"}),
    "jax-scan": Contender("JAX{}, lax.scan", contenders.jax_scan, {"jax": "jax", "optax": "optax"}),
}


class Watch:
    """Measures a piece: from the last start to the first stop after it.

    Args:
        clock: returns seconds.
    """

    def __init__(self, clock: Callable[[], float]):
        self.clock, self.secs, self._since = clock, 0.0, None

    def start(self, *_: Any) -> None:
        self._since: float | None = self.clock()

    def stop(self, *_: Any) -> None:
        if self._since is not None:
            self.secs, self._since = self.clock() - self._since, None

    def time(self, loop: Loop) -> float:
        """Train a piece, and return the seconds that a step of it took."""
        self.start()
        piece = next(loop)
        self.stop()
        return self.secs / piece.num_steps


def use_one_core() -> None:
    """Keep this process to one core, where the system can do that, and each library to one thread."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {ONE_THREAD}".strip()
    torch.set_num_threads(1)


def measure(names: Sequence[str], num_pieces: int, num_steps: int, clock: Callable[[], float]) -> list[dict[str, Any]]:
    """Return a row for each contender, by hand first; those that are not installed have no figures."""
    names = [BASE, *(name for name in CONTENDERS if name in names and name != BASE)]
    work, watch = Work.digits(num_steps), Watch(clock)
    loops: dict[str, Loop] = {}
    first_weights: dict[str, list[np.ndarray]] = {}
    starts: dict[str, float] = {}
    with contextlib.ExitStack() as stack:  # sessions put back what they found: the last one first
        for name in names:
            if CONTENDERS[name].is_installed():
                begun = time.perf_counter()
                loops[name] = stack.enter_context(contextlib.closing(CONTENDERS[name].make(work, watch)))
                first_weights[name] = next(loops[name]).weights()
                starts[name] = time.perf_counter() - begun
                check_alike(name, first_weights[name], first_weights[BASE])
        secs = take_turns(loops, watch, num_pieces)
    return [row_of(name, secs, starts) for name in names]


def check_alike(name: str, weights: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Refuse a contender that has trained something else than the loop by hand.

    Raises:
        AssertionError: its weights differ by more than rounding does.
    """
    for ours, theirs in zip(weights, expected, strict=bool(weights)):
        difference = float(np.abs(ours - theirs).max())
        if not difference < 1e-3:
            raise AssertionError(f"{name} trains something else than by hand: a weight differs by {difference:.2g}")


def take_turns(loops: Mapping[str, Loop], watch: Watch, num_pieces: int) -> dict[str, list[float]]:
    """Return the seconds that a step took, by contender and piece."""
    secs: dict[str, list[float]] = {name: [] for name in loops}
    names = list(loops)
    for piece in range(-1, num_pieces):  # the first turn warms up
        first = piece % len(names)
        for name in names[first:] + names[:first]:
            taken = watch.time(loops[name])
            if piece >= 0:
                secs[name].append(taken)
    return secs


def row_of(name: str, secs: Mapping[str, list[float]], starts: Mapping[str, float]) -> dict[str, Any]:
    contender = CONTENDERS[name]
    row: dict[str, Any] = {"name": name, "installed": name in secs}
    if name not in secs:
        return {**row, "label": contender.label.format("")}
    versions = {package: version(package) for package in contender.needs}
    low, middle, high = quartiles([base / own for base, own in zip(secs[BASE], secs[name], strict=True)])
    return {
        **row,
        "label": contender.label.format(*(f" {number}" for number in versions.values())),
        "versions": versions,
        "steps_per_sec": 1 / statistics.median(secs[name]),
        "ratio": {"median": middle, "quartiles": [low, high]},
        "start_secs": starts[name],
    }


def quartiles(values: list[float]) -> list[float]:
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3


def machine() -> dict[str, Any]:
    """Return what the figures hold for."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "cores_used": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "optrun": version("optrun")},
    }


def cpu_name() -> str:
    """Return the model of the processor as Linux has it, or what Python knows of it."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def text_of(rows: list[dict[str, Any]], surroundings: Mapping[str, Any], args: argparse.Namespace) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in surroundings["versions"].items())
    lines = [
        f"{surroundings['cpu']}, load {surroundings['load']:.1f}; {versions}",
        f"threads {surroundings['threads']}, cores {surroundings['cores_used']} of {surroundings['cores']}",
        f"medians of {args.pieces} pieces of {args.steps} steps in turn, {args.clock} time",
        "",
        f"{'':<26} {'steps/s':>8}   {'to by hand':<22} {'start':>7}",
    ]
    for row in rows:
        if not row["installed"]:
            lines.append(f"{row['label']:<26} not installed")
            continue
        low, high = row["ratio"]["quartiles"]
        ratio = f"{row['ratio']['median']:.2f} ({low:.2f} to {high:.2f})"
        lines.append(f"{row['label']:<26} {row['steps_per_sec']:8,.0f}   {ratio:<22} {row['start_secs']:5.1f} s")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--pieces", type=int, default=50)
    parser.add_argument("--steps", type=int, default=200, help="in a piece")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: for a machine that is shared")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    rows = measure(args.only, args.pieces, args.steps, time.process_time if args.clock == "cpu" else time.perf_counter)
    surroundings = machine()
    if args.json:
        settings = {"pieces": args.pieces, "steps": args.steps, "clock": args.clock}
        json.dump({"machine": surroundings, **settings, "rows": rows}, sys.stdout, indent=2)
        print()
    else:
        print(text_of(rows, surroundings, args))


if __name__ == "__main__":
    use_one_core()
    main()
