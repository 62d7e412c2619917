"""What the session costs: its steps per second as a ratio to a hand-written loop, measured in alternation in one run.

    python tests/benchmarks/session_overhead.py [--rounds 15] [--steps 1000] [--clock cpu]

MLP 64-128-10 (9,610 parameters), digits, batch 64, SGD with momentum, one thread, default hooks, a metrics row per
100 steps. The hand-written loop draws the same in-memory batches, uses the same optimizer implementation and sets the
rate at each step from the same schedule. With the gate on, it is also held against a loop that makes the same finite
check.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from optrun.experiments import build, load_config

CONFIG = {
    "name": "overhead",
    "data": {"name": "digits", "batch_size": 64},
    "model": {"name": "mlp", "hidden": [128]},
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "mom", "lr": 0.05, "momentum": 0.9},
    "schedule": {"name": "piecewise", "boundaries": ["50%", "75%"], "factors": [1, 0.1, 0.01]},
    "train": {"threads": 1},
    "log": {"every": "100 steps"},
    "checkpoint": {"every": "10m"},
}


CLOCK = time.perf_counter


def experiment(num_steps: int):
    """Build the experiment anew, so that no loop inherits another's weights."""
    never = f"{num_steps + 1} steps"  # evaluating is work, not overhead: the hand-written loop does none
    return build(load_config({**CONFIG, "train": {"threads": 1, "steps": num_steps}, "eval": {"every": never}}))


def plain_loop(num_steps: int, finite_check: bool) -> float:
    """Time a hand-written loop; return seconds."""
    made = experiment(num_steps)
    op, schedule = made.train_op, made.schedule
    model, optimizer, loss_function, data = op.model, op.optimizer, op.loss, op.data
    parameters = list(model.parameters())
    found, one = torch.zeros(1), torch.ones(1)
    base = optimizer.defaults["lr"]
    start = CLOCK()
    for step in range(num_steps):
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
    return CLOCK() - start


def session_loop(num_steps: int, gate: bool) -> float:
    """Time the same steps through the monitored session; return seconds."""
    made = experiment(num_steps)
    op = made.train_op
    if not gate:
        op.gate = None
    with tempfile.TemporaryDirectory() as folder, made.session(Path(folder)) as session:
        session.evaluators = dict.fromkeys(session.evaluators, lambda interrupted: {})
        start = CLOCK()
        while not session.should_stop():
            session.run(op)
        return CLOCK() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: for a machine that is shared")
    args = parser.parse_args()
    global CLOCK
    CLOCK = time.process_time if args.clock == "cpu" else time.perf_counter
    loops = {
        "plain": lambda: plain_loop(args.steps, finite_check=False),
        "plain with check": lambda: plain_loop(args.steps, finite_check=True),
        "session, gate off": lambda: session_loop(args.steps, gate=False),
        "session, gate on": lambda: session_loop(args.steps, gate=True),
    }
    secs: dict[str, list[float]] = {name: [] for name in loops}
    for loop in loops.values():  # warm up
        loop()
    for _ in range(args.rounds):
        for name, loop in loops.items():
            secs[name].append(loop())
    for name, times in secs.items():
        best, median = min(times) / args.steps * 1e6, statistics.median(times) / args.steps * 1e6
        print(f"{name:<20} {best:7.1f} us/step best, {median:7.1f} median")
    for name, base in (
        ("session, gate off", "plain"),
        ("session, gate on", "plain with check"),
        ("session, gate on", "plain"),
    ):
        by_round = [b / s for b, s in zip(secs[base], secs[name], strict=True)]
        print(
            f"{name} / {base}: {min(secs[base]) / min(secs[name]):.3f} of best times, "
            f"{statistics.median(by_round):.3f} median of rounds"
        )


if __name__ == "__main__":
    main()
