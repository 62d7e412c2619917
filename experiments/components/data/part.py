"""One part of a data set, as evaluations read it: in order, some examples at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import torch

from ..weighted import weighted
from .stored import Examples, Step, after


class Batch(NamedTuple):
    """Some examples; mixed class targets are probabilities, shape (examples, classes).

    Args:
        inputs: of the model: a tensor, or a tree of tensors (see tree.py).
        targets: that the loss compares with, likewise.
    """

    inputs: Any
    targets: Any


class Part(Protocol):
    """Examples that can be asked for by their number, from 0, as often as wanted."""

    @property
    def device(self) -> torch.device:
        """Return where the examples are when they are handed out."""
        ...

    def __len__(self) -> int: ...

    def examples(self, start: int, stop: int) -> Batch:
        """Return the examples from `start` up to `stop`, without it, or to the end of the part."""
        ...

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all examples in order, `size` at a time; the last batch may be smaller."""
        ...

    def to(self, device: torch.device | str | None) -> Part:
        """Return the same examples on a device; None leaves them where they are."""
        ...

    def after(self, *steps: Step) -> Part:
        """Return the examples with their inputs going through `steps` when they are asked for."""
        ...


class PartInMemory:
    """A part whose examples are tensors.

    Args:
        inputs: shape (examples, *input_shape): a tensor, or `Stored`, which gives one for each slice; or a `Tree`.
        targets: one per input.
        positions: where these examples are in the data set, int64.
        weights: of the examples in the loss, shape (examples,); None where they count alike.
    """

    def __init__(
        self,
        inputs: Examples,
        targets: torch.Tensor,
        positions: torch.Tensor | None = None,
        weights: torch.Tensor | None = None,
    ):
        self.inputs, self.targets, self.weights = inputs, targets, weights
        self.positions = torch.arange(len(targets)) if positions is None else positions

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def device(self) -> torch.device:
        return self.inputs.device

    def examples(self, start: int, stop: int) -> Batch:
        weights = None if self.weights is None else self.weights[start:stop]
        return Batch(self.inputs[start:stop], weighted(self.targets[start:stop], weights))

    def batches(self, size: int) -> Iterator[Batch]:
        for start in range(0, len(self), size):
            yield self.examples(start, start + size)

    def to(self, device: torch.device | str | None) -> PartInMemory:
        weights = None if self.weights is None else self.weights.to(device)
        return PartInMemory(self.inputs.to(device), self.targets.to(device), self.positions, weights)

    def after(self, *steps: Step) -> PartInMemory:
        return PartInMemory(after(self.inputs, *steps), self.targets, self.positions, self.weights)

    def weighing(self, weights: torch.Tensor) -> PartInMemory:
        """Return the examples with weights in the loss, one for each."""
        return PartInMemory(self.inputs, self.targets, self.positions, weights.float())
