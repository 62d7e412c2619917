"""Data that is a stream: read on and on, but not to be asked for the example at a position."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.data import default_collate

from ...errors import ArgumentsError, DataError, UsageError
from .dataset import Dataset, Task
from .loaded import LoadedData, LoadedPart, Loading, MadeData, content
from .part import Batch
from .stored import Step
from .stream_reading import Recipe
from .tree import batch_size, joined, on_device, rows

_SOME = 8  # examples
_NO_SHARE = (
    "is a stream, of which no share can be set aside: nobody knows where it ends, nor that each reading gives the same "
    "examples. Let the data be {'train': …, 'val': …, 'test': …}, with streams or data sets of their own; what it has "
    "not is asked for by data.val: 0, data.test: 0"
)


@dataclass(frozen=True, eq=False)
class StreamData(MadeData):
    """A stream of examples, or of batches, and what is known about it.

    Args:
        source: what is iterated over.
        loading: how its examples become batches.
        gives_batches: whether it gives batches instead of examples.
        held: what is measured: examples of the parts `val` and `test`.
        task: what kind of targets it has, as far as that is known.
        num_outputs: how many outputs a model needs, as far as that is known.
        class_names: one name per class, or nothing.
        description: what it is and where it comes from.
        ignore_index: see `Dataset`.
        facts: what is known about the data.
    """

    source: Any
    loading: Loading = field(default_factory=Loading)
    gives_batches: bool = False
    held: Mapping[str, LoadedData] = field(default_factory=dict)
    task: Task | None = None
    num_outputs: int | None = None
    class_names: tuple[str, ...] = ()
    description: str = ""
    ignore_index: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    # What data whose examples have numbers may have, and this has not.
    targets: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    splits: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return type(self.source).__name__

    @functools.cached_property
    def num_examples(self) -> int | None:
        """Return how many examples a reading gives, by its `__len__`; None where that is not said."""
        try:
            return None if self.gives_batches else len(self.source)
        except TypeError:
            return None

    def recipe(self, batch_size: int | None, drop_last: bool = False, seed: int | None = None) -> Recipe:
        """Return how batches are made of it; those that it gives are taken as they are."""
        size = None if self.gives_batches else batch_size
        return Recipe(self.source, self.loading.collate, size, drop_last, self.loading.seed if seed is None else seed)

    def first_batches(self, batch_size: int, number: int = 1) -> list[Batch]:
        """Return the first batches of its first reading, made in this process; it is left as it was.

        Raises:
            DataError: it has none.
        """
        recipe = self.recipe(batch_size)
        reading = recipe.batches(0)
        try:
            found = [self.loading.parts(made.batch) for made in itertools.islice(reading, number)]
        finally:
            reading.close()  # type: ignore[attr-defined] (it is a generator)
            recipe.rewind()
        if not found:
            raise DataError(f"{self.name} has no batch: its `__iter__` gives nothing")
        return found

    @functools.cached_property
    def first(self) -> Batch:
        """Return a batch of the first example."""
        return self.examples(1)

    def examples(self, number: int) -> Batch:
        """Return a batch of the first examples, at most those of the first batch that it gives."""
        (batch,) = self.first_batches(number)
        size = batch_size(*batch)
        return batch if size <= number else Batch(*rows(tuple(batch), 0, number, size))

    @functools.cached_property
    def has_row_per_example(self) -> bool:
        """Return True if the first dimension of a batch is that of examples; those that it gives are taken so."""
        if self.gives_batches or self.loading.collate is default_collate:
            return True
        return all(batch_size(*self.first_batches(size)[0]) <= size for size in (1, _SOME))

    @functools.cached_property
    def knows_place(self) -> bool:
        """Return True if a run goes on by a state of the stream's own; else by counting what it has read."""
        return self.recipe(1).knows_place()

    def is_repeatable(self) -> bool:
        """Return True if another reading gives the same first examples."""
        return content(self.first) == content(self.examples(1))

    def sha256(self) -> str:
        """Return a hash of the first example, where each reading gives the same one, and of what is measured."""
        found = hashlib.sha256(f"a stream of {self.num_examples} examples".encode())
        if self.is_repeatable():
            found.update(content(self.first))
        for part in self.held.values():
            found.update(part.sha256().encode())
        return found.hexdigest()

    def split(self, val: float, test: float, subset: int | None) -> dict[str, Any]:
        """Return the parts: that for training, and those that are held.

        Raises:
            ArgumentsError: a share of it is asked for.
        """
        missing = [name for name, share in (("val", val), ("test", test)) if share and name not in self.held]
        if missing:
            raise ArgumentsError(f"{self.name} {_NO_SHARE}", *missing)
        if subset is not None:
            raise ArgumentsError(f"{self.name} is a stream, which has no subset: leave it out", "subset")
        held = {name: part.part(torch.arange(len(part))) for name, part in self.held.items()}
        return {"train": StreamPart(self), **held}


