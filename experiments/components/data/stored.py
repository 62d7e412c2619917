"""Examples in memory or on disk, of which rows are asked for: stored in another form, or several tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from . import tree as trees

Step = Callable[[Any], Any]


class Stored:
    """Some rows of stored examples, which become what a model sees when they are asked for.

    It answers to what batches and evaluations ask of a tensor: its length and shape, slices, `index_select`, `to`.

    Args:
        stored: all examples, shape (examples, …), of any type; it may be a memory map, and is never copied whole.
        positions: which of them, int64, in this order; None for all.
        steps: what turns stored rows into numbers, applied in turn.
        mapped: whether they are on disk: then rows are read there, and moved, when they are asked for.
        device: where the rows that are handed out live; None for where they are stored.
    """

    def __init__(
        self,
        stored: torch.Tensor,
        positions: torch.Tensor | None = None,
        steps: Sequence[Step] = (),
        *,
        mapped: bool = False,
        device: torch.device | None = None,
    ):
        self.stored, self.positions, self.steps, self.mapped = stored, positions, tuple(steps), mapped
        self.device = device or stored.device

    def __len__(self) -> int:
        return len(self.stored if self.positions is None else self.positions)

    @property
    def shape(self) -> torch.Size:
        """Return the shape as a tensor has it: how many rows, then the shape of one."""
        return torch.Size((len(self), *self.stored.shape[1:]))

    def __getitem__(self, rows: slice) -> torch.Tensor:
        if self.positions is None:
            return self._numbers(self.stored[rows])
        return self._numbers(self.stored.index_select(0, self.positions[rows]))

    def index_select(self, dim: int, indices: torch.Tensor) -> torch.Tensor:
        """Return rows by number, as torch.Tensor.index_select does; `dim` is 0."""
        indices = indices.to(self.stored.device)
        return self._numbers(self.stored.index_select(dim, indices if self.positions is None else self._at(indices)))

    def to(self, device: torch.device | str | None) -> Stored:
        """Return these rows on a device: moved as they are stored, or left on disk and moved when asked for."""
        device = torch.device(device) if device is not None else self.device
        if self.mapped or device == self.stored.device:
            return Stored(self.stored, self.positions, self.steps, mapped=self.mapped, device=device)
        own = self.stored if self.positions is None else self.stored.index_select(0, self.positions)
        return Stored(own.to(device), None, self.steps)

    def then(self, *steps: Step) -> Stored:
        """Return these rows with more steps after their own."""
        return Stored(self.stored, self.positions, (*self.steps, *steps), mapped=self.mapped, device=self.device)

    def _at(self, indices: torch.Tensor) -> torch.Tensor:
        assert self.positions is not None
        return self.positions.index_select(0, indices)

    def _numbers(self, rows: torch.Tensor) -> torch.Tensor:
        rows = rows.to(self.device)
        for step in self.steps:
            rows = step(rows)
        return rows


class Tree:
    """Examples that consist of several tensors, each with one row per example.

    It answers to what batches and evaluations ask of a tensor, like `Stored`; rows of it are a tree of the same kind.

    Args:
        tree: of tensors, in tuples, lists, mappings, data classes and what is built of these (see tree.py).
        steps: what turns rows into what a model sees, applied in turn.
    """

    def __init__(self, tree: Any, steps: Sequence[Step] = ()):
        self.tree, self.steps = tree, tuple(steps)

    @property
    def _first(self) -> torch.Tensor:
        return next(trees.tensors(self.tree))

    def __len__(self) -> int:
        return len(self._first)

    @property
    def device(self) -> torch.device:
        return self._first.device

    def __getitem__(self, rows: slice) -> Any:
        return self._seen(trees.mapped(self.tree, lambda tensor: tensor[rows]))

    def index_select(self, dim: int, indices: torch.Tensor) -> Any:
        """Return rows by number, of each tensor as torch.Tensor.index_select does."""
        return self._seen(trees.mapped(self.tree, lambda tensor: tensor.index_select(dim, indices)))

    def to(self, device: torch.device | str | None) -> Tree:
        """Return these rows on a device."""
        return Tree(trees.mapped(self.tree, lambda tensor: tensor.to(device)), self.steps)

    def then(self, *steps: Step) -> Tree:
        """Return these rows with more steps after their own."""
        return Tree(self.tree, (*self.steps, *steps))

    def _seen(self, rows: Any) -> Any:
        for step in self.steps:
            rows = step(rows)
        return rows


Examples = torch.Tensor | Stored | Tree  # they answer to len, device, slices, index_select and to


def as_examples(inputs: Any) -> Examples:
    """Return a tensor and what answers to the same as they are, several tensors as one that does.

    Raises:
        UsageError: it is neither, or its tensors have not as many rows as each other.
    """
    if isinstance(inputs, Examples):
        return inputs
    trees.num_rows("inputs", inputs)
    return Tree(inputs)


def after(examples: Examples, *steps: Step) -> Examples:
    """Return examples that go through `steps` when they are asked for; without steps, the same ones."""
    if not steps:
        return examples
    return (Stored(examples) if isinstance(examples, torch.Tensor) else examples).then(*steps)


@dataclass(frozen=True)
class Pixels:
    """Turns stored bytes into numbers.

        (p / 255 - mean) / std   (bytes p from 0 to 255)

    Args:
        mean: one per channel, on the scale 0 to 1; empty leaves 0 to 1 as it is.
        std: one per channel.
        raw: leave 0 to 255 as it is; mean and std have no say.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    raw: bool = False

    def __call__(self, stored: torch.Tensor) -> torch.Tensor:
        numbers = stored.to(torch.float32)  # a copy, so that what follows can work in place
        if self.raw:
            return numbers
        numbers = numbers.div_(255)
        if not self.mean:
            return numbers
        shape = (-1, *(1,) * (stored.dim() - 2))
        mean, std = numbers.new_tensor(self.mean).reshape(shape), numbers.new_tensor(self.std).reshape(shape)
        return numbers.sub_(mean).div_(std)


def as_floats(stored: torch.Tensor) -> torch.Tensor:
    """Turn stored numbers of any type into single precision."""
    return stored.to(torch.float32)
