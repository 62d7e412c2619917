"""A stream read once, from its beginning or from a place in it: in this process, or by several workers in turn.

Each process that reads has a place of its own, which comes with every batch that it makes. So all of them can go on
where they were, whoever has read ahead.
"""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from ...errors import CheckpointError
from ...registry.calls import Calling
from ...system import rng
from ...system.generators import generators_kept
from ...system.raised import refusing_exits
from .making import check_sendable, not_made, noting, one_thread
from .workers import Reading

_MAKING = Calling("data", "the reading of the stream")
_BEGIN = 0  # in place of a batch's number, which counts from 1, where a reading begins


class Slot(NamedTuple):
    """The place of one process in its reading.

    Args:
        num_batches: that it has made.
        state: of the stream after these; None where it says none.
        has_ended: whether there are no more.
    """

    num_batches: int = 0
    state: Any = None
    has_ended: bool = False


class Made(NamedTuple):
    """A batch of one process, None at the end of its reading, and the place after it."""

    batch: Any
    slot: Slot


class Place(NamedTuple):
    """A place in one reading of all processes, which make batches in turn.

    Args:
        slots: where each of them was at the beginning of a round.
        turns: how many of them have had their turn in this round.
    """

    slots: tuple[Slot, ...]
    turns: int = 0

    @property
    def is_counted(self) -> bool:
        """Return True if some process can only come here by reading again what it has read."""
        return any(slot.state is None and slot.num_batches and not slot.has_ended for slot in self.slots)

    def as_dict(self) -> dict[str, Any]:
        """Return this as a checkpoint holds it."""
        return {"slots": [slot._asdict() for slot in self.slots], "turns": self.turns}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Place:
        """Return what `as_dict` wrote down.

        Raises:
            KeyError, TypeError, ValueError: it is not that.
        """
        slots = [Slot(int(each["num_batches"]), each["state"], bool(each["has_ended"])) for each in stored["slots"]]
        if not 0 <= (turns := int(stored["turns"])) < max(1, len(slots)):
            raise ValueError(f"{turns} turns of {len(slots)}")
        return cls(tuple(slots), turns)


@dataclass(frozen=True, eq=False)
class Recipe:
    """How batches are made of a stream.

    What it draws from `torch`, `random` and `numpy.random` is keyed by (seed, epoch, process, number of the batch), in
    whichever process it is made. Its `set_seed(seed)` and `set_epoch(epoch)` are called before each reading, where it
    has these.

    Args:
        source: the stream.
        collate: a list of examples -> a batch; or what is made of each item, where items are batches.
        batch_size: examples per batch; None where the stream gives batches.
        drop_last: whether a smaller last batch is left out.
        seed: see above.
    """

    source: Any
    collate: Callable[[Any], Any]
    batch_size: int | None = None
    drop_last: bool = False
    seed: int = 0
    initial: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        if has_state(self.source):
            object.__setattr__(self, "initial", copy.deepcopy(self.source.state_dict()))

    @property
    def name(self) -> str:
        return type(self.source).__name__

    def knows_place(self) -> bool:
        """Return True if the stream, or what iterates over it, can say where it is and go there."""
        return has_state(self.source) or has_state(iter(self.source))

    def batches(self, epoch: int, slot: Slot = Slot(), process: int = 0) -> Iterator[Made]:  # noqa: B008 (a constant)
        """Yield the batches of one reading from a place on."""
        keys = rng.Stream(self.seed, "stream")
        if slot.has_ended:
            if slot.state is not None and has_state(self.source):  # from which its next reading begins
                self.source.load_state_dict(copy.deepcopy(slot.state))
            return
        with self._making(keys.key(epoch, process, _BEGIN), "the beginning of the stream"):
            tell(self.source, "set_seed", self.seed)
            tell(self.source, "set_epoch", epoch)
            reading = self._begun(slot)
        keeper: Any = self.source if has_state(self.source) else reading if has_state(reading) else None
        number = 0 if slot.state is None else slot.num_batches
        while True:
            number += 1
            with self._making(keys.key(epoch, process, number), f"batch {number} of this reading of the stream"):
                items = list(itertools.islice(reading, self.batch_size or 1))
                if not items or (self.drop_last and len(items) < (self.batch_size or 1)):
                    return
                if number <= slot.num_batches:
                    continue  # made before: it is read to come past it
                batch = self.collate(items if self.batch_size is not None else items[0])
                state = None if keeper is None else copy.deepcopy(keeper.state_dict())
            has_ended = self.batch_size is not None and len(items) < self.batch_size
            yield Made(batch, Slot(number, state, has_ended))

    def rewind(self) -> None:
        """Go back to where the stream was when this was made, where it has a state."""
        if self.initial is not None:
            self.source.load_state_dict(copy.deepcopy(self.initial))

    def _begun(self, slot: Slot) -> Iterator[Any]:
        if slot.state is None:
            return iter(self.source)
        state = copy.deepcopy(slot.state)
        if has_state(self.source):
            self.source.load_state_dict(state)
            return iter(self.source)
        reading: Any = iter(self.source)
        if not has_state(reading):
            raise CheckpointError(f"{self.name} had a state_dict when the checkpoint was saved, and has none now")
        reading.load_state_dict(state)
        return reading

    @contextmanager
    def _making(self, key: int, what: str) -> Iterator[None]:
        """Seed the generators of Python, numpy and torch in a `with` block, and put them back after."""
        with _MAKING, noting(what), one_thread(), generators_kept():
            torch.default_generator.manual_seed(key)
            random.seed(key)
            np.random.seed(key & 0xFFFFFFFF)
            yield


