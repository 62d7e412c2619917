"""Student's t for one sample of differences: mean, spread, interval and p."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .special import stdtr, stdtrit


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Args:
        low, high: its ends, in the unit of the data.
        level: the confidence level, e.g. 0.95.
    """

    low: float
    high: float
    level: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __neg__(self) -> Interval:
        return Interval(-self.high, -self.low, self.level)


@dataclass(frozen=True)
class Spread:
    """Mean and spread of n values.

    Args:
        n: the number of values.
        mean: Σ x / n.
        sd: √(Σ (x - mean)² / (n - 1)), None for one value.
        constant: all values are equal but for rounding, so that t has no spread to measure the mean against.
    """

    n: int
    mean: float
    sd: float | None
    constant: bool

    @property
    def standard_error(self) -> float | None:
        """Return sd / √n."""
        return None if self.sd is None else self.sd / math.sqrt(self.n)

    def __neg__(self) -> Spread:
        return Spread(self.n, -self.mean, self.sd, self.constant)


def spread_of(values: Sequence[float], scale: float | None = None) -> Spread:
    """Return mean and spread of `values`, at least one.

    Args:
        scale: the size of the numbers that the values were computed from; their rounding is not taken for spread.
    """
    n = len(values)
    mean = math.fsum(values) / n
    scale = max(map(abs, values)) if scale is None else scale
    constant = n > 1 and max(values) - min(values) <= 16 * math.ulp(scale)
    if n == 1:
        return Spread(n, mean, None, False)
    if constant:
        return Spread(n, mean, 0.0, True)
    return Spread(n, mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)), False)


def t_quantile(probability: float, df: float) -> float:
    """Return the quantile of Student's t distribution with `df` degrees of freedom."""
    return stdtrit(df, probability)


def t_tail(t: float, df: float) -> float:
    """Return P(T <= t) of Student's t distribution, exact in the lower tail."""
    return stdtr(df, t)


def t_interval(spread: Spread, level: float) -> Interval | None:
    """Return the interval mean ± t(1 - (1 - level) / 2, n - 1) · sd / √n, or None where the data give none.

    One value gives none. Values that are all equal give [value, value] once n is large enough for the exact interval
    of sign flips, which is [min, max] with level 1 - 2^(1 - n), to reach `level`; below that they give none.

    Source: Student, "The probable error of a mean", Biometrika 6, 1908.
    """
    if spread.standard_error is None:
        return None
    if spread.constant:
        is_enough = 2.0 ** (1 - spread.n) <= (1 - level) * (1 + 1e-9)  # 1 - 0.95 counts as 0.05
        return Interval(spread.mean, spread.mean, level) if is_enough else None
    half = -t_quantile((1 - level) / 2, spread.n - 1) * spread.standard_error
    return Interval(spread.mean - half, spread.mean + half, level)


def t_two_sided(spread: Spread) -> float | None:
    """Return the two-sided p of the mean against 0: 2 P(T <= -|mean| / (sd / √n)) with n - 1 degrees of freedom.

    Equal values other than 0 give the p of the sign flips, 2^(1 - n); one value, or all 0, gives none.
    """
    if spread.standard_error is None:
        return None
    if spread.constant:
        return None if spread.mean == 0 else 2.0 ** (1 - spread.n)
    return 2 * t_tail(-abs(spread.mean) / spread.standard_error, spread.n - 1)


def t_above(spread: Spread, bound: float) -> float | None:
    """Return the one-sided p of "the mean is at most `bound`": small when the mean is shown to be above it."""
    if spread.standard_error is None:
        return None
    if spread.constant:
        return 2.0**-spread.n if spread.mean > bound else 1.0
    return t_tail((bound - spread.mean) / spread.standard_error, spread.n - 1)


def welch_p(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return the two-sided p of Welch's t for two unpaired samples, with Satterthwaite's degrees of freedom.

    t = (mean_a - mean_b) / √(v_a + v_b), df = (v_a + v_b)² / (v_a² / (n_a - 1) + v_b² / (n_b - 1)), v = sd² / n.

    Source: Welch, "The generalization of 'Student's' problem when several different population variances are
    involved", Biometrika 34, 1947. None with fewer than two values on a side, or without any spread.
    """
    first, second = spread_of(a), spread_of(b)
    if first.standard_error is None or second.standard_error is None:
        return None
    var_a, var_b = first.standard_error**2, second.standard_error**2
    if var_a + var_b == 0:
        return None
    df = (var_a + var_b) ** 2 / (var_a**2 / (len(a) - 1) + var_b**2 / (len(b) - 1))
    return 2 * t_tail(-abs(first.mean - second.mean) / math.sqrt(var_a + var_b), df)


def correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return Pearson's correlation of aligned values, or None below three pairs or without spread on either side."""
    first, second = spread_of(a), spread_of(b)
    if len(a) < 3 or not first.sd or not second.sd:
        return None
    cross = math.fsum((x - first.mean) * (y - second.mean) for x, y in zip(a, b, strict=True))
    return max(-1.0, min(1.0, cross / ((len(a) - 1) * first.sd * second.sd)))
