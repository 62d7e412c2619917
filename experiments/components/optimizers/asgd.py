"""ASGD."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ...registry.arguments import NonNegative, Positive
from ..averaging import Averaging
from . import register_optimizer
from .shared.foreach import ForeachOptimizer, with_penalty
from .shared.parameter_groups import WeightDecay


@register_optimizer(
    "asgd",
    source="Polyak and Juditsky, 1992, doi:10.1137/0330046",
    averages=("average", "ax"),
    centre_lr=2.0,
    centre_source="best on digits, of a grid by factors of √10: 2 with a resnet (170 steps, t0 85)",
)
class AveragedSGD(Averaging, ForeachOptimizer):
    """ASGD: gradient descent whose result is the average of all weights from step t0 on.

        g = gradient + weight_decay * w
        e = lr / (1 + lambd * lr * (t - 1))^alpha                     t = 1, 2, …
        w = w - lambd * e * w - e * g
        a = a + (w - a) / max(1, t - 1 - t0)

    Evaluation reads the average `a`, which until step t0 is w itself; the default t0 is later than most runs end.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the step length of the first step.
        lambd: how fast the weights shrink, and, together with alpha, the rate falls.
        alpha: the power by which the rate falls; 0 leaves it to the schedule.
        t0: the number of steps after which averaging begins.
        weight_decay: the L2 penalty's rate, added to the gradient.

    Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992; as in torch.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> optimizer = make_optimizer([w], "asgd", lr=0.1, lambd=0.0, t0=0)
        >>> w.grad = torch.tensor(0.5)
        >>> optimizer.step(); optimizer.step(); optimizer.step()
        >>> ((_, average),) = optimizer.averages()
        >>> round(average.item(), 4)  # (0.9 + 0.85) / 2
        0.875
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: Positive = 0.01,
        lambd: NonNegative = 0.0001,
        alpha: NonNegative = 0.75,
        t0: NonNegative = 1e6,
        weight_decay: WeightDecay = 0.0,
    ):
        super().__init__(params, lr=lr, lambd=lambd, alpha=alpha, t0=t0, weight_decay=weight_decay)

    def update(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        averages, steps = self.kept("ax", weights), self.counted(weights)
        lr, lambd = group["lr"], group["lambd"]  # a change of rate acts at once; in torch's ASGD it does a step late
        etas = [lr / (1 + lambd * lr * (step - 1)) ** group["alpha"] for step in steps]
        changes = torch._foreach_mul(with_penalty(gradients, weights, group["weight_decay"]), [-eta for eta in etas])
        if lambd:
            torch._foreach_mul_(weights, [1 - lambd * eta for eta in etas])
        torch._foreach_add_(weights, changes)
        shares = [1 / max(1.0, step - 1 - group["t0"]) for step in steps]
        if all(share == 1 for share in shares):
            torch._foreach_copy_(averages, weights)
        else:
            changes = torch._foreach_sub(weights, averages)
            torch._foreach_mul_(changes, shares)
            torch._foreach_add_(averages, changes)

    average_names = ("average", "ax")

    def averages(self) -> list[tuple[Tensor, Tensor]]:
        return [(parameter, state["ax"]) for parameter, state in self.state.items()]
