from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from optrun.experiments.report.statistics.student import (
    Interval,
    correlation,
    spread_of,
    t_above,
    t_interval,
    t_quantile,
    t_tail,
    t_two_sided,
    welch_p,
)
from optrun.experiments.report.words.verdicts import interval_text

RNG = np.random.default_rng(5)
SAMPLES = [RNG.normal(0.4, 2.0, size=n).tolist() for n in (2, 3, 5, 10, 40)]


@pytest.mark.parametrize(
    ("df", "quantile"),
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (5, 2.57058), (9, 2.26216), (19, 2.09302), (29, 2.04523)],
)
def test_quantiles_of_the_tables(df, quantile):
    assert t_quantile(0.975, df) == pytest.approx(quantile, rel=2e-6)


@pytest.mark.parametrize("values", SAMPLES, ids=len)
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_interval_and_p_are_those_of_scipy(values, level):
    expected = stats.ttest_1samp(values, 0.0)
    spread = spread_of(values)
    interval = t_interval(spread, level)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx(tuple(expected.confidence_interval(level)), rel=1e-9)
    assert t_two_sided(spread) == pytest.approx(expected.pvalue, rel=1e-9)
    greater = stats.ttest_1samp(values, 0.3, alternative="greater")
    assert t_above(spread, 0.3) == pytest.approx(greater.pvalue, rel=1e-9)


def test_a_small_p_keeps_its_digits():
    assert t_tail(-40.0, 9) == pytest.approx(stats.t.sf(40.0, 9), rel=1e-9)


def test_one_value_has_no_spread():
    spread = spread_of([0.5])
    assert (spread.mean, spread.sd, spread.standard_error) == (0.5, None, None)
    assert t_interval(spread, 0.95) is None
    assert t_two_sided(spread) is None
    assert t_above(spread, 0.0) is None


@pytest.mark.parametrize("n", [2, 4, 5, 6, 10])
def test_equal_values_are_left_to_sign_flips(n):
    """Of all 2^n sign vectors two are as extreme, so p = 2^(1 - n), and the interval needs 1 - p to reach its level."""
    spread = spread_of([0.25] * n)
    assert t_two_sided(spread) == 2.0 ** (1 - n)
    assert (t_interval(spread, 0.95) is not None) == (n >= 6)


def test_rounding_is_not_taken_for_spread():
    differences = [0.9 - 0.8, 0.8 - 0.7, 0.3 - 0.2]
    assert len(set(differences)) > 1
    assert spread_of(differences, scale=0.9).constant
    assert not spread_of([0.1, 0.1000001], scale=0.9).constant


def test_welch_is_that_of_scipy():
    for a, b in itertools.pairwise(SAMPLES):
        assert welch_p(a, b) == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue, rel=1e-9)


def test_welch_without_spread_or_with_one_value():
    assert welch_p([1.0, 1.0], [2.0, 2.0]) is None
    assert welch_p([1.0], [2.0, 3.0]) is None


def test_correlation_is_that_of_numpy():
    a, b = RNG.normal(size=12), RNG.normal(size=12)
    assert correlation(a.tolist(), b.tolist()) == pytest.approx(np.corrcoef(a, b)[0, 1], rel=1e-9)
    assert correlation([1.0, 2.0], [3.0, 5.0]) is None
    assert correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None


def test_interval():
    interval = Interval(-0.1, 0.3, 0.95)
    assert 0.3 in interval
    assert 0.31 not in interval
    assert -interval == Interval(-0.3, 0.1, 0.95)
    assert interval_text(interval) == "95 % CI -0.1 to 0.3"
    assert math.isclose(interval.level, 0.95)
