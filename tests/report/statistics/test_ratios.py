from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from optrun.experiments.errors import UsageError
from optrun.experiments.report.statistics.ratios import time_ratio

FAST = {0: 10.0, 1: 12.0, 2: 9.0, 3: 11.0, 4: 10.0}
SLOW = {0: 18.0, 1: 23.0, 2: 15.0, 3: 21.0, 4: 17.0}
ALL = dict.fromkeys(FAST, True)


def test_ratio_is_that_of_the_geometric_means():
    found = time_ratio(FAST, SLOW, ALL, ALL)
    logs = np.log([SLOW[seed] / FAST[seed] for seed in FAST])
    expected = stats.ttest_1samp(logs, 0)
    interval = expected.confidence_interval(0.95)
    assert found.ratio == pytest.approx(math.exp(logs.mean()))
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((math.exp(interval.low), math.exp(interval.high)))


def test_swapped_sides_give_the_inverse():
    one, other = time_ratio(FAST, SLOW, ALL, ALL), time_ratio(SLOW, FAST, ALL, ALL)
    assert one.ratio is not None
    assert other.ratio == pytest.approx(1 / one.ratio)
    assert other.p == pytest.approx(one.p)


def test_one_missed_run_withholds_the_ratio():
    found = time_ratio(FAST, SLOW, ALL, {**ALL, 3: False})
    assert (found.ratio, found.interval, found.p) == (None, None, None)
    assert found.withheld == "0 of 5 and 1 of 5 runs missed it"


def test_equal_times():
    found = time_ratio(FAST, FAST, ALL, ALL)
    assert (found.ratio, found.p) == (1.0, None)


def test_one_seed_has_no_interval():
    found = time_ratio({0: 10}, {0: 15}, {0: True}, {0: True})
    assert (found.ratio, found.interval, found.p) == (pytest.approx(1.5), None, None)


def test_what_has_no_ratio():
    with pytest.raises(UsageError, match=r"a\[0\] is 0"):
        time_ratio({0: 0}, {0: 5}, {0: True}, {0: True})
    with pytest.raises(UsageError, match="reached_b says nothing about seed 1"):
        time_ratio({0: 1, 1: 2}, {0: 1, 1: 2}, {0: True, 1: True}, {0: True})
    with pytest.raises(UsageError, match="has no time"):
        time_ratio({0: None}, {0: 5}, {0: True}, {0: True})
    with pytest.raises(UsageError, match="no seed in common"):
        time_ratio({0: 1}, {1: 5}, {0: True}, {1: True})
