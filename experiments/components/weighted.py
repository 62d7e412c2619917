"""Targets with a weight for each example, as a batch has them for a loss that looks at weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch


class Weighted(NamedTuple):
    """The targets of a batch, and how much each example counts in the loss.

    Args:
        targets: that outputs are compared with.
        weights: shape (examples,), or that of the targets; finite and not negative.
    """

    targets: Any
    weights: torch.Tensor


def weighted(targets: Any, weights: torch.Tensor | None) -> Any:
    """Return targets with the weights of their examples, where there are some."""
    return targets if weights is None else Weighted(targets, weights)


def unweighted(targets: Any) -> Any:
    """Return targets without their weights, as metrics and models are given them."""
    return targets.targets if isinstance(targets, Weighted) else targets
