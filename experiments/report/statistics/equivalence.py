"""Two one-sided tests of a difference that is smaller than a margin."""

from __future__ import annotations

from dataclasses import dataclass

from .samples import check_alpha, check_margin
from .student import Interval, Spread, t_above, t_interval


@dataclass(frozen=True)
class Equivalence:
    """A mean difference against a margin.

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


def equivalence(spread: Spread | None, margin: float, alpha: float = 0.05) -> Equivalence:
    """Test by two one-sided t tests (TOST) whether |mean difference| < margin.

    It holds when the t interval of level 1 - 2 alpha lies inside (-margin, margin), that is when both "mean <= -margin"
    and "mean >= margin" are rejected at alpha.

    Args:
        spread: mean and sd of the differences, in the metric's unit; None (a run diverged) shows nothing.
        margin: the largest difference that does not matter, at least 0; nothing is equivalent within 0.
        alpha: error rate of a false "equivalent".

    Raises:
        UsageError: a negative margin, or alpha out of range.

    Source: Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987; Westlake, Biometrics 32, 1976.
    """
    check_alpha(alpha)
    check_margin(margin)
    if spread is None:
        return Equivalence(False, None, None, margin)
    above, below = t_above(spread, -margin), t_above(-spread, -margin)
    p = None if above is None or below is None else max(above, below)
    return Equivalence(p is not None and p <= alpha, p, t_interval(spread, 1 - 2 * alpha), margin)
