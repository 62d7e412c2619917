"""The ratio of the times that two entries take to a target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ...errors import UsageError
from .paired import paired
from .student import Interval


@dataclass(frozen=True)
class TimeRatio:
    """Time of b over time of a: above 1 where a is sooner.

    Args:
        ratio: exp(mean over seeds of ln(b / a)), None when withheld.
        interval: of the ratio; None when withheld, or for one seed.
        p: paired t on the logarithms, not corrected; None when withheld or all times are equal.
        withheld: why there is no ratio, or an empty text.
    """

    ratio: float | None
    interval: Interval | None
    p: float | None
    withheld: str = ""


def time_ratio(
    a: Mapping[int, float | None],
    b: Mapping[int, float | None],
    reached_a: Mapping[int, bool],
    reached_b: Mapping[int, bool],
    *,
    alpha: float = 0.05,
) -> TimeRatio:
    """Return how many times sooner a reached the target, from paired differences of log times.

    ratio = exp(d̄), interval exp(d̄ ± t(1 - alpha/2, n - 1) sd(d) / √n), d_i = ln b_i - ln a_i. Only when no run missed
    the target: a missed run's time is unknown, and leaving it out would favour the entry that misses more.

    Args:
        a, b: per seed, steps, epochs, examples or seconds to the target, above 0; None for a run that diverged.
        reached_a, reached_b: per seed, whether it got there.

    Raises:
        UsageError: no seed in common, a seed without an answer, a time that is not above 0.
    """
    for name, times, reached in (("a", a, reached_a), ("b", b, reached_b)):
        if missing := sorted(times.keys() - reached.keys()):
            raise UsageError(f"reached_{name} says nothing about seed {missing[0]}")
    num_a, num_b = (sum(not reached[seed] for seed in times) for times, reached in ((a, reached_a), (b, reached_b)))
    if num_a or num_b:
        why = f"{num_a} of {len(a)} and {num_b} of {len(b)} runs missed it"
        return TimeRatio(None, None, None, withheld=why)
    result = paired(_logarithms(b, "b"), _logarithms(a, "a"), alpha=alpha)
    if result.spread is None or result.mean is None:
        raise UsageError("a run that reached the target has no time")
    interval = None
    if result.interval is not None:
        interval = Interval(math.exp(result.interval.low), math.exp(result.interval.high), result.interval.level)
    return TimeRatio(math.exp(result.mean), interval, result.p)


def _logarithms(times: Mapping[int, float | None], name: str) -> dict[int, float | None]:
    for seed, time in times.items():
        if time is not None and not time > 0:
            raise UsageError(f"{name}[{seed}] is {time}: a time to target is above 0 for a ratio to have a meaning")
    return {seed: None if time is None else math.log(time) for seed, time in times.items()}
