"""What compiled steps gain: their speed as a ratio to a hand-written loop, for blocks of several lengths.

    python tests/benchmarks/compiled_steps.py [--work mlp] [--lengths 1 4 16 64] [--rounds 15] [--precision bf16]

The work is an MLP 64-128-10 in batches of 64 with SGD and momentum; He et al.'s ResNet-20 on images of CIFAR-10's
shape in batches of 128, likewise; or a GPT of 4 layers and 128 dimensions on 64 tokens in batches of 16 with AdamW.
The hand-written loop, in float32 whatever the precision of the others, uses torch's fused optimizer and no gate;
compiled steps have the gate on. Both gather their batches from tensors in memory, and have a rate for each step.

All advance in turn, a stretch of steps each, so that whatever else the machine does hits them alike; ratios are those
of the median times. One thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from optrun.experiments import build_train_op, make_model, make_optimizer
from optrun.experiments.components.losses import make_loss
from optrun.experiments.training.step.compiled.blocks import CompiledBlocks
from optrun.experiments.training.step.compiled.reasons import why_eager

_EXAMPLES = 1024
_WORK: dict[str, dict[str, Any]] = {
    "mlp": {"model": {"name": "mlp", "input_shape": (64,), "num_outputs": 10}, "size": 64, "stretch": 64},
    "resnet20": {
        "model": {"name": "resnet", "input_shape": (3, 32, 32), "num_outputs": 10, "depth": 20, "width": 16},
        "size": 128,
        "stretch": 2,
    },
    "gpt": {"model": {"name": "gpt", "input_shape": (64,), "num_outputs": 65}, "size": 16, "stretch": 4},
}


class Work:
    """A model, its optimizer and its data, made anew from the same start.

    Args:
        name: of the work.
        channels_last: whether its weights lie so in memory.
        device: of weights and data.
    """

    def __init__(self, name: str, channels_last: bool = False, device: str = "cpu"):
        work, self.is_text = _WORK[name], name == "gpt"
        self.size = work["size"]
        torch.manual_seed(0)
        self.model: nn.Module = make_model(**work["model"]).to(device)
        self.loss = make_loss("next_token" if self.is_text else "cross_entropy")
        self.rate = 0.001 if self.is_text else 0.05
        self.optimizer = make_optimizer(self.model, "adamw" if self.is_text else "mom", lr=self.rate)
        if self.is_text:
            tokens = torch.randint(0, 65, (_EXAMPLES, 65))
            self.inputs, self.targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
        else:
            self.inputs = torch.randn(_EXAMPLES, *work["model"]["input_shape"])
            self.targets = torch.randint(0, 10, (_EXAMPLES,))
        self.inputs, self.targets = self.inputs.to(device), self.targets.to(device)
        if channels_last:
            self.model.to(memory_format=torch.channels_last)

    def batches(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Return batches as one: (count, examples, ...)."""
        rows = torch.arange(first * self.size, (first + count) * self.size, device=self.inputs.device) % _EXAMPLES
        inputs, targets = self.inputs.index_select(0, rows), self.targets.index_select(0, rows)
        return inputs.view(count, self.size, *inputs.shape[1:]), targets.view(count, self.size, *targets.shape[1:])


def plain(work: Work, stretch: int) -> Iterator[None]:
    """Take hand-written steps, a stretch at a time."""
    first = 0
    while True:
        for step in range(first, first + stretch):
            (inputs,), (targets,) = work.batches(step, 1)
            for group in work.optimizer.param_groups:
                group["lr"] = work.rate
            work.optimizer.zero_grad(set_to_none=True)
            work.loss(work.model(inputs), targets).backward()
            work.optimizer.step()
        first += stretch
        yield


def compiled(work: Work, stretch: int, length: int, precision: Any) -> Iterator[None]:
    """Take compiled steps, a stretch at a time, in blocks."""
    data = [(work.inputs, work.targets)]  # not read
    op = build_train_op(work.model, work.loss, work.optimizer, data, precision=precision)
    if (reason := why_eager(op)) is not None:
        raise SystemExit(f"cannot be compiled: {reason}")
    blocks = CompiledBlocks(op)
    first = 0
    while True:
        for begin in range(first, first + stretch, length):
            count = min(length, first + stretch - begin)
            _, good = blocks.run(*work.batches(begin, count), torch.full((count, 1), work.rate))
            assert good.all()
        first += stretch
        yield


def timed(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=_WORK, default="mlp")
    parser.add_argument("--lengths", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--channels-last", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    stretch = _WORK[args.work]["stretch"]
    loops: dict[str, Iterator[None]] = {"hand-written": plain(Work(args.work), stretch)}
    for length in args.lengths:
        if length <= stretch:
            work = Work(args.work, args.channels_last)
            loops[f"blocks of {length}"] = compiled(work, stretch, length, args.precision)
    for name, loop in loops.items():
        print(f"{name:14}  first {stretch} steps in {timed(lambda loop=loop: next(loop)):6.2f} s", flush=True)
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(args.rounds):
        for name, loop in loops.items():
            times[name].append(timed(lambda loop=loop: next(loop)))
    base = statistics.median(times["hand-written"])
    for name, found in times.items():
        ratios = sorted(one / other for one, other in zip(times["hand-written"], found, strict=True))
        spread = f"{ratios[len(ratios) // 10]:.2f} to {ratios[-1 - len(ratios) // 10]:.2f}"
        median = statistics.median(found)
        print(f"{name:14}  {median / stretch * 1e6:9.1f} us a step   {base / median:5.2f} times as fast ({spread})")


if __name__ == "__main__":
    main()
