"""The range test: against gradient descent's closed form, against a loop by hand, and where nothing is found."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from optrun.experiments import build, find_lr, load_config
from optrun.experiments.components.optimizers import registry
from optrun.experiments.errors import DivergedError, UsageError
from optrun.experiments.studies.lr_finder import RULES, _longest_descent, suggest

TINY = {
    "data": {"name": "gaussian_classes", "num_examples": 200, "batch_size": 20},
    "model": "logistic",
    "loss": "cross_entropy",
    "optimizer": {"name": "mom", "lr": 0.1},
    "train": {"epochs": 3},
}
CLIFF = """\
import torch
from torch import nn


class Cliff(nn.Module):
    # Falls towards w = 2, beyond which there is nothing.
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))

    def forward(self, inputs):
        return torch.sqrt(2.0 - self.w).expand(len(inputs))
"""


DESCENT = {
    "data": "none",
    "model": "quadratic",
    "loss": "output",
    "optimizer": {"name": "sgd", "lr": 0.1},
    "train": {"steps": 10},
}


def bowl(curvature=1.0, start=1.0):
    """Return gradient descent on ½ h w²."""
    return load_config(DESCENT, {"model": {"name": "quadratic", "spectrum": [curvature], "start": [start]}})


# ---- what is tried, and what comes of it -----------------------------------------------------------------------------


@pytest.mark.parametrize("curvature", [0.5, 4.0, 100.0])
def test_on_a_bowl_the_loss_grows_from_2_over_its_curvature_on(curvature):
    """Each step multiplies w by 1 - lr h, and the loss by its square."""
    found = find_lr(bowl(curvature), low=1e-4, high=100.0, num_steps=120, beta=0.0)
    w, losses = 1.0, [curvature / 2]
    for rate in found.rates:
        w *= 1 - rate * curvature
        losses.append(curvature / 2 * w * w)
    assert found.start_loss == losses[0]
    assert list(found.losses) == pytest.approx(losses[1:], rel=1e-3, abs=1e-9 * curvature)
    changes = itertools.pairwise([found.start_loss, *found.losses])
    growing = [rate for rate, (before, after) in zip(found.rates, changes, strict=True) if after > before]
    limit, factor = 2 / curvature, found.rates[1] / found.rates[0]
    assert limit < growing[0] < limit * factor
    assert found.end == "blow-up"
    assert limit < found.end_lr == found.rates[-1] < limit * factor**12


def test_rates_grow_by_one_factor_from_the_first_to_the_last():
    found = find_lr(bowl(), low=1e-6, high=1e-2, num_steps=41)
    assert (found.rates[0], found.rates[-1]) == (1e-6, pytest.approx(1e-2))
    factors = [after / before for before, after in itertools.pairwise(found.rates)]
    assert factors == pytest.approx([10**0.1] * 40)
    assert (found.end, found.end_lr, len(found.losses)) == ("range", found.rates[-1], 41)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.98])
def test_smoothed_is_the_weighted_mean_of_all_losses_so_far(beta):
    found = find_lr(load_config(TINY), num_steps=20, beta=beta)
    losses = [found.start_loss, *found.losses]
    for last, smoothed in enumerate(found.smoothed, start=1):
        weights = [beta ** (last - place) if last > place else 1.0 for place in range(last + 1)]
        assert smoothed == pytest.approx(np.average(losses[: last + 1], weights=weights))


def test_losses_are_those_of_the_train_op_bit_for_bit():
    overrides = {"updates": ["ema"], "train.clip_norm": 1.0, "train.l2": 0.01, "train.accumulate": 2}
    config = load_config(TINY, overrides)
    found = find_lr(config, num_steps=10)
    op = build(config).train_op
    losses = []
    for rate in [*found.rates, 1.0]:
        op.run({"lr": rate})
        losses.append(op.fetch(["loss"])["loss"])
    assert [found.start_loss, *found.losses] == losses


def test_groups_keep_their_ratios(monkeypatch):
    seen = []
    step = torch.optim.SGD.step

    def noting(self, closure=None):
        seen.append([group["lr"] for group in self.param_groups])
        return step(self)

    monkeypatch.setattr(torch.optim.SGD, "step", noting)
    groups = [{"match": "*bias", "lr": 0.025}]
    found = find_lr(load_config(TINY, {"optimizer.groups": groups}), num_steps=5)
    assert found.num_groups == 2
    assert [rates[0] for rates in seen[:5]] == list(found.rates)
    assert [rates[1] / rates[0] for rates in seen] == pytest.approx([0.25] * 6)


def test_the_same_seed_finds_the_same_and_another_one_something_else():
    first, again, other = (find_lr(load_config(TINY, {"seed": seed}), num_steps=20) for seed in (3, 3, 4))
    assert first == again
    assert first.losses != other.losses


def test_schedule_hooks_and_ends_of_the_run_take_no_part():
    plain = find_lr(load_config(TINY), num_steps=10)
    busy = {
        "schedule": "cosine",
        "hooks": [{"name": "hyperparameter", "of": "momentum", "schedule": "linear"}],
        "train.epochs": 1,
        "stop.loss_above": 1e-9,
        "stop.on_nan": "skip",
        "log.to": ["jsonl", "csv", "tensorboard"],
    }
    assert find_lr(load_config(TINY, busy), num_steps=10) == plain


def test_nothing_is_left(tmp_path):
    find_lr(load_config(TINY), num_steps=5)
    assert list(tmp_path.iterdir()) == []


def test_it_begins_at_the_initial_weights_of_the_run():
    """With weights of 0 all classes are equally likely."""
    Path("zero.py").write_text("def zero(model):\n    for weight in model.parameters():\n        weight.zero_()\n")
    config = load_config(TINY, {"init": "./zero.py:zero"})
    assert find_lr(config, num_steps=3).start_loss == pytest.approx(math.log(build(config).data.num_outputs))


EMBEDDING = {"sparse_adam"}  # takes sparse gradients alone


@pytest.mark.parametrize("name", [name for name in registry.names() if name not in EMBEDDING])
def test_every_optimizer_has_a_range_and_suggestions_inside_it(name):
    found = find_lr(load_config(TINY, {"optimizer": {"name": name}}), low=1e-5, high=1.0, num_steps=15, beta=0.5)
    assert len(found.rates) == len(found.losses) == len(found.smoothed) > 2
    assert all(math.isfinite(loss) for loss in found.losses)
    assert list(found.suggestions) == list(RULES)
    for rate in found.suggestions.values():
        assert rate is None or found.rates[0] <= rate <= found.rates[-1]


def test_sparse_gradients_are_no_obstacle():
    found = find_lr(load_config("sparse_adam"), low=1e-4, high=1.0, num_steps=5)
    assert len(found.rates) == 5


# ---- how it ends -----------------------------------------------------------------------------------------------------


def test_it_ends_where_the_loss_is_no_number():
    Path("cliff.py").write_text(CLIFF)
    found = find_lr(load_config(DESCENT, {"model": "./cliff.py:Cliff"}), low=1e-3, high=100.0, num_steps=60)
    w = 0.0
    for count, rate in enumerate([*found.rates, found.end_lr], start=1):
        w += rate / (2 * math.sqrt(2 - w))
        assert (w > 2) == (count == len(found.rates) + 1), "the last step alone leads over the edge"
    assert found.end == "infinite"
    assert found.end_lr > found.rates[-1]


def test_a_loss_that_is_not_finite_at_the_start_is_said_to_be():
    with pytest.raises(DivergedError, match=r"begins with a finite loss.*no rate has a part in it.*loss is inf"):
        find_lr(bowl(1e30, 1e10))


def test_a_range_that_is_too_high_from_the_start_is_said_to_be():
    with pytest.raises(DivergedError, match=r"not finite after the first step, at rates from 1e\+30 on: begin lower"):
        find_lr(bowl(), low=1e30, high=1e31)
    with pytest.raises(DivergedError, match="the loss has blown up after the first step, at rates from 10 on"):
        find_lr(bowl(), low=10.0, high=20.0, beta=0.0)


def test_a_loss_of_0_and_less_blows_up_in_its_own_scale():
    from optrun.experiments.studies.lr_finder import _bound

    assert _bound([5.0, 2.0, 3.0]) == 8.0
    assert _bound([5.0, -1.0]) == -1 + 3 * 6
    assert _bound([-2.0]) == -2 + 3 * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 0.0}, "from 0 to 10"),
        ({"low": -1.0}, "two numbers above 0"),
        ({"low": 1.0, "high": 1.0}, "the smaller one first"),
        ({"high": math.inf}, "from 1e-07 to inf"),
        ({"high": math.nan}, "to nan"),
        ({"num_steps": 2}, "2 steps are too few"),
        ({"beta": 1.0}, "beta is 1"),
        ({"beta": -0.1}, "beta is -0.1"),
        ({"beta": math.nan}, "beta is nan"),
    ],
)
def test_arguments_out_of_their_range_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        find_lr(load_config(TINY), **options)


# ---- the rules -------------------------------------------------------------------------------------------------------


RATES = [10 ** (-6 + place / 10) for place in range(71)]  # 1e-6 to 10


def test_rules_on_a_curve_whose_answers_are_known():
    """A loss that falls most steeply at 1e-3, is lowest at 0.1, and never turns before."""
    places = np.log10(RATES)
    losses = 1 / (1 + np.exp(4 * (places + 3))) + np.where(places > -1, (places + 1) ** 2, 0) - 1e-6 * (places + 6)
    found = suggest(RATES, losses.tolist())
    assert found["steepest"] == pytest.approx(1e-3)
    assert found["minimum/10"] == pytest.approx(1e-2)
    assert found["valley"] == pytest.approx(10**-3.5), "half way down, between 1e-6 and 0.1"
    assert suggest(RATES, losses.tolist(), 10)["valley"] == pytest.approx(1e-3)


@pytest.mark.parametrize("losses", [[1.0] * 71, list(range(1, 72)), [0.5, *range(1, 71)]])
def test_a_loss_that_never_falls_suggests_nothing(losses):
    assert suggest(RATES, losses) == dict.fromkeys(RULES)


def test_a_tenth_below_all_that_was_tried_is_no_suggestion():
    losses = [2.0, 1.5, 1.0, *(2.0 + place for place in range(68))]
    found = suggest(RATES, losses)
    assert found["minimum/10"] is None
    assert found["steepest"] == pytest.approx(RATES[0])
    assert found["valley"] == pytest.approx(RATES[1])


def test_too_few_rates_suggest_nothing():
    assert suggest(RATES[:2], [2.0, 1.0]) == dict.fromkeys(RULES)


@pytest.mark.parametrize("seed", range(20))
def test_the_longest_descent_is_as_long_as_any(seed):
    values = np.random.default_rng(seed).integers(0, 6, size=9).astype(float)
    start, end = _longest_descent(values)

    def longest(inside) -> int:
        chosen = (choice for size in range(1, 10) for choice in itertools.combinations(inside, size))
        falling = (choice for choice in chosen if all(a > b for a, b in itertools.pairwise(values[list(choice)])))
        return max(map(len, falling))

    best = longest(range(9))
    between = [place for place in range(start + 1, end) if values[start] > values[place] > values[end]]
    assert start == end or values[start] > values[end]
    assert (1 if start == end else 2 + (longest(between) if between else 0)) == best


def test_what_is_found_is_plain_data():
    found = find_lr(load_config(TINY), num_steps=5)
    assert dataclasses.asdict(found)["suggestions"] == found.suggestions
    assert all(isinstance(value, float) for value in (*found.rates, *found.losses, *found.smoothed))
