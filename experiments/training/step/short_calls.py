"""Two calls of torch's that each step makes, by a shorter way where it leads to the same.

`Optimizer.step` and `Tensor.backward` look for hooks, profilers and subclasses, and make a record of the call even if
nobody wants one: 9 µs each, which is as much as a small network's layer. Where there is none of these, what they call
is called directly.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

_log = logging.getLogger("torch.autograd.graph")  # of a record that is made where this has level DEBUG
_whole_backward = Tensor.backward
_engine: Any = getattr(torch.autograd.Variable, "_execution_engine", None)


def backward(loss: Tensor) -> None:
    """Add the gradients of a loss to its leaves, as `loss.backward()` does."""
    is_plain = type(loss) is Tensor and loss.dim() == 0 and loss.is_cpu and loss.is_floating_point()
    if (
        not is_plain
        or _engine is None
        or Tensor.backward is not _whole_backward
        or torch._C._is_torch_function_mode_enabled()
        or _log.isEnabledFor(logging.DEBUG)
    ):
        loss.backward()
        return
    # A new one each time: a function of the user's own may change what it is given.
    ones = torch.ones_like(loss)
    _engine.run_backward((loss,), (ones,), False, False, (), allow_unreachable=True, accumulate_grad=True)


def step(optimizer: torch.optim.Optimizer) -> None:
    """Take a step of an optimizer, as `optimizer.step()` does."""
    whole = type(optimizer).step
    if (
        not getattr(whole, "hooked", False)  # by torch, which has put its own around what the class has
        or "step" in optimizer.__dict__
        or optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or _global_optimizer_pre_hooks
        or _global_optimizer_post_hooks
        or torch.autograd._profiler_enabled()
    ):
        optimizer.step()
    else:
        whole.__wrapped__(optimizer)  # type: ignore[attr-defined]
