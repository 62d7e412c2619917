"""Which modules are in evaluation mode while training goes on, such as frozen batch norm: part of the model's state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from .train_op import TrainOp


def in_evaluation(op: TrainOp) -> list[str]:
    """Return the names of the modules of model and loss that are in evaluation mode."""
    return [name for name, module in _modules(op) if not module.training]


def mode_state(op: TrainOp) -> dict[str, Any]:
    """Return the state `modes`; nothing where each module is as it was built."""
    now = in_evaluation(op)
    return {} if now == op.built_in_evaluation else {"modes": {"evaluation": now}}


def load_mode_state(op: TrainOp, state: Mapping[str, Any]) -> None:
    """Take over what `mode_state` returned, in the whole state; without it, each module is as it was built."""
    names = set((state.get("modes") or {"evaluation": op.built_in_evaluation})["evaluation"])
    for name, module in _modules(op):
        module.training = name not in names


def _modules(op: TrainOp) -> Iterator[tuple[str, nn.Module]]:
    for part, owner in (("model", op.model), ("loss", op.loss)):
        if isinstance(owner, nn.Module):
            yield from ((f"{part}.{name}" if name else part, module) for name, module in owner.named_modules())
