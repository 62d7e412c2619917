"""The values of a sweep against closed forms: ends as written, none twice, all of them what the setting takes."""

from __future__ import annotations

import json
import math
import random
from fractions import Fraction

import pytest

from optrun.cli.texts.comparison_text import sensitivity_lines
from optrun.experiments.comparison.sweep import sweep
from optrun.experiments.comparison.sweep_settings import entries_of_settings
from optrun.experiments.comparison.sweep_values import parse_spec
from optrun.experiments.config import ConfigError
from optrun.experiments.config.changes import look_up, place_at
from optrun.experiments.errors import UsageError
from optrun.experiments.report.group import Group
from optrun.experiments.report.sensitivity import sensitivity_rows
from optrun.experiments.report.words.protocol import protocol_sentences


@pytest.mark.parametrize(
    ("spec", "trials", "values"),
    [
        ("log:1e-3:1", 4, [0.001, 0.01, 0.1, 1.0]),
        ("lin:0:1", 3, [0.0, 0.5, 1.0]),
        ("1,2,3", None, [1, 2, 3]),
        ("0.9,0.99", None, [0.9, 0.99]),
        ("relu,tanh", None, ["relu", "tanh"]),
        ("true,false", None, [True, False]),
    ],
)
def test_ranges_of_a_sweep(spec, trials, values):
    assert parse_spec("key", spec, trials, "grid", 0) == values


def test_random_values_stay_in_their_range_and_repeat():
    values = parse_spec("key", "log:1e-4:1", 30, "random", 7)
    assert values == parse_spec("key", "log:1e-4:1", 30, "random", 7)
    assert all(1e-4 <= value <= 1 for value in values)
    assert sum(value < 1e-2 for value in values) in range(8, 23), "half of them in half of the decades"


@pytest.mark.parametrize("spec", ["log:0:1", "log:1:1", "lin:2:1", "log:1", "log:a:b", "5", "", "log:1:2:3"])
def test_what_is_no_range_is_refused(spec):
    with pytest.raises(UsageError, match="key="):
        parse_spec("key", spec, None, "grid", 0)


SEED = random.randrange(1 << 30)  # replay: SEED = the number that the failure prints


@pytest.mark.parametrize("kind", ["log", "lin"])
@pytest.mark.parametrize("method", ["grid", "random"])
def test_ranges_drawn_at_random_keep_ends_order_and_the_closed_form(kind: str, method: str) -> None:
    draw = random.Random(SEED)
    for _ in range(300):
        low = draw.choice([10 ** draw.uniform(-8, 4), 1 - 10 ** draw.uniform(-6, -1), float(draw.randint(1, 99))])
        high = low * (1 + 10 ** draw.uniform(-6, 6))
        number = draw.randint(2, 30)
        values = parse_spec("key", f"{kind}:{low!r}:{high!r}", number, method, 1)
        assert len(values) == number, SEED
        assert values == sorted(set(values)), SEED
        assert low <= values[0] < values[-1] <= high, SEED
        if method == "random":
            continue
        assert (values[0], values[-1]) == (low, high), SEED
        for step, value in enumerate(values):
            share = step / (number - 1)
            exact = (
                low + (high - low) * share
                if kind == "lin"
                else math.exp(math.log(low) + (math.log(high) - math.log(low)) * share)
            )
            assert value == pytest.approx(exact, rel=5.1e-3), SEED  # three figures are the fewest


def test_no_more_figures_than_keep_the_values_apart() -> None:
    assert parse_spec("key", "lin:0.99:0.9995", 4, "grid", 0) == [0.99, 0.993, 0.996, 0.9995]
    assert parse_spec("key", "lin:0.9991:0.9995", 3, "grid", 0) == [0.9991, 0.9993, 0.9995]
    assert parse_spec("key", "log:0.01:1", 3, "grid", 0) == [0.01, 0.1, 1.0]
    assert parse_spec("key", "log:0.012345:1", 2, "grid", 0) == [0.012345, 1.0]
    assert parse_spec("key", "lin:-1:1", 3, "grid", 0) == [-1.0, 0.0, 1.0]


