"""Data sets of torch's: examples are made one by one when they are asked for, and read through its DataLoader.

A batch stays a function of its position: the sampler is a function of seed and epoch, and what an example draws at
random is keyed by its number and the epoch, in whichever process it is made.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from torch.utils.data import default_collate

from ...registry.calls import Calling
from .batch_parts import BatchParts
from .batches import DrawnBatches
from .dataset import Task
from .encoding import Encoding
from .gathering import all_rows
from .making import Maker, was_collating
from .part import Batch
from .sampling import SHUFFLED, Sampling
from .scale import Scale
from .stored import Step
from .tree import batch_size, on_device, tensors
from .weights import weights_of_source
from .workers import Reading

_MEASURED = -1  # in place of the epoch, where examples are made for an evaluation
_MAKING = Calling("data", "the making of examples")
_FIRST = 8  # examples that stand for all in a hash
_MOST_HASHED = 1 << 30  # bytes of rows


@dataclass(frozen=True)
class Loading:
    """How examples become batches.

    Args:
        workers: processes that make them; 0 makes them in the training process.
        collate: a list of examples -> a batch.
        parts: tells inputs from targets in a batch.
        options: more of torch's DataLoader: `pin_memory`, `timeout`, `worker_init_fn`, `multiprocessing_context`,
            `prefetch_factor`.
        sampling: which examples an epoch draws.
        batch_size: of training batches, where the data comes with one.
        drop_last: whether it leaves out the last batch of an epoch where that is smaller.
        seed: of what a stream draws.
        most_held: how many examples of a stream are measured at most; None where nothing says so.
    """

    workers: int = 0
    collate: Callable[[list[Any]], Any] = default_collate
    parts: BatchParts = field(default_factory=BatchParts)
    options: Mapping[str, Any] = field(default_factory=dict)
    sampling: Sampling = SHUFFLED
    batch_size: int | None = None
    drop_last: bool = False
    seed: int = 0
    most_held: int | None = None

    def reading(self, maker: Maker, wanted: Callable[[int], Iterable[Any]]) -> Reading:
        """Return the batches that are wanted, see `Reading`."""
        return Reading(lambda read: (maker, wanted(read)), self.workers, self.options)


class MadeData:
    """Base of data whose examples are made when they are asked for: nothing of it is fitted to, scaled or encoded."""

    mapped = False
    names: tuple[str, ...] = ()
    num_tokens: int | None = None
    in_order = False
    standardised = ()
    encoding = Encoding()
    learned: Mapping[str, Any] = MappingProxyType({})
    target_scale: Scale | None = None
    original_units = False
    first: Any  # a batch of the first example

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Return the shape of the inputs of one example; None where they are no tensor."""
        inputs = self.first.inputs
        return tuple(inputs.shape[1:]) if isinstance(inputs, torch.Tensor) else None


@dataclass(frozen=True, eq=False)
class LoadedData(MadeData):
    """Examples that are made when they are asked for, and what is known about them.

    Args:
        source: with `source[number]` and `len(source)`.
        loading: how they become batches.
        task: what kind of targets they have, as far as that is known.
        num_outputs: how many outputs a model needs, as far as that is known.
        class_names: one name per class, or nothing.
        description: what it is and where it comes from.
        splits: positions of the parts that come with the data.
        targets: the class of each example, int64, shape (examples,), by which parts are stratified; None where that is
            only known when examples are made.
        facts: what is known about the data.
        labels: integers that stand for targets of each example, shape (examples, …), as far as they are in memory.
        ignore_index: see `Dataset`.
    """

    source: Any
    loading: Loading = field(default_factory=Loading)
    task: Task | None = None
    num_outputs: int | None = None
    class_names: tuple[str, ...] = ()
    description: str = ""
    splits: Mapping[str, torch.Tensor] = field(default_factory=dict)
    targets: torch.Tensor | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    labels: torch.Tensor | None = None
    ignore_index: int | None = None

    def __len__(self) -> int:
        return len(self.source)

    @property
    def first(self) -> Batch:
        """Return a batch of the first example, or of the first that makes a batch alone."""
        return self._first[1]

    @functools.cached_property
    def _first(self) -> tuple[int, Batch]:
        for number in range(min(_FIRST, len(self))):
            if (batch := self._alone(number)) is not None:
                return number, batch
        return 0, self.part(torch.arange(1)).examples(0, 1)  # which tells why

    def _alone(self, number: int) -> Batch | None:
        """Return a batch of one example; None where `collate` makes none of it, as one that leaves out None does."""
        try:
            return self.part(torch.tensor([number])).examples(0, 1)
        except Exception as error:
            if not was_collating(error):
                raise
            return None

    @functools.cached_property
    def has_row_per_example(self) -> bool:
        """Return True if the first dimension of a batch is that of examples: joined graphs have one of nodes."""
        return self.loading.collate is default_collate or all(
            batch is None or batch_size(*batch) <= 1 for batch in map(self._alone, range(min(_FIRST, len(self))))
        )

    def is_repeatable(self) -> bool:
        """Return True if the same example is the same when it is made again."""
        number, first = self._first
        return content(first) == content(self._alone(number))

    def sha256(self) -> str:
        """Return a hash of the number of examples, of their targets as far as they are known, and of the first ones.

        Of rows of tensors it takes the first GiB. Examples that are not the same when they are made again are left out.
        """
        found = hashlib.sha256(f"{len(self)} examples".encode())
        size = 0
        for rows in all_rows(self.source, self.loading.collate):
            found.update(content(rows))
            size += sum(tensor.nbytes for tensor in tensors(rows))
            if size >= _MOST_HASHED:
                break
        if self.targets is not None:
            found.update(content(self.targets))
        if self.is_repeatable():
            for number in range(min(_FIRST, len(self))):
                found.update(content(self._alone(number)))
        return found.hexdigest()

    def weights_called(self, name: str | int) -> torch.Tensor:
        """Return the weights that the data set keeps under a name, float64, shape (examples,).

        Raises:
            UsageError: it has none of this name.
            DataError: they are not one number per example, or impossible.
        """
        return weights_of_source(name, self.source)

    def part(self, positions: torch.Tensor) -> LoadedPart:
        """Return some of the examples, by their numbers."""
        return LoadedPart(self, positions)


