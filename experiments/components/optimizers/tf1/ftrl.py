"""FTRL-Proximal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import torch
from annotated_types import Le
from torch import Tensor

from ....errors import UsageError
from ....registry.arguments import NonNegative, Positive
from .. import register_optimizer
from .dual_averaging import DualAveraging
from .rule import Batch, assign_quotients, shrunk, single

NonPositive = Annotated[float, Le(0)]


@register_optimizer(
    "ftrl",
    source="McMahan et al., 2013, doi:10.1145/2487575.2488200",
    centre_lr=0.3,
    centre_source="best on digits, of a grid by factors of √10: 0.1 with a logistic "
    "regression (340 steps), 1 with a resnet (170 steps), both at a constant rate",
)
class Ftrl(DualAveraging):
    """FTRL-Proximal ("follow the regularised leader"), for sparse linear models.

        m = n                               n starts at initial_accumulator_value
        n = n + gradient²
        z = z + gradient + 2 * l2_shrinkage * w - (n^p - m^p) / lr * w
        w = -sign(z) * max(|z| - l1, 0) / (n^p / lr + 2 * l2 + beta / lr)

    with p = -lr_power.

    Without penalties, and at a constant rate, the steps are nearly those of Adagrad, but from other weights: where a
    weight started counts for little after the first step, and for nothing where its gradient was 0. The weights are a
    multiple of the rate, so the schedule has to be constant. The rule is TensorFlow 1's FtrlOptimizer.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the scale of the weights, and the step length as in Adagrad; TensorFlow's `learning_rate`.
        lr_power: how the rate falls with the sum of squares, -0.5 for its root; 0 is a rate that does not fall.
            TensorFlow's `learning_rate_power`.
        initial_accumulator_value: where the sum of squares starts.
        l1: the L1 penalty's rate, which makes weights exactly 0; TensorFlow's `l1_regularization_strength`.
        l2: the L2 penalty's rate; TensorFlow's `l2_regularization_strength`.
        l2_shrinkage: the rate of an L2 penalty that acts as if it were in the loss, but leaves the sum of squares
            alone; TensorFlow's `l2_shrinkage_regularization_strength`.
        beta: added to the root of the sum of squares, as in the paper; 0 in TensorFlow by default.

    Source: McMahan et al., "Ad click prediction: a view from the trenches", 2013; TensorFlow, python/training/ftrl.py
    and core/kernels/training_ops.cc.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(0.0))
        >>> w.grad = torch.tensor(0.5)
        >>> make_optimizer([w], "ftrl", lr=0.1, l1=0.2).step()
        >>> round(w.item(), 4)  # -(0.5 - 0.2) / (√(0.1 + 0.5²) / 0.1)
        -0.0507
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: Positive = 0.1,
        lr_power: NonPositive = -0.5,
        initial_accumulator_value: NonNegative = 0.1,
        l1: NonNegative = 0.0,
        l2: NonNegative = 0.0,
        l2_shrinkage: NonNegative = 0.0,
        beta: NonNegative = 0.0,
    ):
        accumulator = {"lr_power": lr_power, "initial_accumulator_value": initial_accumulator_value, "beta": beta}
        super().__init__(params, lr=lr, l1=l1, l2=l2, l2_shrinkage=l2_shrinkage, **accumulator)

    @staticmethod
    def slots(group: Mapping[str, Any]) -> dict[str, float]:
        return {"accumulator": group["initial_accumulator_value"], "linear": 0.0}

    def update(self, group: Mapping[str, Any], batch: Batch) -> None:
        lr, power, shrinkage = single(group["lr"]), -single(group["lr_power"]), single(group["l2_shrinkage"])
        refuse_zero(lr)
        weights, sums, linear = batch.weights, batch.slots["accumulator"], batch.slots["linear"]
        change = _powers(sums, power)
        torch._foreach_addcmul_(sums, batch.grads, batch.grads)
        roots = _powers(sums, power)
        torch._foreach_sub_(change, roots)  # the negative of the change
        torch._foreach_div_(change, lr)
        torch._foreach_addcmul_(linear, change, weights)
        torch._foreach_add_(linear, batch.grads)
        if shrinkage:
            torch._foreach_add_(linear, weights, alpha=2 * shrinkage)
        torch._foreach_div_(roots, lr)
        if l2 := all_l2(group, lr):
            torch._foreach_add_(roots, 2 * l2)
        elif not group["initial_accumulator_value"]:
            torch._foreach_clamp_min_(roots, torch.finfo(roots[0].dtype).tiny)  # 0 / 0, without a gradient yet, is 0
        assign_quotients(weights, shrunk(linear, single(group["l1"]), into=weights), roots, -1)


def _powers(tensors: list[Tensor], power: float) -> Any:
    return torch._foreach_sqrt(tensors) if power == 0.5 else torch._foreach_pow(tensors, power)


def refuse_zero(lr: float) -> None:
    """Refuse a rate that the rule would divide by."""
    if lr == 0:
        raise UsageError("ftrl divides by lr, which the schedule has brought to 0: use a constant schedule")


def all_l2(group: Mapping[str, Any], lr: float) -> float:
    """Return the L2 rate with beta's part in it, `l2 + beta / (2 lr)`, each operation in single precision."""
    return single(single(group["l2"]) + single(single(group["beta"]) / (2 * lr)))
