"""The common metrics."""

from __future__ import annotations

import torch

from ..shapes import as_targets
from . import register_metric
from .counted import share, shares


@register_metric("accuracy", source="the share of right answers", mode="max", margin=0.005, task="classes")
class Accuracy:
    """The share of right answers: 1 where the class with the highest score is the right one, else 0.

    Of targets of which an example has several, such as pixels, it is the share over all of them. Scores that are not
    numbers are wrong answers.

    Args:
        outputs: scores, shape (examples, classes), or (examples, classes, …).
        targets: class numbers, shape (examples,), or (examples, …).
        ignore_index: the class number that does not count; by default the data's own, or -100 where an example has
            several targets.

    Source: the share of right answers.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.metrics import make_metric
        >>> make_metric("accuracy")(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]))
        tensor([1., 0.])
    """

    def __init__(self, ignore_index: int | None = None):
        self.ignore_index = ignore_index

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return 1 or 0 for each example; with several targets or some ignored, right answers and targets, (…, 2)."""
        best, predicted = outputs.max(dim=1)
        return shares(((predicted == targets) & ~best.isnan()).float(), targets, self.ignore_index)

    def finish(self, means: torch.Tensor) -> torch.Tensor:
        return share(means)


@register_metric("mse", source="least squares: Legendre, 1805", mode="min", margin=0.01, task="values", unit="target")
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
