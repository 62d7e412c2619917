"""The base of the optimizers written here: all tensors of one kind are updated by a few calls."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

import torch
from torch import Tensor

from ....errors import UsageError
from .parameter_groups import decay_rate


class RuleOptimizer(torch.optim.Optimizer):
    """An optimizer whose rule is written here: hyperparameters by name, and groups that move one after the other.

    Subclasses define `move`, and name their hyperparameters, with types, ranges and defaults, in their constructor.

    Args:
        params: the parameters to train, or torch's param groups.
        defaults: the hyperparameters of groups that have none of their own.

    Raises:
        UsageError: the weight decay is selective, which only `make_optimizer` understands.
    """

    def __init__(self, params: Iterable[Any], **defaults: Any):
        if "weight_decay" in defaults:
            defaults["weight_decay"] = decay_rate(defaults["weight_decay"])
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move all weights that have a gradient; `closure`, if given, computes the loss and the gradients first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self.move(group, [weight for weight in group["params"] if weight.grad is not None])
        return loss

    def move(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        """Move the weights of one group, all of which have a gradient."""
        raise NotImplementedError

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

    def own_steps(self, weights: list[Tensor]) -> list[Tensor]:
        """Return the number of steps that each weight has taken, as torch's own rules count it: as tensors."""
        for weight in weights:
            if "step" not in self.state[weight]:
                self.state[weight]["step"] = torch.zeros(())
        return [self.state[weight]["step"] for weight in weights]


class ForeachOptimizer(RuleOptimizer):
    """An optimizer whose rule is written once, for a list of tensors of one device and type.

    Subclasses define `update`. Sparse gradients and complex parameters are refused.

    Args:
        params: the parameters to train, or torch's param groups.
        defaults: the hyperparameters of groups that have none of their own.

    Raises:
        UsageError: a parameter is complex.
    """

    def __init__(self, params: Iterable[Any], **defaults: Any):
        super().__init__(params, **defaults)
        refuse_complex(self, type(self).__name__)

    def update(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        """Move the weights of one group, device and type, and the state that `self.kept` hands out."""
        raise NotImplementedError

    def move(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        for weight in weights:
            if weight.grad.layout != torch.strided:  # type: ignore[union-attr]
                raise UsageError(
                    f"{type(self).__name__} needs dense gradients, and a parameter of shape {tuple(weight.shape)} has "
                    "a sparse one: build its embedding with sparse=False, or use sparse_adam"
                )
        for alike in by_kind(weights).values():
            self.update(group, alike, gradients_of(alike))

    def counted(self, weights: list[Tensor]) -> list[int]:
        """Count this step, and return the number of steps that each weight has taken with it: 1, 2, …"""
        counts = []
        for weight in weights:
            state = self.state[weight]
            state["step"] = state.get("step", 0) + 1
            counts.append(state["step"])
        return counts


def by_kind(
    weights: Iterable[Tensor], more: Callable[[Tensor], Hashable] | None = None
) -> dict[tuple[torch.device, torch.dtype, Any], list[Tensor]]:
    """Return the weights that may move together: by device, type, and what `more` says of each."""
    kinds: dict[tuple[torch.device, torch.dtype, Any], list[Tensor]] = {}
    for weight in weights:
        kind = weight.device, weight.dtype, more(weight) if more is not None else None
        kinds.setdefault(kind, []).append(weight)
    return kinds


def gradients_of(weights: Iterable[Tensor]) -> list[Tensor]:
    """Return the gradients of weights that have one."""
    return [weight.grad for weight in weights]  # type: ignore[misc]


def as_real(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Return tensors, complex ones as views with one more axis: real and imaginary part."""
    return [torch.view_as_real(tensor) if tensor.is_complex() else tensor for tensor in tensors]


def refuse_complex(optimizer: torch.optim.Optimizer, name: str) -> None:
    """Refuse complex parameters.

    Raises:
        UsageError: a parameter is complex.
    """
    if any(parameter.is_complex() for group in optimizer.param_groups for parameter in group["params"]):
        raise UsageError(f"{name} cannot train complex parameters: train their real parts")


def decay_weights(weights: list[Tensor], part: float) -> None:
    """Take the given part of each weight away."""
    if part:
        torch._foreach_mul_(weights, 1 - part)


def with_penalty(gradients: list[Tensor], weights: list[Tensor], weight_decay: float) -> list[Tensor]:
    """Return the gradients with that of the L2 penalty added."""
    return list(torch._foreach_add(gradients, weights, alpha=weight_decay)) if weight_decay else gradients
