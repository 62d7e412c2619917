"""Cross-entropy of yes and no."""

from __future__ import annotations

import torch
from torch.nn import functional

from ..shapes import as_targets
from . import register_loss


@register_loss("bce", source="Cox, 1958, doi:10.1111/j.2517-6161.1958.tb00292.x", task="values", target_range=(0, 1))
def bce(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy between the logistic function of the outputs and targets from 0 to 1.

        loss = mean over examples and outputs of  -t log p - (1 - t) log(1 - p)
        p = σ(output),   t = target

    For any number of independent yes-or-no targets, and for pixels from 0 to 1. Two classes that are given as class
    numbers are for cross_entropy, which is the same function of the difference of its two outputs.

    Args:
        outputs: unnormalised scores (logits), shape (examples, values), or (examples,).
        targets: 0, 1 or a probability, of the same shape up to a last dimension of 1.

    Raises:
        UsageError: the shapes differ; they are never broadcast.

    Source: the likelihood of logistic regression, Cox, "The regression analysis of binary sequences", 1958.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.losses import make_loss
        >>> make_loss("bce")(torch.tensor([0.0, 0.0]), torch.tensor([1.0, 0.0]))  # ln 2
        tensor(0.6931)
    """
    return functional.binary_cross_entropy_with_logits(as_targets(outputs, targets), targets)


def _each(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(as_targets(outputs, targets), targets, reduction="none")


bce.each, bce.counts = _each, torch.ones_like  # type: ignore[attr-defined]
