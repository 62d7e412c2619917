"""TensorFlow 1's AdadeltaOptimizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from ....registry.arguments import Decay, NonNegative, Positive
from .. import register_optimizer
from ..shared.parameter_groups import WeightDecay
from .rule import Batch, TF1Optimizer, single


@register_optimizer(
    "adadelta",
    flavor="tf1",
    source="TensorFlow, tf.compat.v1.train.AdadeltaOptimizer",
    centre_lr=30.0,
    centre_source="best on digits, of a grid by factors of √10: 30 to 100 with a resnet (170 steps)",
)
class TF1Adadelta(TF1Optimizer):
    """Adadelta as in TensorFlow 1: the published rule, with a default rate that is a thousandth of torch's.

        g = gradient + weight_decay * w
        v = rho * v + (1 - rho) * g²
        d = g * √(u + eps) / √(v + eps)
        w = w - lr * d
        u = rho * u + (1 - rho) * d²

    Args:
        params: the parameters to train, or torch's param groups.
        lr: a factor on the rule's own step length, 1 as published; TensorFlow's `learning_rate`.
        rho: how much of the past the two running means keep.
        eps: added under both roots; it sets the length of the first steps. TensorFlow's `epsilon`.
        weight_decay: the L2 penalty's rate, added to the gradient; in TensorFlow a part of the loss.

    Source: TensorFlow, python/training/adadelta.py and core/kernels/training_ops.cc; the rule is that of Zeiler, 2012.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> w.grad = torch.tensor(1.0)
        >>> make_optimizer([w], "adadelta", flavor="tf1", lr=1.0, eps=0.01).step()
        >>> round(w.item(), 4)  # 1 - √0.01 / √(0.05 + 0.01)
        0.5918
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: Positive = 0.001,
        rho: Decay = 0.95,
        eps: NonNegative = 1e-8,
        weight_decay: WeightDecay = 0.0,
    ):
        super().__init__(params, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)

    @staticmethod
    def slots(group: Mapping[str, Any]) -> dict[str, float]:
        return {"square_avg": 0.0, "acc_delta": 0.0}

    def update(self, group: Mapping[str, Any], batch: Batch) -> None:
        rho, eps = single(group["rho"]), single(group["eps"])
        squares, steps = batch.slots["square_avg"], batch.slots["acc_delta"]
        torch._foreach_mul_(squares, rho)
        torch._foreach_addcmul_(squares, batch.grads, batch.grads, 1 - rho)
        roots = torch._foreach_add(squares, eps)
        torch._foreach_sqrt_(roots)
        step = torch._foreach_add(steps, eps)
        torch._foreach_sqrt_(step)
        torch._foreach_div_(step, roots)
        torch._foreach_mul_(step, batch.grads)
        torch._foreach_add_(batch.weights, step, alpha=-single(group["lr"]))
        torch._foreach_mul_(steps, rho)
        torch._foreach_addcmul_(steps, step, step, 1 - rho)
