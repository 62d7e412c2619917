"""What an optimizer does to weights, written as functions of tensors: a compiled step consists of nothing else.

A rule computes the numbers of a step (rates, corrections for the number of steps) on the host in Python's own floats,
as the optimizer itself does, so that the graph has only arithmetic of whole tensors in it, and knows nothing of the
number of the step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Group = Mapping[str, Any]  # a parameter group of an optimizer
State = dict[str, Tensor]  # of one weight, by the names that its optimizer gives it
Start = float | Callable[[Tensor], Tensor]  # the value of all elements, or a function of the weight
Counters = tuple[float, ...]  # numbers that are kept for each weight, such as its steps
Rates = Sequence[Sequence[float]]  # of each parameter group, at one step after the other


COMMON_SETTINGS = ("maximize",)  #: What rules of all optimizers may read in a group.


@dataclass(frozen=True)
class Rule:
    """The rule of a class of optimizers.

    Args:
        state: (group, weight) -> the tensors that are kept for a weight, by name, with what they start at.
        numbers: (group, rate, counters) -> the numbers of a step, given the learning rate.
        update: (group, numbers, weight, gradient, state) -> the new weight and the new state.
        counters: (group, weight) -> the numbers that are kept for a weight, by name, with the value they start at.
        counted: (group, rate, counters) -> the counters after a step.
        counters_are_tensors: whether the optimizer keeps them so, as torch's do, or as Python's numbers.
        counters_are_common: whether the weights of a group have the same, whenever each of them began to move.
        settings: names of what `update` reads in a group besides COMMON_SETTINGS; another value needs another graph.
        refuses: (group) -> what the rule does not cover, in words, or None.
        divides_by_rate: whether it has no step at a rate of 0.
        fused: (group, rate, counters, weight, gradient, state) -> None: torch's own kernel, which changes weight and
            state in place; called where the optimizer calls it, too.
        is_whole: whether what becomes of an element depends on the weight's other elements, as by a norm.
        announce: (optimizer, rates) -> None: what the optimizer says of steps that it is about to take.
    """

    state: Callable[[Group, Tensor], dict[str, Start]]
    numbers: Callable[[Group, float, Counters], tuple[float, ...]]
    update: Callable[[Group, Sequence[Tensor], Tensor, Tensor, State], tuple[Tensor, State]]
    counters: Callable[[Group, Tensor], dict[str, float]] = lambda group, weight: {}
    counted: Callable[[Group, float, Counters], Counters] = lambda group, rate, counters: counters
    counters_are_tensors: bool = True
    counters_are_common: bool = False
    settings: tuple[str, ...] = ()
    refuses: Callable[[Group], str | None] = lambda group: None
    divides_by_rate: bool = False
    fused: Callable[[Group, float, Counters, Tensor, Tensor, State], None] | None = None
    is_whole: bool = False
    announce: Callable[[Any, Rates], None] = lambda optimizer, rates: None


def steps_from_0(group: Group, weight: Tensor) -> dict[str, float]:
    """Return the counter that most of torch's optimizers have."""
    return {"step": 0.0}


def one_more(group: Group, rate: float, counters: Counters) -> Counters:
    """Return the number of steps after another one."""
    return (counters[0] + 1,)


def rate_alone(group: Group, rate: float, counters: Counters) -> tuple[float, ...]:
    """Return the rate, where a rule needs no other number."""
    return (rate,)


def penalised(group: Group, gradient: Tensor, weight: Tensor) -> Tensor:
    """Return a gradient with that of the L2 penalty."""
    if group.get("maximize"):
        gradient = -gradient
    return gradient + weight * group["weight_decay"] if group["weight_decay"] else gradient


def moments(group: Group, gradient: Tensor, state: State) -> State:
    """Return the running means of the gradient and of its square."""
    beta1, beta2 = group["betas"]
    return {
        "exp_avg": state["exp_avg"] + (gradient - state["exp_avg"]) * (1 - beta1),
        "exp_avg_sq": state["exp_avg_sq"] * beta2 + gradient * gradient * (1 - beta2),
    }
