"""Evaluating a refused batch again, to see what was not finite in it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from torch import Tensor

from ...components.hooks.session_view import Refused
from .closure_step import remember_step, step_by_closure
from .finite_gate import NotFinite
from .op_state import COUNTERS
from .train_op import TrainOp

_REPLACED = (*COUNTERS, "loss", "l2", "forward", "last_loss", "last_grad_norm", "last_batch_size")


def evaluate_again(op: TrainOp, refused: Refused, see: Callable[[str, Tensor], None]) -> None:
    """Evaluate a refused batch as it was evaluated then, for those who watch the model; nothing changes.

    Args:
        op: whose weights are still those of `refused.step`.
        refused: with a batch.
        see: is given each tensor of the loss, by name: `loss`, and `l2 penalty` where there is one.
    """
    gate, replaced = op.gate, {name: getattr(op, name) for name in _REPLACED}
    assert gate is not None
    put_back = remember_step(op) if op.needs_closure else None
    loss, l2 = op.loss, op.l2
    op.batch, op.forward = refused.position, op.model
    op.loss = lambda outputs, targets: _seen("loss", loss(outputs, targets), see)
    op.l2 = l2 and (lambda: _seen("l2 penalty", l2(), see))  # type: ignore[assignment] (it is called, no more)
    op.set_hyperparameters({name: value for name, value in refused.feed.items() if name != "batch"})
    gate.before_forward()
    try:
        if op.needs_closure:
            with contextlib.suppress(NotFinite):
                step_by_closure(op, refused.batch, None)
        else:
            op.evaluate(refused.batch)
    finally:
        if put_back is not None:
            put_back()
        vars(op).update(replaced)
        op.set_hyperparameters({})
        op.discard_evaluation()


def _seen(name: str, value: Tensor, see: Callable[[str, Tensor], None]) -> Tensor:
    see(name, value)
    return value
