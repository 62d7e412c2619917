"""Two entries on the same seeds: the paired analysis of their differences."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import UsageError
from .paired_result import PairedResult, median_of
from .proportions import clopper_pearson, sign_test, wilson
from .samples import Mode, Values, by_seed, check_alpha, check_mode
from .sign_flips import sign_flip
from .student import correlation, spread_of, t_two_sided, welch_p


def paired(a: Values, b: Values, *, alpha: float = 0.05, mode: Mode = "max", same: bool = True) -> PairedResult:
    """Compare two entries seed by seed: d_i = a_i - b_i, t = mean(d) √n / sd(d) with n - 1 degrees of freedom.

    Where a run diverged the mean has no meaning: its interval is withheld, and the exact sign test decides, in which
    a run that diverged loses.

    Args:
        a, b: values per seed, as a mapping or as sequences of equal length; None or NaN for a run that diverged.
        alpha: error rate of intervals, below 0.5.
        mode: whether more (`max`) or less (`min`) is better.
        same: False if the runs are known to differ, so that equal values only show how coarse the metric is.

    Raises:
        UsageError: sequences of different lengths, no seed in common, a value that is no number.

    Source: Student, Biometrika 6, 1908; Fisher, "The Design of Experiments", 1935.
    """
    check_alpha(alpha)
    check_mode(mode)
    first, second, unmatched = _align(a, b)
    seeds = tuple(first)
    sign = 1 if mode == "max" else -1
    pairs = list(zip(first.values(), second.values(), strict=True))
    differences = tuple(None if x is None or y is None else x - y for x, y in pairs)
    outcomes = tuple(_outcome(x, y, sign) for x, y in pairs)
    wins, ties, losses = (outcomes.count(outcome) for outcome in (1, 0, -1))

    left = [x for x in first.values() if x is not None]
    right = [y for y in second.values() if y is not None]
    numbers = [d for d in differences if d is not None]
    identical = same and bool(numbers) and not any(numbers) and ties == len(seeds)
    spread = flips = pearson = welch = p = None
    if len(numbers) == len(seeds):
        spread = spread_of(numbers, scale=max(map(abs, left + right)))
        test = "none" if identical or len(seeds) == 1 else "sign-flip" if spread.constant else "t"
        p = None if identical else t_two_sided(spread)
        flips = None if identical else sign_flip(numbers)
        pearson, welch = correlation(left, right), welch_p(left, right)
    else:
        test = "none" if identical else "sign"
        p = None if identical else sign_test(wins, losses)
    n = len(seeds)
    return PairedResult(
        mode=mode,
        alpha=alpha,
        seeds=seeds,
        unmatched=unmatched,
        differences=differences,
        outcomes=outcomes,
        spread=spread,
        p=p,
        test=test if p is not None else "none",
        identical=identical,
        sign_flip=flips,
        correlation=pearson,
        welch_p=welch,
        better=wilson(wins + ties / 2, n, alpha=alpha),
        success_a=clopper_pearson(len(left), n, alpha=alpha),
        success_b=clopper_pearson(len(right), n, alpha=alpha),
        median_a=median_of(list(first.values()), mode),
        median_b=median_of(list(second.values()), mode),
    )


def _align(a: Values, b: Values) -> tuple[dict[int, float | None], dict[int, float | None], tuple[int, ...]]:
    """Return both by the seeds that they share, in order, and the seeds that only one has."""
    first, second = by_seed(a, "a"), by_seed(b, "b")
    if not isinstance(a, Mapping) and not isinstance(b, Mapping) and len(a) != len(b):
        raise UsageError(f"a holds {len(a)} values and b {len(b)}: pairs need the same seeds on both sides")
    shared = sorted(first.keys() & second.keys())
    if not shared:
        raise UsageError("a and b have no seed in common: run both on the same seeds")
    unmatched = tuple(sorted(first.keys() ^ second.keys()))
    return {seed: first[seed] for seed in shared}, {seed: second[seed] for seed in shared}, unmatched


def _outcome(a: float | None, b: float | None, sign: int) -> int:
    """Return 1, 0 or -1: a won, neither, b won."""
    if a is None or b is None:
        return (a is not None) - (b is not None)
    return (sign * a > sign * b) - (sign * a < sign * b)
