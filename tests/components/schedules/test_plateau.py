"""The plateau: torch's rule, as a function of the recorded evaluations, the same after a resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau

from optrun.experiments import EvaluationHook, Every, Hook, LearningRateSetterHook, build, load_config
from optrun.experiments.components.hooks.hook import Evaluation
from optrun.experiments.components.schedules import make_schedule, watching
from optrun.experiments.components.schedules.plateau import Plateau
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import UsageError

from ...helpers import run_steps, small_train_op

Metric = st.one_of(st.floats(-2, 2), st.sampled_from([0.5, 0.5001, float("nan")]))


def evaluations(values: list[float], every: int = 5) -> list[tuple[int, dict[str, float]]]:
    return [(every * (number + 1), {"val/loss": value}) for number, value in enumerate(values)]


@settings(deadline=None, max_examples=30)
@given(
    values=st.lists(Metric, max_size=30),
    mode=st.sampled_from(["min", "max"]),
    factor=st.sampled_from([0.1, 0.5]),
    patience=st.integers(0, 3),
    threshold=st.sampled_from([0.0, 1e-4, 0.1]),
    threshold_mode=st.sampled_from(["rel", "abs"]),
    cooldown=st.integers(0, 3),
    lowest=st.sampled_from([0.0, 0.03]),
)
def test_it_is_the_rule_of_torch(values: list[float], lowest: float, **args: Any) -> None:
    if args["threshold_mode"] == "rel":
        values = [abs(value) for value in values]  # below zero the two differ: see the next test
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = ReduceLROnPlateau(optimizer, **args, min_lr=lowest, eps=0.0)
    schedule = Plateau(**args, lowest=lowest)
    schedule.see(evaluations(values))
    assert schedule(4) == 1.0
    for number, value in enumerate(values):
        theirs.step(value)
        rate = optimizer.param_groups[0]["lr"]
        assert [schedule(5 * number + step) for step in (5, 9)] == pytest.approx([rate, rate], rel=1e-12)


@pytest.mark.parametrize(("mode", "step"), [("min", 1), ("max", -1)])
@pytest.mark.parametrize("first", [-10.0, 10.0])
def test_a_value_that_is_a_little_worse_is_no_improvement_on_either_side_of_zero(
    mode: str, step: int, first: float
) -> None:
    schedule = Plateau(mode=mode, patience=2)  # type: ignore[arg-type]
    schedule.see(evaluations([first + step * 0.0005 * number for number in range(4)]))
    assert schedule(15) == 1.0
    assert schedule(20) == 0.1  # each of the three evaluations after the first was a bad one


@settings(deadline=None, max_examples=40)
@given(st.lists(Metric, min_size=1, max_size=20), st.integers(0, 120))
def test_later_evaluations_do_not_change_earlier_rates(values: list[float], step: int) -> None:
    schedule, whole = Plateau(patience=1), evaluations(values)
    schedule.see([evaluation for evaluation in whole if evaluation[0] <= step])
    then = schedule(step)
    schedule.see(whole)
    assert schedule(step) == then


def test_evaluations_count_from_its_start() -> None:
    flat = evaluations([1.0] * 10)
    schedule = make_schedule("plateau", num_steps=60, warmup=20, patience=1, factor=0.5)
    (inner,) = watching(schedule)
    inner.see(flat)
    assert [schedule(step) for step in (9, 19, 34, 35, 45)] == [0.5, 1.0, 1.0, 0.5, 0.25]  # at 25, 30 and 35, then 45
    pieces = [{"name": "plateau", "patience": 0, "factor": 0.5}, "plateau"]
    assert len(watching(make_schedule("sequence", schedules=pieces, at=[30], num_steps=60))) == 2


# ---- in a session ----------------------------------------------------------------------------------------------------


class Rates(Hook):
    """Note the rate of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def after_run(self, ctx: Any, values: Any) -> None:
        self.seen.append(ctx.train_op.optimizer.param_groups[0]["lr"])


