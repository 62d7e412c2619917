"""Holm's correction for several tests at once."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import UsageError
from .samples import check_alpha


def holm(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Return Holm's adjusted p-values: reject those at most alpha, and P(any false rejection) <= alpha.

    With p_(1) <= … <= p_(m), adjusted p_(j) = max over i <= j of min(1, (m - i + 1) p_(i)).

    Args:
        p_values: in any order; None stands for a test that was not made, belongs to no family and stays None.

    Raises:
        UsageError: a p-value outside [0, 1].

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6, 1979.
    """
    order = _ascending(p_values)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for step, (p, index) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - step) * p))
        adjusted[index] = highest
    return tuple(adjusted)


def holm_levels(p_values: Sequence[float | None], alpha: float = 0.05) -> tuple[float | None, ...]:
    """Return the error rate at which Holm's procedure tested each p-value.

    That is alpha / (m - j + 1) at step j; those after the first that is not rejected keep its rate. A test at this
    rate rejects exactly when Holm's adjusted p is at most alpha, so an interval of level 1 - rate excludes 0 exactly
    then: it repeats Holm's decision. It is not simultaneous: all such intervals together cover less often than
    1 - alpha. Intervals at alpha / m would (Bonferroni), and may contain 0 where Holm rejects.
    """
    check_alpha(alpha)
    order = _ascending(p_values)
    levels: list[float | None] = [None] * len(p_values)
    rejecting, rate = True, alpha
    for step, (p, index) in enumerate(order):
        if rejecting:
            rate = alpha / (len(order) - step)
            rejecting = p <= rate
        levels[index] = rate
    return tuple(levels)


def _ascending(p_values: Sequence[float | None]) -> list[tuple[float, int]]:
    for index, p in enumerate(p_values):
        if p is not None and not 0 <= p <= 1:
            raise UsageError(f"p_values[{index}] is {p}: a p-value lies between 0 and 1")
    return sorted((p, index) for index, p in enumerate(p_values) if p is not None)
