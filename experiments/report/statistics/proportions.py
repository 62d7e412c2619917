"""Shares: of pairs won, of runs that finished, of runs that reached a target; and the sign test."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...errors import UsageError
from .samples import check_alpha
from .special import bdtr, betaincinv, ndtri
from .student import Interval


@dataclass(frozen=True)
class Proportion:
    """A share k/n with its interval.

    Args:
        count: k; half counts stand for ties.
        n: of how many.
        share: k / n.
        interval: of the share.
    """

    count: float
    n: int
    share: float
    interval: Interval

    def __str__(self) -> str:
        return f"{self.count:g}/{self.n}"


def wilson(count: float, n: int, *, alpha: float = 0.05) -> Proportion:
    """Return a share with Wilson's score interval.

    (p + z²/2n ± z √(p (1 - p)/n + z²/4n²)) / (1 + z²/n), with p = count / n and z = Φ⁻¹(1 - alpha/2).

    Args:
        count: successes, ties as one half.
        n: trials, at least 1.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    """
    _check(count, n, alpha)
    z, share = -ndtri(alpha / 2), count / n
    middle = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
    # At 0 and n one end is exactly that share; rounding would put it beside.
    low, high = (0.0 if count == 0 else low), (1.0 if count == n else high)
    return Proportion(count, n, share, Interval(low, high, 1 - alpha))


def clopper_pearson(count: int, n: int, *, alpha: float = 0.05) -> Proportion:
    """Return a share with the exact interval of Clopper and Pearson, which covers at least 1 - alpha.

    low = Beta⁻¹(alpha/2; k, n - k + 1), high = Beta⁻¹(1 - alpha/2; k + 1, n - k).

    Source: Clopper and Pearson, "The use of confidence or fiducial limits", Biometrika 26, 1934.
    """
    _check(count, n, alpha)
    low = 0.0 if count == 0 else betaincinv(count, n - count + 1, alpha / 2)
    high = 1.0 if count == n else betaincinv(count + 1, n - count, 1 - alpha / 2)
    return Proportion(count, n, count / n, Interval(low, high, 1 - alpha))


def sign_test(wins: int, losses: int) -> float | None:
    """Return the exact two-sided p of the sign test, min(1, 2 P(B <= min(wins, losses))), B ~ Bin(wins + losses, 1/2).

    Ties are left out of both counts; without a win or a loss there is nothing to test, and the answer is None.

    Source: Arbuthnot, Phil. Trans. 27, 1710; Dixon and Mood, JASA 41, 1946.
    """
    if wins + losses == 0:
        return None
    return min(1.0, 2 * bdtr(min(wins, losses), wins + losses, 0.5))


def _check(count: float, n: int, alpha: float) -> None:
    check_alpha(alpha)
    if n < 1 or not 0 <= count <= n:
        raise UsageError(
            f"{count:g} of {n} is no share: it takes at least one trial, and no more successes than trials"
        )
