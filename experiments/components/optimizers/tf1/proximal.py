"""Proximal rules: a step along the gradient, then the exact step of an L1 and an L2 penalty."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from ....registry.arguments import NonNegative, Positive
from .. import register_optimizer
from .rule import Batch, TF1Optimizer, single


@register_optimizer(
    "proximal_gradient_descent",
    source="Duchi and Singer, 2009, JMLR 10:2899-2934",
    centre_lr=0.5,
    centre_source="as for sgd: without penalties the rule is the same",
)
class ProximalGradientDescent(TF1Optimizer):
    """Gradient descent with an L1 and an L2 penalty that each step applies exactly, so that weights become 0.

        w = w - lr * gradient
        w = sign(w) * max(|w| - lr * l1, 0) / (1 + lr * l2)

    The rule is TensorFlow 1's ProximalGradientDescentOptimizer.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the step length; TensorFlow's `learning_rate`, which has no default there.
        l1: the L1 penalty's rate, which makes weights exactly 0; TensorFlow's `l1_regularization_strength`.
        l2: the L2 penalty's rate; TensorFlow's `l2_regularization_strength`.

    Source: Duchi and Singer, "Efficient online and batch learning using forward backward splitting", 2009;
    TensorFlow, python/training/proximal_gradient_descent.py and core/kernels/training_ops.cc.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor([1.0, 0.1]))
        >>> w.grad = torch.tensor([0.5, 0.5])
        >>> make_optimizer([w], "proximal_gradient_descent", lr=0.1, l1=1.0).step()
        >>> w.detach()  # 1 - 0.1 * 0.5 - 0.1 * 1, and 0 once it would cross 0
        tensor([0.8500, 0.0000])
    """

    def __init__(self, params: Iterable[Any], *, lr: Positive = 0.1, l1: NonNegative = 0.0, l2: NonNegative = 0.0):
        super().__init__(params, lr=lr, l1=l1, l2=l2)

    def passes_once(self, group: Mapping[str, Any]) -> bool:
        return not group["l1"] and not group["l2"]

    def update(self, group: Mapping[str, Any], batch: Batch) -> None:
        lr, l1, l2 = single(group["lr"]), single(group["l1"]), single(group["l2"])
        torch._foreach_add_(batch.weights, batch.grads, alpha=-lr)
        for weight in batch.weights if l1 else ():
            weight.sub_(weight.clamp(-lr * l1, lr * l1))
        if l2:
            torch._foreach_div_(batch.weights, 1 + lr * l2)


@register_optimizer(
    "proximal_adagrad",
    source="Duchi, Hazan and Singer, 2011, JMLR 12:2121-2159",
    centre_lr=0.3,
    centre_source="as for the flavor tf1 of adagrad: without penalties the rule is the same",
)
class ProximalAdagrad(TF1Optimizer):
    """Adagrad with an L1 and an L2 penalty that each step applies exactly, so that weights become 0.

        n = n + gradient²                   n starts at initial_accumulator_value
        r = lr / √n
        w = w - r * gradient
        w = sign(w) * max(|w| - r * l1, 0) / (1 + r * l2)

    The rule is TensorFlow 1's ProximalAdagradOptimizer.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the rate, which falls with the sum of squares; TensorFlow's `learning_rate`, which has no default there.
        initial_accumulator_value: where the sum of squares starts; more makes the first steps shorter.
        l1: the L1 penalty's rate, which makes weights exactly 0; TensorFlow's `l1_regularization_strength`.
        l2: the L2 penalty's rate; TensorFlow's `l2_regularization_strength`.

    Source: Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic optimization",
    2011; TensorFlow, python/training/proximal_adagrad.py and core/kernels/training_ops.cc.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor([1.0, 0.1]))
        >>> w.grad = torch.tensor([0.5, 0.5])
        >>> make_optimizer([w], "proximal_adagrad", lr=0.1, l1=1.0).step()
        >>> w.detach()  # r = 0.1 / √(0.1 + 0.5²): 1 - 0.5 r - r, and 0
        tensor([0.7465, 0.0000])
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: Positive = 0.1,
        initial_accumulator_value: Positive = 0.1,
        l1: NonNegative = 0.0,
        l2: NonNegative = 0.0,
    ):
        super().__init__(params, lr=lr, initial_accumulator_value=initial_accumulator_value, l1=l1, l2=l2)

    @staticmethod
    def slots(group: Mapping[str, Any]) -> dict[str, float]:
        return {"sum": group["initial_accumulator_value"]}

    def update(self, group: Mapping[str, Any], batch: Batch) -> None:
        lr, l1, l2 = single(group["lr"]), single(group["l1"]), single(group["l2"])
        weights, sums = batch.weights, batch.slots["sum"]
        torch._foreach_addcmul_(sums, batch.grads, batch.grads)
        roots = torch._foreach_sqrt(sums)
        torch._foreach_addcdiv_(weights, batch.grads, roots, -lr)
        if not l1 and not l2:
            return
        rates = roots
        torch._foreach_reciprocal_(rates)
        torch._foreach_mul_(rates, lr)
        if l1:
            sizes = torch._foreach_abs(weights)
            torch._foreach_add_(sizes, rates, alpha=-l1)
            torch._foreach_clamp_min_(sizes, 0)
            torch._foreach_sign_(weights)
            torch._foreach_mul_(weights, sizes)
        if l2:
            torch._foreach_mul_(rates, l2)
            torch._foreach_add_(rates, 1)
            torch._foreach_div_(weights, rates)
