"""LAMB and LARS: each layer's step is as long as its weights say."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from ...registry.arguments import Decay, NonNegative, Positive
from . import register_optimizer
from .shared.foreach import ForeachOptimizer, with_penalty
from .shared.parameter_groups import WeightDecay

Adapted = Literal["matrices", "all"]


def _adapted(weights: list[Tensor], factors: Tensor, norms: Tensor, others: Tensor, adapt: Adapted) -> list[Tensor]:
    """Return each tensor's factor; 1 where one of its two norms is 0, or where it has one axis and is left alone."""
    exempt = torch.tensor([adapt == "matrices" and weight.dim() < 2 for weight in weights], device=factors.device)
    return list(factors.where((norms > 0) & (others > 0) & ~exempt, 1.0).unbind())


def _norms(tensors: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """Return the L2 norm of each tensor, shape (number of tensors,)."""
    return torch.stack(list(torch._foreach_norm(tensors)))


@register_optimizer(
    "lamb",
    source="You et al., 2020, arXiv:1904.00962",
    centre_lr=0.03,
    centre_source="best on digits, of a grid by factors of √10: 0.03 to 0.1 with a resnet (170 steps)",
)
class Lamb(ForeachOptimizer):
    """LAMB: Adam's direction, in steps as long as each layer's weights; for very large batches.

        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient²
        r = (m / (1 - beta1^t)) / (√(v / (1 - beta2^t)) + eps) + weight_decay * w        t = 1, 2, …
        w = w - lr * |w| / |r| * r                     |…|: the L2 norm of the whole tensor; the ratio is 1 if one is 0

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the change of a layer in one step, as a part of its weights' norm.
        betas: how much of the past the means of the gradient and of its square keep.
        eps: added to the root; larger moves the rule towards momentum.
        adapt: whose steps follow their norm: `matrices` leaves biases and the scales of norms at the ratio 1.
        weight_decay: added to the direction, times the weight, before the step is scaled.

    Source: You et al., "Large batch optimization for deep learning: training BERT in 76 minutes", 2020.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor([[3.0, 4.0]]))
        >>> w.grad = torch.tensor([[0.5, 0.0]])
        >>> make_optimizer([w], "lamb", lr=0.1).step()
        >>> w.detach()  # a step as long as 0.1 of the weights, whose norm is 5
        tensor([[2.5000, 4.0000]])
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: Positive = 0.001,
        betas: tuple[Decay, Decay] = (0.9, 0.999),
        eps: NonNegative = 1e-6,
        adapt: Adapted = "matrices",
        weight_decay: WeightDecay = 0.0,
    ):
        super().__init__(params, lr=lr, betas=betas, eps=eps, adapt=adapt, weight_decay=weight_decay)

    def update(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        means, squares = self.kept("exp_avg", weights), self.kept("exp_avg_sq", weights)
        steps = self.counted(weights)
        corrections = [1 - beta1**step for step in steps]
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        roots = torch._foreach_sqrt(squares)
        scales = zip(corrections, steps, strict=True)
        torch._foreach_mul_(roots, [one / math.sqrt(1 - beta2**step) for one, step in scales])
        torch._foreach_add_(roots, [group["eps"] * one for one in corrections])
        updates = torch._foreach_div(means, roots)
        if group["weight_decay"]:
            torch._foreach_add_(updates, weights, alpha=group["weight_decay"])
        sizes, lengths = _norms(weights), _norms(updates)
        torch._foreach_mul_(updates, _adapted(weights, sizes / lengths, sizes, lengths, group["adapt"]))
        torch._foreach_add_(weights, updates, alpha=-group["lr"])


@register_optimizer(
    "lars",
    source="You, Gitman and Ginsburg, 2017, arXiv:1708.03888",
    centre_lr=10.0,
    centre_source="best on digits, of a grid by factors of √10: 10 with a resnet (170 steps)",
)
class Lars(ForeachOptimizer):
    """LARS: momentum, in steps as long as each layer's weights; for very large batches.

        s = trust_coefficient * |w| / (|gradient| + weight_decay * |w|)      |…|: the L2 norm of the whole tensor
        a = momentum * a + lr * s * (gradient + weight_decay * w)
        w = w - a                                                            s is 1 if either norm is 0

    The rate stands inside the sum `a`, so that a change of rate takes effect over several steps.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the step length; the change of a layer in one step is about lr * trust_coefficient of its weights' norm,
            without momentum.
        momentum: how much of the sum of past steps is kept.
        trust_coefficient: how much of its weights' norm a layer moves at lr 1.
        adapt: whose steps follow their norm: `matrices` leaves biases and the scales of norms at s = 1.
        weight_decay: the L2 penalty's rate, added to the gradient.

    Source: You, Gitman and Ginsburg, "Large batch training of convolutional networks", 2017.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor([[3.0, 4.0]]))
        >>> w.grad = torch.tensor([[0.5, 0.0]])
        >>> make_optimizer([w], "lars", lr=1.0, trust_coefficient=0.1).step()
        >>> w.detach()  # a step as long as 0.1 of the weights, whose norm is 5
        tensor([[2.5000, 4.0000]])
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: Positive = 1.0,
        momentum: Decay = 0.9,
        trust_coefficient: Positive = 0.001,
        adapt: Adapted = "matrices",
        weight_decay: WeightDecay = 0.0,
    ):
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            trust_coefficient=trust_coefficient,
            adapt=adapt,
            weight_decay=weight_decay,
        )

    def update(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        decay, momenta = group["weight_decay"], self.kept("momentum_buffer", weights)
        sizes, slopes = _norms(weights), _norms(gradients)
        rates = group["trust_coefficient"] * sizes / (slopes + decay * sizes)
        steps = torch._foreach_mul(with_penalty(gradients, weights, decay), group["lr"])
        torch._foreach_mul_(steps, _adapted(weights, rates, sizes, slopes, group["adapt"]))
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, steps)
        torch._foreach_sub_(weights, momenta)
