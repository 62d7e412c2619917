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
    states = {value: ["diverged" if score is None else "done" for score in each] for value, each in listed.items()}
    return Tuning("optimizer.lr", list(scores), Goal("val/score", mode), centre, "test", listed, states)


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


def of_states(states):
    """Return a search in which each value has the states of its runs, and 0.9 where these are done."""
    scores = {value: [0.9 if state == "done" else None for state in each] for value, each in states.items()}
    return Tuning("optimizer.lr", list(states), Goal("val/score", "max"), 0.1, "test", scores, states)


@pytest.mark.parametrize("lost", ["failed", "unmeasured", "unfinished"])
def test_runs_that_did_not_diverge_do_not_say_that_a_rate_is_too_high(lost):
    nothing = of_states({0.0316: [lost, lost], 0.1: [lost, lost], 0.316: [lost, lost]})
    assert (nothing.best(), nothing.known(), nothing.at_edge(), nothing.bracketed) == (None, [], 0, False)
    assert nothing.extend() is None
    assert len(nothing.values) == 3
    diverged = of_states({0.0316: [lost, lost], 0.1: ["diverged", lost], 0.316: [lost, lost]})
    assert (diverged.best(), diverged.at_edge()) == (None, -1)
    assert diverged.extend() == pytest.approx(0.01)


@pytest.mark.parametrize("lost", ["failed", "unmeasured", "unfinished"])
def test_a_value_of_which_nothing_is_known_brackets_no_other(lost):
    tuning = of_states({0.0316: [lost], 0.1: ["done"], 0.316: ["diverged"]})
    assert (tuning.best(), tuning.at_edge(), tuning.bracketed) == (0.1, -1, False)
    assert tuning.extend() == pytest.approx(0.01)
    assert of_states({0.0316: ["diverged"], 0.1: ["done"], 0.316: ["diverged"]}).bracketed
    half = of_states({0.1: ["done", lost], 0.316: ["done", "done"], 1.0: ["done", "done"]})
    assert half.best() == 0.316, "a mean over fewer seeds is compared with no other"


def test_the_good_range_is_closed_by_what_is_worse_alone():
    def ends(state):
        means = [(0.01, None, state), (0.1, 0.9, "done"), (1.0, None, state)]
        trials = [{"value": v, "mean": mean, "scores": [mean], "states": [of]} for v, mean, of in means]
        found = good_range({"tuning": {"trials": trials}}, Goal("val/accuracy", "max", 0.005))
        return None if found is None else (found.low, found.high, found.closed_low, found.closed_high)

    assert ends("diverged") == (0.1, 0.1, True, True)
    assert ends("failed") == ends("unmeasured") == (0.1, 0.1, False, False)
