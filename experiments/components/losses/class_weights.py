"""Weights of classes in a loss: given, or by how rare each class is."""

from __future__ import annotations

import functools
from collections.abc import Mapping
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
