"""What a step of optrun's own optimizers costs: its time as a ratio to that of torch's nearest.

    python tests/benchmarks/optimizer_steps.py [--blocks 40] [--steps 5] [--device cpu] [NAME ...]

An MLP of 1,009,060 parameters in 20 tensors, float32, one thread, gradients that stay as they are. Torch's optimizers
run with foreach=True, and, where torch has it, with fused=True. All three advance in turn, a block of steps each; the
ratio is that of the median block times, and below 1 where optrun's is faster. On a CPU, time is that of this process,
so that others on the machine count for less.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from optrun.experiments import make_optimizer

_PENALTIES = {"l1": 0.001, "l2": 0.001}
SETTINGS: dict[str, tuple[dict[str, Any], type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd tf1": ({}, torch.optim.SGD, {}),
    "mom tf1": ({}, torch.optim.SGD, {"momentum": 0.9}),
    "mom tf1, nesterov": ({"nesterov": True}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adagrad tf1": ({}, torch.optim.Adagrad, {}),
    "adadelta tf1": ({}, torch.optim.Adadelta, {}),
    "adam tf1": ({}, torch.optim.Adam, {}),
    "rmsprop tf1": ({}, torch.optim.RMSprop, {}),
    "rmsprop tf1, centered": (
        {"momentum": 0.9, "centered": True},
        torch.optim.RMSprop,
        {"momentum": 0.9, "centered": True},
    ),
    "ftrl": ({}, torch.optim.Adagrad, {}),
    "ftrl, l1 and l2": (_PENALTIES, torch.optim.Adagrad, {}),
    "proximal_gradient_descent": (_PENALTIES, torch.optim.SGD, {}),
    "proximal_adagrad": (_PENALTIES, torch.optim.Adagrad, {}),
    "adagrad_da": (_PENALTIES, torch.optim.Adagrad, {}),
}
FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.Adagrad)  # what torch has fused versions of


def model(device: str) -> nn.Module:
    torch.manual_seed(0)
    sizes = [64, *[350] * 9, 10]
    made = nn.Sequential(*(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))).to(device)
    for parameter in made.parameters():
        parameter.grad = torch.randn_like(parameter)
    return made


def stepper(optimizer: torch.optim.Optimizer, num_steps: int, device: str) -> Callable[[], float]:
    """Return a function that takes `num_steps` steps and returns the seconds of one."""

    clock = time.process_time if device == "cpu" else time.perf_counter

    def block() -> float:
        start = clock()
        for _ in range(num_steps):
            optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()
        return (clock() - start) / num_steps

    return block


def measure(label: str, num_blocks: int, num_steps: int, device: str) -> dict[str, float]:
    """Return the median seconds of one step, by implementation."""
    args, torch_class, torch_args = SETTINGS[label]
    name, *flavor = label.partition(",")[0].split()
    ours = make_optimizer(model(device), name, lr=1e-4, **({"flavor": flavor[0]} if flavor else {}), **args)
    optimizers = {"optrun": ours}
    optimizers["foreach"] = torch_class(model(device).parameters(), lr=1e-4, foreach=True, **torch_args)
    if torch_class in FUSED and not (torch_class is torch.optim.Adagrad and device != "cpu"):
        optimizers["fused"] = torch_class(model(device).parameters(), lr=1e-4, fused=True, **torch_args)
    blocks = {key: stepper(optimizer, num_steps, device) for key, optimizer in optimizers.items()}
    secs: dict[str, list[float]] = {key: [] for key in blocks}
    for number in range(-3, num_blocks):  # three to warm up
        for key, block in blocks.items():
            taken = block()
            if number >= 0:
                secs[key].append(taken)
    return {key: statistics.median(times) for key, times in secs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("names", nargs="*", metavar="NAME", help="settings that begin so; all if left out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{'':<26} {'torch':<10} {'optrun':>9} {'foreach':>9} {'fused':>9}   {'ratio to foreach':>16} {'to fused':>9}"
    )
    for label in SETTINGS:
        if args.names and not label.startswith(tuple(args.names)):
            continue
        secs = measure(label, args.blocks, args.steps, args.device)
        times = [f"{secs[key] * 1e6:6.0f} us" if key in secs else "-" for key in ("optrun", "foreach", "fused")]
        ratios = [f"{secs['optrun'] / secs[key]:.2f}" if key in secs else "-" for key in ("foreach", "fused")]
        torch_name = SETTINGS[label][1].__name__
        print(
            f"{label:<26} {torch_name:<10} {times[0]:>9} {times[1]:>9} {times[2]:>9}   {ratios[0]:>16} {ratios[1]:>9}"
        )


if __name__ == "__main__":
    main()
