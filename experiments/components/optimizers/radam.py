"""RAdam."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ...registry.arguments import Decay, NonNegative, Positive
from . import register_optimizer
from .shared.parameter_groups import WeightDecay
from .shared.torch_rules import PAIRS, builds


@register_optimizer(
    "radam",
    source="Liu et al., 2020, arXiv:1908.03265",
    centre_lr=0.3,
    centre_source="best on digits, of a grid by factors of √10: 0.1 to 1 with a resnet (170 steps)",
    complex=PAIRS,
)
@builds(torch.optim.RAdam, foreach=True)  # torch has no fused version
def radam(
    params: Iterable[Any],
    *,
    lr: Positive = 0.001,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: WeightDecay = 0.0,
    decoupled_weight_decay: bool = False,
):
    """RAdam: Adam that warms itself up, by how uncertain its mean of squares still is.

        g = gradient + weight_decay * w
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g²
        p = 2 / (1 - beta2) - 1                                                t = 1, 2, …
        q = p - 2 * t * beta2^t / (1 - beta2^t)
        r = √((q - 4) * (q - 2) * p / ((p - 4) * (p - 2) * q))
        w = w - lr * (m / (1 - beta1^t)) * r * √(1 - beta2^t) / (√v + eps)     while q <= 5: without r and what follows

    With beta2 = 0.999 the first five steps are momentum, and r passes 0.5 between steps 500 and 600.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: about the largest change of a weight in one step.
        betas: how much of the past the means of the gradient and of its square keep.
        eps: added to the root; larger moves the rule towards momentum.
        weight_decay: the L2 penalty's rate, added to the gradient.
        decoupled_weight_decay: whether the weights shrink by lr * weight_decay instead, as in adamw.

    Source: Liu et al., "On the variance of the adaptive learning rate and beyond", 2020.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> w.grad = torch.tensor(0.5)
        >>> make_optimizer([w], "radam", lr=0.1).step()
        >>> round(w.item(), 4)  # momentum at first: 1 - 0.1 * 0.5
        0.95
    """
