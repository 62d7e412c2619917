"""Rprop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import torch
from annotated_types import Gt, Lt

from ...registry.arguments import Positive
from . import register_optimizer
from .shared.torch_rules import PAIRS, builds

Shrink = Annotated[float, Gt(0), Lt(1)]
Growth = Annotated[float, Gt(1)]


@register_optimizer(
    "rprop",
    source="Riedmiller and Braun, 1993, doi:10.1109/ICNN.1993.298623",
    centre_lr=0.01,
    centre_source="best on digits, of a grid by factors of √10: 0.01 to 0.03 with a resnet (170 steps of 64 examples)",
    complex=PAIRS,
)
@builds(torch.optim.Rprop, foreach=True)
def rprop(
    params: Iterable[Any],
    *,
    lr: Positive = 0.01,
    etas: tuple[Shrink, Growth] = (0.5, 1.2),
    step_sizes: tuple[Positive, Positive] = (1e-6, 50.0),
):
    """Rprop: each weight has its own step length, which grows while its gradient keeps its sign.

        s = s * grow      where gradient and the one before agree in sign      s starts at lr
        s = s * shrink    where they disagree; the gradient counts as 0 then
        s = min(max(s, smallest), largest)
        w = w - s * sign(gradient)

    Made for full batches: the noise of small ones turns signs around. The rate is only the length of the first step, so
    that a schedule does nothing after it.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the length of the first step, of every weight.
        etas: the factors `shrink` and `grow` on a step length.
        step_sizes: the smallest and the largest step length.

    Source: Riedmiller and Braun, "A direct adaptive method for faster backpropagation learning: the RPROP algorithm",
    1993.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> optimizer = make_optimizer([w], "rprop", lr=0.1)
        >>> w.grad = torch.tensor(0.5)
        >>> optimizer.step(); optimizer.step()
        >>> round(w.item(), 4)  # 1 - 0.1 - 1.2 * 0.1
        0.78
    """
