"""The weights of an optimizer in cells: those that move alike, by one rule with the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .rules import RULES, Rule


@dataclass
class Cell:
    """Weights of one parameter group that have taken the same number of steps.

    Args:
        rule: of the optimizer.
        group: the parameter group.
        place: of the group in the optimizer.
        steps: that they have taken.
        weights: the parameters.
        states: what is kept for each, by name.
        fresh: those whose state is not in the optimizer yet.
    """

    rule: Rule
    group: Mapping[str, Any]
    place: int
    steps: float
    weights: list[Tensor] = field(default_factory=list)
    states: list[dict[str, Tensor]] = field(default_factory=list)
    fresh: list[Tensor] = field(default_factory=list)

    def kept(self) -> list[Tensor]:
        """Return the tensors of the state that the rule moves."""
        names = self.rule.state(self.group)
        return [state[name] for state in self.states for name in names]

    def settings(self) -> tuple[Any, ...]:
        """Return what a graph for these weights depends on."""
        return (self.place, *(self.group.get(name) for name in self.rule.settings))

    def numbers(self, rate: float, more: int) -> tuple[float, ...]:
        """Return the numbers of the rule for the step after so many more steps."""
        return self.rule.numbers(self.group, rate, self.steps + more)

    def count(self) -> None:
        """Look how many steps the weights have taken."""
        if self.rule.counts:
            self.steps = self.states[0]["step"].item()

    def end(self, optimizer: torch.optim.Optimizer, num_steps: int) -> None:
        """Give the optimizer its state, after so many more applied steps."""
        if not num_steps:
            return
        if self.fresh:
            for weight, state in zip(self.weights, self.states, strict=True):
                if any(weight is each for each in self.fresh):
                    optimizer.state[weight] = state
            self.fresh.clear()
        if self.rule.counts:
            torch._foreach_add_([state["step"] for state in self.states], num_steps)


def cells_of(optimizer: torch.optim.Optimizer, weights: Sequence[Tensor]) -> list[Cell]:
    """Sort weights that have a gradient into cells, with the state that the optimizer has for them, or a first one."""
    wanted = {id(weight) for weight in weights}
    rule = RULES[type(optimizer)]
    found: list[Cell] = []
    for place, group in enumerate(optimizer.param_groups):
        by_steps: dict[float, Cell] = {}
        for weight in group["params"]:
            if id(weight) not in wanted:
                continue
            state = optimizer.state.get(weight, {})
            is_fresh = any(state.get(name) is None for name in _names(rule, group))
            if is_fresh:
                state = _first_state(rule, group, weight)
            steps = state["step"].item() if rule.counts else 0.0
            if steps not in by_steps:
                by_steps[steps] = Cell(rule, group, place, steps)
                found.append(by_steps[steps])
            cell = by_steps[steps]
            cell.weights.append(weight)
            cell.states.append(state)
            if is_fresh:
                cell.fresh.append(weight)
    return found


def _names(rule: Rule, group: Mapping[str, Any]) -> list[str]:
    return [*rule.state(group), *(["step"] if rule.counts else [])]


def _first_state(rule: Rule, group: Mapping[str, Any], weight: Tensor) -> dict[str, Tensor]:
    """Return what the optimizer itself makes at the first step of a weight."""
    with torch.no_grad():
        state = {
            name: torch.full_like(weight, value, memory_format=torch.preserve_format, requires_grad=False)
            for name, value in rule.state(group).items()
        }
    if not rule.counts:
        return state
    is_wide = not group.get("fused") and torch.get_default_dtype() == torch.float64
    is_beside = group.get("fused") or group.get("capturable")
    dtype, device = torch.float64 if is_wide else torch.float32, weight.device if is_beside else torch.device("cpu")
    return {"step": torch.zeros((), dtype=dtype, device=device), **state}
