"""The power of the paired t test, and the number of seeds that a comparison needs."""

from __future__ import annotations

import math

from ...errors import UsageError
from .samples import check_alpha
from .sign_flips import min_seeds
from .special import nctdtr, ndtri
from .student import t_quantile

_LARGE = 100_000  # seeds, beyond which t and the normal distribution agree to far below one seed


def power_of(n: int, effect: float, alpha: float = 0.05) -> float:
    """Return the probability that the two-sided paired t test shows a difference, and in the right direction.

    P(T > t(1 - alpha/2, n - 1)), with T noncentral t of n - 1 degrees of freedom and shift |effect| √n.

    Args:
        n: pairs, at least 2.
        effect: true mean difference / sd of the differences.
        alpha: error rate.
    """
    shift = min(abs(effect) * math.sqrt(n), 1e5)  # beyond it the series no longer converges
    return 1 - nctdtr(n - 1, shift, t_quantile(1 - alpha / 2, n - 1))


def seeds_needed(sd: float, margin: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Return the fewest seeds with which a paired t test shows a true difference of `margin` with the given power.

    The smallest n whose power by the noncentral t distribution is enough, near 2 + (z(1 - alpha/2) + z(power))²
    (sd / margin)². As uncertain as `sd` is: with sd from 10 seeds, half or twice as many is no surprise.

    Args:
        sd: of the paired differences, in the metric's unit; 0 gives what the sign-flip test needs.
        margin: the difference to be shown, above 0, in the metric's unit.
        power: probability of showing it, at least 0.5 and below 1.
        alpha: error rate, two-sided.

    Raises:
        UsageError: a margin of 0 (no number of seeds is enough), or arguments out of range.

    Source: Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988.
    """
    check_alpha(alpha)
    if not (math.isfinite(margin) and margin > 0):
        raise UsageError(f"margin = {margin!r}: no number of seeds shows a difference of 0; give a number above 0")
    if not 0.5 <= power < 1:
        raise UsageError(f"power = {power!r}: give a probability of at least 0.5 and below 1, such as 0.8")
    if not (math.isfinite(sd) and sd >= 0):
        raise UsageError(f"sd = {sd!r}: give a number of at least 0")
    if sd == 0:
        return min_seeds(alpha)
    z = ndtri(1 - alpha / 2) + ndtri(power)
    n = max(2, math.ceil((z * sd / margin) ** 2))
    if n > _LARGE:
        return n + 2
    while n > 2 and power_of(n - 1, margin / sd, alpha) >= power:
        n -= 1
    while power_of(n, margin / sd, alpha) < power:
        n += 1
    return n
