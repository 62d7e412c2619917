"""TensorFlow 1's AdamOptimizer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch

from ....registry.arguments import Decay, NonNegative, Positive
from .. import register_optimizer
from ..shared.parameter_groups import WeightDecay
from .rule import Batch, TF1Optimizer, single


@register_optimizer(
    "adam",
    flavor="tf1",
    source="TensorFlow, tf.compat.v1.train.AdamOptimizer",
    centre_lr=0.01,
    centre_source="best on digits, of a grid by factors of √10: 0.01 with a resnet (170 steps)",
)
class TF1Adam(TF1Optimizer):
    """Adam as in TensorFlow 1: eps is added to the root before the root is corrected for its start at 0.

        g = gradient + weight_decay * w
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g²
        w = w - lr * √(1 - beta2^t) / (1 - beta1^t) * m / (√v + eps)        t = 1, 2, …

    This eps is the paper's "epsilon hat": torch's eps times √(1 - beta2^t), so that it counts for more in the first
    steps, and no constant translates one into the other. A sparse gradient moves all rows, as a dense one that is 0
    elsewhere would; torch's SparseAdam leaves the others alone.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: about the largest change of a weight in one step; TensorFlow's `learning_rate`.
        betas: how much of the past the means of the gradient and of its square keep; TensorFlow's `beta1` and `beta2`.
        eps: added to the root that is not yet corrected; TensorFlow's `epsilon`.
        weight_decay: the L2 penalty's rate, added to the gradient; in TensorFlow a part of the loss.

    Source: TensorFlow, python/training/adam.py and core/kernels/training_ops.cc; Kingma and Ba, 2015, end of section 2.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> w.grad = torch.tensor(1.0)
        >>> make_optimizer([w], "adam", flavor="tf1", lr=0.1, eps=0.001**0.5).step()
        >>> round(w.item(), 4)  # √v is √0.001, so this eps halves the step; torch's: 0.9031
        0.95
    """

    sparse_moves_all: ClassVar = True

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: Positive = 0.001,
        betas: tuple[Decay, Decay] = (0.9, 0.999),
        eps: NonNegative = 1e-8,
        weight_decay: WeightDecay = 0.0,
    ):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    @staticmethod
    def slots(group: Mapping[str, Any]) -> dict[str, float]:
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0}

    @staticmethod
    def counters(group: Mapping[str, Any]) -> dict[str, float]:
        beta1, beta2 = group["betas"]
        return {"beta1_power": single(beta1), "beta2_power": single(beta2)}

    @staticmethod
    def counted(group: Mapping[str, Any], counters: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(single(power * single(beta)) for power, beta in zip(counters, group["betas"], strict=True))

    def update(self, group: Mapping[str, Any], batch: Batch) -> None:
        beta1, beta2 = map(single, group["betas"])
        power1, power2 = batch.counters
        alpha = single(group["lr"]) * math.sqrt(1 - power2) / (1 - power1)
        means, squares = batch.slots["exp_avg"], batch.slots["exp_avg_sq"]
        torch._foreach_lerp_(means, batch.grads, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, batch.grads, batch.grads, 1 - beta2)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, single(group["eps"]))
        torch._foreach_addcdiv_(batch.weights, means, roots, -alpha)
