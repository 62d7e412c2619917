from __future__ import annotations

import pytest
from scipy import stats

from optrun.experiments.errors import UsageError
from optrun.experiments.report.statistics.proportions import clopper_pearson, sign_test, wilson

COUNTS = [(0, 1), (1, 1), (0, 10), (3, 10), (10, 10), (22, 40)]


@pytest.mark.parametrize(("count", "n"), COUNTS)
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_intervals_are_those_of_scipy(count, n, alpha):
    for ours, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
        expected = stats.binomtest(count, n).proportion_ci(1 - alpha, method=method)
        found = ours(count, n, alpha=alpha)
        assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
        assert found.share == count / n
        assert 0 <= found.interval.low <= found.share <= found.interval.high <= 1


def test_published_interval():
    """Wilson's interval for 81 of 263 (Newcombe, Statist. Med. 17, 1998, table I)."""
    found = wilson(81, 263).interval
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    exact = clopper_pearson(81, 263).interval
    assert (round(exact.low, 4), round(exact.high, 4)) == (0.2527, 0.3676)


def test_half_counts_lie_between():
    low, middle, high = (wilson(count, 10).interval for count in (4, 4.5, 5))
    assert low.low < middle.low < high.low
    assert low.high < middle.high < high.high


@pytest.mark.parametrize(("wins", "losses"), [(1, 0), (5, 5), (9, 1), (0, 10), (30, 10)])
def test_sign_test_is_the_binomial_test(wins, losses):
    assert sign_test(wins, losses) == pytest.approx(stats.binomtest(wins, wins + losses).pvalue, rel=1e-9)


def test_sign_test_of_nothing():
    assert sign_test(0, 0) is None


@pytest.mark.parametrize(("count", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_what_is_no_share(count, n):
    with pytest.raises(UsageError, match="no share"):
        wilson(count, n)
    with pytest.raises(UsageError, match="no share"):
        clopper_pearson(count, n)
