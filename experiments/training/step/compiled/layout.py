"""Where what a step needs stands among the tensors that its graph takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .cannot import CannotCompile
from .capture import Captured
from .gradients import Gradients

if TYPE_CHECKING:
    from ..penalty import Penalty
    from ..train_op import TrainOp


class Layout:
    """The tensors that a captured loss takes, by what they are.

    Args:
        op: the train op.
        captured: its loss.
        taken: what the loss was called with.
        again: what it was called with when it was called once more.
        leaves: the tensors of the batch that it was called with.
        is_stored: whether other processes are to find its gradients.
        for_rows: whether their graph will be mapped over rows.

    Attributes:
        batch: for each tensor of a batch its place, or None where the loss does not look at it.
        gradients: of the loss.
        weights: those that have a gradient.
        steps: compiled steps, by all that they depend on.

    Raises:
        CannotCompile: something is made anew at each call, or there is nothing to train.
    """

    def __init__(
        self,
        op: TrainOp,
        captured: Captured,
        taken: Sequence[Any],
        again: Sequence[Any],
        leaves: Sequence[Tensor],
        is_stored: bool = True,
        for_rows: bool = False,
    ):
        places = {id(tensor): place for place, tensor in enumerate(taken)}
        self.batch = [places.get(id(leaf)) for leaf in leaves]
        changing = set(self.batch)
        for place, (one, other) in enumerate(zip(taken, again, strict=True)):
            if not isinstance(one, Tensor) or (one is not other and place not in changing):
                raise CannotCompile("the model or the loss reads a number that is new at each step")
        penalised = [] if op.l2 is None else [weight for weight in op.l2.weights if id(weight) not in places]
        self.more = penalised
        tensors = [*taken, *penalised]
        held = {id(weight) for group in op.optimizer.param_groups for weight in group["params"]}
        known = held | {id(weight) for _, weight in op.trained.named_parameters()}
        if any(tensor.requires_grad and id(tensor) not in known for tensor in tensors):
            raise CannotCompile("the loss depends on a parameter that nobody trains")
        free = [place for place, tensor in enumerate(tensors) if id(tensor) in held and tensor.requires_grad]
        self.gradients = self._gradients(captured, tensors, free, op.l2, is_stored, for_rows)
        self.weights = [tensors[place] for place in self.gradients.outline.weights]
        self.steps: dict[Any, Any] = {}

    @staticmethod
    def _gradients(
        captured: Captured,
        tensors: Sequence[Tensor],
        free: Sequence[int],
        l2: Penalty | None,
        stored: bool,
        for_rows: bool,
    ):
        """Return the gradients of a loss, which train ops share whose tensors it takes in the same places."""
        places = {id(tensor): place for place, tensor in enumerate(tensors)}
        penalty = None if l2 is None else (l2.rate, *(places[id(weight)] for weight in l2.weights))
        known = captured.made.setdefault("gradients", {})
        key = (*free,), penalty, stored, for_rows
        if key not in known:
            known[key] = Gradients(captured, tensors, free, l2, stored, for_rows)
        return known[key]

    def tensors(self, taken: Sequence[Tensor]) -> list[Tensor]:
        """Return all that the graph takes, without the optimizer's state."""
        return [*taken, *self.more]

    def fits(self, taken: Sequence[Tensor]) -> bool:
        """Return True if the weights are still the same tensors."""
        places = self.gradients.outline.weights
        tensors = self.tensors(taken)
        return all(tensors[place] is weight for place, weight in zip(places, self.weights, strict=True))
