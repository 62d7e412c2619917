"""NAdam."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ...registry.arguments import Decay, NonNegative, Positive
from . import register_optimizer
from .shared.parameter_groups import WeightDecay
from .shared.torch_rules import PAIRS, builds


@register_optimizer(
    "nadam",
    source="Dozat, 2016, ICLR workshop",
    centre_lr=0.03,
    centre_source="best on digits, of a grid by factors of √10: 0.01 to 0.1 with a resnet (170 steps)",
    complex=PAIRS,
)
@builds(torch.optim.NAdam, foreach=True)  # torch has no fused version
def nadam(
    params: Iterable[Any],
    *,
    lr: Positive = 0.002,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    momentum_decay: NonNegative = 0.004,
    weight_decay: WeightDecay = 0.0,
    decoupled_weight_decay: bool = False,
):
    """NAdam: Adam that looks ahead along its momentum, as Nesterov's rule does.

        g = gradient + weight_decay * w
        b_t = beta1 * (1 - 0.96^(t * momentum_decay) / 2)               t = 1, 2, …
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g²
        n = (1 - b_t) * g / (1 - b_1 ⋯ b_t) + b_(t+1) * m / (1 - b_1 ⋯ b_(t+1))
        w = w - lr * n / (√(v / (1 - beta2^t)) + eps)

    Args:
        params: the parameters to train, or torch's param groups.
        lr: about the largest change of a weight in one step.
        betas: how much of the past the means of the gradient and of its square keep.
        eps: added to the root; larger moves the rule towards momentum.
        momentum_decay: how fast b_t rises from beta1 / 2 to beta1; 0.004 takes some thousands of steps.
        weight_decay: the L2 penalty's rate, added to the gradient.
        decoupled_weight_decay: whether the weights shrink by lr * weight_decay instead, as in adamw.

    Source: Dozat, "Incorporating Nesterov momentum into Adam", 2016.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> w.grad = torch.tensor(0.5)
        >>> make_optimizer([w], "nadam", lr=0.1, momentum_decay=0.0).step()
        >>> round(w.item(), 4)  # 1 - 0.1 * (1 + 0.1 * 0.45 / (1 - 0.45²))
        0.8944
    """
