from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrun.experiments.errors import UsageError
from optrun.experiments.report.statistics.censored import expected_running_time, kaplan_meier, restricted_mean

# Remission times of leukaemia patients under 6-MP, in weeks (Freireich et al., Blood 21, 1963; Gehan, 1965).
WEEKS = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
RELAPSED = [w in (7, 13, 16, 22, 23) for w in WEEKS]
RELAPSED[:3] = [True, True, True]
RELAPSED[6] = True
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def test_published_medians():
    """R's survfit(conf.type = "log-log") on these data: 23 (13, NA) and 8 (4, 11)."""
    treated = kaplan_meier(WEEKS, RELAPSED)
    assert (treated.median, treated.low, treated.high) == (23, 13, None)
    placebo = kaplan_meier(PLACEBO, [True] * 21)
    assert (placebo.median, placebo.low, placebo.high) == (8, 4, 11)


def test_published_restricted_mean():
    """R's print(survfit(...), rmean = 35): 23.3 (2.83) and 8.67 (1.38)."""
    treated = restricted_mean(WEEKS, RELAPSED, 35)
    assert (round(treated.mean, 1), round(treated.standard_error, 2)) == (23.3, 2.83)
    placebo = restricted_mean(PLACEBO, [True] * 21, 35)
    assert (round(placebo.mean, 2), round(placebo.standard_error, 2)) == (8.67, 1.38)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=15), st.integers(1, 40))
def test_without_misses_it_is_the_plain_mean(times, horizon):
    found = restricted_mean(times, [True] * len(times), horizon)
    cut = np.minimum(times, horizon)
    assert found.mean == pytest.approx(cut.mean())
    assert found.standard_error == pytest.approx(cut.std() / math.sqrt(len(times)), abs=1e-9)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=15))
def test_misses_at_the_horizon_count_as_the_horizon(times):
    reached = [time < 20 for time in times]
    spent = [min(time, 20) for time in times]
    assert restricted_mean(spent, reached, 20).mean == pytest.approx(np.mean(spent))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=15))
def test_the_median_without_misses_is_the_lower_middle(times):
    found = kaplan_meier(times, [True] * len(times))
    assert found.median == sorted(times)[(len(times) - 1) // 2]
    assert found.low is None or found.low <= found.median
    assert found.high is None or found.high >= found.median


def test_fewer_than_half_reached_it():
    found = kaplan_meier([3, 5, 10, 10, 10, 10, 10], [True, True, False, False, False, False, False])
    assert (found.median, found.high) == (None, None)
    assert str(found.reached) == "2/7"
    assert found.expected == (3 + 5 + 5 * 10) / 2


def test_nobody_reached_it():
    found = kaplan_meier([10, 10], [False, False])
    assert (found.median, found.low, found.high, found.expected) == (None, None, None, None)
    assert found.reached.interval.low == 0
    assert restricted_mean([10, 10], [False, False], 10).mean == 10
    assert restricted_mean([10, 10], [False, False], 10).standard_error == 0


@pytest.mark.parametrize("n", [1, 5])
def test_all_at_once(n):
    """The upper band has no value where nobody is left: the interval is open there."""
    found = kaplan_meier([4] * n, [True] * n)
    assert (found.median, found.low, found.high) == (4, 4, None)


def test_expected_running_time():
    assert expected_running_time([100, 200, 300], [True, True, False]) == 300
    assert expected_running_time([100], [False]) is None


def test_a_horizon_beyond_the_last_run_has_no_mean():
    with pytest.raises(UsageError, match="watched until 10 without reaching the target"):
        restricted_mean([3, 10], [True, False], 20)
    assert restricted_mean([3, 10], [False, True], 20).mean == 10


@pytest.mark.parametrize(
    ("times", "reached", "message"),
    [
        ([], [], "holds 0 of at least 1"),
        ([1, 2], [True], "2 times and 1 answers"),
        ([-1], [True], "a time is at least 0"),
        ([math.nan], [True], r"times\[0\]"),
    ],
)
def test_what_are_no_times(times, reached, message):
    for function in (kaplan_meier, expected_running_time):
        with pytest.raises(UsageError, match=message):
            function(times, reached)
    with pytest.raises(UsageError, match=message):
        restricted_mean(times, reached, 5)


@pytest.mark.parametrize("horizon", [0, -1, math.inf])
def test_what_is_no_horizon(horizon):
    with pytest.raises(UsageError, match="horizon"):
        restricted_mean([1], [True], horizon)


@pytest.mark.parametrize("seed", range(20))
def test_survival_and_its_bands_are_scipys(seed):
    import warnings

    from scipy import stats

    from optrun.experiments.report.statistics.censored import _survival

    draw = random.Random(seed)
    spent = [float(draw.randint(1, 12)) for _ in range(draw.randint(2, 25))]
    hits = [draw.random() < 0.7 for _ in spent]
    points, shares, low, high = _survival(spent, hits, 0.95)
    survival = stats.ecdf(stats.CensoredData.right_censored(spent, [not hit for hit in hits])).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        bands = survival.confidence_interval(0.95, method="log-log")
    assert points == list(survival.quantiles)
    assert shares == pytest.approx(list(survival.probabilities), abs=1e-12)
    for index, share in enumerate(shares):
        if 1e-12 < share < 1 - 1e-12:
            assert low[index] == pytest.approx(bands.low.probabilities[index], rel=1e-9)
            assert high[index] == pytest.approx(bands.high.probabilities[index], rel=1e-9)
