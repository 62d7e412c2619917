"""Metrics of regressions besides the squared error."""

from __future__ import annotations

import torch

from ..shapes import as_targets
from . import register_metric


@register_metric(
    "mae", source="least absolute deviations: Laplace, 1818", mode="min", margin=0.01, task="values", unit="target"
)
def mae(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The absolute error of each example, averaged over its outputs.

        value = mean over outputs of  |output - target|

    Args:
        outputs: predictions, shape (examples, values), or (examples,).
        targets: the true values, of the same shape up to a last dimension of 1.

    Raises:
        UsageError: the shapes differ; they are never broadcast.

    Source: the method of situation, Laplace, "Théorie analytique des probabilités", second supplement, 1818.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.metrics import make_metric
        >>> make_metric("mae")(torch.tensor([1.0, -2.0]), torch.tensor([0.0, 0.0]))
        tensor([1., 2.])
    """
    errors = (as_targets(outputs, targets) - targets).abs()
    return errors.reshape(len(targets), -1).mean(dim=1)


@register_metric(
    "rmse",
    source="the root of the mean squared error: Gauss, 1823",
    mode="min",
    margin=0.01,
    task="values",
    unit="target",
)
class Rmse:
    """The root of the mean squared error, in the unit of the targets.

        value = √ mean over examples and outputs of  (output - target)²

    Args:
        outputs: predictions, shape (examples, values), or (examples,).
        targets: the true values, of the same shape up to a last dimension of 1.

    Raises:
        UsageError: the shapes differ; they are never broadcast.

    Source: Gauss, "Theoria combinationis observationum erroribus minimis obnoxiae", 1823.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.metrics import make_metric, metric_value
        >>> metric = make_metric("rmse")
        >>> rows = metric(torch.tensor([1.0, -7.0]), torch.tensor([0.0, 0.0]))
        >>> metric_value(metric, rows.mean(dim=0))  # √ (1² + 7²) / 2
        5.0
    """

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return each example's squared error, averaged over its outputs, shape (examples,)."""
        errors = (as_targets(outputs, targets) - targets).square()
        return errors.reshape(len(targets), -1).mean(dim=1)

    def finish(self, means: torch.Tensor) -> torch.Tensor:
        return means.sqrt()


@register_metric(
    "r2",
    source="Wright, 1921, J. Agricultural Research 20:557-585",
    mode="max",
    margin=0.01,
    task="values",
    unit="none",
)
class R2:
    """The coefficient of determination: the share of the targets' variance that the predictions explain.

        value = mean over outputs of  1 - Σ (output - target)² / Σ (target - mean)²

    The sums are over the examples, and so is the mean of the targets. 1 is perfect, and that mean as the prediction
    gives 0. A target that does not vary counts as 1 where it is met exactly, else as 0.

    Args:
        outputs: predictions, shape (examples, values), or (examples,).
        targets: the true values, of the same shape up to a last dimension of 1.

    Raises:
        UsageError: the shapes differ; they are never broadcast.

    Source: Wright, "Correlation and causation", 1921.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.metrics import make_metric, metric_value
        >>> metric = make_metric("r2")
        >>> rows = metric(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 2.0, 3.0]))
        >>> round(metric_value(metric, rows.mean(dim=0)), 4)  # 1 - 1² / (1² + 0² + 1²)
        0.5
    """

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return each example's squared errors, targets and squared targets, shape (examples, 3, values)."""
        exact = targets.double()
        errors = as_targets(outputs, targets).double() - exact
        return torch.stack([errors.square(), exact, exact.square()], dim=1).reshape(len(targets), 3, -1)

    def finish(self, means: torch.Tensor) -> torch.Tensor:
        error, mean, square = means
        variance = square - mean.square()
        # Targets have 24 bits: a variance below this share of their square is rounding, of a target that is constant.
        varies = variance > 1e-15 * square
        explained = 1 - error / torch.where(varies, variance, 1.0)
        return torch.where(varies, explained, (error == 0).double()).mean()
