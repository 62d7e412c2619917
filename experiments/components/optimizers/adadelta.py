"""Adadelta."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ...registry.arguments import Decay, NonNegative, Positive
from . import register_optimizer
from .shared.parameter_groups import WeightDecay
from .shared.torch_rules import PAIRS, builds


@register_optimizer(
    "adadelta",
    source="Zeiler, 2012, arXiv:1212.5701",
    centre_lr=10.0,
    centre_source="best on digits, of a grid by factors of √10: 3 to 30 with a resnet (170 steps)",
    complex=PAIRS,
)
@builds(torch.optim.Adadelta, foreach=True)  # torch has no fused version
def adadelta(
    params: Iterable[Any],
    *,
    lr: Positive = 1.0,
    rho: Decay = 0.9,
    eps: NonNegative = 1e-6,
    weight_decay: WeightDecay = 0.0,
):
    """Adadelta: steps as long as past steps were, by running means of squared gradients and of squared steps.

        g = gradient + weight_decay * w
        v = rho * v + (1 - rho) * g²
        d = g * √(u + eps) / √(v + eps)
        u = rho * u + (1 - rho) * d²
        w = w - lr * d

    The first steps are about √eps long, whatever the gradient.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: a factor on the rule's own step length; 1 is the rule as published.
        rho: how much of the past the two running means keep.
        eps: added under both roots; with the means at 0 it sets the length of the first steps.
        weight_decay: the L2 penalty's rate, added to the gradient.

    Source: Zeiler, "ADADELTA: an adaptive learning rate method", 2012.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> w.grad = torch.tensor(1.0)
        >>> make_optimizer([w], "adadelta", lr=1.0, eps=0.01).step()
        >>> round(w.item(), 4)  # 1 - √0.01 / √(0.1 + 0.01)
        0.6985
    """
