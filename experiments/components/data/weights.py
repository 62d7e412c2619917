"""Numbers that say how much each example weighs: a column of a table, or a part or an attribute of a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import ConcatDataset, StackDataset, Subset, TensorDataset

from ...errors import ArgumentsError, DataError, UsageError, nearest
from ...registry.calls import described


def refuse_odd_weights(
    what: str,
    weights: Any,
    num_examples: int,
    place: Callable[[int], str] | None = None,
    may_be_zero: bool = False,
) -> None:
    """Refuse weights that are not one number per example, finite and not negative, or that are all 0.

    Args:
        what: they are called in messages.
        weights: a tensor, if they are right.
        num_examples: how many there have to be.
        place: what a message calls the example at a position; None for its number, from 0.
        may_be_zero: whether all may be 0, as in a batch.

    Raises:
        DataError: with the first example that has no such weight.
    """
    if not isinstance(weights, torch.Tensor) or weights.dtype == torch.bool or weights.is_complex():
        raise DataError(f"{what} must be a tensor of numbers, got {described(weights)}")
    if tuple(weights.shape) != (num_examples,):
        raise DataError(f"{what} must be one number per example, shape ({num_examples},), got {tuple(weights.shape)}")
    odd = ~(weights.isfinite() & (weights >= 0))
    if bool(odd.any()):
        row = int(odd.nonzero()[0])
        where = f"example {row}" if place is None else place(row)
        raise DataError(f"{where}: {what} must be finite and at least 0, got {weights[row].item():g}")
    if not may_be_zero and not bool((weights > 0).any()):
        raise DataError(f"{what} are all 0: nothing would count")


def weights_called(name: str | int, known: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the weights of a name that data in memory has, float64, shape (examples,).

    Raises:
        UsageError: it has none of this name.
    """
    if name in known:
        return known[str(name)].double()
    guess = nearest(str(name), known)
    hint = f"; did you mean '{guess}'?" if guess else f": there is {', '.join(known)}"
    way_out = "a table names its columns of weights by `data.weights`, data of your own has `Dataset(…, weights=…)`"
    there = f"has no weights called '{name}'{hint}" if known else f"comes without weights ({way_out})"
    raise UsageError(f"the data {there}")


def weights_by_class(
    given: Mapping[str, float] | Sequence[float], class_names: Sequence[str], num_classes: int | None
) -> tuple[float, ...]:
    """Return weights in the order of the classes.

    Args:
        given: one number for each class, by its name (its number, where classes have no names), or in their order.
        class_names: in the order of their numbers; nothing where they have none.
        num_classes: how many there are; None where nobody knows.

    Raises:
        ArgumentsError: a class has no weight, or what has one is no class.
    """
    if not isinstance(given, Mapping):
        if num_classes is not None and len(given) != num_classes:
            message = f"class_weights has {len(given)} numbers for {num_classes} classes"
            raise ArgumentsError(message, "class_weights")
        return tuple(given)
    names = list(class_names) or [str(number) for number in range(num_classes or len(given))]
    for name in given:
        if name not in names:
            is_known = bool(class_names or num_classes)
            guess = nearest(name, names) if is_known else None
            known = ", ".join(names[:20]) if is_known else "numbers from 0 on, since they have no names"
            hint = f"; did you mean '{guess}'?" if guess else f": they are {known}"
            raise ArgumentsError(f"'{name}' is no class of the data{hint}", "class_weights")
    if missing := [name for name in names if name not in given]:
        raise ArgumentsError(f"the class '{missing[0]}' has no weight", "class_weights")
    return tuple(given[name] for name in names)


def weights_of_source(name: str | int, source: Any) -> torch.Tensor:
    """Return the weights that a data set of torch's keeps under a name, float64, shape (examples,).

    They are an attribute of it, or the part of a TensorDataset or StackDataset at that name or place.

    Raises:
        UsageError: it has none of this name.
        DataError: they are not one number per example, or impossible.
    """
    found = _found(source, name)
    if found is None:
        raise UsageError(
            f"{type(source).__name__} has no weights '{name}': let the data set have them as an attribute of this "
            "name, one number per example"
        )
    try:
        weights = torch.as_tensor(found)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"weights '{name}' must be numbers, got {described(found)}: {error}") from error
    refuse_odd_weights(f"weights '{name}'", weights, len(source))
    return weights.double()


def _found(source: Any, name: str | int) -> Any:
    """Return what a data set has under a name; None for nothing."""
    if isinstance(source, Subset):
        inner = _found(source.dataset, name)
        return None if inner is None else torch.as_tensor(inner)[torch.as_tensor(source.indices)]
    if isinstance(source, ConcatDataset):
        parts = [_found(each, name) for each in source.datasets]
        return None if any(part is None for part in parts) else torch.cat([torch.as_tensor(part) for part in parts])
    if isinstance(source, TensorDataset | StackDataset):
        parts: Any = source.tensors if isinstance(source, TensorDataset) else source.datasets
        named: dict[Any, Any] = dict(parts) if isinstance(parts, Mapping) else dict(enumerate(parts))
        return named.get(name)
    if name in (getattr(source, "column_names", None) or ()):  # of Hugging Face's
        return source[name]
    return getattr(source, name, None) if isinstance(name, str) else None
