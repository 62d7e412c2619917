"""Configurations as mappings, in a comparison as in `train`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from optrun.experiments import Comparison, compare, resume, sweep
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import UsageError

TINY = {
    "data": {"name": "iris", "batch_size": 32},
    "model": "logistic",
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "sgd", "lr": 0.1},
    "train": {"epochs": 2},
}
FASTER = {**TINY, "optimizer": {"name": "mom", "lr": 0.2}}
OPTIONS = {"tune": None, "seeds": 2, "metric": "test/loss", "margin": 0.1, "jobs": 1}


def test_a_mapping_of_names_to_configurations_gives_the_results_of_files(tmp_path):
    Path("slow.yaml").write_text(json.dumps(TINY))  # JSON is YAML
    Path("fast.yaml").write_text(json.dumps(FASTER))
    files = compare(["slow.yaml", "fast.yaml"], **OPTIONS)
    made = compare({"slow": TINY, "fast": FASTER}, **OPTIONS)
    assert made.values() == files.values()
    assert made.entries == ["slow", "fast"]
    assert all(record["cached"] for record in made.data["runs"])  # the same runs
    mixed = compare({"a": "slow.yaml", "b": FASTER}, {"b:optimizer.lr": 0.3}, **OPTIONS)
    assert mixed.values()["a"] == made.values()["slow"]
    assert mixed.values()["b"] != made.values()["fast"]


def test_a_list_of_configurations_takes_their_names():
    little = {"sgd:train.epochs": 1, "sgd:model": "logistic"}
    targets = [{**TINY, "name": "first"}, {**FASTER, "name": "first"}, "sgd"]
    made = compare(targets, little, across_problems=True, **OPTIONS)
    assert made.entries == ["first", "first-2", "sgd"]


def test_optimizers_on_a_configuration():
    made = compare([TINY], optimizers=["sgd", "adam"], **OPTIONS)
    assert made.entries == ["sgd", "adam"]


@pytest.mark.parametrize(
    ("targets", "error", "said"),
    [
        (TINY, UsageError, "this is one configuration: give a list of them"),
        ({"extends": "mom"}, UsageError, "this is one configuration"),
        ({"../a": TINY, "b": TINY}, UsageError, "'../a' cannot name an entry"),
        ({"a": TINY}, UsageError, "at least two entries"),
        ({"a": TINY, "b": {**TINY, "optimizr": "sgd"}}, ConfigError, "optimizr"),
        ([TINY, "nowhere.yaml"], UsageError, "no file"),
    ],
)
def test_what_is_no_comparison(targets, error, said):
    with pytest.raises(error, match=said):
        compare(targets, **OPTIONS)


def test_made_anew_runs_that_another_comparison_uses_stay():
    first = compare({"slow": TINY, "fast": FASTER}, **OPTIONS)
    other = {**TINY, "optimizer": {"name": "adam", "lr": 0.05}}
    second = compare({"slow": TINY, "third": other}, **OPTIONS)
    shared = {run.path.name for run in second.runs("slow")}
    assert shared == {run.path.name for run in first.runs("slow")}
    anew = compare({"slow": TINY, "fast": FASTER}, fresh=True, **OPTIONS)
    assert not any(record["cached"] for record in anew.data["runs"])
    assert shared.isdisjoint(run.path.name for run in anew.runs("slow"))
    assert anew.values() == first.values()
    again = Comparison(second.path)
    assert again.values() == second.values()
    assert len(again.runs("slow")) == 2


def test_a_run_that_was_changed_since_stands_for_itself_alone():
    """`resume --allow-change` makes another run of it: its comparison does it anew, and no other one takes it."""
    first = compare({"slow": TINY, "fast": FASTER}, **OPTIONS)
    before = first.values()
    for run in first.runs("fast"):
        resume(run, {"train.epochs": 6, "optimizer.lr": 0.5}, allow_change=True)
    again = compare({"slow": TINY, "fast": FASTER}, **OPTIONS)
    assert again.values() == before
    cached = {name: {r["cached"] for r in again.data["runs"] if r["entry"] == name} for name in again.entries}
    assert cached == {"slow": {True}, "fast": {False}}
    other = compare({"fast": FASTER, "third": {**TINY, "optimizer": {"name": "adam", "lr": 0.05}}}, **OPTIONS)
    assert other.values()["fast"] == before["fast"]
    assert all(record["cached"] for record in compare({"slow": TINY, "fast": FASTER}, **OPTIONS).data["runs"])


def test_equal_values_of_a_coarse_metric_are_not_called_identical():
    """A longer step gives other weights, and the same right answers of 30."""
    other = {**TINY, "optimizer": {"name": "sgd", "lr": 0.1001}}
    options = {**OPTIONS, "metric": "test/accuracy", "margin": 0.05}
    found = compare({"a": TINY, "b": other, "c": TINY}, **options)
    assert found.values("test/loss")["a"] != found.values("test/loss")["b"]
    assert found.values()["a"] == found.values()["b"]
    pair = found.analysis.pair("a", "b")
    assert (pair.verdict.kind, pair.verdict.equivalent) == ("no difference shown", False)
    assert found.analysis.pair("a", "c").verdict.kind == "identical"
    assert "too coarse" in compare({"a": TINY, "b": other}, **options).sentence


def test_a_sweep_over_a_configuration_tries_what_the_same_file_does():
    Path("config.yaml").write_text(json.dumps(TINY))
    options = {"seeds": 1, "jobs": 1}
    written = sweep("config.yaml", "optimizer.lr", "0.0001,1.0", ["train.epochs=1"], **options)
    made = sweep(TINY, "optimizer.lr", [0.0001, 1.0], {"train.epochs": 1}, **options)
    scores = [[trial["mean"] for trial in each.data["entries"][0]["tuning"]["trials"]] for each in (made, written)]
    assert scores[0] == scores[1]
    assert len(set(scores[0])) == 2


@pytest.mark.parametrize("wrong", [True, None, [0.1], "a,b", "log:1", {"lr": 1}])
def test_what_is_no_value_of_a_sweep(wrong):
    with pytest.raises(UsageError, match=r"optimizer\.lr: .* is no value of a sweep"):
        sweep(TINY, "optimizer.lr", [0.1, wrong])
