"""Extra updates as a part of compiled steps: averages of the weights (`ema`) behind the optimizer's rule, statistics of
batch norm within the forward pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ....components.updates.batch_norm import BatchNormUpdate
from ....components.updates.ema import Ema
from .cannot import CannotCompile
from .cells import Cell
from .rules import Counters, Group, Rule, State

if TYPE_CHECKING:
    from ....components.updates import Update


def _share(group: Group, rate: float, counters: Counters) -> tuple[float, ...]:
    return (1 - group["ema"].decay_at(counters[0] + 1),)


def _averaged(group: Group, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: State):
    (share,) = numbers
    return weight, {"shadow": state["shadow"] + (weight - state["shadow"]) * share}


_RULE = Rule(
    lambda group, weight: {"shadow": 0.0},
    _share,
    _averaged,
    counted=lambda group, rate, counters: (counters[0] + 1,),
)


class AverageCell(Cell):
    """All weights of an average, which follows where the optimizer has moved them.

    Args:
        ema: the update.
    """

    def __init__(self, ema: Ema):
        group: dict[str, Any] = {"ema": ema}
        pairs = ema.averages()
        weights, states = [weight for weight, _ in pairs], [{"shadow": shadow} for _, shadow in pairs]
        super().__init__("ema", _RULE, group, 0, (float(ema.count),), weights, states)

    def count(self) -> None:
        self.counters = (float(self.group["ema"].count),)

    def end(self, optimizer: torch.optim.Optimizer, rates: Sequence[float]) -> None:
        self.group["ema"].count += len(rates)


def average_cells(updates: Iterable[Update], tensors: Sequence[Tensor]) -> list[AverageCell]:
    """Return the cells of averages, in the order of the updates.

    Args:
        updates: of the train op, which `has_form` knows.
        tensors: that the graph takes.

    Raises:
        CannotCompile: a weight is averaged that the loss does not depend on.
    """
    known = {id(tensor) for tensor in tensors}
    found = [AverageCell(update) for update in updates if isinstance(update, Ema)]
    if any(id(weight) not in known for cell in found for weight in cell.weights):
        raise CannotCompile("a weight is averaged that the loss does not depend on")
    return found


def has_form(update: Update) -> bool:
    """Return True if an update can be a part of compiled steps."""
    return type(update) in (Ema, BatchNormUpdate)


def is_settled(update: Update) -> bool:
    """Return False if the next step of an update is another one than those after it, or has no compiled form."""
    if isinstance(update, BatchNormUpdate):
        return update.moves_alone
    return not isinstance(update, Ema) or not update.freed()


class Statistics:
    """The statistics of batch norm layers, which compiled forward passes move.

    Args:
        updates: of the train op.
    """

    def __init__(self, updates: Iterable[Update]):
        self._updates = [update for update in updates if isinstance(update, BatchNormUpdate)]
        self.begin()

    def begin(self) -> None:
        """Look at how far they are."""
        for update in self._updates:
            if update.moves_alone:
                update.begin_moving()

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Let forward passes of a `with` block move them."""
        with ExitStack() as stack:
            for update in self._updates:
                stack.enter_context(update.moving())
            yield

    def end(self) -> None:
        """Count what a block has moved."""
        for update in self._updates:
            update.end_moving()
