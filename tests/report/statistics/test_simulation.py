"""An optimizer against itself, and intervals against the truth, by simulation with known answers."""

from __future__ import annotations

import pytest

from .simulation import DIFFERENCES, SAME, coverage, false_winners

SEEDS = (5, 10, 20)
SYMMETRIC = [kind for kind in DIFFERENCES if kind != "resampled momentum - nesterov"]


def three_errors(share: float, num_repeats: int) -> float:
    """Return three standard errors of a share."""
    return 3 * (share * (1 - share) / num_repeats) ** 0.5


DAILY = [pytest.param(n, marks=() if n == 10 else pytest.mark.sample) for n in SEEDS]


@pytest.mark.parametrize("n", DAILY)
def test_false_winners_in_short(n):
    assert false_winners("signed differences", 2, n, 1000) <= 0.05 + three_errors(0.05, 1000)
    assert false_winners("losses", 3, n, 300) <= 0.05 + three_errors(0.05, 300)


@pytest.mark.parametrize("n", DAILY)
@pytest.mark.parametrize("kind", SYMMETRIC)
def test_coverage_in_short(kind, n):
    assert coverage(kind, n, 1000) == pytest.approx(0.95, abs=three_errors(0.95, 1000))


@pytest.mark.slow
@pytest.mark.parametrize("n", SEEDS)
@pytest.mark.parametrize("kind", ["signed differences", *SAME])
@pytest.mark.parametrize("num_entries", [2, 3, 5])
def test_false_winners(kind, num_entries, n):
    if kind == "signed differences" and num_entries > 2:
        pytest.skip("differences are those of one pair")
    assert false_winners(kind, num_entries, n, 4000) <= 0.057


@pytest.mark.slow
@pytest.mark.parametrize("n", SEEDS)
@pytest.mark.parametrize("kind", SYMMETRIC)
def test_coverage(kind, n):
    assert 0.94 <= coverage(kind, n, 4000) <= 0.96


@pytest.mark.slow
@pytest.mark.parametrize(("n", "least"), [(5, 0.90), (10, 0.92), (20, 0.93)])
def test_coverage_of_skewed_differences(n, least):
    """The known limit of t: resampled differences with skewness 0.7 are covered less often, below 20 seeds."""
    assert least <= coverage("resampled momentum - nesterov", n, 4000) <= 0.95
