from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from optrun.experiments.errors import UsageError
from optrun.experiments.report.statistics import bca_interval, expected_best_of

VALUES = st.lists(st.integers(-20, 20), min_size=1, max_size=7)


@given(VALUES, st.data())
def test_expected_best_is_the_mean_over_all_subsets(values, data):
    k = data.draw(st.integers(1, len(values)))
    subsets = list(itertools.combinations(values, k))
    assert expected_best_of(values, k) == pytest.approx(np.mean([max(s) for s in subsets]))
    assert expected_best_of(values, k, mode="min") == pytest.approx(np.mean([min(s) for s in subsets]))


def test_ends():
    assert expected_best_of([1.0, 5.0, 3.0], 1) == 3.0
    assert expected_best_of([1.0, 5.0, 3.0], 3) == 5.0


@pytest.mark.parametrize(("k", "gain"), [(5, 1.16), (10, 1.54), (20, 1.87)])
def test_normal_trials_gain_what_the_tables_of_order_statistics_say(k, gain):
    values = stats.norm.ppf((np.arange(4000) + 0.5) / 4000).tolist()
    assert expected_best_of(values, k) == pytest.approx(gain, abs=0.01)


def test_diverged_trials_are_the_worst():
    assert expected_best_of([1.0, None, 3.0], 2) == pytest.approx((1 + 3 + 3) / 3)
    assert expected_best_of([1.0, None, 3.0], 2, mode="min") == pytest.approx((1 + 1 + 3) / 3)
    with pytest.raises(UsageError, match="1 of 3 trials diverged"):
        expected_best_of([1.0, None, 3.0], 1)


@pytest.mark.parametrize("k", [0, 4, 1.5, True])
def test_what_is_no_budget(k):
    with pytest.raises(UsageError, match="can be expected from 3 trials"):
        expected_best_of([1.0, 2.0, 3.0], k)


def test_bootstrap_is_that_of_scipy():
    values = np.random.default_rng(6).exponential(size=30)
    expected = stats.bootstrap(
        (values,), np.median, n_resamples=999, method="BCa", rng=np.random.default_rng(3)
    ).confidence_interval
    found = bca_interval(values.tolist(), np.median, seed=3, num_resamples=999)
    assert (found.low, found.high) == (expected.low, expected.high)
    assert found.level == 0.95


def test_bootstrap_of_a_mean_is_near_t_for_normal_values():
    values = np.random.default_rng(7).normal(size=60).tolist()
    found = bca_interval(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.05)


def test_too_few_values_for_a_bootstrap():
    with pytest.raises(UsageError, match="19 values are too few for a bootstrap interval"):
        bca_interval([float(i) for i in range(19)])
    with pytest.raises(UsageError, match="no spread to resample"):
        bca_interval([1.0] * 20)
