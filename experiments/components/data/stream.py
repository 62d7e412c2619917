"""Batches of a stream: an iterable that cannot be asked for the batch at a position, read on from where it stands.

Its place is saved with the run: by a state of its own, where it has one, or else by the number of batches read, which
are read again to come back there.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch.utils.data import DataLoader, IterableDataset

from ...errors import CheckpointError, DataError
from .batches import Augmentation, AugmentedBatches, steps_in_epoch
from .loaded import content
from .part import Batch
from .stream_data import StreamData
from .stream_reading import Place, StreamReading
from .tree import batch_size as size_of
from .tree import on_device, rows, tensors

log = logging.getLogger("optrun")

_SAMPLED = 256  # numbers of each tensor that its batch is known by


class _At(NamedTuple):
    """Where reading can begin: at which batch, in which reading, at which place in it; and what came before.

    Args:
        position: of the next batch.
        epoch: the number of the reading.
        in_epoch: how many batches of it were read.
        place: None for its beginning.
        known_by: a hash of all batches before, by their sampled numbers.
        hashes: those after 1, 2, 4, … batches.
    """

    position: int = 0
    epoch: int = 0
    in_epoch: int = 0
    place: Place | None = None
    known_by: str = ""
    hashes: tuple[str, ...] = ()


class StreamBatches(AugmentedBatches):
    """Training batches of a stream; after its last batch it is begun anew.

    What it draws at random from `torch`, `random` and `numpy.random` while it makes a batch is keyed by the reading and
    the number of that batch in it, so that a batch is the same when it is read again.

    Args:
        data: the stream.
        batch_size: examples per batch; of no account where the stream gives batches.
        device: that batches are moved to.
        drop_last: leave out a smaller last batch of each reading.
        options: seed, augment, num_classes of `AugmentedBatches`.

    Raises:
        DataError: it has no batch; or one that was asked for again is not to be had.
    """

    def __init__(
        self,
        data: StreamData,
        *,
        batch_size: int,
        device: torch.device | str | None = None,
        drop_last: bool = False,
        **options: Any,
    ):
        super().__init__(batch_size, torch.device(device or "cpu"), **options)
        self.data, self.drop_last = data, drop_last
        self._recipe = data.recipe(batch_size, drop_last, self.seed)
        self.num_examples = data.num_examples
        self.steps_per_epoch: int | None = None
        if data.num_examples is not None:
            self.steps_per_epoch = steps_in_epoch(data.num_examples, batch_size, drop_last)
        self._reading: StreamReading | None = None
        self._at = _At()
        self._first = self._at  # what reading can begin at again
        self._is_look = False  # at the first batch alone
        self._last: Batch | None = None  # the batch before the next, for a step that is repeated
        self._has_said_length = False

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def is_exact(self) -> bool:
        """Return True if the stream has a state of its own, by which it is resumed exactly."""
        return self.data.knows_place

    @property
    def hashes(self) -> dict[int, str]:
        """Return hashes of the first 1, 2, 4, … batches and of all, by their number: of what was read, in its order.

        Each batch is known by some hundred numbers of each of its tensors.
        """
        return {
            **{1 << power: each for power, each in enumerate(self._at.hashes)},
            self._at.position: self._at.known_by,
        }

    def facts(self) -> dict[str, Any]:
        """Return how a run on it is resumed, and whether it can be repeated, as JSON holds it."""
        return {
            "name": self.name,
            "num_examples": self.num_examples,
            "resumes_by": "state" if self.is_exact else "count",
            "is_repeatable": self._is_repeatable,
        }

    def has_doubles(self) -> bool:
        """Return True if all of several workers begin with the same batch."""
        loading = self.data.loading
        if loading.workers < 2:
            return False
        reading = StreamReading(self._recipe, 0, None, loading.workers, loading.options)
        try:
            first = [next(reading, None) for _ in range(loading.workers)]
        finally:
            reading.close()
        return None not in first and len({content(batch) for batch in first}) == 1

    def size_of(self, position: int) -> int:
        return size_of(*self._first_batch)

    def gathered(self, position: int) -> Batch:
        if self._is_look:
            return self._first_batch
        if position == self._at.position - 1 and self._last is not None:
            return self._last
        if position < self._at.position:
            if position < self._first.position:
                raise DataError(f"{self.name} cannot be asked for batch {position} again: it was read past there")
            self._begin_at(self._first)
        if position > self._at.position:
            log.info("%s: batches are read again, from %d up to %d", self.name, self._at.position, position)
        while self._at.position <= position:
            self._last = self._read()
        assert self._last is not None
        return self._last

    def examples(self, start: int, stop: int) -> Batch:
        found = on_device(tuple(self.data.examples(stop)), self.device)
        return Batch(*rows(found, start, stop, size_of(*found)))

    def alike(self, augment: Sequence[Augmentation], batch_size: int | None = None) -> Self:
        """Return the first batch of the stream, augmented; it is read apart from the others."""
        twin = super().alike(augment, batch_size)
        twin.__dict__.pop("_first_batch", None)
        twin._is_look, twin._reading = True, None
        return twin

    def state_dict(self) -> dict[str, Any]:
        """Return the place of the next batch."""
        at = self._at
        return {
            "position": at.position,
            "epoch": at.epoch,
            "in_epoch": at.in_epoch,
            "place": None if (place := self._place) is None else place.as_dict(),
            "workers": self.data.loading.workers,
            "batch_size": self.batch_size,
            "known_by": at.known_by,
            "hashes": list(at.hashes),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a place, by its state or by reading all batches of its reading before it again.

        Raises:
            CheckpointError: it is no place of a stream, or one that was come to otherwise.
        """
        try:
            place = None if state["place"] is None else Place.from_dict(state["place"])
            position, epoch, in_epoch = (int(state[name]) for name in ("position", "epoch", "in_epoch"))
            at = _At(position, epoch, in_epoch, place, str(state["known_by"]), tuple(map(str, state["hashes"])))
            read_by = {"workers": int(state["workers"]), "batch_size": int(state["batch_size"])}
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the place of {self.name} in the checkpoint is none: {error!r}") from error
        by_count = at.in_epoch > 0 and (place is None or place.is_counted)
        self._refuse_other(read_by, by_count)
        if by_count:
            log.warning(
                "%s has no state_dict and load_state_dict%s: the batches before its place in this reading, %d, are "
                "read again, which is exact only if each reading gives the same ones",
                self.name,
                " in the checkpoint" if self.is_exact else "",
                at.in_epoch,
            )
        self._begin_at(at)
        self._first = at

    def close(self) -> None:
        """End the workers; a batch that is asked for later starts others, from where these were."""
        if self._reading is not None and self.data.loading.workers:
            self._stop()

    @property
    def _place(self) -> Place | None:
        return self._at.place if self._reading is None else self._reading.place

    @functools.cached_property
    def _is_repeatable(self) -> bool:
        return content(self._first_batch) == content(self.data.first_batches(self.batch_size)[0])

    @functools.cached_property
    def _first_batch(self) -> Batch:
        (batch,) = self.data.first_batches(self.batch_size)
        return Batch(*on_device(tuple(batch), self.device))

    def _refuse_other(self, read_by: Mapping[str, int], by_count: bool) -> None:
        """Refuse a place that other workers have come to, or other batches where they are what is counted."""
        ways = {"workers": self.data.loading.workers, "batch_size": self.batch_size}
        for name, now in ways.items():
            if read_by[name] != now and (by_count or name == "workers"):
                raise CheckpointError(
                    f"{self.name} was read with data.{name} {read_by[name]}, and its place in the checkpoint is of "
                    f"these: it cannot go on with {now}"
                )

    def _begin_at(self, at: _At) -> None:
        self._stop()
        self._at, self._last = at, None
        self._recipe.rewind()

    def _stop(self) -> None:
        """End the reading; another goes on from its place."""
        reading, self._reading = self._reading, None
        if reading is not None:
            self._at = self._at._replace(place=reading.place)
            reading.close()

    def _read(self) -> Batch:
        loading = self.data.loading
        for _ in range(2):
            at = self._at
            if self._reading is None:
                self._reading = StreamReading(self._recipe, at.epoch, at.place, loading.workers, loading.options)
            try:
                batch = next(self._reading)
            except StopIteration:
                self._stop()
                if not at.in_epoch:
                    break
                self._check_length(at.in_epoch)
                self._at = at._replace(epoch=at.epoch + 1, in_epoch=0, place=None)
            except BaseException:
                self._stop()
                raise
            else:
                batch = loading.parts(batch)
                self._at = self._after(batch)
                return Batch(*on_device(tuple(batch), self.device))
        raise DataError(f"{self.name} has no batch: its `__iter__` gives nothing")

    def _after(self, batch: Batch) -> _At:
        """Return where reading is after a batch."""
        at, found = self._at, hashlib.blake2b(self._at.known_by.encode(), digest_size=16)
        for tensor in tensors(tuple(batch)):
            numbers = tensor.detach().flatten()
            numbers = numbers[:: max(1, len(numbers) // _SAMPLED)].contiguous()
            found.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode() + content(numbers))
        known_by, position = found.hexdigest(), at.position + 1
        hashes = (*at.hashes, known_by) if position & (position - 1) == 0 else at.hashes
        return _At(position, at.epoch, at.in_epoch + 1, None, known_by, hashes)

    def _check_length(self, num_batches: int) -> None:
        """Warn, once, of a reading that has another length than the stream says."""
        expected = self.steps_per_epoch
        if expected is None or expected == num_batches or self._has_said_length:
            return
        self._has_said_length = True
        log.warning(
            "%s says by its `__len__` that it has %s examples, %s batches of %d, but a reading gave %d batches: epochs "
            "are counted by what it says%s",
            self.name,
            self.num_examples,
            expected,
            self.batch_size,
            num_batches,
            ", and each worker has a last batch of its own" if self.data.loading.workers > 1 else "",
        )


def is_stream(data: Any) -> bool:
    """Return True for an IterableDataset, and a DataLoader over one."""
    return isinstance(data.dataset if isinstance(data, DataLoader) else data, IterableDataset)
