"""Adafactor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import torch
from annotated_types import Le

from ...registry.arguments import NonNegative, Positive
from . import register_optimizer
from .shared.parameter_groups import WeightDecay
from .shared.torch_rules import builds

Exponent = Annotated[float, Le(0)]


@register_optimizer(
    "adafactor",
    source="Shazeer and Stern, 2018, arXiv:1804.04235",
    centre_lr=0.3,
    centre_source="best on digits, of a grid by factors of √10: 0.3 with a resnet (170 steps)",
)
@builds(torch.optim.Adafactor, foreach=True)
def adafactor(
    params: Iterable[Any],
    *,
    lr: Positive = 0.01,
    beta2_decay: Exponent = -0.8,
    eps: tuple[NonNegative | None, NonNegative] = (None, 0.001),
    d: Positive = 1.0,
    weight_decay: WeightDecay = 0.0,
):
    """Adafactor: Adam's denominator from the row and column means of the squares, and steps relative to the weights.

        a = max(eps2, RMS(w)) * min(lr, 1/√t)                       t = 1, 2, …
        w = w - lr * weight_decay * w
        b = 1 - t^beta2_decay
        r = b * r + (1 - b) * (mean of gradient² over each row)
        c = b * c + (1 - b) * (mean of gradient² over each column)
        u = gradient / √max(r cᵀ / mean(r), eps1²)                  one-dimensional weights keep every square
        w = w - a * u / max(1, RMS(u) / d)

    The memory of a matrix is one number per row and per column; of more axes the last two are the matrix. There is no
    momentum.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the largest relative change of a matrix in one step; it never exceeds 1/√t.
        beta2_decay: how fast the running means lengthen; nearer to 0 they stay short.
        eps: against division by zero (null: the smallest difference of the number type), and the least size of weights
            that steps are measured by.
        d: updates whose root mean square exceeds this are scaled down to it.
        weight_decay: the part of each weight that goes per step is lr * weight_decay.

    Source: Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost", 2018.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(2.0))
        >>> w.grad = torch.tensor(0.5)
        >>> make_optimizer([w], "adafactor", lr=0.1).step()
        >>> round(w.item(), 4)  # steps are relative to the weight: 2 - 0.1 * 2
        1.8
    """
