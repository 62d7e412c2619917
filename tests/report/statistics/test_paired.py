from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from optrun.experiments.errors import UsageError
from optrun.experiments.report.statistics.paired import paired
from optrun.experiments.report.words.limits import pair_limits

NUMBERS = st.integers(-10_000, 10_000).map(lambda n: n / 1000)
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=20)
RNG = np.random.default_rng(3)
A, B = (RNG.normal(0.9, 0.02, size=10).tolist() for _ in range(2))


def test_the_paired_test_is_that_of_scipy():
    expected = stats.ttest_rel(A, B)
    found = paired(A, B)
    assert found.test == "t"
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.mean == pytest.approx(np.mean(A) - np.mean(B))
    assert found.sd == pytest.approx(np.std(np.subtract(A, B), ddof=1))
    assert found.standard_error == pytest.approx(stats.sem(np.subtract(A, B)))
    assert found.welch_p == pytest.approx(stats.ttest_ind(A, B, equal_var=False).pvalue)
    assert found.correlation == pytest.approx(stats.pearsonr(A, B).statistic)
    assert found.better.count == sum(a > b for a, b in zip(A, B, strict=True))


@given(PAIRS)
def test_swapped_sides_say_the_opposite(pairs):
    a, b = map(list, zip(*pairs, strict=True))
    for mode in ("max", "min"):
        one, other = paired(a, b, mode=mode), paired(b, a, mode=mode)
        assert one.p == other.p
        assert one.sign_flip == other.sign_flip
        assert one.mean == -other.mean
        assert one.interval == (None if other.interval is None else -other.interval)
        assert one.better.count == other.n - other.better.count
        assert one.outcomes == tuple(-outcome for outcome in other.outcomes)


@given(PAIRS, st.integers(-8, 8))
def test_a_shift_of_both_changes_nothing(pairs, shift):
    a, b = map(list, zip(*pairs, strict=True))
    here, there = paired(a, b), paired([x + shift for x in a], [x + shift for x in b])
    assume(not here.identical and here.test == "t")
    assert there.p == pytest.approx(here.p, rel=1e-5, abs=1e-12)
    assert there.mean == pytest.approx(here.mean, abs=1e-9)


@given(PAIRS)
def test_the_mode_turns_only_what_is_better(pairs):
    a, b = map(list, zip(*pairs, strict=True))
    most, least = paired(a, b, mode="max"), paired(a, b, mode="min")
    assert (most.p, most.interval, most.mean) == (least.p, least.interval, least.mean)
    assert most.better.count + least.better.count == len(pairs)
    assert (most.direction, least.direction) == (1, -1)


def test_seeds_are_matched_by_number():
    found = paired({3: 1.0, 1: 2.0, 2: 5.0}, {2: 4.0, 3: 0.5, 1: 1.0})
    assert found.seeds == (1, 2, 3)
    assert found.differences == (1.0, 1.0, 0.5)


def test_seeds_without_a_partner_are_named():
    found = paired({1: 1.0, 2: 2.0, 7: 3.0}, {1: 0.5, 2: 1.0, 3: 0.0})
    assert found.n == 2
    assert found.unmatched == (3, 7)
    assert "left out, because only one entry has them: 2 seeds (3, 7)" in pair_limits(found)


def test_identical_runs_have_no_p():
    found = paired([0.5, 0.25, 0.125], [0.5, 0.25, 0.125])
    assert found.identical
    assert (found.p, found.sign_flip, found.test, found.mean) == (None, None, "none", 0.0)
    assert (found.better.share, found.num_ties) == (0.5, 3)


def test_one_seed():
    found = paired([0.5], [0.25])
    assert (found.n, found.mean, found.sd, found.interval, found.p) == (1, 0.25, None, None, None)
    assert "one seed shows no spread: there is no interval and no p" in pair_limits(found)


def test_two_seeds():
    found = paired([0.5, 0.75], [0.25, 0.25])
    expected = stats.ttest_rel([0.5, 0.75], [0.25, 0.25])
    assert found.p == pytest.approx(expected.pvalue)
    assert found.correlation is None
    assert any("one degree of freedom" in limit for limit in pair_limits(found))
    assert any("needs 6 seeds to reach 0.05" in limit for limit in pair_limits(found))


