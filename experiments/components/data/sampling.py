"""Which examples an epoch draws, in which order: a function of the seed and the epoch, whatever rule it goes by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from ...errors import ArgumentsError
from ...system import rng

Rule = Literal["shuffled", "sequential", "balanced"]


@dataclass(frozen=True)
class Sampling:
    """How the examples of an epoch are drawn.

        shuffled: each once, in random order.  sequential: each once, in the order of the data.
        weighted: at random by the weights, with or without replacement.

    Args:
        is_shuffled: whether the order is random.
        weights: one per example, not negative; None draws each example once.
        share: how many examples an epoch draws, as a multiple of those that there are.
        replacement: whether an epoch may draw an example with a weight again.
        words: that say so to whoever reads them; empty for examples that are shuffled.

    Raises:
        ArgumentsError: weights that cannot be drawn by.
    """

    is_shuffled: bool = True
    weights: torch.Tensor | None = None
    share: float = 1.0
    replacement: bool = True
    words: str = ""

    def __post_init__(self) -> None:
        weights = self.weights
        if weights is None:
            return
        if weights.dim() != 1 or not bool(weights.isfinite().all()) or bool((weights < 0).any()):
            raise ArgumentsError("weights must be one number per example, finite and not negative", "sampling")
        if not bool((weights > 0).any()):
            raise ArgumentsError("none of the training examples has a weight above 0", "sampling")

    def of(self, positions: torch.Tensor) -> Sampling:
        """Return the sampling of a part of the examples, by their positions."""
        if self.weights is None:
            return self
        return replace(self, weights=self.weights[positions])

    def num_drawn(self, num_examples: int) -> int:
        """Return how many examples an epoch draws."""
        return num_examples if self.weights is None else max(1, round(self.share * num_examples))

    def order(self, seed: int, epoch: int, num_examples: int) -> torch.Tensor:
        """Return the numbers of the examples that an epoch draws, int64, in their order."""
        if self.weights is not None:
            generator = rng.generator(seed, "order", epoch)
            drawn = self.num_drawn(num_examples)
            return torch.multinomial(self.weights, drawn, self.replacement, generator=generator)
        return rng.permutation(seed, epoch, num_examples) if self.is_shuffled else torch.arange(num_examples)


SHUFFLED, IN_ORDER = Sampling(), Sampling(is_shuffled=False, words="in the order of the data")


def by_rule(rule: Rule, targets: torch.Tensor | None) -> Sampling:
    """Return the sampling of a name.

    Args:
        rule: `shuffled`, `sequential`, or `balanced`: examples are drawn with replacement, each class as often as any
            other.
        targets: the class of each example; None where it is not known.

    Raises:
        ArgumentsError: classes are to be balanced that nobody knows.
    """
    if rule != "balanced":
        return SHUFFLED if rule == "shuffled" else IN_ORDER
    targets = _one_class_each(targets, "sampling: balanced")
    classes, counts = targets.unique(return_counts=True)
    weights = torch.zeros(len(targets), dtype=torch.float64)
    for number, count in zip(classes, counts, strict=True):
        weights[targets == number] = 1.0 / float(count)
    return Sampling(weights=weights, words="each class as often as any other")


def by_class(of_class: Sequence[float], targets: torch.Tensor | None) -> Sampling:
    """Return the sampling in which each example of a class has that class's weight.

    Args:
        of_class: the weight of each class.
        targets: the class of each example; None where it is not known.

    Raises:
        ArgumentsError: nobody knows the classes, or there are others.
    """
    targets = _one_class_each(targets, "sampling by class_weights")
    if int(targets.max()) >= len(of_class):
        message = f"class_weights has {len(of_class)} numbers, and the targets are 0 to {int(targets.max())}"
        raise ArgumentsError(message, "sampling.class_weights")
    targets = targets.cpu()
    weights = torch.tensor(of_class, dtype=torch.float64)[targets.clamp(min=0)]
    weights[targets < 0] = 0.0  # what is ignored is not drawn
    return Sampling(weights=weights, words="by the weights of their classes, with replacement")


def _one_class_each(targets: torch.Tensor | None, what: str) -> torch.Tensor:
    if targets is None or targets.dim() != 1 or targets.is_floating_point():
        raise ArgumentsError(
            f"{what} needs to know the class of each example before any is made: let the data set have them as "
            "`targets`, one number per example",
            "sampling",
        )
    return targets
