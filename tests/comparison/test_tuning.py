"""Grids, extensions and sweeps."""

from __future__ import annotations

import itertools
import math

import pytest

from optrun.experiments.comparison.tuning import Tuning, grid
from optrun.experiments.config.goal import Goal
from optrun.experiments.errors import UsageError
from optrun.experiments.report.sensitivity import good_range


def tuned(scores, mode="max", centre=0.1):
    listed = {value: [score] if not isinstance(score, list) else score for value, score in scores.items()}
    return Tuning("optimizer.lr", list(scores), Goal("val/score", mode), centre, "test", listed)


def test_the_grid_is_symmetric_around_its_centre_in_steps_of_root_ten():
    values = grid(0.1, 5)
    assert values == [0.01, 0.0316, 0.1, 0.316, 1.0]
    assert grid(0.01, 3) == [0.00316, 0.01, 0.0316]
    for low, high in itertools.pairwise(values):
        assert high / low == pytest.approx(math.sqrt(10), rel=0.01)


def test_two_trials_bracket_nothing():
    with pytest.raises(UsageError, match="at least 3 trials"):
        grid(0.1, 2)


def test_the_best_mean_wins_and_the_smaller_rate_wins_ties():
    assert tuned({0.01: 0.9, 0.1: 0.95, 1.0: 0.95}).best() == 0.1
    assert tuned({0.01: 0.4, 0.1: 0.3, 1.0: 0.5}, mode="min").best() == 0.1


def test_a_rate_with_a_diverged_run_is_never_the_best():
    assert tuned({0.1: [0.5, 0.5], 1.0: [0.99, None]}).best() == 0.1
    everything = tuned({0.1: [None], 1.0: [None]})
    assert everything.best() is None
    assert everything.next_value() < 0.1, "the good rates are below"


@pytest.mark.parametrize(
    ("scores", "edge", "following"),
    [
        ({0.01: 0.9, 0.0316: 0.8, 0.1: 0.7}, -1, 0.00316),
        ({0.0316: 0.7, 0.1: 0.8, 0.316: 0.9}, 1, 1.0),
        ({0.01: 0.7, 0.1: 0.9, 1.0: 0.8}, 0, 0.316),
        ({0.01: 0.8, 0.1: 0.9, 1.0: 0.7}, 0, 0.0316),
        ({0.01: 0.8, 0.1: 0.9, 1.0: [None]}, 0, 0.0316),
    ],
)
def test_one_more_trial_goes_beyond_the_edge_or_beside_the_best(scores, edge, following):
    tuning = tuned(scores)
    assert tuning.at_edge() == edge
    assert tuning.next_value() == pytest.approx(following, rel=0.01)


def test_the_good_range_is_what_is_connected_to_the_best():
    def width(means, margin):
        trials = [{"value": value, "mean": mean, "scores": [mean]} for value, mean in means]
        found = good_range({"tuning": {"trials": trials}}, Goal("val/accuracy", "max", margin))
        return None if found is None else (found.low, found.high)

    means = [(0.01, 0.96), (0.1, 0.90), (0.3, 0.97), (1.0, 0.968), (3.0, None)]
    assert width(means, 0.005) == (0.3, 1.0)
    assert width(means, 0.08) == (0.01, 1.0)
    assert width([(1.0, None)], 0.1) is None
