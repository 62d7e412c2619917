"""Batches of any shape: tensors in tuples, named tuples, lists, mappings, data classes and what is built of these."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ...errors import UsageError


def mapped(tree: Any, function: Callable[[Tensor], Any]) -> Any:
    """Return a tree of the same kind with a function applied to each of its tensors; other leaves stay.

    Args:
        tree: a tensor; a tuple, named tuple or list, a mapping or a data class of trees; anything else is a leaf.
        function: of one tensor.
    """
    if isinstance(tree, Tensor):
        return function(tree)
    return _rebuilt(tree, lambda child: mapped(child, function))


def tensors(tree: Any) -> Iterator[Tensor]:
    """Yield the tensors of a tree, in its own order."""
    if isinstance(tree, Tensor):
        yield tree
    else:
        for child in children(tree):
            yield from tensors(child)


def children(tree: Any) -> list[Any]:
    """Return what a tree consists of; nothing for a leaf."""
    if isinstance(tree, Mapping):
        return list(tree.values())
    if isinstance(tree, tuple | list):
        return list(tree)
    if is_record(tree):
        return [getattr(tree, field.name) for field in dataclasses.fields(tree)]
    return []


def is_record(tree: Any) -> bool:
    """Return True for an object of a data class."""
    return dataclasses.is_dataclass(tree) and not isinstance(tree, type)


def on_device(tree: Any, device: torch.device) -> Any:
    """Return a tree with its tensors on a device; what is there already is handed on as it is."""
    return mapped(tree, lambda tensor: tensor if tensor.device == device else tensor.to(device, non_blocking=True))


def num_examples(tree: Any) -> int:
    """Return how many examples a batch, or its targets, has: the length of its first tensor.

    Raises:
        UsageError: it has no tensor with a dimension.
    """
    if isinstance(tree, Tensor) and tree.dim():
        return tree.shape[0]
    for tensor in tensors(tree):
        if tensor.dim():
            return tensor.shape[0]
    if isinstance(tree, list | tuple):  # such as texts
        return len(tree)
    raise UsageError(f"a batch needs a tensor with one row per example, got {type(tree).__name__}")


def rows(tree: Any, start: int, stop: int, size: int) -> Any:
    """Return some rows of a batch: of each tensor and list with one row per example; the rest is the same for all.

    Args:
        tree: the batch, or a part of it.
        start: the first row.
        stop: the first one that no longer belongs.
        size: how many examples the batch has.
    """
    if isinstance(tree, Tensor):
        return tree[start:stop] if tree.dim() and tree.shape[0] == size else tree
    if type(tree) is list and len(tree) == size and next(tensors(tree), None) is None:
        return tree[start:stop]  # one text, one box of numbers for each example
    return _rebuilt(tree, lambda child: rows(child, start, stop, size))


def split(tree: Any, parts: int, size: int) -> list[Any]:
    """Return a batch in stretches that differ by one example at most, the longer ones first, as `tensor_split` does.

    Args:
        tree: the batch, or a part of it.
        parts: how many.
        size: how many examples the batch has.
    """
    short, longer = divmod(size, parts)
    ends = [part * short + min(part, longer) for part in range(parts + 1)]
    return [rows(tree, start, stop, size) for start, stop in itertools.pairwise(ends)]


def _rebuilt(tree: Any, function: Callable[[Any], Any]) -> Any:
    """Return a tree of the same kind with a function applied to what it consists of: a BatchEncoding stays one."""
    if isinstance(tree, tuple | list):
        items = [function(item) for item in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)  # type: ignore[call-arg]
    if type(tree) is dict or isinstance(tree, MappingProxyType):
        return {key: function(value) for key, value in tree.items()}
    if isinstance(tree, Mapping):
        twin: Any = copy.copy(tree)
        for key, value in tree.items():
            twin[key] = function(value)
        return twin
    if is_record(tree):
        twin = copy.copy(tree)
        for field in dataclasses.fields(tree):
            object.__setattr__(twin, field.name, function(getattr(tree, field.name)))
        return twin
    return tree
