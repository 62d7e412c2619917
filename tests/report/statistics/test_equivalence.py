from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from optrun.experiments.errors import UsageError
from optrun.experiments.report.statistics.equivalence import Equivalence, equivalence
from optrun.experiments.report.statistics.samples import finite
from optrun.experiments.report.statistics.student import spread_of

DIFFERENCES = np.random.default_rng(8).normal(0.001, 0.003, size=12).tolist()


def equivalent(differences, margin: float, alpha: float = 0.05) -> Equivalence:
    return equivalence(spread_of(finite(differences, "differences")), margin, alpha)


def test_p_is_the_larger_of_two_one_sided_tests_of_scipy():
    above = stats.ttest_1samp(DIFFERENCES, -0.004, alternative="greater").pvalue
    below = stats.ttest_1samp(DIFFERENCES, 0.004, alternative="less").pvalue
    found = equivalent(DIFFERENCES, 0.004)
    assert found.p == pytest.approx(max(above, below), rel=1e-9)
    assert found.interval is not None
    expected = stats.ttest_1samp(DIFFERENCES, 0).confidence_interval(0.9)
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high))


@given(
    st.lists(st.integers(-50, 50), min_size=2, max_size=12),
    st.integers(0, 60),
    st.sampled_from([0.05, 0.01]),
)
def test_it_holds_when_the_interval_is_inside(differences, margin, alpha):
    found = equivalent(differences, margin, alpha)
    inside = found.interval is not None and -margin < found.interval.low and found.interval.high < margin
    assert found.holds == inside or found.p == pytest.approx(alpha)
    mirrored = equivalent([-d for d in differences], margin, alpha)
    assert (mirrored.holds, mirrored.p) == (found.holds, pytest.approx(found.p))


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=12), st.integers(0, 60), st.integers(0, 20))
def test_a_wider_margin_holds_too(differences, margin, more):
    assert not equivalent(differences, margin).holds or equivalent(differences, margin + more).holds


def test_nothing_is_equivalent_within_zero():
    assert not equivalent([0.0] * 20, 0.0).holds


def test_one_value_shows_nothing():
    found = equivalent([0.0], 1.0)
    assert (found.holds, found.p, found.interval) == (False, None, None)


@pytest.mark.parametrize(("n", "holds"), [(4, False), (5, True)])
def test_equal_differences_take_as_many_seeds_as_sign_flips(n, holds):
    """One-sided, 2^-n has to reach 0.05."""
    assert equivalent([0.001] * n, 0.01).holds == holds


def test_a_false_equivalence_is_rare():
    """At a true difference of exactly the margin, at most alpha (here about 5 %) are called equivalent."""
    rng = np.random.default_rng(2)
    false = sum(equivalent(rng.normal(1.0, 0.5, size=10).tolist(), 1.0).holds for _ in range(2000))
    assert false / 2000 == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize("margin", [-0.1, float("inf"), float("nan"), True])
def test_what_is_no_margin(margin):
    with pytest.raises(UsageError, match="margin"):
        equivalent([0.1, 0.2], margin)


def test_a_diverged_run_has_no_difference():
    with pytest.raises(UsageError, match=r"differences\[1\]"):
        equivalent([0.1, None], 0.5)
