"""Races over test functions: the ways against closed forms and torch, divergence, names and overrides, bad requests."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from optrun.experiments.components.optimizers import registry as optimizers
from optrun.experiments.errors import UsageError
from optrun.experiments.studies.trajectories import DEFAULT_RULES, PICTURES, Race, race

BOWL = """
import torch
from torch import nn

class Bowl(nn.Module):
    def __init__(self, start: tuple[float, ...] = (1.0, 2.0)):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(start))

    def forward(self, inputs):
        return (self.w[0] ** 2 + 3 * self.w[1] ** 2).expand(len(inputs))
"""


def test_gradient_descent_goes_where_the_closed_form_says() -> None:
    """Each part of w shrinks by 1 - lr h in each step."""
    done = race("quadratic", ["sgd"], ["sgd:lr=1.5", "model.spectrum=[1, 0.1]"], steps=12, start=(1.0, -0.5))
    (way,) = done.trajectories
    factors = 1 - 1.5 * np.array([1.0, 0.1])
    expected = np.array([1.0, -0.5]) * factors ** np.arange(13)[:, None]
    np.testing.assert_allclose(way.points, expected, rtol=1e-5)
    np.testing.assert_allclose(way.values, 0.5 * (expected**2 * [1.0, 0.1]).sum(axis=1), rtol=1e-4, atol=1e-12)
    assert (way.steps, way.lr, way.outcome) == (12, 1.5, "done")
    assert way.distance == pytest.approx(float(np.linalg.norm(expected[-1])), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "torchs"),
    [
        ("mom", lambda w: torch.optim.SGD(w, lr=0.005, momentum=0.9)),
        ("nag", lambda w: torch.optim.SGD(w, lr=0.005, momentum=0.9, nesterov=True)),
        ("adagrad", lambda w: torch.optim.Adagrad(w, lr=1.0)),
        ("adam", lambda w: torch.optim.Adam(w, lr=0.2)),
    ],
)
def test_a_way_on_beale_is_that_of_a_loop_written_by_hand(name, torchs) -> None:
    (way,) = race("beale", [name], steps=40).trajectories
    w = torch.tensor([1.0, 1.5], requires_grad=True)
    optimizer, points = torchs([w]), [w.tolist()]
    for _ in range(40):
        x, y = w[0], w[1]
        optimizer.zero_grad()
        ((1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2).backward()
        optimizer.step()
        points.append(w.tolist())
    np.testing.assert_allclose(way.points, points, rtol=2e-3, atol=2e-4)


@functools.cache
def whole_race(function: str) -> Race:
    return race(function)


#: Of the functions, those whose ways are long are a sample.
FUNCTIONS = [
    pytest.param(name, marks=pytest.mark.sample if name in ("rosenbrock", "noisy_quadratic", "monkey_saddle") else ())
    for name in PICTURES
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_with_its_own_rates_every_rule_comes_lower_on_every_function(function: str) -> None:
    done = whole_race(function)
    assert [way.name for way in done.trajectories] == list(DEFAULT_RULES)
    left, right, bottom, top = done.view()
    for way in done.trajectories:
        assert way.outcome == "done"
        assert way.values[-1] < way.values[0]
        assert way.values[-1] >= done.minimum - 1e-6
        x, y = way.points[-1]
        assert left < x < right
        assert bottom < y < top
        assert way.lr == PICTURES[function].rates[way.name]


def test_every_rate_is_of_a_registered_rule() -> None:
    named = {name for picture in PICTURES.values() for name in picture.rates}
    assert named <= set(optimizers.names())


def test_plain_descent_stays_at_a_saddle_that_the_others_leave() -> None:
    values = {way.name: way.values[-1] for way in whole_race("saddle").trajectories}
    assert values.pop("sgd") > -0.1
    assert max(values.values()) < -0.98


def test_a_rule_without_a_rate_of_its_own_takes_the_centre_of_its_tuning() -> None:
    (way,) = race("beale", ["adamw"], steps=2).trajectories
    assert way.lr == optimizers.get("adamw").facts["centre_lr"]


@pytest.mark.parametrize(("lr", "outcome"), [(1.9, "done"), (2.1, "diverged")])
def test_beyond_2_over_the_curvature_descent_diverges(lr: float, outcome: str) -> None:
    (way,) = race("quadratic", ["sgd"], [f"sgd:lr={lr}"], steps=200).trajectories
    assert way.outcome == outcome
    assert np.isfinite(way.points).all()
    assert (way.steps == 200) == (outcome == "done")


def test_a_value_that_overflows_is_divergence_too() -> None:
    (way,) = race("beale", ["sgd"], ["sgd:lr=10"]).trajectories
    assert way.outcome == "diverged"
    assert way.steps < 5


def test_a_function_without_minimum_has_no_distance() -> None:
    done = race("saddle", ["sgd"], ["model.bound=0"], steps=3)
    assert (done.minimum, done.trajectories[0].distance) == (None, None)


def test_noise_is_in_the_ways_and_not_in_the_values() -> None:
    first, second = race("noisy_quadratic", ["sgd", "sgd"], ["sgd-2:data.batch_size=1"], steps=50).trajectories
    for way in (first, second):
        np.testing.assert_allclose(way.values, 0.5 * (way.points**2 * [1.0, 0.1]).sum(axis=1), rtol=1e-4, atol=1e-10)
    rough = [float(np.abs(np.diff(way.points, 2, axis=0)).mean()) for way in (first, second)]
    assert rough[1] > 4 * rough[0], "64 examples have an eighth of the noise of one"
    again = race("noisy_quadratic", ["sgd"], steps=50).trajectories[0]
    assert again.points.tolist() == first.points.tolist()
    other = race("noisy_quadratic", ["sgd"], ["seed=1"], steps=50).trajectories[0]
    assert other.points.tolist() != first.points.tolist()


def test_names_that_come_twice_are_numbered_and_labelled_by_what_differs() -> None:
    ways = race("beale", ["adam", "adam", "sgd"], ["adam-2:betas=[0.5, 0.9]", "sgd:lr=0.02"], steps=1).trajectories
    assert [way.name for way in ways] == ["adam", "adam-2", "sgd"]
    assert [way.label for way in ways] == ["adam", "adam betas=[0.5, 0.9]", "sgd"]
    assert [way.lr for way in ways] == [0.2, 0.2, 0.02]


def test_an_optimizer_that_only_its_override_names_takes_part() -> None:
    ways = race("beale", ["sgd"], ["mom:lr=0.002"], steps=1).trajectories
    assert [(way.name, way.lr) for way in ways] == [("sgd", 0.01), ("mom", 0.002)]


def test_overrides_without_a_name_are_for_all() -> None:
    ways = race("beale", ["sgd", "mom"], ["lr=0.001", "schedule={name: cosine, final: 0.5}"], steps=2).trajectories
    assert [way.lr for way in ways] == [0.001, 0.001]


def test_a_function_of_ones_own_is_run_and_seen(tmp_path: Path) -> None:
    Path("mine.py").write_text(BOWL)
    done = race("./mine.py:Bowl", ["sgd"], ["sgd:lr=0.1"], steps=5)
    (way,) = done.trajectories
    np.testing.assert_allclose(way.points[-1], [0.8**5, 2 * 0.4**5], rtol=1e-5)
    assert way.distance is None
    left, right, bottom, top = done.view()
    assert left < 0.8**5 < 1.0 < right
    assert bottom < 2 * 0.4**5 < 2.0 < top
    x, y, z = done.surface((-1, 1, -2, 2), points=5)
    np.testing.assert_allclose(z, x**2 + 3 * y[:, None] ** 2)
    assert race("./mine.py:Bowl", ["sgd"], ["sgd:lr=0.1"], steps=1, start=(3, 0)).trajectories[0].points[
        0
    ].tolist() == [3, 0]


@pytest.mark.parametrize(
    ("function", "rules", "overrides", "message"),
    [
        ("beal", ["sgd"], [], "no function named 'beal'. Did you mean 'beale'?"),
        ("mlp", ["sgd"], [], "no function named 'mlp'"),
        ("beale", ["sdg"], [], "did you mean 'sgd'?"),
        ("beale", ["sgd"], ["adm:lr=1"], "no optimizer 'adm' takes part. Did you mean 'adam'? There are: sgd"),
        ("beale", ["sgd"], ["sgd-2:lr=1"], "no optimizer 'sgd-2' takes part"),
        ("beale", ["sgd"], ["sgd:lr=-1"], "optimizer.lr"),
        ("beale", ["sgd"], ["sgd:momentun=1"], "momentun"),
        ("beale", ["sgd"], ["modle.start=[1, 1]"], "modle"),
        ("beale", [], [], "a race needs an optimizer"),
        ("quadratic", ["sgd"], ["model.spectrum=[1, 2, 3]", "model.start=null"], "a function of 3 numbers: a picture"),
        ("./mine.py:Two", ["sgd"], [], "no function of one parameter `w`: it has weight, bias"),
    ],
)
def test_what_cannot_be_run_is_refused(function: str, rules: list[str], overrides: list[str], message: str) -> None:
    Path("mine.py").write_text(
        "from torch import nn\nclass Two(nn.Linear):\n    def __init__(self):\n        super().__init__(1, 1)\n"
        "    def forward(self, inputs):\n        return super().forward(inputs)[:, 0]\n"
    )
    with pytest.raises(UsageError) as caught:
        race(function, rules, overrides, steps=2)
    assert message in str(caught.value)


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    way = race("beale", ["sgd"], steps=3).trajectories[0]
    assert math.isfinite(way.values[-1])
    assert list(tmp_path.iterdir()) == []
