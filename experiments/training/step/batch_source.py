"""Where batches come from, and what a batch is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ...errors import SessionError, StorageError
from ...system.shared_memory import explain_shared_memory


class EndOfData(Exception):
    """Finite data has no batch at this position."""


class BatchSource(Protocol):
    """Where batches come from: a batch is a function of its position, so that a run can start anywhere.

    Finite data also says `num_batches`.
    """

    def batch(self, position: int) -> Any:
        """Return the batch (inputs, targets) at `position`."""
        ...


class ListOfBatches(NamedTuple):
    """Finite data: a sequence of (inputs, targets)."""

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
        "batch_size=…), or a list of (inputs, targets); an iterator cannot be resumed"
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


def on_device(value: Any, device: torch.device) -> Any:
    """Move tensors, in tuples, lists and dicts too; what is there already is handed on as it is."""
    if isinstance(value, Tensor):
        return value if value.device == device else value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {key: on_device(item, device) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(on_device(item, device) for item in value)
    return value


def num_examples(targets: Any) -> int:
    """Return the length of the first tensor in the targets."""
    if isinstance(targets, Tensor):
        return targets.shape[0]
    while isinstance(targets, Mapping | tuple | list) and len(targets):
        targets = next(iter(targets.values())) if isinstance(targets, Mapping) else targets[0]
    return len(targets)
