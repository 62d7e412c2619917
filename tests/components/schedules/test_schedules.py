"""Every registered schedule; torch's schedulers and TensorFlow's rules as independent truths."""

from __future__ import annotations

import inspect
import math
import pickle
import re
import warnings
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, MultiStepLR, SequentialLR

from optrun.experiments.components.schedules import Scheduled, make_schedule, registry
from optrun.experiments.components.schedules.basic import check_piecewise, cosine, piecewise
from optrun.experiments.config.lengths import Length
from optrun.experiments.errors import UsageError

NAMES = registry.names()
REQUIRED: dict[str, dict[str, Any]] = {
    **{name: registry.get(name).facts.get("example", {}) for name in NAMES},
    "piecewise": {"boundaries": ["50%"], "factors": [1, 0.1]},
    "warmup": {"length": "10%", "then": "constant"},
    "sequence": {"schedules": ["constant", "cosine"], "at": ["50%"]},
    "noisy_linear_cosine": {"initial_variance": 0.0},
}
HIGHEST = {"linear_cosine": 1.001, "noisy_linear_cosine": 1.001}  # by TensorFlow's defaults; all others end at 1
COUNT_FROM_THE_RUN = {"piecewise", "warmup", "sequence"}  # combinators, and what has no start of its own


def torch_rates(make: Any, num_steps: int) -> list[float]:
    """Return the rates of a torch scheduler, for a base rate of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR itself steps its parts in the deprecated way
        scheduler = make(optimizer)
        rates = []
        for step in range(num_steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if step + 1 < num_steps:  # OneCycleLR refuses to go on after its last step
                scheduler.step()
    return rates


@pytest.mark.parametrize("name", NAMES)
def test_each_is_documented(name: str) -> None:
    component = registry.get(name)
    doc = inspect.getdoc(component.build) or ""
    assert re.fullmatch(r"[A-Z][^\n]*\.", component.summary.split(": ")[0].rstrip(".") + ".")
    assert "value(step) = " in doc
    described = set(re.findall(r"^    (\w+): ", doc.split("Args:\n")[1].split("\n\n")[0], re.MULTILINE))
    own = set() if inspect.isclass(component.build) else {"step"}
    assert described == {*own, *component.signature.names()}
    assert component.source
    assert "Source: " in doc


@pytest.mark.parametrize("warmup", [None, 0, 7, "5%", "0.5 epochs"])
@pytest.mark.parametrize("name", NAMES)
def test_each_gives_finite_multiples_in_any_order_at_any_step(name: str, warmup: Any) -> None:
    schedule = make_schedule(name, num_steps=100, steps_per_epoch=10, warmup=warmup, **REQUIRED.get(name, {}))
    values = [schedule(step) for step in range(130)]
    assert all(isinstance(value, int | float) and 0 <= value <= HIGHEST.get(name, 1) for value in values)
    assert [schedule(step) for step in reversed(range(130))] == values[::-1]
    assert values[0] > 0
    assert list(schedule.boundaries()) == sorted(set(schedule.boundaries()))
    assert schedule.name in repr(schedule)
    assert pickle.loads(pickle.dumps(schedule))(42) == values[42]


@pytest.mark.parametrize("name", NAMES)
def test_each_changes_only_within_pieces_that_it_reports(name: str) -> None:
    """Between neighbouring boundaries a schedule is smooth: second differences are far smaller than its range."""
    schedule = make_schedule(name, num_steps=1000, steps_per_epoch=100, warmup="5%", **REQUIRED.get(name, {}))
    edges = [0, *schedule.boundaries(), 1000 if name == "cyclic" else 1100]  # which turns after the run as well
    for start, end in pairwise(edges):
        values = [schedule(step) for step in range(start, end)]
        bends = [abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:], strict=False)]
        assert max(bends, default=0.0) < 1e-4


@pytest.mark.parametrize("name", sorted(set(NAMES) - COUNT_FROM_THE_RUN))
def test_each_is_in_a_piece_of_a_run_what_it_is_in_a_run_of_that_length(name: str) -> None:
    """What is left out of `start` and `end` comes from the warm-up, or from the piece of a sequence."""
    args = REQUIRED[name] | {key: 10 for key, value in REQUIRED[name].items() if isinstance(value, str)}
    alone = make_schedule(name, num_steps=50, **args)
    after_warmup = make_schedule(name, num_steps=70, warmup=20, **args)
    pieces = ["constant", {"name": name, **args}, "constant"]
    later = make_schedule("sequence", num_steps=90, at=[20, 70], schedules=pieces)
    assert [after_warmup(step) for step in range(20, 80)] == [alone(step) for step in range(60)]
    assert [later(step) for step in range(20, 70)] == [alone(step) for step in range(50)]
    assert {later(step) for step in (0, 19, 70, 90)} == {1.0}
    inside = [step for step in alone.boundaries() if 0 < step < 50]
    assert [step - 20 for step in after_warmup.boundaries() if 20 < step < 70] == inside
    assert [step - 20 for step in later.boundaries() if 20 < step < 70] == inside


def test_constant_is_one() -> None:
    assert {make_schedule()(step) for step in (0, 1, 10**9)} == {1.0}


def test_piecewise_lt_has_the_new_value_at_the_boundary_and_le_after_it() -> None:
    args: dict[str, Any] = {"boundaries": [10], "factors": [1.0, 0.1]}
    lt = make_schedule("piecewise", **args)
    assert [lt(step) for step in (0, 9, 10, 11)] == [1.0, 1.0, 0.1, 0.1]
    le = make_schedule("piecewise", **args, side="le")  # TensorFlow's piecewise_constant
    assert [le(step) for step in (0, 9, 10, 11)] == [1.0, 1.0, 1.0, 0.1]
    assert (lt.boundaries(), le.boundaries()) == ((10,), (11,))


def test_piecewise_equals_the_hand_written_hook_of_the_resnet_recipe() -> None:
    def hook(step: int) -> float:
        return 0.1 if step < 40000 else 0.01 if step < 60000 else 0.001 if step < 80000 else 0.0001

    ours = make_schedule("piecewise", boundaries=[40000, 60000, 80000], values=[0.1, 0.01, 0.001, 0.0001])
    assert ours.absolute
    for step in (0, 39999, 40000, 40001, 59999, 60000, 79999, 80000, 10**6):
        assert ours(step) == hook(step)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=5, unique=True), st.floats(0.05, 0.9))
def test_piecewise_equals_torchs_multistep(milestones: list[int], gamma: float) -> None:
    boundaries = sorted(milestones)
    ours = make_schedule("piecewise", boundaries=boundaries, factors=[gamma**i for i in range(len(boundaries) + 1)])
    expected = torch_rates(lambda optimizer: MultiStepLR(optimizer, boundaries, gamma), 70)
    assert [ours(step) for step in range(70)] == pytest.approx(expected, rel=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 80), st.floats(0, 1))
def test_cosine_equals_torchs_annealing_and_stays_at_the_end(num_steps: int, final: float) -> None:
    ours = make_schedule("cosine", num_steps=num_steps, final=final)
    expected = torch_rates(lambda optimizer: CosineAnnealingLR(optimizer, num_steps, eta_min=final), num_steps + 1)
    assert [ours(step) for step in range(num_steps + 1)] == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert ours(0) == 1.0
    assert ours(num_steps) == ours(num_steps + 1) == ours(10 * num_steps) == final


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 50), st.integers(1, 50), st.floats(0, 1), st.integers(-10, 200))
def test_cosine_is_bounded_falls_and_keeps_its_ends(start: int, length: int, final: float, step: int) -> None:
    value = cosine(step, start=start, end=start + length, final=final)
    assert final - 1e-15 <= value <= 1.0
    assert cosine(step + 1, start=start, end=start + length, final=final) <= value + 1e-15
    assert cosine(start, start=start, end=start + length, final=final) == 1.0
    assert cosine(start + length, start=start, end=start + length, final=final) == final


def test_cosine_is_half_way_in_the_middle() -> None:
    assert make_schedule("cosine", num_steps=100, start="20%", end=80, final=0.2)(50) == pytest.approx(0.6)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 40), st.floats(0, 0.9))
def test_warmup_equals_torchs_linear_then_cosine(length: int, start: float) -> None:
    total = 80
    first = start + (1 - start) / length
    if first <= 0:
        return  # torch refuses a start factor of 0

    def theirs(optimizer: torch.optim.Optimizer) -> SequentialLR:
        linear = LinearLR(optimizer, start_factor=first, total_iters=length - 1)
        return SequentialLR(optimizer, [linear, CosineAnnealingLR(optimizer, total - length)], milestones=[length])

    then = {"name": "cosine"}
    ours = make_schedule("warmup", num_steps=total, length=length, start=start, then=then)
    assert [ours(step) for step in range(total)] == pytest.approx(torch_rates(theirs, total), rel=1e-9, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 50), st.floats(0, 1))
def test_warmup_rises_in_equal_steps_to_the_full_rate(length: int, start: float) -> None:
    schedule = make_schedule("warmup", length=length, start=start, then="constant")
    values = [schedule(step) for step in range(length + 1)]
    rises = [b - a for a, b in zip([start, *values], values, strict=False)]
    assert rises[:length] == pytest.approx([(1 - start) / length] * length, abs=1e-12)
    assert values[length - 1] == pytest.approx(1.0)
    assert values[length] == 1.0


def test_warmup_shorthand_is_the_combinator() -> None:
    run: dict[str, Any] = {"num_steps": 200, "steps_per_epoch": 20}
    short = make_schedule("cosine", **run, warmup="5%", final=0.1)
    long = make_schedule("warmup", **run, length=10, then={"name": "cosine", "final": 0.1})
    assert [short(step) for step in range(220)] == [long(step) for step in range(220)]
    assert repr(short) == repr(long)
    assert "cosine(start=10, end=200, final=0.1)" in repr(short)


def test_warmup_aims_at_the_value_at_its_end() -> None:
    schedule = make_schedule("piecewise", warmup=4, boundaries=[2], factors=[1.0, 0.5])
    assert [schedule(step) for step in range(5)] == [0.125, 0.25, 0.375, 0.5, 0.5]
    assert schedule.boundaries() == (4,)


def test_explicit_lengths_count_from_the_beginning_of_the_run() -> None:
    schedule = make_schedule("cosine", num_steps=100, warmup=10, start=0)
    assert schedule(10) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.1)))


def test_a_sequence_hands_over_at_the_boundary_and_gives_pieces_their_span() -> None:
    schedule = make_schedule(
        "sequence", num_steps=100, at=["20%", "60%"], schedules=["constant", {"name": "cosine", "final": 0.1}, "cosine"]
    )
    assert schedule(19) == schedule(20) == 1.0
    assert schedule(40) == pytest.approx(0.55)
    assert schedule(59) > 0.1
    assert schedule(60) == 1.0, "the third piece begins anew"
    assert schedule(100) == 0.0
    assert schedule.boundaries() == (20, 60, 100)


def test_a_warmup_may_open_a_sequence_but_not_pass_unseen_in_a_later_piece() -> None:
    opening = {"name": "warmup", "length": 5, "then": "constant"}
    schedule = make_schedule("sequence", num_steps=50, at=[10], schedules=[opening, "cosine"])
    assert [schedule(step) for step in (0, 4, 10)] == pytest.approx([0.2, 1.0, 1.0])
    with pytest.raises(UsageError, match="would be over at step 5, but its piece of the sequence begins at step 10"):
        make_schedule("sequence", num_steps=50, at=[10], schedules=["constant", opening])


@pytest.mark.parametrize(
    "then",
    ["cosine", {"name": "cosine"}, SimpleNamespace(name="cosine", args={"start": None, "end": None, "final": 0.0})],
    ids=["name", "mapping", "config"],
)
def test_nested_schedules_come_in_all_forms(then: Any) -> None:
    schedule = make_schedule("warmup", num_steps=30, length=10, then=then)
    assert schedule(20) == pytest.approx(0.5)


def test_a_ready_function_can_be_nested() -> None:
    schedule = make_schedule("warmup", length=2, then=lambda step: 1 / (1 + step))
    assert [schedule(step) for step in range(4)] == pytest.approx([1 / 6, 1 / 3, 1 / 3, 1 / 4])
    ready = make_schedule("cosine", num_steps=10)
    assert make_schedule("sequence", num_steps=20, schedules=[ready, "constant"], at=[10])(5) == ready(5)


def test_lengths_are_resolved_against_the_run() -> None:
    schedule = make_schedule(
        "piecewise", num_steps=200, steps_per_epoch=20, boundaries=[Length(10), "1 epoch", "50%"], factors=[4, 3, 2, 1]
    )
    assert schedule.boundaries() == (10, 20, 100)
    assert not schedule.absolute


def test_values_pass_through_warmup_and_sequence_as_rates() -> None:
    inner = {"name": "piecewise", "boundaries": [5], "values": [0.1, 0.01]}
    schedule = make_schedule("warmup", length=2, then=inner)
    assert schedule.absolute
    assert schedule(0) == pytest.approx(0.05)
    assert make_schedule("sequence", schedules=[inner, inner], at=[7]).absolute


def test_a_users_class_and_function_work(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "class Half:\n    def __init__(self, start=0.5):\n        self.start = start\n"
        "    def __call__(self, step):\n        return self.start / (step + 1)\n"
        "def third(step, *, of=3.0):\n    return of / 3\n"
    )
    assert make_schedule("./mine.py:Half", base=tmp_path, start=1.0)(1) == 0.5
    assert make_schedule("./mine.py:third", base=tmp_path)(7) == 1.0
    with_warmup = make_schedule("./mine.py:Half", base=tmp_path, warmup=2)
    assert with_warmup(0) == pytest.approx(0.5 * 0.5 / 3)


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("cosin", {}, "no schedule named 'cosin'. Did you mean 'cosine'?"),
        ("cosine", {"finl": 0.1}, "has no argument 'finl'. Did you mean 'final'?"),
        ("cosine", {"final": 1.5}, "final must be number >= 0, <= 1, got 1.5"),
        ("cosine", {"start": 100}, "it starts at step 100, got 100"),
        ("cosine", {"end": "10m"}, "must not depend on a clock"),
        ("cosine", {"end": "110%"}, "at most 100%"),
        ("cosine", {"start": "1 epoch"}, "needs data with epochs"),
        ("cosine", {"warmup": "100%"}, "nothing left to decay over"),
        ("warmup", {"then": "constant"}, "needs length"),
        ("warmup", {"length": 3, "then": 4}, "expected a schedule's name, or a mapping with a name, got 4"),
        ("warmup", {"length": 3, "then": {"final": 0}}, "expected a schedule's name"),
        ("warmup", {"length": 3, "then": {"name": "cosine", "finl": 0}}, "has no argument 'finl'"),
        ("warmup", {"length": 3, "then": {"name": "cosine", "warmup": 2}}, "belongs to the outermost"),
        ("piecewise", {"boundaries": [1]}, "give either `factors`"),
        ("piecewise", {"boundaries": [1], "factors": [1, 0], "values": [1, 0]}, "give either `factors`"),
        ("piecewise", {"boundaries": [1, 2], "factors": [1, 0.1]}, "expected 3 numbers"),
        ("piecewise", {"boundaries": [2, 2], "factors": [1, 1, 1]}, "after the one before, got (2, 2)"),
        ("piecewise", {"boundaries": ["50%", 20], "factors": [1, 1, 1]}, "after the one before, got (50, 20)"),
        ("piecewise", {"boundaries": [1], "factors": [1, -1]}, "factors must be"),
        ("piecewise", {"boundaries": [1], "factors": [1, 1], "side": "gt"}, "side must be lt or le, got 'gt'"),
        ("sequence", {"schedules": ["constant"], "at": [3]}, "expected 0 boundaries between 1 schedules"),
        ("sequence", {"schedules": [], "at": []}, "at least one schedule"),
        ("sequence", {"schedules": ["constant"] * 3, "at": [5, 5]}, "after the one before"),
        (
            "sequence",
            {"schedules": ["constant", {"name": "piecewise", "boundaries": [5], "values": [1, 2]}], "at": [3]},
            "mixes schedules whose values are rates",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_schedule(name, num_steps=100, **args)
    assert message in str(caught.value)


def test_a_run_that_only_a_clock_ends_needs_an_explicit_end() -> None:
    with pytest.raises(UsageError, match="the run's length is not known: give an end"):
        make_schedule("cosine")
    with pytest.raises(UsageError, match="needs a run length"):
        make_schedule("piecewise", boundaries=["50%"], factors=[1, 0.1])
    assert make_schedule("cosine", end=10)(10) == 0.0


def test_the_check_of_piecewise_compares_lengths_only_in_one_unit() -> None:
    """The configuration asks before it knows how long the run is."""

    def problems(*boundaries: Any) -> list[str]:
        lengths = tuple(map(Length.parse, boundaries))
        pieces = tuple(1.0 for _ in range(len(lengths) + 1))
        return [name for name, _ in check_piecewise({"boundaries": lengths, "factors": pieces, "values": None})]

    assert problems("50%", "75%") == problems("50%", 10) == []
    assert problems("75%", "50%") == problems(10, 10) == problems("2 epochs", "1 epoch") == ["boundaries"]


def test_direct_calls_are_plain_functions() -> None:
    assert piecewise(3, boundaries=(3,), factors=(1.0, 0.5)) == 0.5
    with pytest.raises(TypeError, match="needs an `end`"):
        cosine(3)


def test_scheduled_says_what_it_is() -> None:
    schedule = make_schedule("cosine", num_steps=10)
    assert isinstance(schedule, Scheduled)
    assert (schedule.name, dict(schedule.args)) == ("cosine", {"start": 0, "end": 10, "final": 0.0})
