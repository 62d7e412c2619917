"""Published comparisons, recomputed."""

from __future__ import annotations

import json
import math

import pytest

from optrun.experiments.report.statistics.analysis import compare_entries
from optrun.experiments.report.statistics.paired import paired
from optrun.experiments.report.statistics.student import t_tail
from optrun.experiments.report.words.verdicts import pair_sentence

from .simulation import RECORDED

CURVES = {
    name: dict(enumerate(values))
    for name, values in json.loads((RECORDED / "mlp_training_curves.json").read_text(encoding="utf-8")).items()
    if name != "made by"
}
ARGUMENTS = {
    "momentum": {"solver": "sgd", "learning_rate_init": 0.2, "momentum": 0.9, "nesterovs_momentum": False},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.2, "momentum": 0.9, "nesterovs_momentum": True},
    "adam": {"solver": "adam", "learning_rate_init": 0.01},
}


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize(
    ("name", "seed"),
    [("momentum", 0), *(pytest.param(*each, marks=pytest.mark.sample) for each in (("nesterov", 17), ("adam", 39)))],
)
def test_the_recorded_losses_are_those_of_scikit_learn(name, seed):
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import MinMaxScaler

    inputs, targets = load_digits(return_X_y=True)
    network = MLPClassifier(random_state=seed, max_iter=15, **ARGUMENTS[name])
    network.fit(MinMaxScaler().fit_transform(inputs), targets)
    # Other builds of BLAS sum in another order.
    assert network.loss_ == pytest.approx(CURVES[name][seed], rel=1e-4)


def test_the_example_prints_the_losses_of_seed_0():
    """As the gallery of scikit-learn shows them for digits."""
    assert [round(CURVES[name][0], 6) for name in ("momentum", "nesterov", "adam")] == [0.041297, 0.042898, 0.045934]


@pytest.mark.parametrize("margin", [0.0, 0.0005, 0.001])
@pytest.mark.parametrize("n", [10, 20, 40])
def test_momentum_against_nesterov_shows_no_difference(n, margin):
    values = {name: {seed: CURVES[name][seed] for seed in range(n)} for name in ("momentum", "nesterov")}
    found = compare_entries(values, mode="min", margin=margin)
    assert found.pairs[0].verdict.kind == "no difference shown"
    assert found.winner is None
    assert {entry.letters for entry in found.entries} == {"a"}


def test_its_figures():
    found = compare_entries({name: CURVES[name] for name in ("momentum", "nesterov")}, mode="min", margin=0.001)
    pair = found.pairs[0]
    assert pair.result.p == pytest.approx(0.47, abs=0.005)
    assert [round(found.entry(name).mean or 0, 4) for name in ("momentum", "nesterov")] == [0.0422, 0.0419]
    assert [round(found.entry(name).sd or 0, 4) for name in ("momentum", "nesterov")] == [0.0036, 0.0022]
    assert pair_sentence(pair) == (
        "momentum and nesterov: no difference shown (mean difference 0.000343, 95 % CI -0.000612 to 0.0013, p = .47, "
        "n = 40); about 72 seeds would be needed to show one of 0.001"
    )


def test_pairing_pays():
    """Nesterov against Adam: p .0013 paired, .012 unpaired; the same seed correlates .48 to .56."""
    found = paired(CURVES["nesterov"], CURVES["adam"], mode="min")
    assert found.p == pytest.approx(0.0013, abs=0.0001)
    assert found.welch_p == pytest.approx(0.012, abs=0.0005)
    names = [("momentum", "nesterov"), ("momentum", "adam"), ("nesterov", "adam")]
    correlations = [paired(CURVES[a], CURVES[b]).correlation or 0 for a, b in names]
    assert (round(min(correlations), 2), round(max(correlations), 2)) == (0.48, 0.56)


def test_p_of_a_speed_record():
    """modded-nanogpt, record of 2025-01-04: 80 losses against 3.28 give t = -4.015 and p = .0001 (6.7e-5)."""
    assert t_tail(-4.015, 79) == pytest.approx(6.7e-5, rel=0.02)


def test_p_of_a_pull_request():
    """modded-nanogpt, PR 321: n = 20, mean 3.278856, sd .00088: (3.28 - mean) √n = .00511, p about 7e-6."""
    lead = (3.28 - 3.278856) * math.sqrt(20)
    assert lead == pytest.approx(0.00511, abs=1e-5)
    assert t_tail(-lead / 0.00088, 19) == pytest.approx(7e-6, rel=0.1)
