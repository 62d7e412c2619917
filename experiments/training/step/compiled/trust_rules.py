"""The rules of optimizers whose steps are as long as each layer's weights say, for compiled steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ....components.optimizers.lamb import Lamb, Lars
from .rules import Counters, Group, Rule, State, moments, one_more, penalised, rate_alone


def _adapted(group: Group, weight: Tensor, factor: Tensor, size: Tensor, other: Tensor) -> Tensor | float:
    """Return the factor of a tensor; 1 where one of its two norms is 0, or where it has one axis and is left alone."""
    if group["adapt"] == "matrices" and weight.dim() < 2:
        return 1.0
    return torch.where((size > 0) & (other > 0), factor, 1.0)


def _lamb_numbers(group: Group, rate: float, counters: Counters) -> tuple[float, ...]:
    beta1, beta2 = group["betas"]
    count = counters[0] + 1
    correction = 1 - beta1**count
    return rate, correction / math.sqrt(1 - beta2**count), group["eps"] * correction


def _lamb(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    rate, of_root, eps = numbers
    found = moments(group, gradient, state)
    step = found["exp_avg"] / (found["exp_avg_sq"].sqrt() * of_root + eps)
    step = step + weight * group["weight_decay"] if group["weight_decay"] else step
    size, length = torch.linalg.vector_norm(weight), torch.linalg.vector_norm(step)
    return weight - rate * (step * _adapted(group, weight, size / length, size, length)), found


def _lars(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    (rate,) = numbers
    size, slope = torch.linalg.vector_norm(weight), torch.linalg.vector_norm(gradient)
    factor = group["trust_coefficient"] * size / (slope + group["weight_decay"] * size)
    step = penalised(group, gradient, weight) * rate * _adapted(group, weight, factor, size, slope)
    kept = state["momentum_buffer"] * group["momentum"] + step
    return weight - kept, {"momentum_buffer": kept}


TRUST_RULES: dict[type[torch.optim.Optimizer], Rule] = {
    Lamb: Rule(
        lambda group, weight: {"exp_avg": 0.0, "exp_avg_sq": 0.0},
        _lamb_numbers,
        _lamb,
        counters=lambda group, weight: {"step": 0},
        counted=one_more,
        counters_are_tensors=False,
        settings=("weight_decay", "betas", "adapt"),
        is_whole=True,
    ),
    Lars: Rule(
        lambda group, weight: {"momentum_buffer": 0.0},
        rate_alone,
        _lars,
        settings=("weight_decay", "momentum", "trust_coefficient", "adapt"),
        is_whole=True,
    ),
}
