"""Schedules that torch has too, against torch at many settings; the others against their papers' formulas."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from optrun.experiments.components.schedules import make_schedule
from optrun.experiments.errors import UsageError

from .test_schedules import torch_rates

Share = st.floats(0.01, 1.0)
STEPS = 60


def rates(kind: Any, num_steps: int = STEPS, **args: Any) -> Any:
    return pytest.approx(torch_rates(lambda optimizer: kind(optimizer, **args), num_steps), rel=1e-9, abs=1e-12)


def values(name: str, num_steps: int = STEPS, **args: Any) -> list[float]:
    schedule = make_schedule(name, **args)
    return [schedule(step) for step in range(num_steps)]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 50), Share, st.floats(0, 1.0))
def test_linear(end: int, initial: float, final: float) -> None:
    ours = values("linear", end=end, initial=initial, final=final)
    assert ours == rates(lr_scheduler.LinearLR, start_factor=initial, end_factor=final, total_iters=end)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 50), st.sampled_from([0.5, 1.0, 2.0, 3.5]))
def test_polynomial(end: int, power: float) -> None:
    assert values("polynomial", end=end, power=power) == rates(lr_scheduler.PolynomialLR, total_iters=end, power=power)


@settings(deadline=None, max_examples=30)
@given(st.floats(0.5, 1.05))
def test_exponential(gamma: float) -> None:
    assert values("exponential", every=1, factor=gamma) == rates(lr_scheduler.ExponentialLR, gamma=gamma)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 70), Share)
def test_step(every: int, gamma: float) -> None:
    assert values("step", every=every, factor=gamma) == rates(lr_scheduler.StepLR, step_size=every, gamma=gamma)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 20), st.integers(1, 3), st.floats(0, 0.9))
def test_cosine_restarts(first: int, t_mul: int, final: float) -> None:
    expected = rates(lr_scheduler.CosineAnnealingWarmRestarts, T_0=first, T_mult=t_mul, eta_min=final)
    assert values("cosine_restarts", first=first, t_mul=t_mul, final=final) == expected


@settings(deadline=None, max_examples=15)
@given(
    total=st.integers(5, 60),
    rise=st.floats(0.25, 0.5),
    initial=Share,
    last=Share,
    shape=st.sampled_from(["cosine", "linear"]),
    three_phase=st.booleans(),
)
def test_one_cycle(total: int, rise: float, initial: float, last: float, shape: Any, three_phase: bool) -> None:
    ours = make_schedule(
        "one_cycle", end=total, rise=rise, initial=initial, final=initial * last, shape=shape, three_phase=three_phase
    )
    expected = torch_rates(
        lambda optimizer: lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=1.0,
            total_steps=total,
            pct_start=rise,
            div_factor=1 / initial,
            final_div_factor=1 / last,
            anneal_strategy="cos" if shape == "cosine" else "linear",
            three_phase=three_phase,
            cycle_momentum=False,
        ),
        total,
    )
    assert [ours(step) for step in range(total)] == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert ours(total) == ours(10 * total) == ours(total - 1)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 15), st.integers(1, 15), st.floats(0, 0.9), st.sampled_from([1.0, 0.5]))
def test_cyclic(up: int, down: int, low: float, factor: float) -> None:
    expected = rates(
        lr_scheduler.CyclicLR,
        base_lr=low,
        max_lr=1.0,
        step_size_up=up,
        step_size_down=down,
        mode="triangular" if factor == 1 else "triangular2",
        cycle_momentum=False,
    )
    assert values("cyclic", up=up, down=down, low=low, factor=factor) == expected
    assert values("cyclic", up=up, low=low) == values("cyclic", up=up, down=up, low=low)


# ---- without a counterpart in torch ----------------------------------------------------------------------------------


def test_inverse_sqrt_is_the_rule_of_the_paper() -> None:
    model_size, warmup_steps = 512, 40
    peak_rate = model_size**-0.5 * warmup_steps**-0.5  # optimizer.lr
    for step, value in enumerate(values("inverse_sqrt", 200, peak=warmup_steps)):
        number = step + 1
        rate = model_size**-0.5 * min(number**-0.5, number * warmup_steps**-1.5)
        assert peak_rate * value == pytest.approx(rate, rel=1e-12)
    assert make_schedule("inverse_sqrt", peak=40)(39) == 1.0


def test_wsd_keeps_the_rate_and_cools_down() -> None:
    straight = make_schedule("wsd", num_steps=100, warmup="5%", cooldown="20%", final=0.1)
    assert [straight(step) for step in (0, 4, 5, 80, 90, 100, 120)] == pytest.approx([0.2, 1, 1, 1, 0.55, 0.1, 0.1])
    assert straight.boundaries() == (5, 80, 100)
    root = make_schedule("wsd", num_steps=100, cooldown="20%", shape="1-sqrt")
    assert [root(step) for step in (80, 85, 100)] == pytest.approx([1.0, 0.5, 0.0])
    assert root(81) == pytest.approx(1 - math.sqrt(1 / 20))
    assert make_schedule("wsd", num_steps=100, cooldown=0)(99) == 1.0


def test_one_cycle_turns_at_whole_steps_that_it_lists() -> None:
    schedule = make_schedule("one_cycle", num_steps=100, initial=0.1, final=0.01)
    assert schedule.boundaries() == (0, 30, 99)
    assert [schedule(step) for step in (0, 29, 99)] == pytest.approx([0.1, 1.0, 0.01])
    back = make_schedule("one_cycle", num_steps=100, initial=0.1, final=0.01, three_phase=True, shape="linear")
    assert [back(step) for step in (0, 29, 58, 99)] == pytest.approx([0.1, 1.0, 0.1, 0.01])
    assert back.boundaries() == (0, 30, 59, 99)


def test_one_cycle_may_turn_the_other_way() -> None:
    """For momentum: down from 0.95 to 0.85 and up again, as multiples of 0.85."""
    momentum = make_schedule("one_cycle", num_steps=100, initial=0.95 / 0.85, final=0.95 / 0.85)
    assert [0.85 * momentum(step) for step in (0, 29, 99)] == pytest.approx([0.95, 0.85, 0.95])


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("step", {"every": 0}, "every: expected at least one step, got 0"),
        ("exponential", {"every": "0%", "factor": 0.5}, "every: expected at least one step"),
        ("exponential", {"every": 10}, "needs factor"),
        ("cosine_restarts", {"first": 0}, "first: expected at least one step"),
        ("cosine_restarts", {"first": 3, "t_mul": 0.5}, "t_mul must be number >= 1, got 0.5"),
        ("cyclic", {"up": 3, "down": 0}, "down: expected at least one step"),
        ("inverse_sqrt", {"peak": 0}, "peak: expected at least one step"),
        ("wsd", {"cooldown": 101}, "it would begin before the run, which ends at step 100, got 101"),
        ("one_cycle", {"rise": 0.6, "three_phase": True}, "expected at most 0.5, got 0.6"),
        ("one_cycle", {"start": 100}, "there is nothing left"),
        ("linear", {"initial": -1.0}, "initial must be number >= 0"),
        ("plateau", {"metric": "val/accuracy"}, "say whether `max` or `min` of val/accuracy is better"),
        ("plateau", {"factor": 1.0}, "factor must be number > 0, < 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_schedule(name, num_steps=100, **args)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "args"),
    [("linear", {}), ("polynomial", {}), ("linear_cosine", {}), ("one_cycle", {}), ("wsd", {"cooldown": 3})],
)
def test_a_run_that_only_a_clock_ends_needs_an_end(name: str, args: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="the run's length is not known: give an end"):
        make_schedule(name, **args)
    assert make_schedule(name, end=10, **args)(3) > 0