def test_the_rate_falls_at_the_step_after_the_evaluation_that_shows_it() -> None:
    values = [1.0, 0.5, 0.6, 0.7, 0.4, 0.5, 0.6]
    rates = Rates()
    schedule = make_schedule("plateau", patience=1, factor=0.5)
    op = small_train_op(lr=0.2)
    measure = EvaluationHook(Every(steps=2), ["val"], final=[])
    evaluators = {"val": lambda interrupted: {"val/loss": values[op.global_step // 2 - 1]}}
    run_steps(op, 14, LearningRateSetterHook(schedule), measure, rates, evaluators=evaluators)
    assert rates.seen == [0.2] * 8 + [0.1] * 6  # steps 6 and 8 show no improvement; the second one is one too many


@pytest.mark.parametrize(
    ("evaluators", "message"),
    [({}, "session: nothing is evaluated"), ({"test": lambda stop: {}}, "session: evaluated are: test")],
)
def test_a_session_that_measures_nothing_is_refused(evaluators: dict[str, Any], message: str) -> None:
    hook = LearningRateSetterHook(make_schedule("plateau"))
    others = [EvaluationHook(Every(steps=1), [split], final=[]) for split in evaluators]
    with pytest.raises(UsageError, match=f"'learning_rate_setter' waits for val/loss, .* {message}"):
        run_steps(small_train_op(), 2, hook, *others, evaluators=evaluators)


def test_splits_that_are_measured_one_by_one_make_one_evaluation() -> None:
    hook = LearningRateSetterHook(make_schedule("plateau", metric="test/loss"), base=1.0)
    for step, values in [(1, {"val/loss": 1.0}), (1, {"test/loss": 2.0}), (3, {"val/loss": 0.5}), (2, {"val/loss": 9})]:
        hook.after_evaluation(None, Evaluation(step, values))
    assert hook.state_dict() == {"evaluations": [(1, {"val/loss": 1.0, "test/loss": 2.0}), (3, {"val/loss": 0.5})]}
    assert LearningRateSetterHook(make_schedule("cosine", end=3)).state_dict() == {}


CONFIG = {
    "name": "plateau",
    "data": {"name": "digits", "batch_size": 32, "subset": 300},
    "model": "logistic",
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "mom", "lr": 1.0},
    "schedule": {
        "name": "plateau",
        "warmup": 4,
        "metric": "val/accuracy",
        "mode": "max",
        "patience": 0,
        "factor": 0.5,
        "threshold": 0.05,
    },
    "hooks": [{"name": "hyperparameter", "of": "momentum", "schedule": {"name": "plateau", "patience": 1}}],
    "train": {"steps": 30},
    "eval": {"every": "3 steps"},
    "log": {"every": "1 step"},
}


class StopAt(Hook):
    def __init__(self, step: int):
        self._step = step

    def after_run(self, ctx: Any, values: Any) -> None:
        if ctx.step == self._step:
            ctx.request_stop("told to")


def trained(folder: Path, *stops: int) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Train to the end, with stops on the way; everything is built anew after each."""
    for stop in (*stops, None):
        experiment = build(load_config(CONFIG))
        with experiment.session(folder, [StopAt(stop)] if stop else []) as session:
            while not session.should_stop():
                session.run(experiment.train_op)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return dict(experiment.model.state_dict()), [{**row, "time": 0} for row in rows]


def test_a_resumed_run_has_the_rates_of_the_uninterrupted_one(tmp_path: Path) -> None:
    weights, rows = trained(tmp_path / "straight")
    rates = [row["lr"] for row in rows if "lr" in row]
    assert len(set(rates)) >= 6, "warm-up, and then it does fall"
    assert min(rates) < 0.3
    for stops in [(3,), (7, 8, 20), (29,)]:
        again, again_rows = trained(tmp_path / f"stopped{len(stops)}{stops[0]}", *stops)
        assert again_rows == rows
        assert all(torch.equal(again[name], weights[name]) for name in weights)


def test_the_configuration_says_what_is_not_measured() -> None:
    schedule = {"name": "warmup", "length": 2, "then": {"name": "plateau", "metric": "val/acuracy", "mode": "max"}}
    with pytest.raises(ConfigError) as caught:
        load_config({**CONFIG, "schedule": schedule})
    assert "'val/acuracy' is not computed in this run" in str(caught.value)
    assert "did you mean 'val/accuracy'?" in str(caught.value)
    accuracy = {"name": "plateau", "metric": "val/accuracy"}
    with pytest.raises(UsageError, match="say whether `max` or `min` of val/accuracy is better"):
        make_schedule(**accuracy)
    assert build(load_config({**CONFIG, "schedule": accuracy})).schedule.function.mode == "max"  # the metric's own
