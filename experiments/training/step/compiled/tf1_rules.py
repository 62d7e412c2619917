"""The rules of TensorFlow 1's optimizers for compiled steps, with its rounding of hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ....components.optimizers.tf1.adadelta import TF1Adadelta
from ....components.optimizers.tf1.adagrad import TF1Adagrad
from ....components.optimizers.tf1.adam import TF1Adam
from ....components.optimizers.tf1.dual_averaging import AdagradDA
from ....components.optimizers.tf1.ftrl import Ftrl, all_l2, refuse_zero
from ....components.optimizers.tf1.gradient_descent import TF1GradientDescent, TF1Momentum
from ....components.optimizers.tf1.proximal import ProximalAdagrad, ProximalGradientDescent
from ....components.optimizers.tf1.rmsprop import TF1RMSProp
from ....components.optimizers.tf1.rule import TF1Optimizer, single
from .rules import Counters, Group, Rule, State, penalised


def _rate(group: Group, rate: float, counters: Counters) -> tuple[float, ...]:
    return (single(rate),)


def _sgd(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    (rate,) = numbers
    return weight - rate * penalised(group, gradient, weight), {}


def _momentum_numbers(group: Group, rate: float, counters: Counters) -> tuple[float, ...]:
    return single(rate), single(rate) * single(group["momentum"])


def _momentum(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    rate, of_sum = numbers
    gradient = penalised(group, gradient, weight)
    kept = state["momentum_buffer"] * single(group["momentum"]) + gradient
    moved = weight - rate * gradient - of_sum * kept if group["nesterov"] else weight - rate * kept
    return moved, {"momentum_buffer": kept}


def _adam_numbers(group: Group, rate: float, counters: Counters) -> tuple[float, ...]:
    power1, power2 = counters
    return (single(rate) * math.sqrt(1 - power2) / (1 - power1),)


def _adam(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    (length,) = numbers
    beta1, beta2 = map(single, group["betas"])
    gradient = penalised(group, gradient, weight)
    mean = state["exp_avg"] + (gradient - state["exp_avg"]) * (1 - beta1)
    square = state["exp_avg_sq"] * beta2 + gradient * gradient * (1 - beta2)
    root = square.sqrt() + single(group["eps"])
    return weight - length * (mean / root), {"exp_avg": mean, "exp_avg_sq": square}


def _rmsprop(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    (rate,) = numbers
    alpha, momentum = single(group["alpha"]), single(group["momentum"])
    gradient = penalised(group, gradient, weight)
    square = state["square_avg"] * alpha + gradient * gradient * (1 - alpha)
    found, variance = {"square_avg": square}, square
    if group["centered"]:
        mean = found["grad_avg"] = state["grad_avg"] + (gradient - state["grad_avg"]) * (1 - alpha)
        variance = square - mean * mean
    step = rate * (gradient / (variance + single(group["eps"])).sqrt())
    if group["momentum"]:
        step = found["momentum_buffer"] = state["momentum_buffer"] * momentum + step
    return weight - step, found


def _adagrad(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    (rate,) = numbers
    gradient = penalised(group, gradient, weight)
    total = state["sum"] + gradient * gradient
    return weight - rate * (gradient / total.sqrt()), {"sum": total}


def _adadelta(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    (rate,) = numbers
    rho, eps = single(group["rho"]), single(group["eps"])
    gradient = penalised(group, gradient, weight)
    square = state["square_avg"] * rho + gradient * gradient * (1 - rho)
    step = (state["acc_delta"] + eps).sqrt() / (square + eps).sqrt() * gradient
    return weight - rate * step, {"square_avg": square, "acc_delta": state["acc_delta"] * rho + step * step * (1 - rho)}


# Rules with penalties of their own, which are proximal: they make weights 0.


def _shrunk(tensor: Tensor, threshold: Any) -> Tensor:
    """Return each element moved towards 0 by the threshold, and 0 where it is nearer than that."""
    return tensor - torch.clamp(tensor, -threshold, threshold)


def _quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return the negative of a quotient; what is 0 gets no sign."""
    return torch.where(numerator == 0, 0.0, -(numerator / denominator))


def _proximal_numbers(group: Group, rate: float, counters: Counters) -> tuple[float, ...]:
    rate = single(rate)
    return rate, rate * single(group["l1"]), 1 + rate * single(group["l2"])


