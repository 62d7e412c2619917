"""Batches by position: any batch of a run can be had at any time, exactly, from the seed and its number."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch.nn import functional

from ...errors import ArgumentsError, UsageError
from ...registry.calls import Calling
from ...system import rng
from ..weighted import Weighted, weighted
from .ahead import Ahead
from .part import Batch
from .sampling import SHUFFLED, Sampling
from .stored import as_examples


class Mixed(NamedTuple):
    """The result of an augmentation that mixes examples: Batches mixes their targets alike.

        target_i = weights_i * target_i + (1 - weights_i) * target_partners_i

    Args:
        inputs: the mixed ones, shape (examples, …).
        partners: which example of the batch each was mixed with, int64, shape (examples,).
        weights: of the example itself, from 0 to 1, shape (examples,).
    """

    inputs: torch.Tensor
    partners: torch.Tensor
    weights: torch.Tensor


Augmentation = Callable[[torch.Tensor, torch.Generator], torch.Tensor | Mixed]


def steps_in_epoch(num_drawn: int, batch_size: int, drop_last: bool) -> int:
    """Return how many batches an epoch has that draws so many examples: at least one."""
    return max(1, num_drawn // batch_size if drop_last else -(-num_drawn // batch_size))


class AugmentedBatches:
    """Training batches, augmented by functions whose draws are keyed by the seed and the batch's position.

    Args:
        batch_size: examples per batch.
        device: where batches are augmented.
        seed: of the augmentations, and of what else draws.
        augment: functions (inputs, generator) -> inputs or Mixed, applied in turn.
        num_classes: how many classes there are, for augmentations that mix class targets.

    Attributes:
        num_batches: how many there are; None for no end.
        drawn: how examples are drawn, in words; nothing where they are shuffled, or come in an order of their own.
    """

    num_batches: int | None = None
    drawn: str = ""

    def __init__(
        self,
        batch_size: int,
        device: torch.device,
        *,
        seed: int = 0,
        augment: Sequence[Augmentation] = (),
        num_classes: int | None = None,
    ):
        self.batch_size, self.device, self.seed = batch_size, device, seed
        self.augment = tuple(augment)
        self._calling = [Calling(f"data.augment.{place}", "the augmentation") for place in range(len(self.augment))]
        self.num_classes = num_classes
        self._generator = torch.Generator(device)
        self._ahead: Ahead | None = None

    def gathered(self, position: int) -> Batch:
        """Return batch number `position` without augmentation."""
        raise NotImplementedError

    def examples(self, start: int, stop: int) -> Batch:
        """Return examples by their number in the data, without augmentation."""
        raise NotImplementedError

    def size_of(self, position: int) -> int:
        """Return how many examples batch number `position` has, as far as that is known before it is made."""
        return self.batch_size

    def num_examples_in(self, position: int, batch: Batch) -> int | None:
        """Return how many examples a batch, number `position`, has, where that is not the number of its rows."""
        return None

    def batch(self, position: int) -> Batch:
        """Return batch number `position` of the run.

        Raises:
            IndexError: the position is negative or past the last epoch.
        """
        if position < 0 or (self.num_batches is not None and position >= self.num_batches):
            raise IndexError(f"no batch {position}: there are {self.num_batches or 'endlessly many'}, from 0")
        return self._made(position) if self._ahead is None else self._ahead.batch(position)

    def _made(self, position: int) -> Batch:
        batch = self.gathered(position)
        if self.augment:
            self._generator.manual_seed(rng.key(self.seed, "augment", position))
            for augmentation, calling in zip(self.augment, self._calling, strict=True):
                with calling:
                    result = augmentation(batch.inputs, self._generator)
                batch = self._mixed(result, batch) if isinstance(result, Mixed) else batch._replace(inputs=result)
        return batch

    def alike(self, augment: Sequence[Augmentation], batch_size: int | None = None) -> Self:
        """Return the same data, to be drawn from apart: what is drawn there is not missed here.

        Args:
            augment: in place of its own.
            batch_size: in place of its own.
        """
        twin = copy.copy(self)
        twin.augment = tuple(augment)
        twin.batch_size = self.batch_size if batch_size is None else batch_size
        twin._generator, twin._ahead = torch.Generator(self.device), None
        return twin

    def close(self) -> None:
        """End the processes and threads that make batches, if there are any; others begin when one is asked for."""

    def _mixed(self, result: Mixed, batch: Batch) -> Batch:
        targets = batch.targets
        if isinstance(targets, Weighted):
            raise UsageError("examples that count by weights (loss.weights) cannot be mixed with each other")
        if not targets.is_floating_point():
            if self.num_classes is None or targets.dim() != 1:
                raise UsageError("only values, and classes whose number is known, can be mixed: give num_classes")
            targets = functional.one_hot(targets, self.num_classes).to(result.weights.dtype)
        weights = result.weights.reshape(-1, *(1,) * (targets.dim() - 1))
        return Batch(result.inputs, targets.index_select(0, result.partners).lerp_(targets, weights))


class DrawnBatches(AugmentedBatches):
    """Training batches, drawn in a new random order each epoch.

    Batch `position` (0, 1, 2, … over the whole run) is a pure function of the seed and the position, so that a
    resumed run sees what the uninterrupted one would have seen, without any state to save.

    Args:
        num_examples: that are drawn from.
        batch_size: examples per batch; the last batch of an epoch may be smaller.
        device: where batches are augmented.
        drop_last: leave out that smaller last batch.
        num_epochs: how many there are; None for no end.
        sampling: which examples an epoch draws, in which order.
        options: seed, of the order too, augment, num_classes of `AugmentedBatches`.

    Raises:
        UsageError: sizes that make no batch.
    """

    def __init__(
        self,
        num_examples: int,
        batch_size: int,
        device: torch.device,
        *,
        drop_last: bool = False,
        num_epochs: int | None = None,
        sampling: Sampling = SHUFFLED,
        **options: Any,
    ):
        drawn = sampling.num_drawn(num_examples)
        if batch_size < 1 or (drop_last and batch_size > drawn):
            limit = f" to {drawn}, the number of examples, with drop_last" if drop_last else " or more"
            raise ArgumentsError(f"batch_size must be 1{limit}, got {batch_size}", "batch_size", "drop_last", "subset")
        super().__init__(batch_size, device, **options)
        self.num_examples = num_examples
        self.sampling, self.drawn = sampling, sampling.words
        self.num_drawn, self.steps_per_epoch = drawn, steps_in_epoch(drawn, batch_size, drop_last)
        self.num_batches = None if num_epochs is None else num_epochs * self.steps_per_epoch
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def order(self, epoch: int) -> torch.Tensor:
        """Return the order in which an epoch draws the examples, int64, on the CPU."""
        return self.sampling.order(self.seed, epoch, self.num_examples)

    def size_of(self, position: int) -> int:
        return min(self.batch_size, self.num_drawn - position % self.steps_per_epoch * self.batch_size)

    def indices(self, position: int) -> torch.Tensor:
        """Return which examples batch `position` consists of, int64, in its order."""
        return self._several_indices(position, 1)

    def _several_indices(self, position: int, count: int) -> torch.Tensor:
        """Return the indices of batches of one epoch, one batch after the other."""
        epoch, number = divmod(position, self.steps_per_epoch)
        if epoch != self._epoch:
            self._order, self._epoch = self.order(epoch).to(self.device), epoch
        start = number * self.batch_size
        return self._order[start : start + count * self.batch_size]

    def alike(self, augment: Sequence[Augmentation], batch_size: int | None = None) -> Self:
        twin = super().alike(augment, batch_size)
        twin._epoch = -1
        return twin


class Batches(DrawnBatches):
    """Training batches of examples in memory, drawn in a new random order each epoch; see `DrawnBatches`.

    Args:
        inputs: shape (examples, …): a tensor; `Stored`, which stays as it is stored; or several tensors, in a mapping,
            tuple, list or data class.
        targets: one per input.
        batch_size: examples per batch; the last batch of an epoch may be smaller.
        device: where inputs, targets and batches live; None leaves them where they are.
        weights: of the examples in the loss, shape (examples,); None where they count alike.
        options: seed, drop_last, augment, num_epochs, num_classes, sampling of `DrawnBatches`.

    Raises:
        UsageError: sizes that make no batch.
    """

    def __init__(
        self,
        inputs: Any,
        targets: torch.Tensor,
        *,
        batch_size: int,
        device: torch.device | str | None = None,
        weights: torch.Tensor | None = None,
        **options: Any,
    ):
        inputs = as_examples(inputs)
        if len(inputs) != len(targets) or not len(inputs):
            raise UsageError(f"expected as many inputs as targets, and some, got {len(inputs)} and {len(targets)}")
        self.inputs = inputs.to(device)
        self.targets = targets.to(device)
        self.weights = None if weights is None else weights.to(device)
        super().__init__(len(inputs), batch_size, self.inputs.device, **options)

    @property
    def draws_nothing(self) -> bool:
        """Return True if to make a batch draws nothing from torch's generator, and runs no code of the user's own."""
        return type(self) is Batches and not self.augment and isinstance(self.inputs, torch.Tensor)

    def make_ahead(self) -> None:
        """Let a thread make batches from now on, some before they are asked for.

        They are the same ones, as long as nobody changes the data meanwhile, and augmentations draw from their
        generator alone.
        """
        self._ahead = Ahead(self.alike(self.augment).batch, self.num_batches)

    def close(self) -> None:
        if self._ahead is not None:
            self._ahead.close()

    def gathered(self, position: int) -> Batch:
        indices = self.indices(position)
        inputs = self.inputs.index_select(0, indices)  # twice as fast as inputs[indices]
        weights = None if self.weights is None else self.weights.index_select(0, indices)
        return Batch(inputs, weighted(self.targets.index_select(0, indices), weights))

    def several(self, position: int, count: int) -> Batch:
        """Return batches of one size from a position on, without augmentation: all tensors have a dimension more."""
        left = self.steps_per_epoch - position % self.steps_per_epoch  # in this epoch
        indices = self._several_indices(position, min(count, left))
        if count > left:
            indices = torch.cat([indices, *(self.indices(position + more) for more in range(left, count))])
        inputs, targets = self.inputs.index_select(0, indices), self.targets.index_select(0, indices)
        return Batch(inputs.unflatten(0, (count, -1)), targets.unflatten(0, (count, -1)))

    def examples(self, start: int, stop: int) -> Batch:
        weights = None if self.weights is None else self.weights[start:stop]
        return Batch(self.inputs[start:stop], weighted(self.targets[start:stop], weights))
