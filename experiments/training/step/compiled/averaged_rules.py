"""The rules of optimizers whose result is an average of the weights, for compiled steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ....components.optimizers.asgd import AveragedSGD
from ....components.optimizers.schedule_free import ScheduleFreeAdamW, ScheduleFreeSGD
from .rules import Counters, Group, Rule, State, one_more, penalised

# ASGD


def _asgd_numbers(group: Group, rate: float, counters: Counters) -> tuple[float, ...]:
    before, lambd = counters[0], group["lambd"]
    eta = rate / (1 + lambd * rate * before) ** group["alpha"]
    return eta, 1 - lambd * eta, 1 / max(1.0, before - group["t0"])


def _asgd(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    eta, decay, share = numbers
    change = penalised(group, gradient, weight) * eta
    weight = weight * decay - change if group["lambd"] else weight - change
    average = torch.where(share == 1, weight, state["ax"] + (weight - state["ax"]) * share)
    return weight, {"ax": average}


# Schedule-free rules


def _copy(weight: Tensor) -> Tensor:
    return weight.clone(memory_format=torch.preserve_format)


def _averaged(group: Group, rate: float, counters: Counters) -> Counters:
    """Return the largest rate so far and the weight of all steps so far, after another one."""
    largest = max(rate, counters[0])
    return largest, counters[1] + largest ** group["weight_lr_power"]


def _averaging(mix: float, group: Group, rate: float, counters: Counters) -> tuple[float, ...]:
    """Return the step's share of the average, and the rates of the weights and of z."""
    largest, total = _averaged(group, rate, counters)
    share = largest ** group["weight_lr_power"] / total if total else 0.0
    return share, rate * (1 - mix * (1 - share)), rate


def _moved(numbers: Sequence[Tensor], weight: Tensor, step: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    share, rate, rate_of_z = numbers
    return torch.lerp(weight, z, share.to(weight.dtype)) - step * rate, z - step * rate_of_z


def _free_sgd_numbers(group: Group, rate: float, counters: Counters) -> tuple[float, ...]:
    return _averaging(group["momentum"], group, rate, counters)


def _free_sgd(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    weight, z = _moved(numbers, weight, penalised(group, gradient, weight), state["z"])
    return weight, {"z": z}


def _free_adamw_counted(group: Group, rate: float, counters: Counters) -> Counters:
    return (*_averaged(group, rate, counters), counters[2] + 1)


def _free_adamw_numbers(group: Group, rate: float, counters: Counters) -> tuple[float, ...]:
    beta1, beta2 = group["betas"]
    return (*_averaging(beta1, group, rate, counters), 1 - beta2 ** (counters[2] + 1))


def _free_adamw(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    *moving, correction = numbers
    beta2 = group["betas"][1]
    square = state["exp_avg_sq"] * beta2 + gradient * gradient * (1 - beta2)
    step = penalised(group, gradient / ((square / correction).sqrt() + group["eps"]), weight)
    weight, z = _moved(moving, weight, step, state["z"])
    return weight, {"z": z, "exp_avg_sq": square}


_MEANS = {"lr_max": 0.0, "weight_sum": 0.0}

AVERAGED_RULES: dict[type[torch.optim.Optimizer], Rule] = {
    AveragedSGD: Rule(
        lambda group, weight: {"ax": 0.0},
        _asgd_numbers,
        _asgd,
        counters=lambda group, weight: {"step": 0},
        counted=one_more,
        counters_are_tensors=False,
        settings=("weight_decay", "lambd"),
    ),
    ScheduleFreeSGD: Rule(
        lambda group, weight: {"z": _copy},
        _free_sgd_numbers,
        _free_sgd,
        counters=lambda group, weight: _MEANS,
        counted=_averaged,
        counters_are_tensors=False,
        counters_are_common=True,
        settings=("weight_decay",),
    ),
    ScheduleFreeAdamW: Rule(
        lambda group, weight: {"z": _copy, "exp_avg_sq": 0.0},
        _free_adamw_numbers,
        _free_adamw,
        counters=lambda group, weight: {**_MEANS, "step": 0},
        counted=_free_adamw_counted,
        counters_are_tensors=False,
        counters_are_common=True,
        settings=("weight_decay", "betas", "eps"),
    ),
}
