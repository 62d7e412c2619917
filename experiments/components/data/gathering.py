"""Batches of torch's own data sets of tensors: their rows taken at once, where one by one would give the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, StackDataset, Subset, TensorDataset, default_collate
from torch.utils.data._utils.collate import collate_tensor_fn, default_collate_fn_map

_AT_ONCE = 256


def gathered(source: Any, collate: Callable[[list[Any]], Any], numbers: Sequence[int]) -> Any:
    """Return a batch of rows, or None where its examples have to be made one by one.

        default_collate([source[number] for number in numbers])

    Rows are tensors of a TensorDataset, alone or in a Subset, StackDataset or ConcatDataset, and nothing is drawn.

    Args:
        source: of examples.
        collate: a list of examples -> a batch.
        numbers: of the examples.
    """
    if not numbers or collate is not default_collate or not _is_as_torch_made_it():
        return None
    return _rows(source, numbers)


def all_rows(source: Any, collate: Callable[[list[Any]], Any]) -> Iterator[Any]:
    """Yield all rows in order, in batches; nothing where examples have to be made one by one."""
    parts: list[Any] = source.datasets if type(source) is ConcatDataset else [source]
    for part in parts:
        for start in range(0, len(part), _AT_ONCE):
            rows = gathered(part, collate, range(start, min(start + _AT_ONCE, len(part))))
            if rows is None:
                return
            yield rows


def _rows(source: Any, numbers: Sequence[int]) -> Any:
    kind = type(source)  # a subclass may make examples in a way of its own
    if kind is Tensor:
        return _rows_of_tensor(source, numbers)
    if kind is TensorDataset:
        return _whole([_rows_of_tensor(tensor, numbers) for tensor in source.tensors])
    if kind is StackDataset:
        if isinstance(source.datasets, dict):
            parts = _whole([_rows(each, numbers) for each in source.datasets.values()])
            return None if parts is None else dict(zip(source.datasets, parts, strict=True))
        return _whole([_rows(each, numbers) for each in source.datasets])
    if kind is Subset:
        return _rows(source.dataset, [source.indices[number] for number in numbers])
    if kind is ConcatDataset:
        start = 0
        for part, end in zip(source.datasets, source.cumulative_sizes, strict=True):
            if start <= min(numbers) and max(numbers) < end:
                return _rows(part, [number - start for number in numbers])
            start = end
    return None


def _whole(parts: list[Any]) -> list[Any] | None:
    return None if any(part is None for part in parts) else parts


def _rows_of_tensor(tensor: Any, numbers: Sequence[int]) -> Tensor | None:
    is_plain = (
        type(tensor) is Tensor
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and tensor.is_contiguous()  # rows of another memory format are stacked in that
        and not (tensor.requires_grad or tensor.is_quantized or tensor.is_conj() or tensor.is_neg())
    )
    if not is_plain or set(map(type, numbers)) != {int} or min(numbers) < 0 or max(numbers) >= len(tensor):
        return None  # among these what fails: one by one it is said of which example
    return tensor.index_select(0, torch.from_numpy(np.array(numbers, dtype=np.int64)))  # a fifth of torch.tensor's time


def _is_as_torch_made_it() -> bool:
    """Return True unless somebody has taught `default_collate` another way with tensors, tuples or dicts."""
    known: dict[Any, Any] = default_collate_fn_map
    kinds = [each for key in known for each in (key if isinstance(key, tuple) else (key,))]
    return known.get(Tensor) is collate_tensor_fn and not any(issubclass(each, (tuple, dict)) for each in kinds)