class StreamReading:
    """One reading of a stream, whose place is known.

    Args:
        recipe: of batches.
        epoch: which reading it is.
        place: where it goes on; None for the beginning.
        num_workers: processes that make batches ahead; 0 makes them in this one.
        options: more of torch's DataLoader.
    """

    def __init__(
        self,
        recipe: Recipe,
        epoch: int,
        place: Place | None = None,
        num_workers: int = 0,
        options: Mapping[str, Any] | None = None,
    ):
        self._recipe, self._epoch, self._num = recipe, epoch, max(1, num_workers)
        self._place = place or Place((Slot(),) * self._num)
        self._slots = list(self._place.slots)
        self._turns = 0  # of this round
        self._again = self._place.turns  # of them were made before
        self._reading: Iterator[Made] | Reading
        if num_workers:
            self._reading = Reading(self._shards, num_workers, options or {})
        else:
            self._reading = recipe.batches(epoch, self._slots[0])

    @property
    def place(self) -> Place:
        """Return the place of the next batch."""
        return self._place._replace(turns=self._turns)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while not all(slot.has_ended for slot in self._slots):
            made = self._take()
            if made.batch is not None:
                return made.batch
        raise StopIteration

    def close(self) -> None:
        """End the workers."""
        self._reading.close()  # type: ignore[union-attr] (a generator has it too)

    def _take(self) -> Made:
        """Return what the process whose turn it is has made, past what was made before."""
        while True:
            if isinstance(self._reading, Reading):
                made = next(self._reading)
            else:
                made = next(self._reading, None) or Made(None, self._slots[0]._replace(has_ended=True))
            self._slots[self._turns] = made.slot
            self._turns += 1
            if self._turns == self._num:
                self._place, self._turns = Place(tuple(self._slots)), 0
            if not self._again:
                return made
            self._again -= 1

    def _shards(self, read: int) -> tuple[IterableDataset[Any], None]:
        """Return what workers read from the last round on; those that had had their turn in it have it again."""
        if read:  # they were ended, and begin again
            self._again, self._turns = self._again + self._turns, 0
        self._slots = list(self._place.slots)
        return _Shards(self._recipe, self._epoch, self._place.slots), None


class _Shards(IterableDataset[Made]):
    """A stream as each worker reads it, without an end: after its last batch a worker says again and again that it was.

    Args:
        recipe: of batches.
        epoch: which reading it is.
        slots: where each worker begins.
    """

    def __init__(self, recipe: Recipe, epoch: int, slots: Sequence[Slot]):
        self.recipe, self.epoch, self.slots = recipe, epoch, slots
        self.source = recipe.source  # what `worker_init_fn` is told of

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        assert info is not None
        slot = self.slots[info.id]
        try:
            with refusing_exits():
                for made in self.recipe.batches(self.epoch, slot, info.id):
                    if slot is self.slots[info.id]:
                        check_sendable(made)
                    slot = made.slot
                    yield made
        except Exception as error:  # noqa: BLE001 (it is raised in the process that trains)
            yield not_made(error)
        while True:
            yield Made(None, slot._replace(has_ended=True))


def has_state(value: Any) -> bool:
    """Return True for what has a state that can be taken and given back."""
    return callable(getattr(value, "state_dict", None)) and callable(getattr(value, "load_state_dict", None))


def tell(source: Any, name: str, value: int) -> None:
    """Call a method of a stream, where it has it."""
    if callable(method := getattr(source, name, None)):
        method(value)
