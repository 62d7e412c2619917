"""Times to a target, where a run that missed it is censored: it would have taken longer than it ran.

Times are steps, epochs, examples or seconds. A run that diverged never gets there: its time is its whole budget.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import UsageError
from .proportions import Proportion, clopper_pearson
from .samples import check_alpha, finite
from .special import ndtri
from .student import Interval


@dataclass(frozen=True)
class TimeToTarget:
    """The median time to target by Kaplan and Meier.

    Args:
        median: the first time by which half of the runs have reached the target; None when fewer did.
        low, high: the ends of its interval; None for an end that the data do not bound.
        level: the confidence level of the interval.
        reached: the share of runs that got there, with the interval of Clopper and Pearson.
        expected: expected running time, see `expected_running_time`.
    """

    median: float | None
    low: float | None
    high: float | None
    level: float
    reached: Proportion
    expected: float | None


@dataclass(frozen=True)
class RestrictedMean:
    """The mean time to target, each time counted up to a horizon.

    Args:
        mean: the area under the share of runs that have not reached the target, from 0 to the horizon.
        standard_error: Greenwood's.
        horizon: up to where times count.
        interval: mean ± 1.96 standard errors (for alpha = 0.05).
    """

    mean: float
    standard_error: float
    horizon: float
    interval: Interval


def kaplan_meier(times: Sequence[float], reached: Sequence[bool], *, alpha: float = 0.05) -> TimeToTarget:
    """Return the median time to target with the interval of Brookmeyer and Crowley.

    S(t) = Π over t_i <= t of (1 - d_i / n_i); the median is the first t with S(t) <= 1/2. Its interval ends where the
    log-log bands of S cross 1/2; where S falls to 0 the upper band has no value, and bounds nothing.

    Args:
        times: per run, when it reached the target, or how long it ran without.
        reached: per run, whether it did.
        alpha: the interval has level 1 - alpha.

    Raises:
        UsageError: no times, a negative one, or lengths that differ.

    Source: Kaplan and Meier, JASA 53, 1958; Brookmeyer and Crowley, Biometrics 38, 1982.
    """
    check_alpha(alpha)
    spent, hits = _checked(times, reached)
    points, shares, low_band, high_band = _survival(spent, hits, 1 - alpha)
    return TimeToTarget(
        median=_first_half(points, shares),
        low=_first_half(points, low_band),
        high=_first_half(points, high_band),
        level=1 - alpha,
        reached=clopper_pearson(sum(hits), len(hits), alpha=alpha),
        expected=expected_running_time(times, reached),
    )


def restricted_mean(
    times: Sequence[float], reached: Sequence[bool], horizon: float, *, alpha: float = 0.05
) -> RestrictedMean:
    """Return the mean of min(time, horizon) with Greenwood's standard error.

    mean = ∫ S(t) dt from 0 to h; variance = Σ over t_i <= h of (∫ S dt from t_i to h)² d_i / (n_i (n_i - d_i)).

    Args:
        times: per run, when it reached the target, or how long it ran without.
        reached: per run, whether it did.
        horizon: h > 0, the same for all entries: the budget.
        alpha: the interval has level 1 - alpha.

    Raises:
        UsageError: a run that missed was watched for less than the horizon, and none longer, so S ends before it.

    Source: Irwin, J. Hyg. 47, 1949; Klein and Moeschberger, "Survival Analysis", 2003, section 4.5.
    """
    check_alpha(alpha)
    spent, hits = _checked(times, reached)
    if not (math.isfinite(horizon) and horizon > 0):
        raise UsageError(f"horizon = {horizon!r}: give a time above 0")
    longest = max(spent)
    if longest < horizon and not all(hit for time, hit in zip(spent, hits, strict=True) if time == longest):
        raise UsageError(
            f"horizon = {horizon:.3g}: the last run was watched until {longest:.3g} without reaching "
            "the target; give a horizon of at most that"
        )
    events = [(time, at_risk, died) for time, at_risk, died in _risks(spent, hits) if died and time < horizon]
    edges, shares = [0.0, *(time for time, *_ in events), horizon], [1.0]
    for _, at_risk, died in events:
        shares.append(shares[-1] * (1 - died / at_risk))
    areas = [s * (end - start) for s, start, end in zip(shares, edges, edges[1:], strict=False)]
    variance = math.fsum(
        math.fsum(areas[index + 1 :]) ** 2 * died / (at_risk * (at_risk - died))
        for index, (_, at_risk, died) in enumerate(events)
        if at_risk > died  # after the last run nothing is left whose area could vary
    )
    mean, error = math.fsum(areas), math.sqrt(variance)
    half = -ndtri(alpha / 2) * error
    return RestrictedMean(mean, error, horizon, Interval(mean - half, mean + half, 1 - alpha))


def expected_running_time(times: Sequence[float], reached: Sequence[bool]) -> float | None:
    """Return what one success costs, failures included: all time spent / number of runs that reached the target.

    None when no run did.

    Source: Hansen, Auger, Finck and Ros, "Real-parameter black-box optimization benchmarking 2010", INRIA RR-7215.
    """
    spent, hits = _checked(times, reached)
    return math.fsum(spent) / sum(hits) if any(hits) else None


def _checked(times: Sequence[float], reached: Sequence[bool]) -> tuple[list[float], list[bool]]:
    spent = finite(times, "times")
    if len(spent) != len(reached):
        raise UsageError(f"{len(spent)} times and {len(reached)} answers to whether the target was reached")
    if min(spent) < 0:
        raise UsageError(f"times holds {min(spent)}: a time is at least 0")
    return spent, [bool(hit) for hit in reached]


def _survival(
    spent: list[float], hits: list[bool], level: float
) -> tuple[list[float], list[float], list[float], list[float]]:
    """Return the times, S at each, and its log-log bands; where these have no value, the lower is 0 with S, else NaN.

    scipy.stats has the same (a test compares them), but takes most of a second to import, in each repeated comparison.
    """
    z = -ndtri((1 - level) / 2)
    share, greenwood = 1.0, 0.0
    risks = _risks(spent, hits)
    shares, low, high = [], [], []
    for _, at_risk, died in risks:
        share = share * (at_risk - died) / at_risk
        greenwood += died / (at_risk * (at_risk - died)) if at_risk > died else math.inf
        shares.append(share)
        if 0 < share < 1:
            spread = z * math.sqrt(greenwood) / abs(math.log(share))
            low.append(share ** math.exp(spread))
            high.append(share ** math.exp(-spread))
        else:
            low.append(0.0 if share == 0 else math.nan)
            high.append(math.nan)
    return [time for time, *_ in risks], shares, low, high


def _risks(spent: list[float], hits: list[bool]) -> list[tuple[float, int, int]]:
    """Return each time with the runs that were still under way, and those that reached the target then."""
    return [
        (point, sum(time >= point for time in spent), sum(h and t == point for t, h in zip(spent, hits, strict=True)))
        for point in sorted(set(spent))
    ]


def _first_half(points: Sequence[float], shares: Sequence[float]) -> float | None:
    """Return the first point at which the share is at most 1/2, but for rounding."""
    return next((t for t, share in zip(points, shares, strict=True) if share <= 0.5 + 1e-12), None)
