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
Counters = tuple[float, ...]  # numbers that are kept for each weight, such as its steps


@dataclass(frozen=True)
class Rule:
    """The rule of a class of optimizers.

    Args:
        state: (group) -> the tensors that are kept for each weight, by name, with the value that they start at.
        numbers: (group, rate, counters) -> the numbers of a step, given the learning rate.
        update: (group, numbers, weight, gradient, state) -> the new weight and the new state.
        counters: (group) -> the numbers that are kept for each weight, by name, with the value that they start at.
        counted: (group, counters) -> the counters after a step.
        counters_are_tensors: whether the optimizer keeps them so, as torch's do, or as Python's numbers.
        settings: names of what else in a group the rule reads; a change of these needs another graph.
        refuses: (group) -> what the rule does not cover, in words, or None.
    """

    state: Callable[[Group], dict[str, float]]
    numbers: Callable[[Group, float, Counters], tuple[float, ...]]
    update: Callable[[Group, Sequence[Tensor], Tensor, Tensor, State], tuple[Tensor, State]]
    counters: Callable[[Group], dict[str, float]] = lambda group: {}
    counted: Callable[[Group, Counters], Counters] = lambda group, counters: counters
    counters_are_tensors: bool = True
    settings: tuple[str, ...] = ()
    refuses: Callable[[Group], str | None] = lambda group: None


def steps_from_0(group: Group) -> dict[str, float]:
    """Return the counter that most of torch's optimizers have."""
    return {"step": 0.0}


def one_more(group: Group, counters: Counters) -> Counters:
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
