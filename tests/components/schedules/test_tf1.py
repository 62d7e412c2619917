"""TensorFlow 1's decays: every schedule of the golden file, at every step, and what its float32 cannot show."""

from __future__ import annotations

import functools
import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optrun.experiments.components.schedules import make_schedule
from optrun.experiments.components.schedules.cosines import restart

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "tf1_schedules.json").read_text())["schedules"]

OURS: dict[str, tuple[str, dict[str, str]]] = {
    "exponential_decay": ("exponential", {"decay_steps": "every", "decay_rate": "factor", "staircase": "staircase"}),
    "natural_exp_decay": ("natural_exp", {"decay_steps": "every", "decay_rate": "rate", "staircase": "staircase"}),
    "inverse_time_decay": ("inverse_time", {"decay_steps": "every", "decay_rate": "rate", "staircase": "staircase"}),
    "polynomial_decay": ("polynomial", {"decay_steps": "end", "end": "final", "power": "power", "cycle": "cycle"}),
    "cosine_decay": ("cosine", {"decay_steps": "end", "alpha": "final"}),
    "linear_cosine_decay": (
        "linear_cosine",
        {"decay_steps": "end", "alpha": "alpha", "beta": "beta", "num_periods": "num_periods"},
    ),
    "cosine_decay_restarts": (
        "cosine_restarts",
        {"first_decay_steps": "first", "t_mul": "t_mul", "m_mul": "m_mul", "alpha": "final"},
    ),
}


def schedule_and_rate(name: str, given_args: dict[str, Any]) -> tuple[Any, float]:
    """Return our schedule and the initial rate for one entry of the golden file."""
    if name == "piecewise_constant":
        return make_schedule("piecewise", side="le", **given_args), 1.0
    args = dict(given_args)
    lr = args.pop("lr")
    ours, names = OURS[name]
    if name == "polynomial_decay":
        args["end"] /= lr
    return make_schedule(ours, **{names[key]: value for key, value in args.items()}), lr


@pytest.mark.parametrize(
    "case", GOLDEN, ids=lambda case: case["name"] + "-".join(f"{value}" for value in case["args"].values())
)
def test_every_golden_schedule_agrees_at_every_step(case: dict[str, Any]) -> None:
    schedule, lr = schedule_and_rate(case["name"], case["args"])
    assert case["steps"] == list(range(41))
    found = [lr * schedule(step) for step in case["steps"]]
    assert found == pytest.approx(case["values"], rel=0, abs=1e-6 * case["values"][0])


def test_the_golden_file_has_every_decay_that_has_no_noise() -> None:
    assert {case["name"] for case in GOLDEN} == {*OURS, "piecewise_constant"}


def test_a_staircase_changes_at_its_boundary_and_a_cycle_after_it() -> None:
    stairs = make_schedule("exponential", num_steps=50, every=10, factor=0.5, staircase=True)
    assert [stairs(step) for step in (9, 10, 19, 20)] == [1.0, 0.5, 0.5, 0.25]
    assert stairs.boundaries() == (0, 10, 20, 30, 40, 50)
    cycle = make_schedule("polynomial", end=10, final=0.001, cycle=True, num_steps=40)
    assert [cycle(step) for step in (0, 10, 11)] == pytest.approx([1.0, 0.001, 0.001 + 0.999 * 9 / 20])
    assert cycle.boundaries() == (11, 21, 31)


def test_schedules_that_change_without_end_list_the_changes_of_the_run() -> None:
    assert make_schedule("step", every=10, num_steps=35).boundaries() == (0, 10, 20, 30)
    endless = make_schedule("step", every=1).boundaries()
    assert endless == tuple(range(10_000))
    assert make_schedule("cosine_restarts", first=10).boundaries()[:5] == (0, 10, 30, 70, 150)


# ---- restarts --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 50), st.integers(1, 5), st.integers(0, 12))
def test_a_restart_is_exactly_where_whole_numbers_say(first: int, t_mul: int, cycle: int) -> None:
    at = sum(first * t_mul**i for i in range(cycle))
    schedule = make_schedule("cosine_restarts", first=first, t_mul=t_mul, m_mul=0.5, num_steps=at)
    assert schedule(at) == 0.5**cycle
    assert schedule(at + first * t_mul**cycle - 1) <= 0.5**cycle
    assert at in schedule.boundaries()
    if cycle:
        part = 1 / (first * t_mul ** (cycle - 1))  # the step before is that near to the end of the cycle
        expected = 0.5 ** (cycle - 1) * 0.5 * (1 - math.cos(math.pi * part))
        assert schedule(at - 1) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_a_multiplier_counts_as_it_is_written() -> None:
    schedule = make_schedule("cosine_restarts", first=10, t_mul=1.1, num_steps=50)
    assert restart(10, 1.1, 2) == 21  # where binary floats say 21.000000000000004
    assert (schedule(21), schedule(10)) == (pytest.approx(1.0, abs=1e-12), 1.0)
    assert schedule.boundaries() == (0, 10, 21, 34, 47)


def test_the_floor_of_restarts_is_not_scaled() -> None:
    schedule = make_schedule("cosine_restarts", first=4, t_mul=1, m_mul=0.5, final=0.2)
    assert [schedule(4 * cycle) for cycle in range(3)] == pytest.approx([1.0, 0.2 + 0.8 * 0.5, 0.2 + 0.8 * 0.25])


# ---- noise -----------------------------------------------------------------------------------------------------------


def test_noise_is_a_function_of_step_and_seed() -> None:
    schedule = make_schedule("noisy_linear_cosine", num_steps=100, seed=3)
    values = [schedule(step) for step in range(100)]
    assert [schedule(step) for step in reversed(range(100))] == values[::-1]
    again = make_schedule("noisy_linear_cosine", num_steps=100, run_seed=3)
    assert [again(step) for step in range(100)] == values, "left out, the seed is the run's"
    assert dict(again.args)["seed"] == 3
    other = make_schedule("noisy_linear_cosine", num_steps=100, run_seed=4)
    assert all(other(step) != values[step] for step in range(99))
    nested = make_schedule("warmup", num_steps=100, run_seed=3, length=0, then="noisy_linear_cosine")
    assert nested(7) == values[7]


def test_noise_without_variance_is_none() -> None:
    quiet = make_schedule("noisy_linear_cosine", end=30, initial_variance=0.0, num_periods=1.5, alpha=0.2)
    plain = make_schedule("linear_cosine", end=30, num_periods=1.5, alpha=0.2)
    assert [quiet(step) for step in range(40)] == [plain(step) for step in range(40)]


@functools.cache
def noisy(seed: int):
    return make_schedule("noisy_linear_cosine", end=40, initial_variance=0.3, seed=seed)


@pytest.mark.parametrize("step", [0, 5, 25])
def test_noise_has_the_variance_of_the_formula(step: int) -> None:
    """4000 seeds: the mean lies within 5 standard errors, the deviation within 5 of its own (1 / √(2 n))."""
    plain = make_schedule("linear_cosine", end=40)(step)
    noise = [noisy(seed)(step) for seed in range(4000)]
    wave = 0.5 * (1 + math.cos(math.pi * step / 40))
    deviation = wave * math.sqrt(0.3 / (1 + step) ** 0.55)
    assert statistics.fmean(noise) == pytest.approx(plain, abs=5 * deviation / math.sqrt(4000))
    assert statistics.pstdev(noise) == pytest.approx(deviation, rel=5 / math.sqrt(8000))
