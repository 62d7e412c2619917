"""The generators that code draws from without naming one, Python's, numpy's and torch's: drawn from or not, put back.

Python and numpy hand out the state of theirs number by number, which takes 20 to 100 µs: more than a batch of tensors.
So an image of the memory which holds that state stands for it (1 µs), where a twin shows that nothing of the state is
missing there; elsewhere the state itself does.
"""

from __future__ import annotations

import ctypes
import functools
import pickle
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

_PYTHONS = random._inst  # what `random.random()` and its like draw from
_HEADER = object.__basicsize__  # bytes of an object that are Python's own: its type, how often it is in use


class Snapshot(NamedTuple):
    """Where a generator was.

    Args:
        mark: equal to another one only where the state is the same.
        state: as the generator hands it out.
    """

    mark: Any
    state: Any


class Watched:
    """A generator of this process, that others draw from.

    Args:
        mark: returns the mark of a `Snapshot`.
        state: returns the state.
        put: takes a state, and puts the generator back to it.
    """

    def __init__(self, mark: Callable[[], Any], state: Callable[[], Any], put: Callable[[Any], object]):
        self._mark, self._state, self._put = mark, state, put
        self._last: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        """Return where the generator is; the state is only asked for where it is not that of the last time."""
        mark = self._mark()
        if self._last is None or self._last.mark != mark:
            self._last = Snapshot(mark, self._state())
        return self._last

    def has_moved(self, since: Snapshot) -> bool:
        """Return True if the generator has been drawn from, or set, since a snapshot."""
        return self._mark() != since.mark

    def put_back(self, to: Snapshot) -> None:
        """Put the generator where it was."""
        if self.has_moved(to):
            self._put(to.state)


@functools.cache
def of_python() -> Watched:
    """Return Python's, which the functions of `random` draw from."""
    return Watched(_mark_of_python, random.getstate, random.setstate)


@functools.cache
def of_numpy() -> Watched:
    """Return numpy's, which the functions of `numpy.random` draw from."""
    import numpy as np

    return Watched(_mark_of_numpy, functools.partial(np.random.get_state, legacy=False), np.random.set_state)


@contextmanager
def generators_kept() -> Iterator[dict[Watched, Snapshot]]:
    """Put the generators of Python, numpy and torch, those of the CPU, back after a `with` block.

    The block is given where Python's and numpy's were; which of them it takes out is known not to have moved.
    """
    import torch

    before = {generator: generator.snapshot() for generator in (of_python(), of_numpy())}
    by_torch = torch.default_generator.get_state()
    try:
        yield before
    finally:
        for generator, snapshot in before.items():
            generator.put_back(snapshot)
        torch.default_generator.set_state(by_torch)


def _mark_of_python() -> Any:
    return (_image(_PYTHONS), _PYTHONS.gauss_next) if _images_show_python() else random.getstate()  # type: ignore[attr-defined]


def _mark_of_numpy() -> Any:
    import numpy as np

    bits = np.random.get_bit_generator()  # type: ignore[attr-defined] (numpy's stubs do not know it)
    if type(bits) is np.random.MT19937 and _images_show_numpy():
        return _image(bits), _image(np.random.mtrand._rand)
    return pickle.dumps(np.random.get_state(legacy=False))


def _image(value: Any) -> bytes:
    """Return what the memory of an object holds beside its header, as far as the object says that it extends."""
    return ctypes.string_at(id(value) + _HEADER, type(value).__basicsize__ - _HEADER)


@functools.cache
def _images_show_python() -> bool:
    """Return True if the image of a generator of Python holds its state, and changes where only its place does."""
    if sys.implementation.name != "cpython":
        return False
    import numpy as np

    twin = random.Random(0)
    twin.random()
    first, words = _image(twin), np.array(twin.getstate()[1][:-1], dtype=np.uint32)
    twin.random()
    return words.tobytes() in first and _image(twin) != first


@functools.cache
def _images_show_numpy() -> bool:
    """Return True if images of a generator of numpy hold its state: words, place, and the normal kept in hand."""
    if sys.implementation.name != "cpython":
        return False
    import numpy as np

    bits = np.random.MT19937(0)
    twin = np.random.RandomState(bits)
    twin.random_sample()
    first, words = _image(bits), bits.state["state"]["key"]
    twin.standard_normal()  # makes two, and keeps one
    in_hand = _image(twin)
    placed = _image(bits)
    twin.standard_normal()
    return words.tobytes() in first and placed != first and _image(twin) != in_hand
