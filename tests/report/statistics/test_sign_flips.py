from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from optrun.experiments.errors import UsageError
from optrun.experiments.report.statistics.sign_flips import min_seeds, sign_flip, smallest_p
from optrun.experiments.report.words.limits import too_few_seeds

WHOLE = st.lists(st.integers(-6, 6), min_size=1, max_size=10)


def by_enumeration(differences: list[int]) -> float:
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in signs_of(len(differences))]
    return sum(total >= abs(sum(differences)) for total in sums) / len(sums)


def signs_of(n: int):
    return itertools.product((-1, 1), repeat=n)


@given(WHOLE)
def test_exact_p_is_that_of_all_sign_vectors(differences):
    """Whole numbers: ties are many, and exact."""
    assert sign_flip(differences).p == by_enumeration(differences)


@given(WHOLE)
def test_ties_survive_rounding(differences):
    """The same ties in numbers that binary fractions cannot hold."""
    assert sign_flip([0.9 + d * 0.1 - 0.9 for d in differences]).p == by_enumeration(differences)


@pytest.mark.parametrize("n", [3, 8, 12, 13])
def test_exact_p_is_that_of_scipy(n):
    differences = np.random.default_rng(n).normal(0.5, 1, size=n)
    expected = stats.permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    found = sign_flip(differences.tolist())
    assert found.p == pytest.approx(expected.pvalue, abs=1e-12)
    assert found.method == "exact"


@pytest.mark.parametrize("n", [1, 4, 5, 6, 8, 10, 16, 20, 32])
def test_the_smallest_p_is_reached_by_differences_of_one_sign(n):
    assert sign_flip([0.5 + 0.01 * i for i in range(n)]).p == smallest_p(n) == 2.0 ** (1 - n)


@pytest.mark.parametrize(("n", "p"), [(4, 0.125), (5, 0.0625), (6, 0.031), (8, 0.0078), (10, 0.002)])
def test_smallest_p_as_published(n, p):
    assert smallest_p(n) == pytest.approx(p, rel=0.03)


def test_beyond_the_exact_range_seeded_draws():
    differences = np.random.default_rng(0).normal(0.3, 1.0, size=40).tolist()
    found = sign_flip(differences)
    assert found.num_draws == 99_999
    assert found.method == "99,999 random sign vectors"
    assert found == sign_flip(differences)
    assert found.p != sign_flip(differences, seed=1).p
    assert found.p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, rel=0.15)


def test_draws_agree_with_the_exact_count(monkeypatch):
    differences = np.random.default_rng(1).normal(0.4, 1.0, size=14).tolist()
    exact = sign_flip(differences).p
    monkeypatch.setattr("optrun.experiments.report.statistics.sign_flips.EXACT_UP_TO", 10)
    assert sign_flip(differences).p == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 99_999) ** 0.5)


def test_differences_of_zero_show_nothing():
    assert sign_flip([0.0, 0.0, 0.0]).p == 1.0


@pytest.mark.parametrize("differences", [[], [1.0, None], [float("nan")]])
def test_what_is_no_sample(differences):
    with pytest.raises(UsageError):
        sign_flip(differences)


@pytest.mark.parametrize(("num_pairs", "seeds"), [(1, 6), (3, 7), (10, 9)])
def test_fewest_seeds(num_pairs, seeds):
    assert min_seeds(0.05, num_pairs) == seeds
    assert smallest_p(seeds) <= 0.05 / num_pairs < smallest_p(seeds - 1)


def test_the_warning_before_the_run():
    assert too_few_seeds(10, 0.05, 3) is None
    text = too_few_seeds(6, 0.05, 3)
    assert text == (
        "with 6 seeds the smallest p of the sign-flip test is 0.0312: it needs 7 seeds to reach 0.05 over 3 pairs"
    )
