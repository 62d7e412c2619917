"""The weights of an optimizer in cells: those that move alike, by one rule with the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .cannot import CannotCompile
from .rule_table import RULES
from .rules import COMMON_SETTINGS, Counters, Rule


@dataclass
class Cell:
    """Weights of one parameter group that have taken the same number of steps.

    Args:
        name: of the optimizer's class.
        rule: of the optimizer.
        group: the parameter group.
        place: of the group in the optimizer.
        counters: the numbers that the rule keeps, the same for all.
        weights: the parameters.
        states: what is kept for each, by name.
        fresh: those whose state is not in the optimizer yet.
    """

    name: str
    rule: Rule
    group: Mapping[str, Any]
    place: int
    counters: Counters
    weights: list[Tensor] = field(default_factory=list)
    states: list[dict[str, Any]] = field(default_factory=list)
    fresh: list[Tensor] = field(default_factory=list)

    def kept(self) -> list[Tensor]:
        """Return the tensors of the state that the rule moves."""
        return [state[name] for state, names in zip(self.states, self.names(), strict=True) for name in names]

    def names(self) -> list[tuple[str, ...]]:
        """Return the names of these tensors, for each weight."""
        return [tuple(self.rule.state(self.group, weight)) for weight in self.weights]

    def settings(self) -> tuple[Any, ...]:
        """Return what a graph for these weights depends on."""
        return (self.place, *(self.group.get(name) for name in (*COMMON_SETTINGS, *self.rule.settings)))

    def numbers(self, rates: Sequence[float]) -> list[tuple[float, ...]]:
        """Return the numbers of the rule for steps at these rates, one after the other."""
        counters, found = self.counters, []
        for rate in rates:
            found.append(self.rule.numbers(self.group, rate, counters))
            counters = self.rule.counted(self.group, rate, counters)
        return found

    def counters_at(self, rates: Sequence[float]) -> list[Counters]:
        """Return the counters before each of some steps at these rates."""
        counters, found = self.counters, []
        for rate in rates:
            found.append(counters)
            counters = self.rule.counted(self.group, rate, counters)
        return found

    def num_numbers(self) -> int:
        """Return how many numbers the rule has at each step."""
        return len(self.rule.numbers(self.group, 1.0, self.counters))

    def count(self) -> None:
        """Look at the numbers that the weights' state has now."""
        if self.counters:
            state = self.states[0]
            self.counters = tuple([float(state[name]) for name in self.rule.counters(self.group, self.weights[0])])

    def end(self, optimizer: torch.optim.Optimizer, rates: Sequence[float]) -> None:
        """Give the optimizer its state, after more steps that were applied, at these rates."""
        if not rates:
            return
        if self.fresh:
            for weight, state in zip(self.weights, self.states, strict=True):
                if any(weight is each for each in self.fresh):
                    optimizer.state[weight] = state
            self.fresh.clear()
        counters = self.counters
        for rate in rates:
            counters = self.rule.counted(self.group, rate, counters)
        for name, value in zip(self.rule.counters(self.group, self.weights[0]), counters, strict=True):
            if self.rule.counters_are_tensors:
                for state in self.states:
                    state[name].fill_(value)
            else:
                for state in self.states:
                    state[name] = type(state[name])(value)  # a whole number stays one


def cells_of(optimizer: torch.optim.Optimizer, weights: Sequence[Tensor]) -> list[Cell]:
    """Sort weights that have a gradient into cells, with the state that the optimizer has for them, or a first one.

    Raises:
        CannotCompile: the rule has one count for the weights of a group, and some of them were frozen for a time.
    """
    wanted = {id(weight) for weight in weights}
    kind = type(optimizer)
    name, rule = f"{kind.__module__}.{kind.__qualname__}", RULES[kind]
    found: list[Cell] = []
    for place, group in enumerate(optimizer.param_groups):
        alike: dict[Counters, Cell] = {}
        for weight in group["params"]:
            if id(weight) not in wanted:
                continue
            kept, counted = tuple(rule.state(group, weight)), tuple(rule.counters(group, weight))
            state = optimizer.state.get(weight, {})
            is_fresh = any(state.get(name) is None for name in kept + counted)
            if is_fresh:
                state = _first_state(rule, group, weight)
            counters = tuple([float(state[name]) for name in counted])
            if counters not in alike:
                alike[counters] = Cell(name, rule, group, place, counters)
                found.append(alike[counters])
            cell = alike[counters]
            cell.weights.append(weight)
            cell.states.append(state)
            if is_fresh:
                cell.fresh.append(weight)
        if rule.counters_are_common and len(alike) > 1:
            raise CannotCompile(f"{kind.__name__} counts the steps of weights that began at different ones as one")
    return found


def _first_state(rule: Rule, group: Mapping[str, Any], weight: Tensor) -> dict[str, Any]:
    """Return what the optimizer itself makes at the first step of a weight."""
    with torch.no_grad():
        state = {
            name: start(weight.detach()) if callable(start) else torch.full_like(weight, start, requires_grad=False)
            for name, start in rule.state(group, weight).items()
        }
    if not rule.counters_are_tensors:
        return {**state, **rule.counters(group, weight)}
    is_wide = not group.get("fused") and torch.get_default_dtype() == torch.float64
    is_beside = group.get("fused") or group.get("capturable")
    dtype, device = torch.float64 if is_wide else torch.float32, weight.device if is_beside else torch.device("cpu")
    counted = rule.counters(group, weight)
    counters = {name: torch.full((), value, dtype=dtype, device=device) for name, value in counted.items()}
    return {**counters, **state}
