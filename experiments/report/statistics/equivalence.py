"""Two one-sided tests: is the difference shown to be smaller than a margin?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .samples import check_alpha, check_margin, finite
from .student import Interval, Spread, spread_of, t_above, t_interval


@dataclass(frozen=True)
class Equivalence:
    """Whether a mean difference lies within a margin.

    Args:
        holds: the interval lies inside (-margin, margin).
        p: the larger of the two one-sided p-values; None for one value.
        interval: of the mean, level 1 - 2 alpha; None where the data give none.
        margin: in the metric's unit.
    """

    holds: bool
    p: float | None
    interval: Interval | None
    margin: float


def equivalent(differences: Sequence[float], margin: float, alpha: float = 0.05) -> Equivalence:
    """Test by two one-sided t tests (TOST) whether |mean difference| < margin.

    It holds when the t interval of level 1 - 2 alpha lies inside (-margin, margin), that is when both "mean <= -margin"
    and "mean >= margin" are rejected at alpha.

    Args:
        differences: per seed, in the metric's unit, at least one.
        margin: the largest difference that does not matter, at least 0; nothing is equivalent within 0.
        alpha: error rate of a false "equivalent".

    Raises:
        UsageError: no differences, one that is not finite, a negative margin.

    Source: Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987; Westlake, Biometrics 32, 1976.
    """
    return equivalence_of(spread_of(finite(differences, "differences")), margin, alpha)


def equivalence_of(spread: Spread | None, margin: float, alpha: float) -> Equivalence:
    """Do what `equivalent` does on mean and spread alone; without them (a run diverged) nothing is shown."""
    check_alpha(alpha)
    check_margin(margin)
    if spread is None:
        return Equivalence(False, None, None, margin)
    mirrored = Spread(spread.n, -spread.mean, spread.sd, spread.constant)
    above, below = t_above(spread, -margin), t_above(mirrored, -margin)
    p = None if above is None or below is None else max(above, below)
    return Equivalence(p is not None and p <= alpha, p, t_interval(spread, 1 - 2 * alpha), margin)