AnyData = Dataset | LoadedData | StreamData


class StreamPart:
    """A stream as the part that is trained on: its first examples can be looked at, but it cannot be measured.

    Args:
        data: the stream.
        device: that batches are handed out on.
        steps: that inputs go through.
    """

    def __init__(self, data: StreamData, device: torch.device | str | None = None, steps: Sequence[Step] = ()):
        self.data, self.steps = data, tuple(steps)
        self.device = torch.device(device or "cpu")

    def __len__(self) -> int:
        raise UsageError(f"{self.data.name} is a stream: nobody knows how many examples it has")

    def examples(self, start: int, stop: int) -> Batch:
        """Return the examples from `start` up to `stop`, of the first ones."""
        batch = self.data.examples(stop)
        inputs, targets = on_device(rows(tuple(batch), start, stop, batch_size(*batch)), self.device)
        for step in self.steps:
            inputs = step(inputs)
        return Batch(inputs, targets)

    def batches(self, size: int) -> Iterator[Batch]:
        raise UsageError(f"{self.data.name} is a stream, which is not measured as a whole: give it a part `val`")

    def first(self, number: int) -> LoadedPart:
        """Return the first examples, at most those of the first batch that it gives, as a part that can be measured."""
        first = held(self.data, number)
        return first.part(torch.arange(len(first))).to(self.device).after(*self.steps)

    def to(self, device: torch.device | str | None) -> StreamPart:
        return StreamPart(self.data, device or self.device, self.steps)

    def after(self, *steps: Step) -> StreamPart:
        return StreamPart(self.data, self.device, (*self.steps, *steps))


def held(stream: StreamData, most: int | None) -> LoadedData:
    """Return the examples of a stream in memory, as they are measured: of its first reading, for every seed alike.

    Args:
        stream: that ends, or is cut off.
        most: how many at most; None for as many as it says that it has.

    Raises:
        ArgumentsError: nothing says how many.
        DataError: it has none.
    """
    most = stream.num_examples if most is None else most
    if most is None:
        raise ArgumentsError(
            f"{stream.name} is a stream that nobody knows the end of: say by data.eval_batches how many batches of "
            "data.eval_batch_size are measured at most, or let it have a `__len__`",
            "eval_batches",
        )
    single = Recipe(stream.source, _only, 1) if not stream.gives_batches else stream.recipe(None, seed=0)
    reading = single.batches(0)
    examples: list[Any] = []
    try:
        for made in reading:
            examples += _cut(made.batch, stream) if stream.gives_batches else [made.batch]
            if len(examples) >= most:
                break
    finally:
        reading.close()  # type: ignore[attr-defined] (it is a generator)
        single.rewind()
    if not examples:
        raise DataError(f"{stream.name} has no example: its `__iter__` gives nothing")
    collate: Callable[[Any], Any] = joined if stream.gives_batches else stream.loading.collate
    return LoadedData(
        examples[:most],
        Loading(0, collate, stream.loading.parts),
        task=stream.task,
        num_outputs=stream.num_outputs,
        class_names=stream.class_names,
        description=stream.description,
        ignore_index=stream.ignore_index,
    )


def _only(items: list[Any]) -> Any:
    return items[0]


def _cut(batch: Any, stream: StreamData) -> list[Any]:
    """Return the examples of a batch that a stream gives, each as a batch of one."""
    whole = stream.loading.parts(batch)
    size = batch_size(*whole)
    return [Batch(*rows(tuple(whole), number, number + 1, size)) for number in range(size)]
