"""Batches of one shape, drawn ahead: what several steps in a row are given at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ...components.data.batches import Batches
from ...components.data.tree import named_leaves, stacked

if TYPE_CHECKING:
    from .train_op import TrainOp


class Drawn(NamedTuple):
    """Batches of one shape.

    Args:
        inputs: of all of them, each tensor with a first dimension for the batches.
        targets: likewise.
        sizes: how many examples each has.
        shape: of each, in a form that can be compared; None if a batch has more in it than tensors.
    """

    inputs: Any
    targets: Any
    sizes: Sequence[int]
    shape: str | None


def draw_ahead(op: TrainOp, most: int) -> Drawn:
    """Return the next batches, as many of one shape as there are, at most so many.

    Where the first has more in it than tensors, it stands alone.

    Raises:
        EndOfData: there is none.
    """
    data: Any = op.data
    if type(data) is Batches and data.draws_nothing and data.device == op.device and data.weights is None:
        count = _num_alike(data, op.batch, most)
        if count:
            with op.calling.data:
                inputs, targets = data.several(op.batch, count)
            size = data.size_of(op.batch)
            return Drawn(inputs, targets, [size] * count, f"{size} examples")
    batches, sizes, shape = [], [], None
    for position in range(op.batch, op.batch + (1 if hasattr(data, "state_dict") else most)):
        try:
            batch = op.draw({}, position)
        except Exception:  # it comes again when that batch is the next
            if not batches:
                raise
            break
        found = _shape(batch)
        if not batches and found is None:
            inputs, targets = batch
            return Drawn(inputs, targets, [op.num_examples(inputs, targets)], None)
        if batches and found != shape:
            break
        shape = found
        batches.append(batch)
        sizes.append(op.num_examples(*batch))
    inputs, targets = stacked(batches)
    return Drawn(inputs, targets, sizes, shape)


def _num_alike(data: Batches, position: int, most: int) -> int:
    """Return how many batches from a position on have one size, at most so many."""
    size, count = data.size_of(position), 1
    end = math.inf if data.num_batches is None else data.num_batches
    while count < most and position + count < end and data.size_of(position + count) == size:
        count += 1
    return count if position < end else 0


def _shape(batch: Any) -> str | None:
    """Return the shapes of what a batch consists of, by name; None if something in it is no tensor."""
    leaves = list(named_leaves("batch", batch))
    if not all((isinstance(leaf, Tensor) and leaf.layout is torch.strided) or leaf is None for _, leaf in leaves):
        return None
    return str([(name, leaf if leaf is None else (leaf.shape, leaf.dtype)) for name, leaf in leaves])
