"""TensorFlow 1's RMSPropOptimizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from ....registry.arguments import Decay, NonNegative, Positive
from .. import register_optimizer
from ..shared.parameter_groups import WeightDecay
from .rule import Batch, TF1Optimizer, single


@register_optimizer(
    "rmsprop",
    flavor="tf1",
    source="TensorFlow, tf.compat.v1.train.RMSPropOptimizer",
    centre_lr=0.03,
    centre_source="best on digits, of a grid by factors of √10: 0.03 with a resnet (170 steps)",
)
class TF1RMSProp(TF1Optimizer):
    """RMSProp as in TensorFlow 1: the mean square starts at 1, eps is under the root, the rate inside the momentum.

        g = gradient + weight_decay * w
        v = alpha * v + (1 - alpha) * g²                    v starts at 1
        m = alpha * m + (1 - alpha) * g                     only if centered; else m = 0
        b = momentum * b + lr * g / √(v - m² + eps)
        w = w - b

    With momentum, a change of rate acts on new gradients only: the steps that `b` holds keep the rate of their time.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the step length; TensorFlow's `learning_rate`, which has no default there.
        alpha: how much of the past the running means keep; TensorFlow's `decay`.
        eps: added under the root, against division by zero; TensorFlow's `epsilon`.
        momentum: how much of the sum of past steps is kept.
        centered: whether to divide by an estimate of the standard deviation instead of the root mean square.
        weight_decay: the L2 penalty's rate, added to the gradient; in TensorFlow a part of the loss.

    Source: TensorFlow, python/training/rmsprop.py and core/kernels/training_ops.cc; the rule is that of Tieleman and
    Hinton, 2012.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> w.grad = torch.tensor(0.5)
        >>> make_optimizer([w], "rmsprop", flavor="tf1", lr=0.1).step()
        >>> round(w.item(), 4)  # 1 - 0.1 * 0.5 / √(0.9 + 0.1 * 0.5²)
        0.948
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: Positive = 0.01,
        alpha: Decay = 0.9,
        eps: NonNegative = 1e-10,
        momentum: Decay = 0.0,
        centered: bool = False,
        weight_decay: WeightDecay = 0.0,
    ):
        super().__init__(
            params, lr=lr, alpha=alpha, eps=eps, momentum=momentum, centered=centered, weight_decay=weight_decay
        )

    @staticmethod
    def slots(group: Mapping[str, Any]) -> dict[str, float]:
        slots = {"square_avg": 1.0}
        if group["centered"]:
            slots["grad_avg"] = 0.0
        if group["momentum"]:  # TensorFlow keeps it in any case; without momentum it is the last step, never read
            slots["momentum_buffer"] = 0.0
        return slots

    def update(self, group: Mapping[str, Any], batch: Batch) -> None:
        lr, alpha, momentum = single(group["lr"]), single(group["alpha"]), single(group["momentum"])
        squares = batch.slots["square_avg"]
        torch._foreach_mul_(squares, alpha)
        torch._foreach_addcmul_(squares, batch.grads, batch.grads, 1 - alpha)
        if group["centered"]:
            means = batch.slots["grad_avg"]
            torch._foreach_lerp_(means, batch.grads, 1 - alpha)
            roots = torch._foreach_addcmul(squares, means, means, -1)
            torch._foreach_add_(roots, single(group["eps"]))
        else:
            roots = torch._foreach_add(squares, single(group["eps"]))
        torch._foreach_sqrt_(roots)
        if group["momentum"]:
            steps = batch.slots["momentum_buffer"]
            torch._foreach_mul_(steps, momentum)
            torch._foreach_addcdiv_(steps, batch.grads, roots, lr)
            torch._foreach_sub_(batch.weights, steps)
        else:
            torch._foreach_addcdiv_(batch.weights, batch.grads, roots, -lr)
