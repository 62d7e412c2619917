"""The state of a train op: all that its next step depends on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

import torch

from ...components.trained import LOSS, Trained, listed
from ...errors import CheckpointError
from ...registry.calls import is_raised_by_user
from .modes import load_mode_state, mode_state

if TYPE_CHECKING:
    from .train_op import TrainOp

log = logging.getLogger("optrun")

#: The counters of a train op.
COUNTERS = ("global_step", "batch", "examples", "skipped", "gradient_evaluations", "skipped_in_row")
_SAVED_AS = {"skipped_in_row": "_skipped_in_row"}  # else under their own names


def state_dict(op: TrainOp) -> dict[str, Any]:
    """Return weights, buffers, optimizer, updates, modes that were changed, counters, and the place in the data."""
    op.set_hyperparameters({})
    with op.calling.model_state:
        model = dict(op.model.state_dict())
    with op.calling.loss:
        of_loss = {name.removeprefix(LOSS): value for name, value in op.trained.loss_state().items()}
    with op.calling.optimizer_state:
        optimizer = op.optimizer_state.state_dict()
    updates = []
    for update, calling in zip(op.updates, op.calling.updates, strict=True):
        with calling:
            updates.append({"kind": type(update).__name__, "state": update.state_dict()})
    flags = op.trainable_flags.changes()
    return {
        "model": model,
        **({"requires_grad": flags} if flags else {}),
        **({"loss": of_loss} if of_loss else {}),
        "optimizer": optimizer,
        "updates": updates,
        **mode_state(op),
        **_data_state(op),
        **({"compiled": compiled} if (compiled := op.compiled.state_dict()) else {}),
        "counters": {_SAVED_AS.get(name, name): getattr(op, name) for name in COUNTERS},
    }


def load_state_dict(op: TrainOp, state: Mapping[str, Any]) -> None:
    """Take over what `state_dict` returned.

    Raises:
        CheckpointError: the state belongs to another model, optimizer or set of updates.
    """
    op.set_hyperparameters({})
    try:
        with op.calling.model_state:
            op.model.load_state_dict(state["model"])
    except RuntimeError as error:
        if is_raised_by_user(error):
            raise
        raise CheckpointError(f"the checkpoint is of another model: {error}") from error
    with op.calling.loss:
        _load_loss(op, state)
    op.trainable_flags.restore(state.get("requires_grad", {}))
    with op.calling.optimizer_state:
        op.optimizer_state.load_state_dict(state["optimizer"])
    saved = [update["kind"] for update in state["updates"]]
    here = [type(update).__name__ for update in op.updates]
    if saved != here:
        raise CheckpointError(f"the checkpoint has the extra updates {saved}, the train op has {here}")
    op.tell_updates("discard")
    for update, calling, saved_update in zip(op.updates, op.calling.updates, state["updates"], strict=True):
        try:
            with calling:
                update.load_state_dict(saved_update["state"])
        except (KeyError, RuntimeError) as error:
            if is_raised_by_user(error):
                raise
            kind = saved_update["kind"]
            raise CheckpointError(f"the state of {kind} in the checkpoint does not fit: {error!r}") from error
    load_mode_state(op, state)
    op.compiled.load_state_dict(state.get("compiled", {}))
    for name in COUNTERS:
        setattr(op, name, state["counters"][_SAVED_AS.get(name, name)])
    if _has_place(op.data):
        if "data" in state:
            with op.calling.data:
                op.data.load_state_dict(state["data"])
        elif op.batch:
            log.warning("the checkpoint has no place in the data: it is read from its start to batch %d", op.batch)
    elif "data" in state:
        log.warning("the checkpoint has a place in other data, which is left alone: this data has none")


def _data_state(op: TrainOp) -> dict[str, Any]:
    """Return the place in data that has one; the state of other data is the number of the batch."""
    data: Any = op.data
    if not _has_place(data):
        return {}
    with op.calling.data:
        return {"data": data.state_dict()}


def _has_place(data: Any) -> TypeGuard[Any]:
    return callable(getattr(data, "state_dict", None)) and callable(getattr(data, "load_state_dict", None))


def _load_loss(op: TrainOp, state: Mapping[str, Any]) -> None:
    of_loss = state.get("loss")
    if of_loss is None:
        if names := [name for name, parameter in op.trained.loss_parameters() if parameter.requires_grad]:
            log.warning(
                "the checkpoint has nothing of the loss's %s, which versions before 0.3 neither trained nor saved: "
                "they are as they start",
                listed(names),
            )
        return
    try:
        op.trained.load_loss_state({f"{LOSS}{name}": value for name, value in of_loss.items()})
    except RuntimeError as error:
        if is_raised_by_user(error):
            raise
        raise CheckpointError(f"the checkpoint is of another loss: {error}") from error


def tensor_name(trained: Trained, name: str) -> str:
    """Return the name that a tensor of the model or of the loss has in a checkpoint."""
    is_of_loss = name.startswith(LOSS) and name in trained.loss_state()
    return f"loss/{name.removeprefix(LOSS)}" if is_of_loss else f"model/{name}"


def infinite_buffers(trained: Trained) -> set[str]:
    """Return the buffers that are infinite already, such as masks of attention, by their names in a checkpoint."""
    infinite = [name for name, buffer in trained.named_buffers() if not torch.isfinite(buffer).all()]
    return {tensor_name(trained, name) for name in infinite}
