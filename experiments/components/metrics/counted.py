"""What metrics of classes count: targets that are not ignored, and by class hits, answers and members."""

from __future__ import annotations

import torch

from ..shapes import IGNORED


def shares(right: torch.Tensor, targets: torch.Tensor, ignore_index: int | None) -> torch.Tensor:
    """Return for each example how right its answers are: one number, or two that `share` makes one of.

    Where there is one target for each example and none is to be ignored, it is `right` itself; a target that is no
    class number gives no number then. Otherwise it is the sum over the targets that count, and how many these are.

    Args:
        right: for each target, how right the answer is, shape (examples, …).
        targets: class numbers, of the same shape.
        ignore_index: the class number that does not count; None for -100 where an example has several targets.
    """
    if targets.dim() == 1 and ignore_index is None:
        return torch.where(targets < 0, torch.nan, right)
    counts = targets != (IGNORED if ignore_index is None else ignore_index)
    per_example = torch.stack([right * counts, counts.to(right.dtype)], dim=1)
    return per_example.flatten(2).sum(dim=2) if targets.dim() > 1 else per_example


def share(means: torch.Tensor) -> torch.Tensor:
    """Return the value of a metric of `shares` from their means."""
    return means if means.dim() == 0 else means[0] / means[1]


def hits_answers_members(outputs: torch.Tensor, targets: torch.Tensor, ignore_index: int | None = None) -> torch.Tensor:
    """Return how many hits, answers and members each class has in each example, shape (examples, 3, classes).

    Scores that are not numbers are no answer, and neither is what stands at a target that is ignored.

    Args:
        outputs: scores, shape (examples, classes, …).
        targets: class numbers, shape (examples, …).
        ignore_index: the class number that does not count; None for -100.
    """
    best, predicted = outputs.max(dim=1)
    num_classes = outputs.shape[1]
    counts = targets != (IGNORED if ignore_index is None else ignore_index)
    is_hit = (predicted == targets) & ~best.isnan() & counts
    chosen = (
        torch.where(is_hit, targets, num_classes),
        torch.where(~best.isnan() & counts, predicted, num_classes),
        torch.where(counts, targets, num_classes),
    )
    found = torch.zeros(len(outputs), 3, num_classes + 1, device=outputs.device)
    places = torch.stack(chosen, dim=1).flatten(2) if targets.dim() > 1 else torch.stack(chosen, dim=1)[:, :, None]
    found.scatter_add_(2, places, torch.ones((), device=outputs.device).expand(places.shape))
    return found[:, :, :num_classes]


class CountsByClass:
    """A metric that is made of the hits, answers and members of each class.

    Args:
        ignore_index: the class number that does not count; None for -100.
    """

    def __init__(self, ignore_index: int | None = None):
        self.ignore_index = ignore_index

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return each example's hits, answers and members by class, shape (examples, 3, classes)."""
        return hits_answers_members(outputs, targets, self.ignore_index)
