"""What the optimizers written here have in common: all tensors of one kind are updated by a few calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ....errors import UsageError


def evaluated(closure: Callable[[], Any] | None) -> Any:
    """Return the loss that a step's closure computes, with the gradients that it leaves; None without a closure."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


class ForeachOptimizer(torch.optim.Optimizer):
    """An optimizer whose rule is written once, for a list of tensors of one device and type.

    Subclasses define `update`. Sparse gradients and complex parameters are refused.

    Args:
        params: the parameters to train, or torch's param groups.
        defaults: the hyperparameters of groups that have none of their own.

    Raises:
        UsageError: a parameter is complex.
    """

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]):
        super().__init__(params, dict(defaults))
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.is_complex():
                    raise UsageError(f"{type(self).__name__} cannot train complex parameters: train their real parts")

    def update(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        """Move the weights of one group, device and type, and the state that `self.kept` hands out."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move all weights that have a gradient."""
        loss = evaluated(closure)
        for group in self.param_groups:
            for weights in self._kinds(group):
                self.update(group, weights, [weight.grad for weight in weights])  # type: ignore[misc]
        return loss

    def kept(self, name: str, weights: list[Tensor], *, copied: bool = False) -> list[Tensor]:
        """Return the state called `name` of each weight: at first zeros, or a copy of the weight."""
        found = []
        for weight in weights:
            state = self.state[weight]
            if name not in state:
                state[name] = (
                    weight.detach().clone(memory_format=torch.preserve_format) if copied else torch.zeros_like(weight)
                )
            found.append(state[name])
        return found

    def counted(self, weights: list[Tensor]) -> list[int]:
        """Count this step, and return the number of steps that each weight has taken with it: 1, 2, …"""
        counts = []
        for weight in weights:
            state = self.state[weight]
            state["step"] = state.get("step", 0) + 1
            counts.append(state["step"])
        return counts

    def _kinds(self, group: Mapping[str, Any]) -> list[list[Tensor]]:
        """Return the weights that have a gradient, by device and type."""
        kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
        for weight in group["params"]:
            if weight.grad is None:
                continue
            if weight.grad.layout != torch.strided:
                raise UsageError(
                    f"{type(self).__name__} needs dense gradients, and a parameter of shape {tuple(weight.shape)} has "
                    "a sparse one: build its embedding with sparse=False, or use sparse_adam"
                )
            kinds.setdefault((weight.device, weight.dtype), []).append(weight)
        return list(kinds.values())


def decay_weights(weights: list[Tensor], part: float) -> None:
    """Take the given part of each weight away."""
    if part:
        torch._foreach_mul_(weights, 1 - part)


def with_penalty(gradients: list[Tensor], weights: list[Tensor], weight_decay: float) -> list[Tensor]:
    """Return the gradients with that of the L2 penalty added."""
    return list(torch._foreach_add(gradients, weights, alpha=weight_decay)) if weight_decay else gradients
