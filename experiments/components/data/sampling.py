"""Which examples an epoch draws, in which order: a function of the seed and the epoch, whatever rule it goes by."""

from __future__ import annotations

from dataclasses import dataclass
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

    Raises:
        ArgumentsError: weights that cannot be drawn by.
    """

    is_shuffled: bool = True
    weights: torch.Tensor | None = None
    share: float = 1.0
    replacement: bool = True

    def __post_init__(self) -> None:
        weights = self.weights
        if weights is None:
            return
        if weights.dim() != 1 or not bool(weights.isfinite().all()) or bool((weights < 0).any()):
            raise ArgumentsError("weights must be one number per example, finite and not negative", "sampling")
        if not bool((weights > 0).any()):
            raise ArgumentsError("no example has a weight above 0", "sampling")

    def of(self, positions: torch.Tensor) -> Sampling:
        """Return the sampling of a part of the examples, by their positions."""
        if self.weights is None:
            return self
        return Sampling(self.is_shuffled, self.weights[positions], self.share, self.replacement)

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


SHUFFLED = Sampling()


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
        return Sampling(is_shuffled=rule == "shuffled")
    if targets is None or targets.dim() != 1 or targets.is_floating_point():
        raise ArgumentsError(
            "sampling: balanced needs to know the class of each example before any is made: let the data set have "
            "them as `targets`, one number per example",
            "sampling",
        )
    classes, counts = targets.unique(return_counts=True)
    weights = torch.zeros(len(targets), dtype=torch.float64)
    for number, count in zip(classes, counts, strict=True):
        weights[targets == number] = 1.0 / float(count)
    return Sampling(weights=weights)
