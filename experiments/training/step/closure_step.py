"""A step of an optimizer that evaluates the batch itself, as often as it wants: L-BFGS, SAM."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .finite_gate import NotFinite

if TYPE_CHECKING:
    from .train_op import TrainOp


def needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Return True if an optimizer cannot step without evaluating the batch itself."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")  # one of the user's own may take none
    return closure is not None and closure.default is inspect.Parameter.empty


def step_by_closure(op: TrainOp, batch: Any, after_gradients: Callable[[], None] | None) -> None:
    """Hand the optimizer a function that evaluates the batch, with the gate inside.

    However often the optimizer calls it, the step is one: hooks see the gradients of the first evaluation, the loss
    and the gradients' norm are those of the first, and what the model and the updates note of a batch, such as its
    statistics in batch norm, they note in the first.

    Args:
        op: whose optimizer takes the step.
        batch: inputs and targets.
        after_gradients: of `TrainOp.run`.

    Raises:
        NotFinite: an evaluation was not finite. The optimizer has moved the weights by then: they, and its state, are
            put back, unless it does so itself (`undoes_itself`).
    """
    put_back = None if getattr(op.optimizer, "undoes_itself", False) else remember_step(op)
    first_loss: Tensor | None = None
    first_norm: Tensor | None = None
    buffers: dict[str, Tensor] = {}  # as the first evaluation leaves them

    def evaluate() -> Tensor:
        nonlocal first_loss, first_norm
        is_first = first_loss is None
        if not is_first and not buffers:
            buffers.update((name, buffer.clone()) for name, buffer in op.trained.named_buffers())
        with torch.enable_grad():
            op.tell_updates("discard" if is_first else "repeat")
            op.evaluate(batch)
            op.check_and_clip(after_gradients if is_first else None)
        if is_first:
            first_loss, first_norm = op.last_loss, op.last_grad_norm
        return op.last_loss

    try:
        with op.calling.optimizer:
            op.optimizer.step(evaluate)  # type: ignore[arg-type] (torch says float; its own examples give tensors)
    except NotFinite:
        if put_back is not None:
            put_back()
        raise
    assert first_loss is not None
    op.last_loss, op.last_grad_norm = first_loss, first_norm
    with torch.no_grad():
        for name, buffer in op.trained.named_buffers():
            if name in buffers:
                buffer.copy_(buffers[name])


def remember_step(op: TrainOp) -> Callable[[], None]:
    """Return a function that puts weights and optimizer state back to where they are now."""
    weights = [(p, p.detach().clone()) for group in op.optimizer.param_groups for p in group["params"]]
    state = copy.deepcopy(op.optimizer_state.state_dict()) if op.gate is not None else None

    def put_back() -> None:
        with torch.no_grad():
            for parameter, value in weights:
                parameter.copy_(value)
        if state is not None:
            op.optimizer_state.load_state_dict(state)

    return put_back
