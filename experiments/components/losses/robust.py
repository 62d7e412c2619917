"""Losses that a few large errors do not dominate."""

from __future__ import annotations

import torch
from torch.nn import functional

from ...registry.arguments import Positive
from ..shapes import as_targets
from . import register_loss


@register_loss("mae", source="least absolute deviations: Laplace, 1818", task="values")
def mae(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean absolute error.

        loss = mean over examples and outputs of  |output - target|

    Args:
        outputs: predictions, shape (examples, values), or (examples,).
        targets: the true values, of the same shape up to a last dimension of 1.

    Raises:
        UsageError: the shapes differ; they are never broadcast.

    Source: the method of situation, Laplace, "Théorie analytique des probabilités", second supplement, 1818.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.losses import make_loss
        >>> make_loss("mae")(torch.tensor([1.0, -2.0]), torch.tensor([0.0, 0.0]))  # (1 + 2) / 2
        tensor(1.5000)
    """
    return functional.l1_loss(as_targets(outputs, targets), targets)


mae.each = lambda outputs, targets: functional.l1_loss(as_targets(outputs, targets), targets, reduction="none")  # type: ignore[attr-defined]
mae.counts = torch.ones_like  # type: ignore[attr-defined]


@register_loss("huber", source="Huber, 1964, doi:10.1214/aoms/1177703732", task="values")
def huber(outputs: torch.Tensor, targets: torch.Tensor, *, delta: Positive = 1.0) -> torch.Tensor:
    """Huber's loss: squares of small errors, and the straight line that continues them for large ones.

        loss = mean over examples and outputs of  h(output - target)
        h(e) = e² / 2  where |e| <= delta,   else  delta (|e| - delta / 2)

    Args:
        outputs: predictions, shape (examples, values), or (examples,).
        targets: the true values, of the same shape up to a last dimension of 1.
        delta: the error, in the unit of the targets, at which the line begins.

    Raises:
        UsageError: the shapes differ; they are never broadcast.

    Source: Huber, "Robust estimation of a location parameter", 1964.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.losses import make_loss
        >>> make_loss("huber")(torch.tensor([0.5, 3.0]), torch.tensor([0.0, 0.0]))  # (0.5² / 2 + 3 - 1 / 2) / 2
        tensor(1.3125)
    """
    return _huber(outputs, targets, delta, "mean")


def _huber(outputs: torch.Tensor, targets: torch.Tensor, delta: float = 1.0, reduction: str = "none") -> torch.Tensor:
    outputs = as_targets(outputs, targets)
    outputs = outputs.to(torch.promote_types(outputs.dtype, targets.dtype))  # torch's own fails on two, going backward
    return functional.huber_loss(outputs, targets, delta=delta, reduction=reduction)


huber.each, huber.counts = _huber, lambda targets, **_: torch.ones_like(targets)  # type: ignore[attr-defined]
