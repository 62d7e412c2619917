"""Where batches come from, and what a batch is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from ...errors import SessionError, StorageError
from ...system.shared_memory import explain_shared_memory


class EndOfData(Exception):
    """Finite data has no batch at this position."""


class BatchSource(Protocol):
    """Where batches come from: a batch is a function of its position, so that a run can start anywhere.

    Finite data also says `num_batches`.
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


def as_source(data: Any) -> BatchSource:
    """Return data as a source of batches.

    Raises:
        SessionError: it cannot be asked for the batch at a position.
    """
    if hasattr(data, "batch"):
        return data
    if isinstance(data, Sequence):
        return ListOfBatches(data)
    raise SessionError(
        f"data is a {type(data).__name__}: give an object with `batch(position)`, such as Batches(inputs, targets, "
        "batch_size=…), or a list of batches, such as pairs (inputs, targets); an iterator cannot be resumed"
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