class LoadedPart:
    """A part of data that is loaded.

    Args:
        data: of which.
        positions: where the examples are in it, int64.
        device: that batches are handed out on.
        steps: that inputs go through.
    """

    def __init__(
        self,
        data: LoadedData,
        positions: torch.Tensor,
        device: torch.device | str | None = None,
        steps: Sequence[Step] = (),
    ):
        self.data, self.positions, self.steps = data, positions, tuple(steps)
        self.device = torch.device(device or "cpu")
        self._maker = Maker(data.source, data.loading.collate, 0)

    def __len__(self) -> int:
        return len(self.positions)

    def examples(self, start: int, stop: int) -> Batch:
        """Return the examples from `start` up to `stop`, made in this process."""
        with _MAKING:
            return self.handed_out(self._maker[_MEASURED, self.positions[start:stop].tolist()])

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all examples in order, made by the workers."""
        wanted = [(_MEASURED, numbers.tolist()) for numbers in self.positions.split(size)]
        reading = self.data.loading.reading(self._maker, lambda start: wanted[start:])
        try:
            while True:
                with _MAKING:
                    if (batch := next(reading, None)) is None:
                        return
                    made = self.handed_out(batch)
                yield made
        finally:
            reading.close()

    def to(self, device: torch.device | str | None) -> LoadedPart:
        return LoadedPart(self.data, self.positions, device or self.device, self.steps)

    def after(self, *steps: Step) -> LoadedPart:
        return LoadedPart(self.data, self.positions, self.device, (*self.steps, *steps))

    def handed_out(self, batch: Any) -> Batch:
        """Return inputs and targets of what was collated, on the device."""
        inputs, targets = on_device(self.data.loading.parts(batch), self.device)
        for step in self.steps:
            inputs = step(inputs)
        return Batch(inputs, targets)


class LoadedBatches(DrawnBatches):
    """Training batches of examples that are made when they are asked for; see `DrawnBatches`.

    Batches are made ahead, in the order of their positions; one that is not the next begins anew from there.

    Args:
        part: of the examples.
        batch_size: examples per batch.
        device: that batches are moved to.
        sampling: which examples of the part an epoch draws; None for how the data is loaded.
        options: of `DrawnBatches`.
    """

    def __init__(
        self,
        part: LoadedPart,
        *,
        batch_size: int,
        device: torch.device | str | None = None,
        seed: int = 0,
        sampling: Sampling | None = None,
        **options: Any,
    ):
        self.part = part.to(device)
        self._loading = part.data.loading
        if sampling is None:
            sampling = self._loading.sampling.of(part.positions)
        super().__init__(len(part), batch_size, self.part.device, seed=seed, sampling=sampling, **options)
        self._maker = Maker(part.data.source, self._loading.collate, seed)
        self._reading: Reading | None = None
        self._next = 0

    def gathered(self, position: int) -> Batch:
        if self._reading is None or position != self._next:
            self.close()
            self._reading = self._loading.reading(self._maker, lambda read: self._from(position + read))
            self._next = position
        try:
            batch = next(self._reading)
        except BaseException:
            self.close()
            raise
        self._next = position + 1
        return self.part.handed_out(batch)

    def examples(self, start: int, stop: int) -> Batch:
        return self.part.examples(start, stop)

    def num_examples_in(self, position: int, batch: Batch) -> int | None:
        size = self.size_of(position)
        return None if batch_size(*batch) == size or self.part.data.has_row_per_example else size

    def alike(self, augment: Sequence[Any], batch_size: int | None = None) -> LoadedBatches:
        twin = super().alike(augment, batch_size)
        twin._reading, twin._loading = None, replace(self._loading, workers=0, options={})
        return twin

    def close(self) -> None:
        """End the workers; a batch that is asked for later starts others."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.close()

    def _from(self, position: int) -> Iterator[tuple[int, list[int]]]:
        """Yield the epoch and the numbers of the examples of each batch from a position on."""
        ahead = super().alike(())  # read ahead of the run, so with an order of its own
        ahead.device = torch.device("cpu")
        while self.num_batches is None or position < self.num_batches:
            numbers = self.part.positions.index_select(0, ahead.indices(position))
            yield position // self.steps_per_epoch, numbers.tolist()
            position += 1


def content(tree: Any) -> bytes:
    """Return the contents of the tensors of a tree."""
    return b"".join(
        each.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes() if each.numel() else b""
        for each in tensors(tree)
    )
