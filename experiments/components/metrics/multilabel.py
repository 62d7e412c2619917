"""Metrics of independent answers of yes or no, such as several labels of one picture."""

from __future__ import annotations

import torch

from ..shapes import as_targets
from . import register_metric


@register_metric(
    "binary_accuracy", source="the share of right answers", mode="max", margin=0.005, task="values", unit="none"
)
def binary_accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The share of right answers of yes or no: a score above 0 is a yes, and so is a target above 1/2.

    Scores that are not numbers are wrong answers.

    Args:
        outputs: unnormalised scores (logits), shape (examples, labels), or (examples,).
        targets: 0 or 1, of the same shape up to a last dimension of 1.

    Raises:
        UsageError: the shapes differ; they are never broadcast.

    Source: the share of right answers.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.metrics import make_metric
        >>> make_metric("binary_accuracy")(torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 1.0]]))
        tensor([0.5000])
    """
    scores = as_targets(outputs, targets)
    right = ((scores > 0) == (targets > 0.5)) & ~scores.isnan()
    return right.float().reshape(len(targets), -1).mean(dim=1)


@register_metric(
    "multilabel_f1",
    source="van Rijsbergen, 1979, Information retrieval, ch. 7",
    mode="max",
    margin=0.005,
    task="values",
    unit="none",
)
class MultilabelF1:
    """The harmonic mean of precision and recall of each label, averaged over the labels.

        value = mean over labels of  2 hits / (answers + members)

    A score above 0 is an answer, a target above 1/2 a member. Labels without either count as 0.

    Args:
        outputs: unnormalised scores (logits), shape (examples, labels).
        targets: 0 or 1, of the same shape up to a last dimension of 1.

    Raises:
        UsageError: the shapes differ; they are never broadcast.

    Source: van Rijsbergen, "Information retrieval", 1979, chapter 7; averaged as in Yang and Liu, 1999.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.metrics import make_metric, metric_value
        >>> metric = make_metric("multilabel_f1")
        >>> rows = metric(torch.tensor([[2.0, -1.0], [1.0, 1.0]]), torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
        >>> round(metric_value(metric, rows.mean(dim=0)), 4)  # 2 · 1 / (2 + 1) for both labels
        0.6667
    """

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return each example's hits, answers and members by label, shape (examples, 3, labels)."""
        answers, members = as_targets(outputs, targets) > 0, targets > 0.5
        return torch.stack([answers & members, answers, members], dim=1).float().reshape(len(targets), 3, -1)

    def finish(self, means: torch.Tensor) -> torch.Tensor:
        hits, answers, members = means
        total = answers + members
        return torch.where(total > 0, 2 * hits / total.where(total > 0, 1.0), 0.0).mean()
