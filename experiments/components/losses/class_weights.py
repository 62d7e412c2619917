"""Weights of classes in a loss: given, or by how rare each class is."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...errors import ArgumentsError
from ..shapes import IGNORED


def weights_of_classes(weights: Any, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return class weights as a tensor, shape (classes,).

    Raises:
        ArgumentsError: `balanced` or names, which only the data can turn into numbers.
    """
    if isinstance(weights, Mapping):
        message = "class_weights by name need the names that the data has, which is not known: give them as a list"
        raise ArgumentsError(message, "class_weights")
    if weights == "balanced":
        message = "class_weights: balanced is worked out from the training targets, which are not known: give numbers"
        raise ArgumentsError(message, "class_weights")
    return _kept(tuple(weights), dtype, device)


def refuse_no_weight(weights: Sequence[float], targets: Any = None, ignore_index: int = IGNORED) -> None:
    """Refuse class weights by which no target counts, so that the mean is of nothing.

    Args:
        weights: one number per class.
        targets: class numbers of the training examples, int64, of any shape; None where they are not known.
        ignore_index: the class number that does not count.

    Raises:
        ArgumentsError: all are 0, or those of all classes that occur.
    """
    way_out = "give the classes that are to count a weight > 0"
    if not any(weights):
        raise ArgumentsError(f"class_weights are all 0: nothing would count; {way_out}", "class_weights")
    if not isinstance(targets, torch.Tensor) or targets.is_floating_point():
        return
    found = targets[targets != ignore_index].unique().tolist()
    if found and not any(weights[number] for number in found if 0 <= number < len(weights)):
        classes = ", ".join(map(str, found[:8])) + (", …" if len(found) > 8 else "")
        raise ArgumentsError(
            f"class_weights are 0 for all classes of the training targets ({classes}): nothing would count; {way_out}",
            "class_weights",
        )


@functools.lru_cache(maxsize=64)
def _kept(weights: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.tensor(weights, dtype=dtype, device=device)


def balanced_weights(targets: torch.Tensor, num_classes: int, ignore_index: int = IGNORED) -> tuple[float, ...]:
    """Return weights by which each class counts as much as any other.

        w_c = num_targets / (num_classes * members_c)

    Args:
        targets: class numbers of the training examples, int64, of any shape.
        num_classes: how many classes there are.
        ignore_index: the class number that does not count.

    Raises:
        ArgumentsError: a class has no members.

    Source: King and Zeng, "Logistic regression in rare events data", 2001; scikit-learn's class_weight="balanced".
    """
    members = targets[targets != ignore_index].bincount(minlength=num_classes)
    if not bool(members.all()):
        message = f"class_weights: balanced, but class {int((members == 0).nonzero()[0])} has no training targets"
        raise ArgumentsError(message, "class_weights")
    return tuple((members.sum() / (num_classes * members.double())).tolist())
