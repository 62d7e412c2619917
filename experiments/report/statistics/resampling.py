"""What the best of several trials is worth, and the bootstrap for samples that are large enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ...errors import UsageError
from .samples import Mode, by_seed, check_alpha, check_mode, finite
from .student import Interval

BOOTSTRAP_FROM = 20  # values; below, a nominal 95 % interval of the mean covers about 90 % or less


def expected_best_of(values: Sequence[float | None], k: int, *, mode: Mode = "max") -> float:
    """Return the expected best of k random trials out of the n that were run: what a smaller budget would have found.

    E = Σ_i C(i - 1, k - 1) / C(n, k) · x_(i) over the values in order, worst first: the mean of the best over all
    subsets of size k, which is unbiased.

    Args:
        values: one per trial; None for one that diverged, which is worse than every number.
        k: trials in the budget, from 1 to n.
        mode: whether more (`max`) or less (`min`) is better.

    Raises:
        UsageError: k out of range, or so many diverged that all k trials may have.

    Source: Dodge et al., "Show your work", EMNLP 2019; the unbiased form: Tang et al., ACL 2020.
    """
    check_mode(mode)
    trials = list(by_seed(values).values())
    n, good = len(trials), [value for value in trials if value is not None]
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= n:
        raise UsageError(f"k = {k!r}: the best of 1 to {n} trials can be expected from {n} trials")
    num_diverged = n - len(good)
    if k <= num_diverged:
        raise UsageError(
            f"k = {k}: {num_diverged} of {n} trials diverged, so that all {k} may have; ask for k above that"
        )
    ordered = sorted(good, reverse=mode == "min")
    total = math.comb(n, k)
    return math.fsum(math.comb(num_diverged + i, k - 1) / total * value for i, value in enumerate(ordered))


def bca_interval(
    values: Sequence[float],
    statistic: Callable[..., Any] | None = None,
    *,
    seed: int = 0,
    alpha: float = 0.05,
    num_resamples: int = 9_999,
) -> Interval:
    """Return the bias-corrected and accelerated bootstrap interval of a statistic, for 20 values or more.

    Args:
        values: independent values, such as one per seed.
        statistic: of an array, with or without `axis`; the mean without one.
        seed: of the resampling.
        alpha: the interval has level 1 - alpha.
        num_resamples: bootstrap samples.

    Raises:
        UsageError: fewer than 20 values, for which the interval would be too narrow; or no spread to resample.

    Source: Efron, "Better bootstrap confidence intervals", JASA 82, 1987.
    """
    import numpy as np
    from scipy import stats

    check_alpha(alpha)
    numbers = np.asarray(finite(values, "values"))
    if len(numbers) < BOOTSTRAP_FROM:
        raise UsageError(
            f"{len(numbers)} values are too few for a bootstrap interval, which would be too narrow: "
            f"use Student's t, or run at least {BOOTSTRAP_FROM} seeds"
        )
    if numbers.min() == numbers.max():
        raise UsageError(f"all {len(numbers)} values are {numbers[0]:g}: there is no spread to resample")
    found = stats.bootstrap(
        (numbers,),
        np.mean if statistic is None else statistic,
        n_resamples=num_resamples,
        confidence_level=1 - alpha,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(found.low), float(found.high), 1 - alpha)
