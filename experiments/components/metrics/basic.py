"""The common metrics."""

from __future__ import annotations

import torch

from ..shapes import as_targets
from . import register_metric


@register_metric("accuracy", source="the share of right answers", mode="max", margin=0.005, task="classes")
def accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The share of right answers: 1 where the class with the highest score is the right one, else 0.

    Scores that are not numbers are wrong answers.

    Args:
        outputs: scores, shape (examples, classes).
        targets: class numbers, shape (examples,).

    Source: the share of right answers.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.metrics import make_metric
        >>> make_metric("accuracy")(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]))
        tensor([1., 0.])
    """
    best, predicted = outputs.max(dim=1)
    return ((predicted == targets) & ~best.isnan()).float()


@register_metric("mse", source="least squares: Legendre, 1805", mode="min", margin=0.01, task="values")
def mse(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The squared error of each example, averaged over its outputs.

        value = mean over outputs of  (output - target)²

    Args:
        outputs: predictions, shape (examples, values), or (examples,).
        targets: the true values, of the same shape up to a last dimension of 1.

    Raises:
        UsageError: the shapes differ; they are never broadcast.

    Source: the method of least squares, Legendre, 1805.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.metrics import make_metric
        >>> make_metric("mse")(torch.tensor([1.0, -2.0]), torch.tensor([0.0, 0.0]))
        tensor([1., 4.])
    """
    errors = (as_targets(outputs, targets) - targets).square()
    return errors.reshape(len(targets), -1).mean(dim=1)
