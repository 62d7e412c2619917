"""Examples that are made one by one, each with the random numbers of its own number and epoch, and collated."""

from __future__ import annotations

import contextlib
import functools
import pickle
import random
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Subset, get_worker_info

from ...errors import UsageError
from ...registry.calls import note_place, users_place
from ...system import rng
from ...system.raised import refusing_exits, type_and_text
from ...system.user_files import is_users

_DEPTH = 6  # of attributes in which generators of a data set's own are looked for
_MOST_ITEMS = 64  # of a list in which they are
_GENERATORS = (torch.Generator, random.Random, np.random.RandomState, np.random.Generator)
_PLAIN = (str, bytes, int, float, torch.Tensor, np.ndarray, type(None))


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
        self._generators: _Generators | None = None  # of this process
        self._was_sent = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_generators": None, "_was_sent": False}

    def __getitem__(self, wanted: tuple[int, list[int]]) -> Any:
        """Return the batch of some examples; in a worker process NotMade where it cannot be made."""
        if get_worker_info() is None:
            with _one_thread(), rng.generators_kept():  # those of the training process are not theirs
                return self._batch(*wanted)
        try:
            with refusing_exits():
                batch = self._batch(*wanted)
            if not self._was_sent:
                _check_sendable(batch)
                self._was_sent = True
            return batch
        except Exception as error:  # noqa: BLE001 (it is raised in the process that trains)
            return _not_made(error)

    def _batch(self, epoch: int, numbers: list[int]) -> Any:
        if self._generators is None:
            self._generators = _Generators(self.source, self.collate)
        generators = self._generators
        while True:
            before = generators.slow_states()
            batch = self._collated(epoch, numbers, generators)
            if not generators.have_moved(before):
                return batch
            # The first to draw from a generator that takes long to seed, and was not seeded: made again, seeded.

    def _collated(self, epoch: int, numbers: list[int], generators: _Generators) -> Any:
        if self._all_at_once is not None:
            generators.seed(self._keys.key(epoch, numbers[0]))
            with _noting(f"examples {numbers[0]} to {numbers[-1]} of the data, made at once"):
                made = self._all_at_once(numbers)
        else:
            made, source = [], self.source
            for number in numbers:
                generators.seed(self._keys.key(epoch, number))
                try:
                    made.append(source[number])
                except StopIteration as error:  # which would look like the end of the data
                    raise RuntimeError(f"example {number} of the data raised StopIteration") from error
                except Exception as error:
                    error.add_note(f"example {number} of the data")
                    raise
        with _noting(f"collating examples {', '.join(map(str, numbers[:4]))}{', …' if len(numbers) > 4 else ''}"):
            return self.collate(made)


class _Generators:
    """The generators that examples may draw from, in this process.

    Those of Python and numpy take 10 to 20 µs to seed, so they are seeded from the first batch on that draws from them.
    """

    def __init__(self, *owners: Any):
        self._own = list(own_generators(*owners))
        self._draws_python = self._draws_numpy = False

    def seed(self, key: int) -> None:
        torch.default_generator.manual_seed(key)
        if self._draws_python:
            random.seed(key)
        if self._draws_numpy:
            np.random.seed(key & 0xFFFFFFFF)
        for place, generator in enumerate(self._own):
            _seed(generator, (key + 0x9E3779B97F4A7C15 * (place + 1)) % 2**63)

    def slow_states(self) -> tuple[Any, Any]:
        """Return the states of those that are not seeded yet."""
        return (
            None if self._draws_python else random.getstate(),
            None if self._draws_numpy else np.random.get_state(legacy=False),
        )

    def have_moved(self, before: tuple[Any, Any]) -> bool:
        """Return True if one that was not seeded has been drawn from since; it is seeded from now on."""
        moved_python = before[0] is not None and before[0] != random.getstate()
        moved_numpy = before[1] is not None and not _same(before[1], np.random.get_state(legacy=False))
        self._draws_python |= moved_python
        self._draws_numpy |= moved_numpy
        return moved_python or moved_numpy


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, Mapping):
        return all(_same(value, second[name]) for name, value in first.items())
    return bool(np.array_equal(first, second))


def _seed(generator: Any, key: int) -> None:
    if isinstance(generator, torch.Generator):
        generator.manual_seed(key)
    elif isinstance(generator, random.Random):
        generator.seed(key)
    elif isinstance(generator, np.random.RandomState):
        generator.seed(key & 0xFFFFFFFF)
    else:
        bits = generator.bit_generator
        bits.state = type(bits)(key).state


def own_generators(*owners: Any) -> Iterator[Any]:
    """Yield the generators that objects keep, in what they consist of or in the modules of their code, each once."""
    seen: set[int] = set()
    waiting = [(owner, 0) for owner in owners]
    while waiting:
        value, level = waiting.pop(0)
        if id(value) in seen or level > _DEPTH:
            continue
        seen.add(id(value))
        if isinstance(value, _GENERATORS):
            if value is not torch.default_generator:
                yield value
            continue
        waiting += [(each, level + 1) for each in _parts(value) if not isinstance(each, _PLAIN)]


def _parts(value: Any) -> list[Any]:
    """Return what may keep a generator in an object; of its own code nothing is run."""
    if isinstance(value, type | types.ModuleType):
        return []
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        items = value.values() if isinstance(value, Mapping) else value
        return list(items) if len(value) <= _MOST_ITEMS else []
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, types.MethodType):
        return [value.__self__]
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if _has_contents(cell)]
        return [*cells, *_in_module_of(value)]
    methods = [each for kind in type(value).__mro__ for each in vars(kind).values()]
    of_code = (each for method in methods if isinstance(method, types.FunctionType) for each in _in_module_of(method))
    return [*getattr(value, "__dict__", {}).values(), *of_code]


def _in_module_of(function: types.FunctionType) -> list[Any]:
    """Return the generators among the globals of a function of the user's own."""
    if not is_users(Path(function.__code__.co_filename)):
        return []
    return [each for each in function.__globals__.values() if isinstance(each, _GENERATORS)]


def _has_contents(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 (it is asked for)
    except ValueError:
        return False
    return True


def _all_at_once(source: Any) -> Callable[[list[int]], Any] | None:
    """Return what makes several examples in one call; None where that is one after the other all the same."""
    if type(source) is Subset and _all_at_once(source.dataset) is None:
        return None
    return getattr(source, "__getitems__", None)


def _not_made(error: Exception) -> NotMade:
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


def _check_sendable(batch: Any) -> None:
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
def _noting(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(what)
        raise


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
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
