"""RMSProp."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ...registry.arguments import Decay, NonNegative, Positive
from . import register_optimizer
from .shared.parameter_groups import WeightDecay
from .shared.torch_rules import PAIRS, builds


@register_optimizer(
    "rmsprop",
    source="Tieleman and Hinton, 2012, Neural Networks for Machine Learning, lecture 6.5",
    centre_lr=0.003,
    centre_source="best on digits, of a grid by factors of √10: 0.003 with an mlp (460 steps), "
    "0.003 to 0.01 with a resnet (136 steps)",
    complex=PAIRS,
)
@builds(torch.optim.RMSprop, foreach=True)  # torch has no fused version
def rmsprop(
    params: Iterable[Any],
    *,
    lr: Positive = 0.01,
    alpha: Decay = 0.99,
    eps: NonNegative = 1e-8,
    momentum: Decay = 0.0,
    centered: bool = False,
    weight_decay: WeightDecay = 0.0,
):
    """RMSProp: the gradient divided by the root of a running mean of its square, in PyTorch's form.

        g = gradient + weight_decay * w
        v = alpha * v + (1 - alpha) * g²
        m = alpha * m + (1 - alpha) * g                     only if centered; else m = 0
        b = momentum * b + g / (√(v - m²) + eps)
        w = w - lr * b

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the step length.
        alpha: how much of the past the running means keep.
        eps: added to the root, against division by zero.
        momentum: how much of the sum of past steps is kept.
        centered: whether to divide by an estimate of the standard deviation instead of the root mean square.
        weight_decay: the L2 penalty's rate, added to the gradient.

    Source: Tieleman and Hinton, lecture 6.5 of the course "Neural networks for machine learning", 2012.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> w.grad = torch.tensor(0.5)
        >>> make_optimizer([w], "rmsprop", lr=0.01).step()
        >>> round(w.item(), 4)  # 1 - 0.01 * 0.5 / √(0.01 * 0.5²)
        0.9
    """
