"""The result of the paired analysis of two entries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .proportions import Proportion
from .samples import Mode
from .sign_flips import SignFlip
from .student import Interval, Spread, t_interval


@dataclass(frozen=True)
class PairedResult:
    """Two entries, a and b, on the seeds that they share; differences are a - b, in the metric's unit.

    Args:
        mode: whether more (`max`) or less (`min`) is better.
        alpha: the intervals have level 1 - alpha.
        seeds: the n seeds that both entries have.
        unmatched: seeds that only one of them has, which take no part.
        differences: one per seed, None where a run diverged.
        outcomes: one per seed: 1 where a is better, -1 where b is, 0 for a tie; a run that diverged loses.
        spread: mean and sd of the differences, None when a run diverged.
        p: the p that decides, of `test`; None when there is nothing to test.
        test: `t`; `sign-flip` for differences that are all equal; `sign` when a run diverged; `none`.
        identical: every difference is exactly 0, and the runs are not known to differ.
        sign_flip: the second opinion, None when a run diverged.
        correlation: of a and b over the seeds, beside the result and never decided by.
        welch_p: of the unpaired test, beside the result and never decided by.
        better: P(a better than b on a new seed): pairs won, ties as one half, a run that diverged loses.
        success_a, success_b: runs that did not diverge.
        median_a, median_b: of the values, where diverged runs are the worst; None when the median itself diverged.
    """

    mode: Mode
    alpha: float
    seeds: tuple[int, ...]
    unmatched: tuple[int, ...]
    differences: tuple[float | None, ...]
    outcomes: tuple[int, ...]
    spread: Spread | None
    p: float | None
    test: str
    identical: bool
    sign_flip: SignFlip | None
    correlation: float | None
    welch_p: float | None
    better: Proportion
    success_a: Proportion
    success_b: Proportion
    median_a: float | None
    median_b: float | None

    @property
    def tied(self) -> bool:
        """Return True if every difference is exactly 0 although the runs differ: the metric may be too coarse."""
        return not self.identical and all(difference == 0 for difference in self.differences)

    @property
    def n(self) -> int:
        return len(self.seeds)

    @property
    def num_ties(self) -> int:
        return self.outcomes.count(0)

    @property
    def num_diverged_a(self) -> int:
        return self.n - int(self.success_a.count)

    @property
    def num_diverged_b(self) -> int:
        return self.n - int(self.success_b.count)

    @property
    def diverged(self) -> bool:
        """Return True if a run of either diverged."""
        return self.num_diverged_a + self.num_diverged_b > 0

    @property
    def mean(self) -> float | None:
        return None if self.spread is None else self.spread.mean

    @property
    def sd(self) -> float | None:
        return None if self.spread is None else self.spread.sd

    @property
    def standard_error(self) -> float | None:
        return None if self.spread is None else self.spread.standard_error

    @property
    def direction(self) -> int:
        """Return 1 where a larger difference is better for a, -1 where a smaller one is."""
        return 1 if self.mode == "max" else -1

    @property
    def center(self) -> float | None:
        """Return the mean difference, or their median where a run diverged, which is a difference without bound.

        None where both runs diverged in every pair.
        """
        if not self.diverged:
            return self.mean
        won = [outcome * self.direction * math.inf if outcome else None for outcome in self.outcomes]
        differences = [w if d is None else d for d, w in zip(self.differences, won, strict=True)]
        return _median_with_infinities([d for d in differences if d is not None])

    @property
    def interval(self) -> Interval | None:
        """Return Student's t interval of the mean difference; None when a run diverged, or for one seed."""
        return self.interval_at(1 - self.alpha)

    def interval_at(self, level: float) -> Interval | None:
        """Return the t interval of the mean difference at another level."""
        return None if self.spread is None else t_interval(self.spread, level)


def median_of(values: Sequence[float | None], mode: Mode) -> float | None:
    """Return the median, where None is worse than every number; None when the median itself is such a value."""
    worst = -math.inf if mode == "max" else math.inf
    ordered = sorted(worst if value is None else value for value in values)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return low + (high - low) / 2 if math.isfinite(low) and math.isfinite(high) else None


def _median_with_infinities(values: Sequence[float]) -> float | None:
    """Return the median; between two middle values that have no mean, the one nearer to 0, or 0 between both."""
    if not values:
        return None
    ordered = sorted(values)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    if math.isinf(low) and math.isinf(high):
        return low if low == high else 0.0
    if math.isinf(low) or math.isinf(high):
        return 0.0 if low < 0 < high else min(low, high, key=abs)
    return low + (high - low) / 2