@pytest.mark.parametrize("low", [-5, 0, 2])
@pytest.mark.parametrize("width", [1, 2, 6, 9, 100, 10**12])
@pytest.mark.parametrize("trials", [None, 2, 3, 5, 30])
def test_whole_numbers(low: int, width: int, trials: int | None) -> None:
    number = 9 if trials is None else trials
    for method in ("grid", "random"):
        values = parse_spec("key", f"int:{low}:{low + width}", trials, method, 0)
        assert all(type(value) is int for value in values)
        assert len(values) == min(number, width + 1)
        assert values == sorted(set(values))
        if width + 1 <= number:
            assert values == list(range(low, low + width + 1))
        elif method == "grid":
            steps = [abs(value - (low + Fraction(width * step, number - 1))) for step, value in enumerate(values)]
            assert (values[0], values[-1], max(steps) <= Fraction(1, 2)) == (low, low + width, True)
        else:
            assert low <= values[0] < values[-1] <= low + width


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("1,1.0", "1.0 is there twice"),
        ("0.1,0.2,1e-1", "1e-1 is there twice"),
        ("1,,2", "at least two values"),
        ("1,.inf", r"\.inf is no number to try"),
        ("lin:1:1.0000000000000004", "there are not so many numbers between"),
        ("log:1e-3:inf", "expected log:LOW:HIGH, two numbers"),
        ("lin:0:1_0", "expected lin:LOW:HIGH, two numbers"),
        ("lin:-1.7e308:1.7e308", "the range is too wide"),
        ("int:2:8.5", "expected int:LOW:HIGH, two whole numbers"),
        ("int:8:2", "LOW must be below HIGH"),
        ("int:0:99999999999999999999", "whole numbers go up to"),
    ],
)
def test_values_that_are_none_or_the_same_are_refused(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_spec("key", spec, None, "grid", 0)


# ---- what the setting takes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "spec", "message"),
    [
        ("data.batch_size", "lin:8:32", "data.batch_size takes whole numbers: give int:8:32"),
        ("data.batch_size", "log:8:32", "data.batch_size takes whole numbers: give int:8:32"),
        ("optimizer.momentum", "0.5,0.9,1.0", "optimizer.momentum: expected a number >= 0, < 1, got 1.0"),
        ("optimizer.momentum", "lin:0.5:1", "optimizer.momentum: expected a number >= 0, < 1, got 1.0"),
        ("data.subset", "10,1000000", "subset must be 1 to"),  # found when it is built
    ],
)
def test_a_value_that_is_refused_is_refused_before_any_run(base, key: str, spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sweep("mom", key, spec, root=base / "runs")
    assert not list(base.glob("runs/*"))


def test_the_place_of_a_refused_value_is_the_value(base) -> None:
    with pytest.raises(ConfigError) as caught:
        entries_of_settings(
            "mom",
            {"optimizer.momentum": "0.5,1"},
            [{"optimizer.momentum": 0.5}, {"optimizer.momentum": 1.0}],
            [],
            base,
        )
    assert "optimizer.momentum=1.0" in str(caught.value)


def test_items_of_lists_are_swept(base) -> None:
    over = ["train.epochs=1", "optimizer.groups=[{match: '*.bias', lr: 0.5}]"]
    found = sweep("sgd", "optimizer.groups.0.lr", "0.1,0.2", over, seeds=1, root=base / "runs", jobs=1)
    groups = [json.loads((base / "runs" / run["path"] / "summary.json").read_text()) for run in found.data["runs"]]
    assert [run["config"]["optimizer"]["groups"][0]["lr"] for run in groups] == [0.1, 0.2]
    assert all(run["state"] == "done" for run in found.data["runs"])
    assert "optimizer.groups.0.lr" not in found.data["entries"][0]["overrides"]


LOSS = """
import torch

calls = []

def loss(outputs, targets, at: float = 0.0):
    calls.extend([at] * outputs.requires_grad)  # an evaluation that is tried has none
    if at == 2 and outputs.requires_grad and len(calls) > 5:  # beyond what is tried before a run
        raise RuntimeError("only once it runs")
    return torch.nn.functional.cross_entropy(outputs, targets) * (float("nan") if at == 3 else 1)
"""


def test_a_run_that_fails_is_not_said_to_have_diverged(base) -> None:
    (base / "own.py").write_text(LOSS)
    over = ["train.epochs=1", "loss=./own.py:loss"]
    found = sweep("sgd", "loss.at", "1,2,3", over, seeds=1, root=base / "runs", jobs=1)
    states = {run["settings"]["loss.at"]: run["state"] for run in found.data["runs"]}
    assert states == {1: "done", 2: "failed", 3: "diverged"}
    group = Group(base / "runs" / found.data["name"])
    rows = {row["value"]: (row["diverged"], row["failed"], row["unmeasured"]) for row in sensitivity_rows(group)}
    assert rows == {1: (0, 0, 0), 2: (0, 1, 0), 3: (1, 0, 0)}
    drawn = sensitivity_lines(group.entries[0], group, 80)
    assert [line.split()[1] for line in drawn[2:]] == ["failed", "diverged"]
    said = " ".join(protocol_sentences(group))
    assert "3 values of loss.at: 1, 2 and 3; each run with the 1 seed 1000" in said
    assert not any(word in said for word in ("grid", "factor", "centre", "budget", "loss.at=1"))


@pytest.mark.parametrize(
    ("spec", "method", "words"),
    [
        ("log:0.01:1", "grid", "2 values of optimizer.lr, in even steps on a log scale from 0.01 to 1;"),
        ("lin:0.2:1", "grid", "2 values of optimizer.lr, in even steps from 0.2 to 1;"),
        ("lin:0.2:1", "random", "2 values of optimizer.lr, drawn at random from 0.2 to 1;"),
        ("int:1:2", "grid", "2 values of optimizer.lr, in even steps, whole numbers from 1 to 2;"),
    ],
)
def test_a_report_says_how_the_values_were_found(base, spec: str, method: str, words: str) -> None:
    found = sweep(
        "sgd", "optimizer.lr", spec, ["train.epochs=1"], trials=2, seeds=1, method=method, root=base / "runs", jobs=1
    )
    assert words in " ".join(protocol_sentences(Group(base / "runs" / found.data["name"])))


@pytest.mark.parametrize("key", ["a.b", "a.list.1", "hooks.0.every", "top"])
def test_a_value_is_put_where_it_is_looked_up(key: str) -> None:
    values = {"a": {"b": 1, "list": [1, 2]}, "hooks": [{"every": 3}], "top": 4}
    place_at(values, key, "new")
    assert look_up(values, key) == "new"
    assert json.dumps(values).count("new") == 1


@pytest.mark.parametrize(("key", "overrides"), [("optimizer.lr", ["seed=100"]), ("seed", [])])
def test_a_seed_is_neither_set_nor_swept(base, key: str, overrides: list[str]) -> None:
    with pytest.raises(UsageError, match="--seeds says with how many"):
        sweep("sgd", key, "0.1,0.2", overrides, root=base / "runs")


@pytest.mark.parametrize("spec", ["data.val=0.1,0.2", "data.split_seed=0,1", "eval.metric=val/loss,val/accuracy"])
def test_values_that_would_be_judged_otherwise_are_refused(base, spec: str) -> None:
    key, _, values = spec.partition("=")
    with pytest.raises(UsageError, match="their scores would not compare"):
        sweep("sgd", key, values, ["train.epochs=1"], root=base / "runs")
    assert not (base / "runs").exists()


def test_the_size_of_the_training_part_can_be_swept(base) -> None:
    found = sweep("sgd", "data.subset", "100,200", ["train.epochs=1"], seeds=1, root=base / "runs", jobs=1)
    assert [run["state"] for run in found.data["runs"]] == ["done", "done"]
