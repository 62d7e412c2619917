"""Metrics of classifiers besides accuracy."""

from __future__ import annotations

import torch

from ...errors import UsageError
from ...registry.arguments import Count
from . import register_metric
from .counted import CountsByClass


@register_metric(
    "top_k", source="Russakovsky et al., 2015, arXiv:1409.0575, section 4.1", mode="max", margin=0.005, task="classes"
)
def top_k(outputs: torch.Tensor, targets: torch.Tensor, *, k: Count = 5) -> torch.Tensor:
    """The share of right answers among the k highest scores: 1 where the class is one of these, else 0.

    Of equal scores the class with the lower number comes first. Scores that are not numbers are wrong answers.

    Args:
        outputs: scores, shape (examples, classes).
        targets: class numbers, shape (examples,).
        k: how many answers count; 1 is accuracy.

    Raises:
        UsageError: there are no more than k classes, so that every answer would be right.

    Source: Russakovsky et al., "ImageNet large scale visual recognition challenge", 2015, section 4.1.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.metrics import make_metric
        >>> make_metric("top_k", k=2)(torch.tensor([[3.0, 2.0, 1.0]]).expand(3, 3), torch.tensor([0, 1, 2]))
        tensor([1., 1., 0.])
    """
    num_classes = outputs.shape[1]
    if k >= num_classes:
        raise UsageError(f"with k {k} and {num_classes} classes every answer is right: k must be below {num_classes}")
    own = outputs.gather(1, targets[:, None])
    is_before = torch.arange(num_classes, device=outputs.device) < targets[:, None]
    rank = ((outputs > own) | ((outputs == own) & is_before)).sum(dim=1)
    return ((rank < k) & ~outputs.isnan().any(dim=1)).float()


@register_metric(
    "macro_f1", source="van Rijsbergen, 1979, Information retrieval, ch. 7", mode="max", margin=0.005, task="classes"
)
class MacroF1(CountsByClass):
    """The harmonic mean of precision and recall of each class, averaged over the classes.

        value = mean over classes of  2 hits / (answers + members)

    A class's answers are the examples that are taken for it, its members those that belong to it. Classes without
    either are left out. Scores that are not numbers are no answer.

    Args:
        outputs: scores, shape (examples, classes), or (examples, classes, …).
        targets: class numbers, shape (examples,), or (examples, …).
        ignore_index: the class number that does not count; by default the data's own, or -100.

    Source: van Rijsbergen, "Information retrieval", 1979, chapter 7; averaged as in Yang and Liu, 1999.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.metrics import make_metric, metric_value
        >>> metric = make_metric("macro_f1")
        >>> rows = metric(torch.tensor([[2.0, 1.0], [2.0, 1.0], [1.0, 2.0]]), torch.tensor([0, 1, 1]))
        >>> round(metric_value(metric, rows.mean(dim=0)), 4)  # 2 · 1 / (2 + 1) for both classes
        0.6667
    """

    def finish(self, means: torch.Tensor) -> torch.Tensor:
        hits, answers, members = means
        present = answers + members > 0
        return (2 * hits[present] / (answers + members)[present]).mean()


@register_metric(
    "miou", source="Everingham et al., 2010, doi:10.1007/s11263-009-0275-4", mode="max", margin=0.005, task="classes"
)
class MeanIoU(CountsByClass):
    """The intersection of answers and members over their union, of each class, averaged over the classes.

        value = mean over classes of  hits / (answers + members - hits)

    Counted over all targets of a split, such as the pixels of its pictures. Classes without answers and members are
    left out. Scores that are not numbers are no answer.

    Args:
        outputs: scores, shape (examples, classes, …), such as (examples, classes, height, width).
        targets: class numbers, shape (examples, …).
        ignore_index: the class number that does not count; by default the data's own, or -100.

    Source: Everingham et al., "The PASCAL visual object classes (VOC) challenge", 2010, section 4; Jaccard, 1912.

    Example:
        >>> import torch
        >>> from optrun.experiments.components.metrics import make_metric, metric_value
        >>> metric = make_metric("miou")
        >>> outputs = torch.tensor([[[2.0, 2.0, 1.0]], [[1.0, 1.0, 2.0]]]).permute(1, 0, 2)  # answers 0, 0, 1
        >>> round(metric_value(metric, metric(outputs, torch.tensor([[0, 1, 1]])).mean(dim=0)), 4)  # 1 / 2 for both
        0.5
    """

    def finish(self, means: torch.Tensor) -> torch.Tensor:
        hits, answers, members = means
        present = answers + members > 0
        return (hits[present] / (answers + members - hits)[present]).mean()
