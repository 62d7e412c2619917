from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from optrun.experiments.errors import UsageError
from optrun.experiments.report.statistics.power import power_of, seeds_needed
from optrun.experiments.report.statistics.sign_flips import min_seeds


@pytest.mark.parametrize(("effect", "n"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_published_sample_sizes(effect, n):
    """Paired t test, two-sided 0.05, power 0.8: as G*Power 3 and R's power.t.test(type = "paired") give them."""
    assert seeds_needed(1.0, effect) == n


def test_sample_size_of_a_published_comparison():
    """Digits MLP, momentum against Adam: 95 % CI -0.0034 to 0.0098 with n = 30; about 275 seeds for 0.003."""
    sd = 0.0066 / stats.t.ppf(0.975, 29) * math.sqrt(30)
    assert seeds_needed(sd, 0.003) == pytest.approx(275, abs=2)


@pytest.mark.parametrize("ratio", [1.5, 3.0, 10.0])
def test_the_rule_of_thumb(ratio):
    assert seeds_needed(ratio, 1.0) == pytest.approx(2 + 7.85 * ratio**2, abs=1)


@pytest.mark.parametrize(("sd", "margin"), [(1.0, 0.7), (0.02, 0.005), (3.0, 10.0)])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 3])
def test_it_is_the_fewest(sd, margin, power, alpha):
    n = seeds_needed(sd, margin, power, alpha)
    assert power_of(n, margin / sd, alpha) >= power
    assert n == 2 or power_of(n - 1, margin / sd, alpha) < power


def test_power_is_that_of_simulated_tests():
    rng = np.random.default_rng(4)
    p = stats.ttest_1samp(rng.normal(0.8, 1.0, size=(20_000, 10)), 0, axis=1).pvalue
    assert power_of(10, 0.8) == pytest.approx((p <= 0.05).mean(), abs=0.01)


def test_a_very_large_number_is_found_at_once():
    assert seeds_needed(300.0, 1.0) == pytest.approx(7.8489 * 300**2, rel=1e-3)
    assert seeds_needed(1e-9, 1.0) == 2


def test_continuity_where_the_normal_distribution_takes_over():
    below, above = seeds_needed(112.8, 1.0), seeds_needed(112.9, 1.0)
    assert below < 100_000 < above
    assert above - below == pytest.approx(7.8489 * (112.9**2 - 112.8**2), abs=2)


def test_without_spread_the_sign_flips_decide():
    assert seeds_needed(0.0, 0.5) == min_seeds(0.05)


@pytest.mark.parametrize(
    ("sd", "margin", "power", "message"),
    [
        (1.0, 0.0, 0.8, "margin = 0.0"),
        (1.0, -1.0, 0.8, "margin = -1.0"),
        (-1.0, 1.0, 0.8, "sd = -1.0"),
        (1.0, 1.0, 1.0, "power = 1.0"),
        (1.0, 1.0, 80, "power = 80"),
    ],
)
def test_what_has_no_answer(sd, margin, power, message):
    with pytest.raises(UsageError, match=message):
        seeds_needed(sd, margin, power)
