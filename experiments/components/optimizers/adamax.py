"""Adamax."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ...registry.arguments import Decay, NonNegative, Positive
from . import register_optimizer
from .shared.parameter_groups import WeightDecay
from .shared.torch_rules import PAIRS, builds


@register_optimizer(
    "adamax",
    source="Kingma and Ba, 2015, arXiv:1412.6980, section 7.1",
    centre_lr=0.03,
    centre_source="best on digits, of a grid by factors of √10: 0.01 to 0.1 with a resnet (170 steps)",
    complex=PAIRS,
)
@builds(torch.optim.Adamax, foreach=True)  # torch has no fused version
def adamax(
    params: Iterable[Any],
    *,
    lr: Positive = 0.002,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: WeightDecay = 0.0,
):
    """Adamax: Adam with a decaying maximum of the gradient's size in place of its root mean square.

        g = gradient + weight_decay * w
        m = beta1 * m + (1 - beta1) * g
        u = max(beta2 * u, |g| + eps)
        w = w - lr * (m / (1 - beta1^t)) / u        t = 1, 2, …

    The maximum needs no correction for its start at 0.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: about the largest change of a weight in one step.
        betas: how much of the past the mean of the gradient and the maximum of its size keep.
        eps: added to the gradient's size, against division by zero.
        weight_decay: the L2 penalty's rate, added to the gradient.

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2015, section 7.1.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> optimizer = make_optimizer([w], "adamax", lr=0.1, betas=(0.0, 0.9))
        >>> for gradient in (2.0, 1.0):
        ...     w.grad = torch.tensor(gradient)
        ...     optimizer.step()
        >>> round(w.item(), 4)  # 1 - 0.1 - 0.1 / max(0.9 * 2, 1)
        0.8444
    """
