"""The end of a batch that the gate refuses, at once or late: skip it, or raise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...components.hooks.session_view import Refused
from .finite_gate import Gate

if TYPE_CHECKING:
    from .train_op import TrainOp


def refuse(op: TrainOp, batch: Any, feed: Mapping[str, Any], by_hook: bool) -> None:
    """Do what the gate's policy says about the batch at which a train op stands: skip it, or raise.

    Raises:
        DivergedError: the policy is not to skip, or too many batches in a row were skipped.
    """
    gate = op.gate
    assert gate is not None
    op.refused = _described(op, gate, batch, feed, by_hook)
    failure = op.refused.error
    op.discard_evaluation()
    if gate.policy != "skip":
        raise failure
    op.skipped_in_row += 1
    if op.skipped_in_row > gate.max_skips:
        failure.add_note(f"{gate.max_skips} batches in a row had been skipped before")
        raise failure
    op.batch += 1
    op.skipped += 1


def take_back_late_steps(op: TrainOp, gate: Gate) -> None:
    """Ask a deferred gate about the steps since it was last asked; if one was bad, go back to the step before it.

    From the first bad batch on the optimizer has left the weights alone, so only the counters have to go back. The bad
    batch is drawn again, to be described.

    Raises:
        DivergedError: one was bad.
    """
    taken, op.unread_checks = op.unread_checks, []
    num_good = gate.num_good_steps()
    if num_good is None:
        return
    gate.forget()
    bad = taken[num_good:]
    op.global_step -= len(bad)
    op.batch -= len(bad)
    op.examples -= sum(size for size, _ in bad)
    _, feed = bad[0]
    batch = None
    if "batch" not in feed:
        op.set_hyperparameters(feed)
        batch = op.draw(feed)
    op.refused = _described(op, gate, batch, feed, num_late=len(bad) - 1)
    raise op.refused.error


def _described(
    op: TrainOp, gate: Gate, batch: Any, feed: Mapping[str, Any], by_hook: bool = False, num_late: int | None = None
) -> Refused:
    is_late = num_late is not None
    reason = gate.reason(None if is_late else op.last_loss)
    return Refused(
        error=gate.failure(reason, op.batch, op.global_step),
        reason=reason,
        position=op.batch,
        step=op.global_step,
        batch=batch,
        feed=without_batch(feed),
        rates=tuple(float(group["lr"]) for group in op.optimizer.param_groups if "lr" in group),
        is_fed="batch" in feed,
        by_hook=by_hook,
        num_late=num_late if num_late is not None else 0,
        is_whole=not (is_late and any(True for _ in op.trained.named_buffers())),
    )


def without_batch(feed: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a feed without the tensors of a batch, which would fill the device."""
    return {**feed, "batch": None} if "batch" in feed else feed
