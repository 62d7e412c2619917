"""Batches of any shape: tensors in tuples, named tuples, lists, mappings, data classes and what is built of these."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ...errors import UsageError
from ...registry.calls import described


def mapped(tree: Any, function: Callable[[Tensor], Any]) -> Any:
    """Return a tree of the same kind with a function applied to each of its tensors; other leaves stay.

    Args:
        tree: a tensor; a tuple, named tuple or list, a mapping or a data class of trees; anything else is a leaf.
        function: of one tensor; packed sequences are leaves.
    """
    if isinstance(tree, Tensor):
        return function(tree)
    return _rebuilt(tree, lambda child: mapped(child, function))


def stacked(trees: Sequence[Any]) -> Any:
    """Return several trees of one kind as one, whose tensors have a first dimension for them; other leaves are those of
    the first.
    """
    each = [list(tensors(tree)) for tree in trees]
    rows = iter([torch.stack(tensors_of) for tensors_of in zip(*each, strict=True)])
    return mapped(trees[0], lambda _: next(rows))


def tensors(tree: Any) -> Iterator[Tensor]:
    """Yield the tensors of a tree, in its own order."""
    if isinstance(tree, Tensor):
        yield tree
    else:
        for child in children(tree):
            yield from tensors(child)


def children(tree: Any) -> list[Any]:
    """Return what a tree consists of; nothing for a leaf."""
    if isinstance(tree, tuple | list) and not isinstance(tree, PackedSequence):
        return list(tree)
    return list(entries(tree).values())


def entries(tree: Any) -> dict[Any, Any]:
    """Return what a mapping, a data class or a named tuple consists of, by name; nothing for any other."""
    if isinstance(tree, Mapping):
        return dict(tree)
    if is_record(tree):
        return {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
    if isinstance(tree, tuple) and hasattr(tree, "_fields") and not isinstance(tree, PackedSequence):
        return dict(zip(tree._fields, tree, strict=True))  # type: ignore[attr-defined] (of a named tuple)
    return {}


def named_leaves(name: str, tree: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a tree is built of in the end, with where it is: `inputs`, `inputs/mask`, `inputs/0`.

    A list or tuple without a tensor in it, such as one of numbers, is taken as a whole.
    """
    is_whole = isinstance(tree, Tensor) or (type(tree) in (list, tuple) and next(tensors(tree), None) is None)
    found = {} if is_whole else entries(tree) or dict(enumerate(children(tree)))
    if not found:
        yield name, tree
    for key, child in found.items():
        yield from named_leaves(f"{name}/{key}", child)


def named_tensors(name: str, tree: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a tree with where they are."""
    return ((place, leaf) for place, leaf in named_leaves(name, tree) if isinstance(leaf, Tensor))


def num_rows(name: str, tree: Any) -> int:
    """Return how many rows the tensors of examples in memory have: each one for each example.

    Args:
        name: they are called in messages.
        tree: a tensor, or what is built of tensors; None may stand in it too.

    Raises:
        UsageError: it has something else in it, or no tensor; or some have more rows than others.
    """
    first, size = "", 0
    for place, leaf in named_leaves(name, tree):
        if leaf is None:
            continue
        if not isinstance(leaf, Tensor) or not leaf.dim():
            way = "torch.as_tensor makes one of numbers; examples that are made one by one are a data set of torch's"
            raise UsageError(f"{place} must be a tensor with one row per example, got {described(leaf)}: {way}")
        if first and len(leaf) != size:
            way = "each has one row per example; unequal ones are padded, or made by a data set of torch's"
            raise UsageError(f"{place} has {len(leaf)} rows, and {first} has {size}: {way}")
        first, size = first or place, len(leaf)
    if not first:
        raise UsageError(f"{name} must have a tensor with one row per example, got {described(tree)}")
    return size


def plain(tree: Any) -> Any:
    """Return a tree with nothing but dicts, lists, tuples, tensors, numbers and texts, for what is stored and compared.

    A data class and a named tuple become a dict, like any mapping; a leaf of another kind becomes its text.
    """
    if found := entries(tree):
        return {key: plain(child) for key, child in found.items()}
    if isinstance(tree, PackedSequence):
        return {"data": tree.data, "batch_sizes": tree.batch_sizes}
    if isinstance(tree, tuple | list):
        items = [plain(child) for child in tree]
        return items if isinstance(tree, list) else tuple(items)
    if isinstance(tree, Mapping):
        return {}
    return tree if tree is None or isinstance(tree, Tensor | bool | int | float | str) else repr(tree)


def is_record(tree: Any) -> bool:
    """Return True for an object of a data class."""
    return dataclasses.is_dataclass(tree) and not isinstance(tree, type)


def on_device(tree: Any, device: torch.device) -> Any:
    """Return a tree with its tensors on a device; what is there already is handed on as it is.

    A leaf that can be moved, such as a graph or a packed sequence, is moved by its own `to(device)`.
    """
    if isinstance(tree, Tensor):
        return tree if tree.device == device else tree.to(device, non_blocking=True)
    if not children(tree) and callable(move := getattr(tree, "to", None)):
        return move(device)
    return _rebuilt(tree, lambda child: on_device(child, device))


def batch_size(inputs: Any, targets: Any) -> int:
    """Return how many examples a batch has, by its targets, or by its inputs where it has no targets.

    Raises:
        UsageError: neither says.
    """
    return num_examples(inputs if targets is None else targets)


def num_examples(tree: Any) -> int:
    """Return how many examples a batch, or its targets, has: the length of its first tensor.

    Of a list with one mapping for each example, such as the boxes in an image, it is the length of the list.

    Raises:
        UsageError: it has no tensor with a dimension.
    """
    if isinstance(tree, Tensor) and tree.dim():
        return tree.shape[0]
    if _is_one_each(tree):
        return len(tree)
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
    is_one_each = _is_one_each(tree) or (type(tree) is list and next(tensors(tree), None) is None)
    if is_one_each and len(tree) == size:
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


def _is_one_each(tree: Any) -> bool:
    """Return True for a list of mappings or data classes, which stand for one example each."""
    return type(tree) in (list, tuple) and bool(tree) and all(isinstance(e, Mapping) or is_record(e) for e in tree)


def _rebuilt(tree: Any, function: Callable[[Any], Any]) -> Any:
    """Return a tree of the same kind with a function applied to what it consists of: a BatchEncoding stays one."""
    if isinstance(tree, PackedSequence):
        return tree
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


def joined(trees: Sequence[Any]) -> Any:
    """Return batches of the same kind as one: tensors and lists are joined, of all else it has the first's."""
    first = trees[0]
    if isinstance(first, Tensor):
        return torch.cat(list(trees)) if first.dim() else first
    if type(first) is list:
        return [item for tree in trees for item in tree]
    if found := entries(first):
        own = {name: joined([entries(tree)[name] for tree in trees]) for name in found}
        return type(first)(**own) if not isinstance(first, Mapping) else own
    if isinstance(first, tuple):
        return tuple(joined([tree[place] for tree in trees]) for place in range(len(first)))
    return first
