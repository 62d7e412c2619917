"""TensorFlow 1's GradientDescentOptimizer and MomentumOptimizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from ....registry.arguments import Decay, Positive
from .. import register_optimizer
from ..shared.parameter_groups import WeightDecay
from .rule import Batch, TF1Optimizer, single


@register_optimizer(
    "sgd",
    flavor="tf1",
    source="TensorFlow, tf.compat.v1.train.GradientDescentOptimizer",
    centre_lr=0.5,
    centre_source="as for the flavor torch: the rule is the same",
)
class TF1GradientDescent(TF1Optimizer):
    """Gradient descent as in TensorFlow 1: torch's, but for a rate that is rounded to single precision.

        g = gradient + weight_decay * w
        w = w - lr * g

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the step length; TensorFlow's `learning_rate`, which has no default there.
        weight_decay: the L2 penalty's rate, added to the gradient; in TensorFlow a part of the loss.

    Source: TensorFlow, python/training/gradient_descent.py and core/kernels/training_ops.cc.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> w.grad = torch.tensor(0.5)
        >>> make_optimizer([w], "sgd", flavor="tf1", lr=0.1).step()
        >>> round(w.item(), 4)  # 1 - 0.1 * 0.5
        0.95
    """

    def __init__(self, params: Iterable[Any], *, lr: Positive = 0.1, weight_decay: WeightDecay = 0.0):
        super().__init__(params, lr=lr, weight_decay=weight_decay)

    def passes_once(self, group: Mapping[str, Any]) -> bool:
        return not group["weight_decay"]

    def update(self, group: Mapping[str, Any], batch: Batch) -> None:
        torch._foreach_add_(batch.weights, batch.grads, alpha=-single(group["lr"]))


@register_optimizer(
    "mom",
    flavor="tf1",
    source="TensorFlow, tf.compat.v1.train.MomentumOptimizer",
    centre_lr=0.1,
    centre_source="as for the flavor torch: the rule is the same",
)
class TF1Momentum(TF1Optimizer):
    """Momentum as in TensorFlow 1: torch's, but for hyperparameters that are rounded to single precision.

        g = gradient + weight_decay * w
        a = momentum * a + g
        w = w - lr * a                      nesterov: w = w - lr * (g + momentum * a)

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the step length; TensorFlow's `learning_rate`, which has no default there.
        momentum: how much of the sum of past gradients is kept; TensorFlow has no default.
        nesterov: whether to look ahead along the momentum; TensorFlow's `use_nesterov`.
        weight_decay: the L2 penalty's rate, added to the gradient; in TensorFlow a part of the loss.

    Source: TensorFlow, python/training/momentum.py and core/kernels/training_ops.cc.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> optimizer = make_optimizer([w], "mom", flavor="tf1", lr=0.1)
        >>> w.grad = torch.tensor(0.5)
        >>> optimizer.step(); optimizer.step()
        >>> round(w.item(), 4)  # 1 - 0.1 * 0.5 - 0.1 * (0.9 * 0.5 + 0.5)
        0.855
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: Positive = 0.1,
        momentum: Decay = 0.9,
        nesterov: bool = False,
        weight_decay: WeightDecay = 0.0,
    ):
        super().__init__(params, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)

    @staticmethod
    def slots(group: Mapping[str, Any]) -> dict[str, float]:
        return {"momentum_buffer": 0.0}

    def update(self, group: Mapping[str, Any], batch: Batch) -> None:
        lr, momentum = single(group["lr"]), single(group["momentum"])
        sums = batch.slots["momentum_buffer"]
        torch._foreach_mul_(sums, momentum)
        torch._foreach_add_(sums, batch.grads)
        if group["nesterov"]:
            torch._foreach_add_(batch.weights, batch.grads, alpha=-lr)
            torch._foreach_add_(batch.weights, sums, alpha=-lr * momentum)
        else:
            torch._foreach_add_(batch.weights, sums, alpha=-lr)
