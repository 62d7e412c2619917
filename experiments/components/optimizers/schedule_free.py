"""Schedule-free gradient descent and AdamW: averaging in place of a falling rate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from ...registry.arguments import Decay, NonNegative, Positive
from ..averaging import Averaging, average_behind
from . import register_optimizer
from .shared.foreach import ForeachOptimizer, with_penalty
from .shared.parameter_groups import WeightDecay

AVERAGES = ("average", "x", "y", "z")
Mix = Annotated[float, Gt(0), Lt(1)]  # at 0 the average could not be told from the training weights


class _ScheduleFree(Averaging, ForeachOptimizer):
    """Keeps z beside the training weights y; their average x follows from both."""

    average_names = AVERAGES

    def named_average(self, name: str) -> list[tuple[Tensor, Tensor]]:
        if name == "y":
            return []
        if name == "z":
            held = [weight for group in self.param_groups for weight in group["params"]]
            return [(weight, self.state[weight]["z"]) for weight in held if "z" in self.state.get(weight, ())]
        return self.averages()

    def averages(self) -> list[tuple[Tensor, Tensor]]:
        found = []
        for group in self.param_groups:
            mix = self._mix(group)
            for y in group["params"]:
                if "z" in self.state.get(y, ()):
                    found.append((y, average_behind(y.detach(), self.state[y]["z"], mix)))
        return found

    def update(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        lr, mix, zs = group["lr"], self._mix(group), self.kept("z", weights, copied=True)
        directions = self._directions(group, weights, gradients)
        share = self._share(group, weights)
        torch._foreach_lerp_(weights, zs, share)
        torch._foreach_add_(weights, directions, alpha=lr * (mix * (1 - share) - 1))
        torch._foreach_add_(zs, directions, alpha=-lr)

    def _mix(self, group: dict[str, Any]) -> float:
        raise NotImplementedError

    def _directions(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        raise NotImplementedError

    def _share(self, group: dict[str, Any], weights: list[Tensor]) -> float:
        """Return the new z's share of the average: its weight by the largest rate so far, among all weights so far."""
        states = [self.state[each] for each in weights]
        largest = max(group["lr"], *(state.get("lr_max", 0.0) for state in states))
        weight = largest ** group["weight_lr_power"]
        total = max(state.get("weight_sum", 0.0) for state in states) + weight
        for state in states:
            state.update(lr_max=largest, weight_sum=total)
        return weight / total if total else 0.0


@register_optimizer(
    "schedule_free_sgd",
    source="Defazio et al., 2024, arXiv:2405.15682",
    averages=AVERAGES,
    centre_lr=3.0,
    centre_source="best on digits, of a grid by factors of √10: 3 to 10 with a resnet (170 steps)",
)
class ScheduleFreeSGD(_ScheduleFree):
    """Schedule-free gradient descent: a constant rate, and an average of the weights as the result.

        w = (1 - momentum) * z + momentum * x         where the gradient is taken; x and z start at the weights
        z = z - lr * (gradient + weight_decay * w)
        c = k_t / (k_1 + … + k_t),  k_t = (largest lr so far)^weight_lr_power        t = 1, 2, …
        x = (1 - c) * x + c * z

    which is computed without x:

        w = w - c * (w - z) - lr * (1 - momentum * (1 - c)) * (gradient + weight_decay * w)

    Evaluation reads x, checkpoints hold w and z. Use it with a constant schedule, and `schedule.warmup` if the start is
    rough. The running statistics of batch norm are those of w, near x.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the step length; larger than under a schedule that falls.
        momentum: the average's part in the point where the gradient is taken.
        weight_lr_power: how much less the steps of a warm-up count in the average.
        weight_decay: the L2 penalty's rate, added to the gradient.

    Source: Defazio et al., "The road less scheduled", 2024.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> optimizer = make_optimizer([w], "schedule_free_sgd", lr=0.1)
        >>> w.grad = torch.tensor(0.5)
        >>> optimizer.step(); optimizer.step()
        >>> round(w.item(), 4)  # 0.1 * z + 0.9 * x, z = 0.9, x = (0.95 + 0.9) / 2
        0.9225
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: Positive = 1.0,
        momentum: Mix = 0.9,
        weight_lr_power: NonNegative = 2.0,
        weight_decay: WeightDecay = 0.0,
    ):
        super().__init__(params, lr=lr, momentum=momentum, weight_lr_power=weight_lr_power, weight_decay=weight_decay)

    def _mix(self, group: dict[str, Any]) -> float:
        return group["momentum"]

    def _directions(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        return with_penalty(gradients, weights, group["weight_decay"])


@register_optimizer(
    "schedule_free_adamw",
    source="Defazio et al., 2024, arXiv:2405.15682",
    averages=AVERAGES,
    centre_lr=0.03,
    centre_source="best on digits, of a grid by factors of √10: 0.01 to 0.3 with a resnet (170 steps)",
)
class ScheduleFreeAdamW(_ScheduleFree):
    """Schedule-free AdamW: Adam at a constant rate, with an average of the weights in place of momentum and schedule.

        w = (1 - beta1) * z + beta1 * x               where the gradient is taken; x and z start at the weights
        v = beta2 * v + (1 - beta2) * gradient²
        d = gradient / (√(v / (1 - beta2^t)) + eps) + weight_decay * w                t = 1, 2, …
        z = z - lr * d
        c = k_t / (k_1 + … + k_t),  k_t = (largest lr so far)^weight_lr_power
        x = (1 - c) * x + c * z

    which is computed without x:

        w = w - c * (w - z) - lr * (1 - beta1 * (1 - c)) * d

    Evaluation reads x, checkpoints hold w and z. Use it with a constant schedule, and `schedule.warmup` if the start is
    rough. The running statistics of batch norm are those of w, near x.

    Args:
        params: the parameters to train, or torch's param groups.
        lr: the step length.
        betas: the average's part in the point where the gradient is taken, and how much of the past the mean of squares
            keeps.
        eps: added to the root; larger moves the rule towards schedule_free_sgd.
        weight_lr_power: how much less the steps of a warm-up count in the average.
        weight_decay: the part of each weight w that goes from z per step is lr * weight_decay.

    Source: Defazio et al., "The road less scheduled", 2024.

    Example:
        >>> import torch
        >>> from optrun.experiments import make_optimizer
        >>> w = torch.nn.Parameter(torch.tensor(1.0))
        >>> optimizer = make_optimizer([w], "schedule_free_adamw", lr=0.1)
        >>> w.grad = torch.tensor(0.5)
        >>> optimizer.step(); optimizer.step()
        >>> round(w.item(), 4)  # 0.1 * z + 0.9 * x, z = 0.8, x = (0.9 + 0.8) / 2
        0.845
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: Positive = 0.0025,
        betas: tuple[Mix, Decay] = (0.9, 0.999),
        eps: NonNegative = 1e-8,
        weight_lr_power: NonNegative = 2.0,
        weight_decay: WeightDecay = 0.0,
    ):
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_lr_power=weight_lr_power, weight_decay=weight_decay
        )

    def _mix(self, group: dict[str, Any]) -> float:
        return group["betas"][0]

    def _directions(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        beta2, squares = group["betas"][1], self.kept("exp_avg_sq", weights)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        roots = torch._foreach_div(squares, [1 - beta2**step for step in self.counted(weights)])
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, group["eps"])
        return with_penalty(list(torch._foreach_div(gradients, roots)), weights, group["weight_decay"])