def test_equal_differences_are_not_a_proof():
    """scipy gives p = 0 here, from two seeds on; by sign flips it is 2^(1 - n)."""
    few, many = paired([1.5, 2.5], [1.0, 2.0]), paired([k + 0.5 for k in range(8)], [float(k) for k in range(8)])
    assert (few.test, few.p, few.interval) == ("sign-flip", 0.5, None)
    assert many.p == 2.0**-7
    assert many.interval is not None
    assert (many.interval.low, many.interval.high) == (0.5, 0.5)
    assert any("all differences are equal" in limit for limit in pair_limits(few))


def test_equal_differences_in_steps_of_a_metric():
    """One more right answer of 359 in each seed: equal but for rounding."""
    a, b = [(k + 1) / 359 for k in (320, 331, 340)], [k / 359 for k in (320, 331, 340)]
    assert len({x - y for x, y in zip(a, b, strict=True)}) > 1
    assert paired(a, b).test == "sign-flip"


def test_a_diverged_run_loses_and_withholds_the_mean():
    found = paired([0.9, None, 0.9, 0.9, math.nan], [0.8, 0.8, 0.95, None, math.inf], mode="max")
    assert found.outcomes == (1, -1, -1, 1, 0)
    assert (found.mean, found.sd, found.interval, found.sign_flip) == (None, None, None, None)
    assert (found.num_diverged_a, found.num_diverged_b) == (2, 2)
    assert found.test == "sign"
    assert found.p == 1.0
    assert found.better.share == 0.5
    assert found.success_a.share == 0.6
    assert found.differences == (pytest.approx(0.1), None, pytest.approx(-0.05), None, None)
    assert any("the exact sign test decides" in limit for limit in pair_limits(found))


@pytest.mark.parametrize("mode", ["max", "min"])
def test_always_diverging_loses_in_either_mode(mode):
    found = paired([None] * 8, [0.5] * 8, mode=mode)
    assert found.outcomes == (-1,) * 8
    assert found.p == pytest.approx(2 / 2**8)
    assert (found.median_a, found.median_b) == (None, 0.5)
    assert found.center == -found.direction * math.inf


@pytest.mark.parametrize("mode", ["max", "min"])
def test_medians_hold_diverged_runs_as_the_worst(mode):
    values = [None, 0.2, 0.4, 0.6, 0.8]
    assert paired(values, values, mode=mode).median_a == (0.4 if mode == "max" else 0.6)


def test_both_diverged_everywhere():
    found = paired([None, None], [None, None])
    assert (found.p, found.test, found.center) == (None, "none", None)
    assert not found.identical


def test_identical_with_the_same_seed_diverged():
    assert paired([0.5, None], [0.5, None]).identical
    assert not paired([0.5, None], [0.5, 0.5]).identical


@pytest.mark.parametrize(
    ("outcomes", "center"),
    [
        ([1.0, 2.0, "win"], 2.0),
        ([1.0, "win"], 1.0),
        (["loss", "win"], 0.0),
        (["loss", 1.0], 0.0),
        ([-2.0, "loss"], -2.0),
        (["win", "win", -5.0], math.inf),
    ],
)
def test_the_center_of_differences_without_bound(outcomes, center):
    a = [None if o == "loss" else 0.0 if o == "win" else o for o in outcomes]
    b = [None if o == "win" else 0.0 for o in outcomes]
    assert paired(a, b).center == center
    assert paired(b, a).center == -center


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1.0], [1.0, 2.0], "a holds 1 values and b 2"),
        ({1: 1.0}, {2: 1.0}, "no seed in common"),
        ([], [], "no seed in common"),
        (["0.5"], [1.0], r"a\[0\] is '0.5'"),
        ([1.0], [True], r"b\[0\] is True"),
        ([1.0], [[2.0]], r"b\[0\] is \[2.0\]"),
    ],
)
def test_what_cannot_be_compared(a, b, message):
    with pytest.raises(UsageError, match=message):
        paired(a, b)


def test_wrong_arguments():
    with pytest.raises(UsageError, match="alpha = 95"):
        paired([1.0], [2.0], alpha=95)
    with pytest.raises(UsageError, match="mode = 'lower'"):
        paired([1.0], [2.0], mode="lower")


def test_arrays_are_values_too():
    assert paired(np.array([1.0, 2.0, 4.0]), np.zeros(3)).mean == pytest.approx(7 / 3)