def _proximal_sgd(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    rate, threshold, shrinkage = numbers
    weight = weight - rate * gradient
    weight = _shrunk(weight, threshold) if group["l1"] else weight
    return (weight / shrinkage if group["l2"] else weight), {}


def _proximal_adagrad(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    (rate,) = numbers
    l1, l2 = single(group["l1"]), single(group["l2"])
    total = state["sum"] + gradient * gradient
    weight = weight - rate * (gradient / total.sqrt())
    rates = rate / total.sqrt()
    weight = weight.sign() * (weight.abs() - l1 * rates).clamp(min=0) if l1 else weight
    return (weight / (1 + l2 * rates) if l2 else weight), {"sum": total}


def _ftrl_numbers(group: Group, rate: float, counters: Counters) -> tuple[float, ...]:
    rate = single(rate)
    refuse_zero(rate)
    return rate, 2 * all_l2(group, rate)


def _ftrl(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    rate, penalty = numbers
    power, shrinkage = -single(group["lr_power"]), 2 * single(group["l2_shrinkage"])
    total = state["accumulator"] + gradient * gradient
    before, after = [each.sqrt() if power == 0.5 else each**power for each in (state["accumulator"], total)]
    linear = state["linear"] + (before - after) / rate * weight + gradient
    linear = linear + shrinkage * weight if shrinkage else linear
    root = after / rate + penalty
    if not group["initial_accumulator_value"]:
        root = root.clamp(min=torch.finfo(root.dtype).tiny)  # 0 / 0, without a gradient yet, is 0
    return _quotient(_shrunk(linear, single(group["l1"])), root), {"accumulator": total, "linear": linear}


def _adagrad_da_numbers(group: Group, rate: float, counters: Counters) -> tuple[float, ...]:
    rate, count = single(rate), counters[0] + 1
    return rate, single(group["l1"]) * count, single(group["l2"]) * count * rate


def _adagrad_da(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    rate, threshold, penalty = numbers
    total, squares = state["gradient_sum"] + gradient, state["square_sum"] + gradient * gradient
    quotient = _quotient(_shrunk(total, threshold), squares.sqrt() + penalty)
    return rate * quotient, {"gradient_sum": total, "square_sum": squares}


def _rule(
    kind: type[TF1Optimizer], numbers: Callable[..., Any], update: Callable[..., Any], *settings: str, **more: Any
):
    """Return the rule of a class, which says itself what it keeps."""
    return Rule(
        lambda group, weight: {**kind.slots(group)},
        numbers,
        update,
        counters=lambda group, weight: kind.counters(group),
        counted=lambda group, rate, counters: kind.counted(group, counters),
        counters_are_tensors=False,
        settings=("initial_accumulator_value", *settings),
        **more,
    )


TF1_RULES: dict[type[torch.optim.Optimizer], Rule] = {
    TF1GradientDescent: _rule(TF1GradientDescent, _rate, _sgd, "weight_decay"),
    TF1Momentum: _rule(TF1Momentum, _momentum_numbers, _momentum, "weight_decay", "momentum", "nesterov"),
    TF1Adam: _rule(TF1Adam, _adam_numbers, _adam, "weight_decay", "betas", "eps"),
    TF1RMSProp: _rule(TF1RMSProp, _rate, _rmsprop, "weight_decay", "alpha", "eps", "momentum", "centered"),
    TF1Adagrad: _rule(TF1Adagrad, _rate, _adagrad, "weight_decay"),
    TF1Adadelta: _rule(TF1Adadelta, _rate, _adadelta, "weight_decay", "rho", "eps"),
    ProximalGradientDescent: _rule(ProximalGradientDescent, _proximal_numbers, _proximal_sgd, "l1", "l2"),
    ProximalAdagrad: _rule(ProximalAdagrad, _rate, _proximal_adagrad, "l1", "l2"),
    Ftrl: _rule(
        Ftrl,
        _ftrl_numbers,
        _ftrl,
        *("lr_power", "l1", "l2_shrinkage"),
        divides_by_rate=True,
        announce=Ftrl.announce,
    ),
    AdagradDA: _rule(AdagradDA, _adagrad_da_numbers, _adagrad_da, announce=AdagradDA.announce),
}
