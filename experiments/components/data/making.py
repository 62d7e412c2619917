"""Examples that are made one by one, each with the random numbers of its own number and epoch, and collated."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.data import Subset, default_collate, get_worker_info

from ...errors import UsageError
from ...registry.calls import note_place, users_place
from ...system import rng
from ...system.generators import Snapshot, Watched, generators_kept
from ...system.raised import refusing_exits, type_and_text
from .example_generators import ExampleGenerators
from .gathering import gathered

_COLLATING = "collating examples"


class NotMade(NamedTuple):
    """What stands for a batch in which an example could not be made, on its way between processes.

    Args:
        error: what was raised.
        place: file and line of the user's own code.
    """

    error: Exception
    place: tuple[str, int] | None

    def raise_again(self) -> None:
        """Raise what was raised, with its place."""
        if self.place is not None:
            note_place(self.error, Path(self.place[0]), self.place[1])
        raise self.error


class Maker:
    """Makes batches by epoch and numbers of their examples.

    What an example draws from the generators of Python, numpy and torch, and from those that the data set keeps as its
    own, is keyed by (seed, epoch, number of the example), in whichever process it is made. The generators of the
    process that trains are put back.

    Args:
        source: of examples.
        collate: a list of examples -> a batch.
        seed: of what examples draw.
    """

    def __init__(self, source: Any, collate: Callable[[list[Any]], Any], seed: int):
        self.source, self.collate = source, collate
        self._keys = rng.Stream(seed, "example")
        self._all_at_once = _all_at_once(source)
        self._generators: ExampleGenerators | None = None  # of this process
        self._was_sent = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_generators": None, "_was_sent": False}

    def __getitem__(self, wanted: tuple[int, list[int]]) -> Any:
        """Return the batch of some examples; in a worker process NotMade where it cannot be made."""
        batch = gathered(self.source, self.collate, wanted[1])
        if batch is not None:
            return batch
        if get_worker_info() is None:
            with one_thread(), generators_kept() as before:  # those of the training process are not theirs
                return self._batch(*wanted, before)
        try:
            with refusing_exits():
                batch = self._batch(*wanted)
            if not self._was_sent:
                check_sendable(batch)
                self._was_sent = True
            return batch
        except Exception as error:  # noqa: BLE001 (it is raised in the process that trains)
            return not_made(error)

    def _batch(self, epoch: int, numbers: list[int], before: dict[Watched, Snapshot] | None = None) -> Any:
        if self._generators is None:
            self._generators = ExampleGenerators(self.source, self.collate)
        generators = self._generators
        if before is None:
            before = generators.unseeded()
        while True:
            batch = self._collated(epoch, numbers, generators.seed)
            if not generators.have_moved(before):
                return batch
            # The first to draw from a generator that takes long to seed, and was not seeded: made again, seeded.

    def _collated(self, epoch: int, numbers: list[int], seed: Callable[[int], object]) -> Any:
        if self._all_at_once is not None:
            seed(self._keys.key(epoch, numbers[0]))
            with noting(f"examples {numbers[0]} to {numbers[-1]} of the data, made at once"):
                made = self._all_at_once(numbers)
        else:
            made, source, number = [], self.source, numbers[0]
            keys = self._keys.keys(epoch, last=numbers)
            try:
                for number, key in zip(numbers, keys, strict=True):
                    seed(key)
                    made.append(source[number])
            except StopIteration as error:  # which would look like the end of the data
                raise RuntimeError(f"example {number} of the data raised StopIteration") from error
            except Exception as error:
                error.add_note(f"example {number} of the data")
                raise
        with noting(f"{_COLLATING} {', '.join(map(str, numbers[:4]))}{', …' if len(numbers) > 4 else ''}"):
            try:
                return self.collate(made)
            except TypeError as error:
                if self.collate is not default_collate:
                    raise
                way = "give examples tensors, numbers and texts, or name a function that makes batches by data.collate"
                raise UsageError(f"{' '.join(str(error).split())}: {way}") from error


def was_collating(error: Exception) -> bool:
    """Return True if an error is that of `collate`, which had all examples of its batch."""
    return any(note.startswith(_COLLATING) for note in getattr(error, "__notes__", ()))


def _all_at_once(source: Any) -> Callable[[list[int]], Any] | None:
    """Return what makes several examples in one call; None where that is one after the other all the same."""
    if type(source) is Subset and _all_at_once(source.dataset) is None:
        return None
    return getattr(source, "__getitems__", None)


def not_made(error: Exception) -> NotMade:
    """Return what stands for a batch that an error has kept from being made, as it can be sent to another process."""
    place = users_place(error)
    error = error.with_traceback(None)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 (of an error of the user's own that is no plain data)
        plain = UsageError(type_and_text(error))
        for note in getattr(error, "__notes__", ()):
            plain.add_note(note)
        error = plain
    return NotMade(error, None if place is None else (str(place[0]), place[1]))


def check_sendable(batch: Any) -> None:
    """Refuse a batch that cannot be sent from a worker, which torch would wait for without end.

    Raises:
        UsageError: it cannot.
    """
    try:
        pickle.dumps(batch)
    except Exception as error:
        raise UsageError(
            f"a batch cannot be sent from a worker process: {type_and_text(error)}; make it of tensors, numbers and "
            "texts, or use no workers"
        ) from error


@contextlib.contextmanager
def noting(what: str) -> Iterator[None]:
    """Note on an error of a `with` block where it was."""
    try:
        yield
    except Exception as error:
        error.add_note(what)
        raise


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, as workers do: the number of threads changes the order of additions."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
