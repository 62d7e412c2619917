"""What a step of optrun's own optimizers costs: its time as a ratio to torch's rule with as many slots.

    python tests/benchmarks/optimizer_steps.py [--blocks 40] [--steps 5] [--device cpu] [NAME ...]

An MLP of 1,009,060 parameters in 20 tensors, float32, one thread, gradients that stay as they are. A slot is a tensor
that the rule keeps for each parameter; of torch's rules with as many, the nearest is named. They run with foreach=True,
and, where torch has it, with fused=True. All three advance in turn, a block of steps each; the ratios are medians over
the turns, for foreach with their quartiles, and below 1 where optrun's is faster. On a CPU, time is that of this
process, so that others on the machine count for less.

A rule with penalties does more than torch's, which has none: they take 3 (proximal_gradient_descent), 10
(proximal_adagrad) and 2 (ftrl, adagrad_da) operations beside those of the rule itself.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
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
    "ftrl": ({}, torch.optim.Adam, {}),
    "ftrl, l1 and l2": (_PENALTIES, torch.optim.Adam, {}),
    "proximal_gradient_descent": ({}, torch.optim.SGD, {}),
    "proximal_gradient_descent, l1": ({"l1": 0.001}, torch.optim.SGD, {}),
    "proximal_gradient_descent, l1 and l2": (_PENALTIES, torch.optim.SGD, {}),
    "proximal_adagrad": ({}, torch.optim.Adagrad, {}),
    "proximal_adagrad, l1 and l2": (_PENALTIES, torch.optim.Adagrad, {}),
    "adagrad_da, l1 and l2": (_PENALTIES, torch.optim.Adam, {}),
}
KEYS = ("optrun", "foreach", "fused")
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


def optimizers_of(label: str, device: str) -> dict[str, torch.optim.Optimizer]:
    """Return optrun's and torch's optimizers of one setting, each over a model of its own."""
    args, torch_class, torch_args = SETTINGS[label]
    name, *flavor = label.partition(",")[0].split()
    made = {"optrun": make_optimizer(model(device), name, lr=1e-4, **({"flavor": flavor[0]} if flavor else {}), **args)}
    made["foreach"] = torch_class(model(device).parameters(), lr=1e-4, foreach=True, **torch_args)
    if torch_class in FUSED and not (torch_class is torch.optim.Adagrad and device != "cpu"):
        made["fused"] = torch_class(model(device).parameters(), lr=1e-4, fused=True, **torch_args)
    return made


def num_slots(optimizer: torch.optim.Optimizer) -> int:
    """Return how many tensors an optimizer keeps for a parameter, once it has taken a step."""
    weight = optimizer.param_groups[0]["params"][0]
    kept = optimizer.state[weight].values()
    return sum(isinstance(value, torch.Tensor) and value.shape == weight.shape for value in kept)


def measure(optimizers: Mapping[str, torch.optim.Optimizer], num_blocks: int, num_steps: int, device: str):
    """Return the seconds that a step took, by implementation and block."""
    blocks = {key: stepper(optimizer, num_steps, device) for key, optimizer in optimizers.items()}
    secs: dict[str, list[float]] = {key: [] for key in blocks}
    for number in range(-3, num_blocks):  # three to warm up
        for key, block in blocks.items():
            taken = block()
            if number >= 0:
                secs[key].append(taken)
    return secs


def line_of(label: str, slots: int, secs: Mapping[str, list[float]]) -> str:
    """Return the line of one setting."""
    times = [f"{statistics.median(secs[key]) * 1e6:.0f} us" if key in secs else "-" for key in KEYS]
    ratios = {key: [a / b for a, b in zip(secs["optrun"], secs[key], strict=True)] for key in KEYS[1:] if key in secs}
    low, middle, high = statistics.quantiles(ratios["foreach"], n=4, method="inclusive")
    to_fused = f"{statistics.median(ratios['fused']):.2f}" if "fused" in ratios else "-"
    rule = f"{SETTINGS[label][1].__name__} ({slots})"
    to_foreach = f"{middle:.2f} ({low:.2f} to {high:.2f})"
    return f"{label:<36} {rule:<12} {times[0]:>9} {times[1]:>9} {times[2]:>9}   {to_foreach:<22} {to_fused:>6}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("names", nargs="*", metavar="NAME", help="settings that begin so; all if left out")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    head = f"{'torch (slots)':<12} {'optrun':>8} {'foreach':>9} {'fused':>9}   {'to foreach':<22} {'fused':>6}"
    print(f"{'':<36} {head}")
    for label in SETTINGS:
        if args.names and not label.startswith(tuple(args.names)):
            continue
        optimizers = optimizers_of(label, args.device)
        secs = measure(optimizers, args.blocks, args.steps, args.device)
        print(line_of(label, num_slots(optimizers["foreach"]), secs), flush=True)


if __name__ == "__main__":
    main()
