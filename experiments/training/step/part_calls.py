"""The calls of a step's parts, each with its key in the configuration, so that what they raise is told there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...registry.calls import Calling

if TYPE_CHECKING:
    from .train_op import TrainOp


class PartCalls:
    """One `with` block for each part of a step that a configuration names, made once for all steps.

    Args:
        op: whose parts they are.
    """

    def __init__(self, op: TrainOp):
        self.data = Calling("data", "the batch of the data", op)
        self.feed = Calling("hooks", "what hooks feed", op)
        self.model = Calling("model", "the forward pass of the model", op)
        self.loss = Calling("loss", "the loss", op)
        self.backward = Calling("loss", "the backward pass of the loss", op)
        self.optimizer = Calling("optimizer", "the optimizer's step", op)
        self.optimizer_state = Calling("optimizer", "the optimizer's state", op)
        self.model_state = Calling("model", "the model's state", op)
        self.updates = [
            Calling(f"updates.{place}", f"the update {type(update).__name__}", op)
            for place, update in enumerate(op.updates)
        ]
