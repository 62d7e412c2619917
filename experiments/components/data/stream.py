"""Batches of a stream: an iterable that cannot be asked for the batch at a position, read on from where it stands.

Its place is saved with the run: by a state of its own, where it has one, or else by the number of batches read, which
are read again to come back there.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from ...errors import CheckpointError, DataError
from ...system import rng
from ...system.generators import generators_kept

log = logging.getLogger("optrun")


class StreamBatches:
    """Training batches of an iterable; after its last batch it is begun anew.

    What it draws at random from `torch`, `random` and `numpy.random` while it makes a batch is keyed by the position
    of that batch, so that a batch is the same when it is read again.

    Args:
        loader: a DataLoader over an IterableDataset, of torch's or torchdata's, or an IterableDataset of batches.
            `set_epoch(epoch)` of the data set is called before each reading, where it has that.
        seed: of what is drawn.

    Raises:
        DataError: it has no batch; or one that was asked for again is not to be had.
    """

    def __init__(self, loader: Any, *, seed: int = 0):
        self._loader, self._keys = loader, rng.Stream(seed, "stream")
        self._dataset = loader.dataset if isinstance(loader, DataLoader) else loader
        self._stateful = _with_state(loader, self._dataset)
        self._reading: Iterator[Any] | None = None
        self._next = self._epoch = 0
        self._last: Any = None  # the batch before the next, for a step that is repeated
        self._has_last = False
        self._first = self.state_dict()  # what reading can begin at again

    @property
    def is_exact(self) -> bool:
        """Return True if it has a state of its own, by which it is resumed exactly."""
        return self._stateful is not None

    @property
    def name(self) -> str:
        return type(self._dataset).__name__

    def batch(self, position: int) -> Any:
        """Return the batch at a position, reading on, or anew, to come there."""
        if position == self._next - 1 and self._has_last:
            return self._last
        if position < self._next:
            if position < self._first["position"]:
                raise DataError(f"{self.name} cannot be asked for batch {position} again: it was read past there")
            self._begin_at(self._first)
        if position > self._next:
            log.info("%s: %d batches are read again, to come to batch %d", self.name, position - self._next, position)
        while self._next <= position:
            self._last = self._read()
            self._has_last = True
            self._next += 1
        return self._last

    def state_dict(self) -> dict[str, Any]:
        """Return the place of the next batch."""
        own = None
        if self._stateful is not None and self._reading is not None:
            own = self._stateful.state_dict()
        return {"position": self._next, "epoch": self._epoch, "own": own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a place, by its state or by reading all batches before it again.

        Raises:
            CheckpointError: it is no place of a stream.
        """
        try:
            state = {"position": int(state["position"]), "epoch": int(state["epoch"]), "own": state["own"]}
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the place of {self.name} in the checkpoint is none: {error!r}") from error
        if state["own"] is None and state["position"]:
            log.warning(
                "%s has no state_dict and load_state_dict%s: its first %d batches are read again, which is exact only "
                "if each reading gives the same ones",
                self.name,
                "" if self._stateful is None else " in the checkpoint",
                state["position"],
            )
            self.batch(state["position"] - 1)
            return
        if not state["position"] and not self._first["position"]:
            state = self._first  # with the state that it had before it was read
        self._begin_at(state)
        self._first = state

    def close(self) -> None:
        """End the workers."""
        reading, self._reading = self._reading, None
        if (end := getattr(reading, "_shutdown_workers", None)) is not None:
            end()
        if getattr(self._loader, "persistent_workers", False):
            self._loader._iterator = None  # of workers that are gone

    def _begin_at(self, state: Mapping[str, Any]) -> None:
        self.close()
        self._next, self._epoch = state["position"], state["epoch"]
        self._last, self._has_last = None, False
        if self._stateful is not None and state["own"] is not None:
            self._stateful.load_state_dict(state["own"])
            self._reading = self._begun()

    def _read(self) -> Any:
        for _ in range(2):
            if begins := self._reading is None:
                self._tell_epoch()
                self._reading = self._begun()
                if self._first["own"] is None and self._stateful is not None:
                    self._first = self.state_dict()
            assert self._reading is not None
            try:
                with self._keyed():  # apart from the beginning, which a resumed run may have elsewhere
                    return next(self._reading)
            except StopIteration:
                self._reading = None
                self._epoch += 1
            if begins:
                break
        raise DataError(f"{self.name} has no batch: its `__iter__` gives nothing")

    def _begun(self) -> Iterator[Any]:
        with self._keyed():
            return iter(self._loader)

    def _tell_epoch(self) -> None:
        if callable(set_epoch := getattr(self._dataset, "set_epoch", None)):
            set_epoch(self._epoch)

    @contextmanager
    def _keyed(self) -> Iterator[None]:
        """Seed Python's, numpy's and torch's generators for the next batch in a `with` block, and put them back."""
        key = self._keys.key(self._next)
        with generators_kept():
            torch.default_generator.manual_seed(key)
            random.seed(key)
            np.random.seed(key & 0xFFFFFFFF)
            yield


def is_stream(data: Any) -> bool:
    """Return True for an IterableDataset, and a DataLoader over one."""
    return isinstance(data.dataset if isinstance(data, DataLoader) else data, IterableDataset)


def _with_state(loader: Any, dataset: Any) -> Any:
    """Return what knows its place: the loader, or the data set where nothing reads ahead of the loader."""
    if _has_state(loader):
        return loader
    is_read_ahead = isinstance(loader, DataLoader) and loader.num_workers > 0
    return dataset if _has_state(dataset) and not is_read_ahead else None


def _has_state(value: Any) -> bool:
    return callable(getattr(value, "state_dict", None)) and callable(getattr(value, "load_state_dict", None))
