"""How many times sooner one entry reaches a target than another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ...errors import UsageError
from .pairing import PairedResult, paired
from .student import Interval
from .text import number_text, p_text


@dataclass(frozen=True)
class TimeRatio:
    """Time of b over time of a: above 1 where a is sooner.

    Args:
        ratio: exp(mean over seeds of ln(b / a)), None when withheld.
        interval: of the ratio; None when withheld, or for one seed.
        p: paired t on the logarithms, not corrected; None when withheld or all times are equal.
        n: pairs.
        alpha: the interval has level 1 - alpha.
        withheld: why there is no ratio, or an empty text.
        result: the paired analysis of the logarithms of the times, None when withheld.
    """

    ratio: float | None
    interval: Interval | None
    p: float | None
    n: int
    alpha: float
    withheld: str = ""
    result: PairedResult | None = None

    def sentence(self, a: str, b: str, unit: str = "steps", target: str = "the target", p: float | None = None) -> str:
        """Say it in words: a ratio where one is sooner, else that no difference is shown.

        Args:
            a, b: the entries' names.
            unit: of the times: `steps`, `epochs`, …
            target: what was reached, e.g. `0.96`.
            p: adjusted, where several are printed; that of this test alone without it.
        """
        if self.ratio is None:
            return f"{a} and {b}: no ratio of {unit} to {target}, because {self.withheld}"
        if self.result is not None and self.result.identical:
            return f"{a} and {b} reached {target} in the same number of {unit}, in each of {self.n} seeds"
        ratio, interval, fewer = self.ratio, self.interval, self.ratio > 1
        p = self.p if p is None else p
        shown = p is not None and p <= self.alpha
        if shown and not fewer:
            ratio = 1 / ratio
            interval = None if interval is None else Interval(1 / interval.high, 1 / interval.low, interval.level)
        numbers = [] if interval is None else [_interval_text(interval)]
        numbers = ", ".join([*numbers, f"n = {self.n}" if p is None else p_text(p)])
        if not shown:
            what = f"{unit} of {b} over those of {a}: {_ratio_text(ratio)}"
            return f"{a} and {b}: no difference shown in {unit} to {target} ({what}, {numbers})"
        times = f"{_ratio_text(ratio)} times {'fewer' if fewer else 'more'} {unit}"
        return f"{a} reached {target} in {times} than {b} ({numbers})"


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
        return TimeRatio(None, None, None, len(a.keys() & b.keys()), alpha, withheld=why)
    result = paired(_logarithms(b, "b"), _logarithms(a, "a"), alpha=alpha)
    if result.spread is None or result.mean is None:
        raise UsageError("a run that reached the target has no time")
    interval = None
    if result.interval is not None:
        interval = Interval(math.exp(result.interval.low), math.exp(result.interval.high), result.interval.level)
    return TimeRatio(math.exp(result.mean), interval, result.p, result.n, alpha, result=result)


def _logarithms(times: Mapping[int, float | None], name: str) -> dict[int, float | None]:
    for seed, time in times.items():
        if time is not None and not time > 0:
            raise UsageError(f"{name}[{seed}] is {time}: a time to target is above 0 for a ratio to have a meaning")
    return {seed: None if time is None else math.log(time) for seed, time in times.items()}


def _interval_text(interval: Interval) -> str:
    level = number_text(100 * interval.level)
    return f"{level} % CI {_ratio_text(interval.low)}-{_ratio_text(interval.high)}"


def _ratio_text(ratio: float) -> str:
    return number_text(ratio, 3 if 0.9 < ratio < 1.1 else 2)
