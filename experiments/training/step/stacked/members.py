"""A train op as one of several that take steps at once: what its next steps depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ....components.data.tree import mapped, tensors
from ..compiled.cannot import CannotCompile
from ..compiled.capture import Capture
from ..compiled.cells import Cell, cells_of
from ..compiled.layout import Layout
from ..compiled.program import number_type
from ..compiled.updates import average_cells
from ..drawn_ahead import Drawn, draw_ahead
from ..steps import Steps

if TYPE_CHECKING:
    from ..train_op import TrainOp

_MOST_BYTES, _FURTHEST = 1 << 20, 64  # of batches that are drawn further ahead than they are needed
_MOST_GRAPHS = 64  # of all members: one for each shape of batches, and each way in which a model is set


def _loss(model: Any, loss: Any, call: Any, inputs: Any, targets: Any) -> Tensor:
    return loss(call(model, inputs, targets), targets)


def _loss_in_bf16(model: Any, loss: Any, call: Any, inputs: Any, targets: Any) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return loss(call(model, inputs, targets), targets)


@dataclass
class Found:
    """What the next steps of a train op depend on, as it is now.

    Args:
        op: the train op.
        layout: of the graph of its loss.
        taken: the tensors that this graph takes, those of a batch among them.
        cells: of its weights.
    """

    op: TrainOp
    layout: Layout
    taken: list[Tensor]
    cells: list[Cell]

    @cached_property
    def kind(self) -> tuple[Any, ...]:
        """Return what train ops have in common that take steps at once."""
        options = self.op.options
        read = (options.on_nan is None, options.loss_above, options.clip_norm, options.clip_value)
        return id(self.layout.gradients), read, number_type(self.cells)

    @cached_property
    def rule(self) -> tuple[Any, ...]:
        """Return what train ops have in common whose weights move by one rule, each with numbers of its own."""
        columns = {id(weight): column for column, weight in enumerate(self.layout.weights)}
        return tuple(
            [(cell.name, cell.settings(), *(columns[id(each)] for each in cell.weights)) for cell in self.cells]
        )


@dataclass
class Ready:
    """A train op whose next steps are ready to be taken.

    Args:
        asked: for them.
        feeds: of each.
        rates: of each, by parameter group.
        drawn: the batches.
        found: what the steps depend on.
    """

    asked: Steps
    feeds: list[Mapping[str, Any]]
    rates: list[list[float]]
    drawn: Drawn
    found: Found


class Members:
    """Looks at train ops, before each block of steps, as compiled steps do.

    Train ops whose models are alike share graphs.

    Args:
        is_stored: whether other processes are to find what is known of graphs.
    """

    def __init__(self, is_stored: bool):
        self._is_stored = is_stored
        self._captures: dict[bool, Capture] = {}
        self._layouts: dict[Any, Layout] = {}
        self._drawn: dict[TrainOp, tuple[int, Drawn]] = {}  # from which batch on
        self._further = 0  # batches that are drawn ahead
        self._found: dict[TrainOp, dict[str | None, Found]] = {}  # by the shape of batches

    def look(self, op: TrainOp, drawn: Drawn, is_next: bool) -> Found:
        """Return what the next steps of a train op depend on.

        Args:
            op: for which `why_not_stacked` knows no reason.
            drawn: the batches.
            is_next: whether nobody has changed anything of it since the steps before.

        Raises:
            CannotCompile: it does not fit into a graph.
        """
        known = self._found.setdefault(op, {})
        if not is_next:
            known.clear()
        if drawn.shape not in known:
            known[drawn.shape] = self._look(op, drawn.inputs, drawn.targets)
        else:
            for cell in known[drawn.shape].cells:
                cell.count()
        return known[drawn.shape]

    def draw(self, op: TrainOp, most: int, is_next: bool) -> Drawn:
        """Return the next batches of a train op, as many of one shape as there are, at most so many.

        Small ones are drawn further ahead.

        Raises:
            EndOfData: there is none.
            CannotCompile: a batch has more in it than tensors.
        """
        start, drawn = self._drawn.get(op, (0, None))
        place = op.batch - start
        if drawn is None or not is_next or not 0 <= place < len(drawn.sizes):
            start, place, drawn = op.batch, 0, draw_ahead(op, max(most, self._further))
            if drawn.shape is None:
                raise CannotCompile("a batch has more in it than tensors")
            num_bytes = sum(leaf.numel() * leaf.element_size() for leaf in tensors((drawn.inputs, drawn.targets)))
            self._further = min(_FURTHEST, _MOST_BYTES * len(drawn.sizes) // max(1, num_bytes))
            self._drawn[op] = start, drawn
        part = slice(place, place + most)
        inputs, targets = (mapped(tree, lambda leaf: leaf[part]) for tree in (drawn.inputs, drawn.targets))
        return Drawn(inputs, targets, drawn.sizes[part], drawn.shape)

    def forget(self, op: TrainOp) -> None:
        """Forget a train op: it takes a step by itself, or no more."""
        self._found.pop(op, None)
        self._drawn.pop(op, None)

    def rest(self) -> None:
        """Forget all train ops, but not what is known of graphs."""
        self._found.clear()
        self._drawn.clear()
        self._layouts.clear()

    def _look(self, op: TrainOp, inputs: Any, targets: Any) -> Found:
        first = [leaf[0] for tree in (inputs, targets) for leaf in tensors(tree)]
        leaves = iter(first)
        batch = [mapped(tree, lambda _: next(leaves)) for tree in (inputs, targets)]
        op.call.settle(op.model, *batch)
        captured, taken = self._captured(op, batch)
        layout = self._layouts.get((captured, op))
        if layout is None or not layout.fits(taken):
            _, again = self._captured(op, batch)
            layout = self._layouts[captured, op] = Layout(op, captured, taken, again, first, self._is_stored, True)
        for weight in layout.weights:
            weight.grad = None  # of an earlier step
        all_taken = layout.tensors(taken)
        cells = cells_of(op.optimizer, layout.weights) + average_cells(op.updates, all_taken)
        known = {id(weight) for weight in layout.weights}
        if any(id(weight) not in known for cell in cells for weight in cell.weights):
            raise CannotCompile("a weight is averaged that has no gradient")
        return Found(op, layout, all_taken, cells)

    def _captured(self, op: TrainOp, batch: Sequence[Any]) -> Any:
        in_bf16 = op.options.precision == "bf16"
        if in_bf16 not in self._captures:
            self._captures[in_bf16] = Capture(_loss_in_bf16 if in_bf16 else _loss, _MOST_GRAPHS)
        return self._captures[in_bf16](op.model, op.loss, op.call, *batch)
