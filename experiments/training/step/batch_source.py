"""Where batches come from, and what a batch is made of."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch.utils.data import DataLoader

from ...components.data import LoadedBatches, LoadedData, Loading, StreamBatches
from ...components.data.adopt import as_data, stream_of
from ...components.data.batch_parts import BatchParts
from ...components.data.stream import is_stream
from ...errors import SessionError, StorageError, UsageError
from ...system.shared_memory import explain_shared_memory

log = logging.getLogger("optrun")


class EndOfData(Exception):
    """Finite data has no batch at this position."""


class BatchSource(Protocol):
    """Where batches come from: a batch is a function of its position, so that a run can start anywhere.

    Finite data also says `num_batches`. One that has a place of its own, such as a stream, has `state_dict()` and
    `load_state_dict(state)` for it: they are saved with every checkpoint and restored from it.
    """

    def batch(self, position: int) -> Any:
        """Return the batch at `position`: (inputs, targets), or what has both in it (components.data.batch_parts)."""
        ...


class ListOfBatches(NamedTuple):
    """Finite data: a sequence of batches."""

    batches: Sequence[Any]

    @property
    def num_batches(self) -> int:
        return len(self.batches)

    def batch(self, position: int) -> Any:
        return self.batches[position]


def as_source(data: Any, seed: int = 0, parts: BatchParts | None = None) -> BatchSource:
    """Return data as a source of batches.

    Args:
        data: see `build_train_op`.
        seed: of the order in which a DataLoader's examples are drawn, and of what they draw.
        parts: tells inputs from targets in its batches.

    Raises:
        SessionError: it cannot be asked for the batch at a position.
        UsageError: a DataLoader cannot.
    """
    if not hasattr(data, "batch") and is_stream(data):
        found = stream_of(data, Loading(parts=parts or BatchParts(), seed=seed))
        stream = StreamBatches(
            found, batch_size=found.loading.batch_size or 1, drop_last=found.loading.drop_last, seed=seed
        )
        if not stream.is_exact:
            log.warning(
                "%s has no state that tells its place: a resumed run reads the batches before that place again, and is "
                "exact only if each reading gives the same ones (docs/data.md, Streams)",
                stream.name,
            )
        return stream
    if isinstance(data, DataLoader):
        loaded = as_data(data, "the data", Loading(parts=parts or BatchParts()))
        assert isinstance(loaded, LoadedData)
        part = loaded.part(torch.arange(len(loaded)))
        loading = loaded.loading
        assert loading.batch_size is not None
        return LoadedBatches(part, batch_size=loading.batch_size, drop_last=loading.drop_last, seed=seed)
    if hasattr(data, "batch"):
        return data
    if isinstance(data, Sequence):
        return ListOfBatches(data)
    raise SessionError(
        f"data is a {type(data).__name__}: give an object with `batch(position)`, such as Batches(inputs, targets, "
        "batch_size=…), a DataLoader, or a list of batches, such as pairs (inputs, targets); an iterator cannot be "
        "resumed"
    )


def refuse_to_cut(data: BatchSource, accumulate: int) -> None:
    """Refuse micro-batches of batches whose first dimension is not that of examples.

    Raises:
        UsageError: they are asked for.
    """
    if accumulate == 1 or not isinstance(data, LoadedBatches | StreamBatches):
        return
    if (data.data if isinstance(data, StreamBatches) else data.part.data).has_row_per_example:
        return
    raise UsageError(
        f"a batch of one example has several rows, so {accumulate} micro-batches would not be of whole examples: leave "
        "train.accumulate at 1 and take a smaller batch, or let `collate` give tensors whose first dimension is that "
        "of examples (batch_first)"
    )


def draw_batch(data: BatchSource, position: int) -> Any:
    """Return the batch at a position.

    Raises:
        EndOfData: finite data has none there.
        StorageError: its worker processes cannot share memory.
    """
    try:
        return data.batch(position)
    except IndexError:
        ends = getattr(data, "num_batches", None)
        if ends is None or position < ends:
            raise
        raise EndOfData(f"the data ends after {position} batches") from None
    except (OSError, RuntimeError) as error:
        if reason := explain_shared_memory(error):
            raise StorageError(f"the data has no batch {position}: {error}; {reason}") from error
        raise
