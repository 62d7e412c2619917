"""What optimizers do to weights, written as functions of tensors: a compiled step consists of nothing else.

Each class of optimizers has a rule in `RULES`. A rule computes the numbers of a step (rates, corrections for the
number of steps) on the host in Python's own floats, as the optimizer itself does, so that the graph has only arithmetic
of whole tensors in it, and knows nothing of the number of the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Group = Mapping[str, Any]  # a parameter group of an optimizer
State = dict[str, Tensor]  # of one weight, by the names that its optimizer gives it


@dataclass(frozen=True)
class Rule:
    """The rule of a class of optimizers.

    Args:
        state: (group) -> the tensors that are kept for each weight, by name, with the value that they start at.
        numbers: (group, rate, steps) -> the numbers of the step after `steps` steps, given the learning rate.
        update: (group, numbers, weight, gradient, state) -> the new weight and the new state.
        counts: whether the optimizer keeps for each weight the number of its steps, as a tensor `step`.
        settings: names of what else in a group the rule reads; a change of these needs another graph.
        refuses: (group) -> what the rule does not cover, in words, or None.
    """

    state: Callable[[Group], dict[str, float]]
    numbers: Callable[[Group, float, float], tuple[float, ...]]
    update: Callable[[Group, Sequence[Tensor], Tensor, Tensor, State], tuple[Tensor, State]]
    counts: bool = False
    settings: tuple[str, ...] = ()
    refuses: Callable[[Group], str | None] = lambda group: None


def _penalised(group: Group, gradient: Tensor, weight: Tensor) -> Tensor:
    """Return a gradient with that of the L2 penalty."""
    if group.get("maximize"):
        gradient = -gradient
    return gradient + weight * group["weight_decay"] if group["weight_decay"] else gradient


# torch.optim.SGD


def _sgd_state(group: Group) -> dict[str, float]:
    return {"momentum_buffer": 0.0} if group["momentum"] else {}


def _sgd_refuses(group: Group) -> str | None:
    return "SGD with dampening" if group["dampening"] else None  # of which the first step knows nothing


def _sgd(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    (rate,) = numbers
    gradient = _penalised(group, gradient, weight)
    if not group["momentum"]:
        return weight - rate * gradient, {}
    kept = state["momentum_buffer"] * group["momentum"] + gradient
    step = gradient + kept * group["momentum"] if group["nesterov"] else kept
    return weight - rate * step, {"momentum_buffer": kept}


# torch.optim.Adam and AdamW


def _adam_state(group: Group) -> dict[str, float]:
    names = ("exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else []))
    return dict.fromkeys(names, 0.0)


def _adam_numbers(group: Group, rate: float, steps: float) -> tuple[float, ...]:
    beta1, beta2 = group["betas"]
    count = steps + 1
    decay = 1 - rate * group["weight_decay"]
    return rate / (1 - beta1**count), math.sqrt(1 - beta2**count), decay


def _adam(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    length, correction, decay = numbers
    beta1, beta2 = group["betas"]
    if group.get("decoupled_weight_decay"):
        gradient = -gradient if group.get("maximize") else gradient
        weight = weight * decay if group["weight_decay"] else weight
    else:
        gradient = _penalised(group, gradient, weight)
    mean = state["exp_avg"] + (gradient - state["exp_avg"]) * (1 - beta1)
    square = state["exp_avg_sq"] * beta2 + gradient * gradient * (1 - beta2)
    found = {"exp_avg": mean, "exp_avg_sq": square}
    largest = square
    if group["amsgrad"]:
        largest = found["max_exp_avg_sq"] = torch.maximum(state["max_exp_avg_sq"], square)
    return weight - length * (mean / (largest.sqrt() / correction + group["eps"])), found


# torch.optim.RMSprop


def _rmsprop_state(group: Group) -> dict[str, float]:
    more = {"momentum_buffer": group["momentum"] > 0, "grad_avg": group["centered"]}
    return dict.fromkeys(("square_avg", *(name for name, kept in more.items() if kept)), 0.0)


def _rmsprop(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    (rate,) = numbers
    gradient = _penalised(group, gradient, weight)
    square = state["square_avg"] * group["alpha"] + gradient * gradient * (1 - group["alpha"])
    found = {"square_avg": square}
    variance = square
    if group["centered"]:
        mean = found["grad_avg"] = state["grad_avg"] + (gradient - state["grad_avg"]) * (1 - group["alpha"])
        variance = square - mean * mean
    step = gradient / (variance.sqrt() + group["eps"])
    if group["momentum"] > 0:
        step = found["momentum_buffer"] = state["momentum_buffer"] * group["momentum"] + step
    return weight - rate * step, found


# torch.optim.Adagrad


def _adagrad_numbers(group: Group, rate: float, steps: float) -> tuple[float, ...]:
    return (rate / (1 + steps * group["lr_decay"]),)


def _adagrad(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    (rate,) = numbers
    gradient = _penalised(group, gradient, weight)
    total = state["sum"] + gradient * gradient
    return weight - rate * (gradient / (total.sqrt() + group["eps"])), {"sum": total}


def _rate_alone(group: Group, rate: float, steps: float) -> tuple[float, ...]:
    return (rate,)


_COMMON = ("weight_decay", "maximize")
_ADAM = Rule(
    _adam_state,
    _adam_numbers,
    _adam,
    counts=True,
    settings=(*_COMMON, "betas", "eps", "amsgrad", "decoupled_weight_decay"),
)

#: The rule of each class; only of the class itself, as a subclass may do something else.
RULES: dict[type[torch.optim.Optimizer], Rule] = {
    torch.optim.SGD: Rule(
        _sgd_state,
        _rate_alone,
        _sgd,
        settings=(*_COMMON, "momentum", "nesterov", "dampening"),
        refuses=_sgd_refuses,
    ),
    torch.optim.Adam: _ADAM,
    torch.optim.AdamW: _ADAM,
    torch.optim.RMSprop: Rule(
        _rmsprop_state,
        _rate_alone,
        _rmsprop,
        counts=True,
        settings=(*_COMMON, "alpha", "eps", "momentum", "centered"),
    ),
    torch.optim.Adagrad: Rule(
        lambda group: {"sum": group["initial_accumulator_value"]},
        _adagrad_numbers,
        _adagrad,
        counts=True,
        settings=(*_COMMON, "eps", "lr_decay", "initial_accumulator_value"),
    ),
}
