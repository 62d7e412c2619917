"""Learning curves over seeds: the grid, median and band, and runs that end early or diverge."""

from __future__ import annotations

import math

import numpy as np
import pytest

from optrun.experiments.report.learning_curves import aggregate, gradients_per_step, smoothed, thinned
from optrun.experiments.run_directory.run import Run

from .conftest import write_run


def runs_of(tmp_path, curves, **facts):
    return [Run(write_run(tmp_path / f"run-{i}", seed=i, curve=curve, **facts)) for i, curve in enumerate(curves)]


def test_median_and_quartiles_are_numpys(tmp_path):
    curves = np.random.default_rng(0).uniform(0.1, 0.9, size=(7, 4))
    band = aggregate(runs_of(tmp_path, curves.tolist()), "val/accuracy")
    assert band is not None
    assert band.band == "quartiles"
    assert band.steps.tolist() == [5, 10, 15, 20]
    np.testing.assert_allclose(band.median, np.median(curves, axis=0))
    np.testing.assert_allclose(band.low, np.quantile(curves, 0.25, axis=0))
    np.testing.assert_allclose(band.high, np.quantile(curves, 0.75, axis=0))
    assert band.counts.tolist() == [7, 7, 7, 7]


def test_few_runs_get_their_extremes(tmp_path):
    band = aggregate(runs_of(tmp_path, [[0.2, 0.4], [0.3, 0.1]]), "val/accuracy")
    assert band is not None
    assert band.band == "min-max"
    assert (band.low.tolist(), band.high.tolist()) == ([0.2, 0.1], [0.3, 0.4])


def test_a_run_that_diverged_counts_as_worst_and_is_marked(tmp_path):
    runs = runs_of(tmp_path, [[0.5, 0.6, 0.7, 0.8], [0.5, 0.6, 0.7, 0.9]])
    runs.append(Run(write_run(tmp_path / "lost", seed=7, curve=[0.9, 0.95], outcome="diverged")))
    band = aggregate(runs, "val/accuracy")
    assert band is not None
    assert band.median.tolist() == [0.5, 0.6, 0.7, 0.8]  # of {-inf, 0.8, 0.9}: not the 0.85 of those that are left
    assert np.isnan(band.low[2:]).all()
    assert band.counts.tolist() == [3, 3, 2, 2]
    (end,) = band.endings
    assert (end.seed, end.step, end.value, end.x["epoch"]) == (7, 10, 0.95, 2.0)


def test_where_most_diverged_the_median_has_too(tmp_path):
    runs = runs_of(tmp_path, [[0.5], [0.6]], outcome="diverged")
    runs.append(Run(write_run(tmp_path / "left", curve=[0.4, 0.5, 0.6, 0.7])))
    band = aggregate(runs, "val/accuracy")
    assert band is not None
    assert np.isnan(band.median[1:]).all()
    assert len(band.endings) == 2


def test_a_null_at_the_end_is_a_divergence(tmp_path):
    band = aggregate(runs_of(tmp_path, [[0.5, 0.4, None]], outcome="diverged"), "val/accuracy")
    assert band is not None
    assert [(end.step, end.value) for end in band.endings] == [(10, 0.4)]


def test_a_run_that_stopped_early_is_left_out_after_its_end(tmp_path):
    runs = runs_of(tmp_path, [[0.1, 0.2, 0.3], [0.5]], outcome="stopped")
    band = aggregate(runs, "val/accuracy")
    assert band is not None
    assert band.median.tolist() == pytest.approx([0.3, 0.2, 0.3])
    assert (band.counts.tolist(), band.endings) == ([2, 1, 1], [])


def test_a_run_that_diverged_before_its_first_value_is_not_forgotten(tmp_path):
    band = aggregate(runs_of(tmp_path, [[]], outcome="diverged"), "val/accuracy")
    assert band is not None
    assert (len(band), len(band.endings), band.endings[0].value) == (0, 1, None)


def test_a_metric_that_no_run_has_gives_nothing(tmp_path):
    assert aggregate(runs_of(tmp_path, [[0.1]]), "val/error") is None


def test_gradient_evaluations_follow_the_optimizer(tmp_path):
    band = aggregate(runs_of(tmp_path, [[0.1, 0.2]], gradients=2), "val/accuracy")
    assert band is not None
    assert band.x["gradient_evaluations"].tolist() == [10, 20]
    assert gradients_per_step(Run(write_run(tmp_path / "none", curve=[]))) == 1


def test_smoothing_is_the_corrected_moving_average():
    assert smoothed(np.array([1.0, 1.0, 1.0]), 0.9).tolist() == pytest.approx([1, 1, 1])
    values = smoothed(np.array([0.0, math.nan, 1.0]), 0.5)
    assert values[0] == 0
    assert math.isnan(values[1])
    assert values[2] == pytest.approx(0.5 / 0.75)
    with pytest.raises(ValueError, match="below 1"):
        smoothed(np.array([1.0]), 1.0)


def test_thinning_keeps_both_ends():
    kept = thinned(1000, 100)
    assert (len(kept), kept[0], kept[-1]) == (100, 0, 999)
    assert thinned(5).tolist() == [0, 1, 2, 3, 4]
