"""The rules of torch's optimizers, and of Lion, for compiled steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ....components.optimizers.lion import Lion
from ....components.optimizers.tf1.rule import single
from .rules import Counters, Group, Rule, Start, State, moments, one_more, penalised, rate_alone, steps_from_0

# torch.optim.SGD


def _sgd_state(group: Group, weight: Tensor) -> dict[str, Start]:
    return {"momentum_buffer": 0.0} if group["momentum"] else {}


def _sgd_refuses(group: Group) -> str | None:
    return "SGD with dampening" if group["dampening"] else None  # of which the first step knows nothing


def _sgd(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    (rate,) = numbers
    gradient = penalised(group, gradient, weight)
    if not group["momentum"]:
        return weight - rate * gradient, {}
    kept = state["momentum_buffer"] * group["momentum"] + gradient
    step = gradient + kept * group["momentum"] if group["nesterov"] else kept
    return weight - rate * step, {"momentum_buffer": kept}


def _fused_sgd(group: Group, rate: float, counters: Counters, weight: Tensor, gradient: Tensor, state: State) -> None:
    torch._fused_sgd_(
        [weight],
        [gradient],
        [state["momentum_buffer"]] if group["momentum"] else [],
        weight_decay=group["weight_decay"],
        momentum=group["momentum"],
        lr=rate,
        dampening=0.0,
        nesterov=group["nesterov"],
        maximize=group["maximize"],
        is_first_step=False,
    )


# torch.optim.Adam and AdamW


def _adam_state(group: Group, weight: Tensor) -> dict[str, Start]:
    names = ("exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else []))
    return dict.fromkeys(names, 0.0)


def _adam_numbers(group: Group, rate: float, counters: Counters) -> tuple[float, ...]:
    beta1, beta2 = group["betas"]
    count = counters[0] + 1
    decay = 1 - rate * group["weight_decay"]
    return rate / (1 - beta1**count), math.sqrt(1 - beta2**count), decay


def _adam(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    length, correction, decay = numbers
    weight, gradient = _decayed(group, decay, weight, gradient)
    found = moments(group, gradient, state)
    mean, largest = found["exp_avg"], found["exp_avg_sq"]
    if group["amsgrad"]:
        largest = found["max_exp_avg_sq"] = torch.maximum(state["max_exp_avg_sq"], largest)
    return weight - length * (mean / (largest.sqrt() / correction + group["eps"])), found


# torch.optim.RMSprop


def _rmsprop_state(group: Group, weight: Tensor) -> dict[str, Start]:
    more = {"momentum_buffer": group["momentum"] > 0, "grad_avg": group["centered"]}
    return dict.fromkeys(("square_avg", *(name for name, kept in more.items() if kept)), 0.0)


def _rmsprop(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    (rate,) = numbers
    gradient = penalised(group, gradient, weight)
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


def _adagrad_numbers(group: Group, rate: float, counters: Counters) -> tuple[float, ...]:
    return (rate / (1 + counters[0] * group["lr_decay"]),)


def _adagrad(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    (rate,) = numbers
    gradient = penalised(group, gradient, weight)
    total = state["sum"] + gradient * gradient
    return weight - rate * (gradient / (total.sqrt() + group["eps"])), {"sum": total}


# torch.optim.NAdam and RAdam


def _decayed(group: Group, decay: Tensor, weight: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return a weight after decoupled decay and its gradient, or the weight and its gradient with the L2 penalty."""
    if not group.get("decoupled_weight_decay"):
        return weight, penalised(group, gradient, weight)
    gradient = -gradient if group.get("maximize") else gradient
    return (weight * decay if group["weight_decay"] else weight), gradient


def _momentum(group: Group, count: float) -> float:
    return group["betas"][0] * (1.0 - 0.5 * 0.96 ** (count * group["momentum_decay"]))


def _nadam_counted(group: Group, rate: float, counters: Counters) -> Counters:
    count, product = counters[0] + 1, counters[1]
    return count, single(product * single(_momentum(group, count)))


def _nadam_numbers(group: Group, rate: float, counters: Counters) -> tuple[float, ...]:
    count, product = _nadam_counted(group, rate, counters)
    now, then = _momentum(group, count), _momentum(group, count + 1)
    of_gradient, of_mean = rate * (1 - now) / (1 - product), rate * then / (1 - product * then)
    return of_gradient, of_mean, 1 - group["betas"][1] ** count, 1 - rate * group["weight_decay"]


