"""TensorFlow 1's AdagradOptimizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from ....registry.arguments import Positive
from .. import register_optimizer
from ..shared.parameter_groups import WeightDecay
from .rule import Batch, TF1Optimizer, single


@register_optimizer(
    "adagrad",
    flavor="tf1",
    source="TensorFlow, tf.compat.v1.train.AdagradOptimizer",
    centre_lr=0.3,
    centre_source="best on digits, of a grid by factors of √10: 0.3 with a resnet (170 steps)",
)
class TF1Adagrad(TF1Optimizer):
    """Adagrad as in TensorFlow 1: the sum of squares starts at 0.1, and nothing is added to its root.

        g = gradient + weight_decay * w
        n = n + g²                          n starts at initial_accumulator_value
        w = w - lr * g / √n

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the rate, which falls with the sum of squares; TensorFlow's `learning_rate`, which has no default there.
        initial_accumulator_value: where the sum of squares starts; more makes the first steps shorter.
        weight_decay: the L2 penalty's rate, added to the gradient; in TensorFlow a part of the loss.

    Source: TensorFlow, python/training/adagrad.py and core/kernels/training_ops.cc; the rule is that of Duchi, Hazan
    and Singer, 2011.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> w.grad = torch.tensor(0.5)
        >>> make_optimizer([w], "adagrad", flavor="tf1", lr=0.1).step()
        >>> round(w.item(), 4)  # 1 - 0.1 * 0.5 / √(0.1 + 0.5²)
        0.9155
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: Positive = 0.01,
        initial_accumulator_value: Positive = 0.1,
        weight_decay: WeightDecay = 0.0,
    ):
        super().__init__(params, lr=lr, initial_accumulator_value=initial_accumulator_value, weight_decay=weight_decay)

    @staticmethod
    def slots(group: Mapping[str, Any]) -> dict[str, float]:
        return {"sum": group["initial_accumulator_value"]}

    def update(self, group: Mapping[str, Any], batch: Batch) -> None:
        sums = batch.slots["sum"]
        torch._foreach_addcmul_(sums, batch.grads, batch.grads)
        torch._foreach_addcdiv_(batch.weights, batch.grads, torch._foreach_sqrt(sums), -single(group["lr"]))
