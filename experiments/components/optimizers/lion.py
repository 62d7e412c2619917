"""Lion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ...registry.arguments import Decay, Positive
from . import register_optimizer
from .shared.foreach import ForeachOptimizer, decay_weights
from .shared.parameter_groups import WeightDecay


@register_optimizer(
    "lion",
    source="Chen et al., 2023, arXiv:2302.06675",
    centre_lr=0.01,
    centre_source="best on digits, of a grid by factors of √10: 0.003 to 0.03 with a resnet (170 steps)",
)
class Lion(ForeachOptimizer):
    """Lion: every weight moves by the same length, in the direction of the sign of a momentum.

        c = beta1 * m + (1 - beta1) * gradient
        w = w - lr * weight_decay * w
        w = w - lr * sign(c)
        m = beta2 * m + (1 - beta2) * gradient

    The new gradient weighs more in the direction than in what is remembered. Rates are three to ten times smaller
    than Adam's, and weight decays as much larger.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the change of each weight in one step.
        betas: how much of the past the direction, and what is remembered for the next one, keep.
        weight_decay: the part of each weight that goes per step is lr * weight_decay.

    Source: Chen et al., "Symbolic discovery of optimization algorithms", 2023.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> w.grad = torch.tensor(0.001)
        >>> make_optimizer([w], "lion", lr=0.1).step()
        >>> round(w.item(), 4)  # lr times the sign, however small the gradient
        0.9
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: Positive = 0.0001,
        betas: tuple[Decay, Decay] = (0.9, 0.99),
        weight_decay: WeightDecay = 0.0,
    ):
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay)

    def update(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        means = self.kept("exp_avg", weights)
        directions = torch._foreach_lerp(means, gradients, 1 - beta1)
        torch._foreach_sign_(directions)
        decay_weights(weights, group["lr"] * group["weight_decay"])
        torch._foreach_add_(weights, directions, alpha=-group["lr"])
        torch._foreach_lerp_(means, gradients, 1 - beta2)