def _nadam(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    of_gradient, of_mean, correction, decay = numbers
    weight, gradient = _decayed(group, decay, weight, gradient)
    found = moments(group, gradient, state)
    root = (found["exp_avg_sq"] / correction).sqrt() + group["eps"]
    return weight - of_gradient * gradient / root - of_mean * found["exp_avg"] / root, found


def _radam_numbers(group: Group, rate: float, counters: Counters) -> tuple[float, ...]:
    beta1, beta2 = group["betas"]
    count = counters[0] + 1
    correction = 1 - beta2**count
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * count * beta2**count / correction
    is_long = length > 5
    of_mean = rate / (1 - beta1**count)
    rectified = 0.0
    if is_long:
        part = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        rectified = of_mean * math.sqrt(correction) * math.sqrt(part)
    return 0.0 if is_long else of_mean, rectified, 1 - rate * group["weight_decay"]


def _radam(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    plain, rectified, decay = numbers  # one of the first two is 0
    weight, gradient = _decayed(group, decay, weight, gradient)
    found = moments(group, gradient, state)
    mean, root = found["exp_avg"], found["exp_avg_sq"].sqrt() + group["eps"]
    return weight - torch.where(rectified > 0, rectified * (mean / root), plain * mean), found


# torch.optim.Adamax


def _adamax_numbers(group: Group, rate: float, counters: Counters) -> tuple[float, ...]:
    return (rate / (1 - group["betas"][0] ** (counters[0] + 1)),)


def _adamax(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    (length,) = numbers
    beta1, beta2 = group["betas"]
    gradient = penalised(group, gradient, weight)
    mean = state["exp_avg"] + (gradient - state["exp_avg"]) * (1 - beta1)
    largest = torch.maximum(state["exp_inf"] * beta2, gradient.abs() + group["eps"])
    return weight - length * (mean / largest), {"exp_avg": mean, "exp_inf": largest}


# torch.optim.Adadelta


def _adadelta(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    (rate,) = numbers
    rho, eps = group["rho"], group["eps"]
    gradient = penalised(group, gradient, weight)
    square = state["square_avg"] * rho + gradient * gradient * (1 - rho)
    step = (state["acc_delta"] + eps).sqrt() / (square + eps).sqrt() * gradient
    return weight - rate * step, {"square_avg": square, "acc_delta": state["acc_delta"] * rho + step * step * (1 - rho)}


# torch.optim.Rprop


def _rprop(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    shrink, grow = group["etas"]
    gradient = -gradient if group["maximize"] else gradient
    agreement = gradient * state["prev"]
    length = state["step_size"]
    length = torch.where(agreement > 0, length * grow, torch.where(agreement < 0, length * shrink, length))
    length = length.clamp(*group["step_sizes"])
    gradient = torch.where(agreement < 0, 0.0, gradient)
    return weight - gradient.sign() * length, {"prev": gradient, "step_size": length}


# torch.optim.Adafactor


def _adafactor_refuses(group: Group) -> str | None:
    several = len({weight.dtype for weight in group["params"]}) > 1
    return "Adafactor with weights of several types and eps null" if several and group["eps"][0] is None else None


def _adafactor_state(group: Group, weight: Tensor) -> dict[str, Start]:
    if weight.dim() < 2:
        return {"variance": 0.0}
    rows, columns = (*weight.shape[:-1], 1), (*weight.shape[:-2], 1, weight.shape[-1])
    return {"row_var": lambda weight: weight.new_zeros(rows), "col_var": lambda weight: weight.new_zeros(columns)}


def _adafactor_numbers(group: Group, rate: float, counters: Counters) -> tuple[float, ...]:
    count = counters[0] + 1
    return count ** group["beta2_decay"], min(rate, 1 / count**0.5), 1 - rate * group["weight_decay"]


def _adafactor(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    share, rate, decay = numbers
    smallest, least = group["eps"]
    smallest = torch.finfo(weight.dtype).eps if smallest is None else smallest
    gradient = -gradient if group["maximize"] else gradient
    rate = rate * _root_mean_square(weight).clamp(min=least)
    weight = weight * decay if group["weight_decay"] else weight
    squares = gradient * gradient
    if weight.dim() < 2:
        found = {"variance": state["variance"] + (squares - state["variance"]) * share}
        variance = found["variance"]
    else:
        means = {"row_var": squares.mean(-1, keepdim=True), "col_var": squares.mean(-2, keepdim=True)}
        found = {name: state[name] + (mean - state[name]) * share for name, mean in means.items()}
        row, column = found["row_var"], found["col_var"]
        variance = row * column / row.mean(-2, keepdim=True).clamp(min=smallest)
    step = variance.clamp(min=smallest * smallest).rsqrt() * gradient
    return weight - rate / (_root_mean_square(step) / group["d"]).clamp(min=1.0) * step, found


def _root_mean_square(tensor: Tensor) -> Tensor:
    return torch.linalg.vector_norm(tensor) / tensor.numel() ** 0.5


# Lion, which torch does not have


def _lion_numbers(group: Group, rate: float, counters: Counters) -> tuple[float, ...]:
    return rate, 1 - rate * group["weight_decay"]


def _lion(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    rate, decay = numbers
    beta1, beta2 = group["betas"]
    mean = state["exp_avg"]
    direction = (mean + (gradient - mean) * (1 - beta1)).sign()
    weight = weight * decay if group["weight_decay"] else weight
    return weight - rate * direction, {"exp_avg": mean + (gradient - mean) * (1 - beta2)}


def _fused_adam(group: Group, rate: float, counters: Counters, weight: Tensor, gradient: Tensor, state: State) -> None:
    beta1, beta2 = group["betas"]
    kernel = torch._fused_adamw_ if group.get("decoupled_weight_decay") else torch._fused_adam_
    kernel(
        [weight],
        [gradient],
        [state["exp_avg"]],
        [state["exp_avg_sq"]],
        [state["max_exp_avg_sq"]] if group["amsgrad"] else [],
        [torch.full((), counters[0] + 1)],
        lr=rate,
        beta1=beta1,
        beta2=beta2,
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=group["amsgrad"],
        maximize=group["maximize"],
    )


_COMMON = ("weight_decay", "maximize")
_ADAM = Rule(
    _adam_state,
    _adam_numbers,
    _adam,
    counters=steps_from_0,
    counted=one_more,
    settings=(*_COMMON, "betas", "eps", "amsgrad", "decoupled_weight_decay", "fused"),
    fused=_fused_adam,
)

#: The rule of each class; only of the class itself, as a subclass may do something else.
TORCH_RULES: dict[type[torch.optim.Optimizer], Rule] = {
    torch.optim.SGD: Rule(
        _sgd_state,
        rate_alone,
        _sgd,
        settings=(*_COMMON, "momentum", "nesterov", "dampening", "fused"),
        refuses=_sgd_refuses,
        fused=_fused_sgd,
    ),
    torch.optim.Adam: _ADAM,
    torch.optim.AdamW: _ADAM,
    torch.optim.RMSprop: Rule(
        _rmsprop_state,
        rate_alone,
        _rmsprop,
        counters=steps_from_0,
        counted=one_more,
        settings=(*_COMMON, "alpha", "eps", "momentum", "centered"),
    ),
    torch.optim.Adagrad: Rule(
        lambda group, weight: {"sum": group["initial_accumulator_value"]},
        _adagrad_numbers,
        _adagrad,
        counters=steps_from_0,
        counted=one_more,
        settings=(*_COMMON, "eps", "lr_decay", "initial_accumulator_value"),
    ),
    torch.optim.NAdam: Rule(
        lambda group, weight: {"exp_avg": 0.0, "exp_avg_sq": 0.0},
        _nadam_numbers,
        _nadam,
        counters=lambda group, weight: {"step": 0.0, "mu_product": 1.0},
        counted=_nadam_counted,
        settings=(*_COMMON, "betas", "eps", "decoupled_weight_decay"),
    ),
    torch.optim.RAdam: Rule(
        lambda group, weight: {"exp_avg": 0.0, "exp_avg_sq": 0.0},
        _radam_numbers,
        _radam,
        counters=steps_from_0,
        counted=one_more,
        settings=(*_COMMON, "betas", "eps", "decoupled_weight_decay"),
    ),
    torch.optim.Adamax: Rule(
        lambda group, weight: {"exp_avg": 0.0, "exp_inf": 0.0},
        _adamax_numbers,
        _adamax,
        counters=steps_from_0,
        counted=one_more,
        settings=(*_COMMON, "betas", "eps"),
    ),
    torch.optim.Adadelta: Rule(
        lambda group, weight: {"square_avg": 0.0, "acc_delta": 0.0},
        rate_alone,
        _adadelta,
        counters=steps_from_0,
        counted=one_more,
        settings=(*_COMMON, "rho", "eps"),
    ),
    torch.optim.Rprop: Rule(
        lambda group, weight: {"prev": 0.0, "step_size": float(group["lr"])},
        rate_alone,
        _rprop,
        counters=steps_from_0,
        counted=one_more,
        settings=("maximize", "etas", "step_sizes"),
    ),
    torch.optim.Adafactor: Rule(
        _adafactor_state,
        _adafactor_numbers,
        _adafactor,
        counters=steps_from_0,
        counted=one_more,
        settings=(*_COMMON, "eps", "d"),
        refuses=_adafactor_refuses,
        is_whole=True,
    ),
    Lion: Rule(lambda group, weight: {"exp_avg": 0.0}, _lion_numbers, _lion, settings=("weight_decay", "betas")),
}
