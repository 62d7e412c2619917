"""The common losses."""

from __future__ import annotations

import torch
from torch.nn import functional

from ...registry.arguments import Fraction
from ..shapes import as_targets
from . import register_loss
from .counting import counted_targets


@register_loss("cross_entropy", source="Bridle, 1990, doi:10.1007/978-3-642-76153-9_28", task="classes")
def cross_entropy(outputs: torch.Tensor, targets: torch.Tensor, *, label_smoothing: Fraction = 0.0) -> torch.Tensor:
    """Cross-entropy between the softmax of the outputs and the class labels.

        loss = mean over examples of  -Σ_c q_c log softmax(outputs)_c
        q_c = (1 - label_smoothing) * p_c + label_smoothing / num_classes
        p_c = [c = target]

    Targets may also be the probabilities p themselves, as mixing examples makes them.

    Args:
        outputs: unnormalised scores (logits), shape (examples, classes); a softmax before it would be a mistake.
        targets: class numbers, int64, shape (examples,); or probabilities, shape (examples, classes).
        label_smoothing: how much of the target is spread evenly over all classes.

    Source: Bridle, 1990; label smoothing: Szegedy et al., "Rethinking the Inception architecture", 2016.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.losses import make_loss
        >>> make_loss("cross_entropy")(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))  # ln 2
        tensor(0.6931)
    """
    return functional.cross_entropy(outputs, targets, label_smoothing=label_smoothing)


cross_entropy.count = lambda targets, **_: counted_targets(targets)  # type: ignore[attr-defined]


@register_loss("mse", source="least squares: Legendre, 1805", task="values")
def mse(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared error.

        loss = mean over examples and outputs of  (output - target)²

    Args:
        outputs: predictions, shape (examples, values), or (examples,).
        targets: the true values, of the same shape up to a last dimension of 1.

    Raises:
        UsageError: the shapes differ; they are never broadcast.

    Source: the method of least squares, Legendre, 1805.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.losses import make_loss
        >>> make_loss("mse")(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0]))  # (1² + 2²) / 2
        tensor(2.5000)
    """
    return functional.mse_loss(as_targets(outputs, targets), targets)
