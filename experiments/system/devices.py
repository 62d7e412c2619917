"""The hardware that a run computes on: device, soft placement, number of threads."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import UsageError

#: Multiply-adds of one training step per thread: below this, more threads cost more than they bring. Measured: an
#: MLP of 17k parameters at batch 64 (3 M a step) ran 10 to 60 times slower with two threads than with one.
_WORK_PER_THREAD = 2_000_000_000
_DEVICE = re.compile(r"cpu|mps|cuda(?::([0-9]{1,3}))?")  # torch reads `cuda:300` as cuda:44


def choose_device(name: str, soft_placement: bool) -> tuple[torch.device, str | None]:
    """Return the device, and what to tell the user if it is not the one that was asked for.

    Args:
        name: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        soft_placement: fall back to the CPU when the device is missing, instead of failing.

    Raises:
        UsageError: no such device, or it is missing and may not be replaced.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu"), None
    match = _DEVICE.fullmatch(name)
    if match is None:
        raise UsageError(f"no device '{name}': use auto, cpu, cuda, cuda:N or mps")
    index = int(match[1] or 0)
    missing = _missing(match[0], index)
    if missing is None:
        return torch.device(f"cuda:{index}" if name.startswith("cuda") else name), None
    if soft_placement:
        return torch.device("cpu"), f"{name} is not available ({missing}): model, data and optimizer are on cpu instead"
    raise UsageError(f"{name} is not available ({missing}); set train.soft_placement=true to fall back to the CPU")


def _missing(name: str, index: int) -> str | None:
    if name.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return None if index < count else f"{count or 'no'} CUDA device{'s' * (count != 1)} here"
    if name == "mps":
        return None if _has_mps() else "no Metal device here"
    return None


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def choose_threads(wanted: int | Literal["auto"], work: int) -> int:
    """Return the number of CPU threads for a run.

    The choice is a rule, not a measurement: the number of threads changes the order of additions, so a timed choice
    would change the result from run to run.

    Args:
        wanted: a number, or `auto` for $OPTRUN_THREADS, or else the rule.
        work: multiply-adds of one training step.

    Raises:
        UsageError: less than one thread, or a variable that is no such number.
    """
    variable = os.environ.get("OPTRUN_THREADS")
    if variable and (not re.fullmatch("[0-9]{1,4}", variable) or int(variable) < 1):
        raise UsageError(f"OPTRUN_THREADS={variable}: expected a number of threads, at least 1")
    if wanted == "auto" and variable:
        return int(variable)
    if wanted == "auto":
        return max(1, min(os.cpu_count() or 1, work // _WORK_PER_THREAD))
    if wanted < 1:
        raise UsageError(f"expected at least 1 thread, got {wanted}")
    return wanted


def count_work(model: nn.Module, run: Callable[[], object], num_examples: int, batch_size: int) -> int:
    """Estimate the multiply-adds of one training step, three times those of the forward pass.

    Each use of a weight matrix or kernel counts its entries once per output position.

    Args:
        model: run once, as it is: put it in evaluation mode, and turn gradients off, before.
        run: calls the model on a few examples.
        num_examples: of how many.
        batch_size: examples in a step.
    """
    work = 0

    def count(module: nn.Module, _: object, output: object) -> None:
        nonlocal work
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.dim() > 1 and isinstance(output, Tensor):
            work += output.numel() * (weight.numel() // weight.shape[0])

    handles = [module.register_forward_hook(count) for module in model.modules()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return 3 * work * batch_size // max(1, num_examples)
