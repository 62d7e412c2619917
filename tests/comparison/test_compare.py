"""Comparisons from end to end, on small real runs in real worker processes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from optrun.experiments import Run, build, load_config
from optrun.experiments.comparison import fingerprints
from optrun.experiments.comparison.compare import compare
from optrun.experiments.comparison.entries import make_entries
from optrun.experiments.comparison.entry import differences
from optrun.experiments.comparison.fingerprints import PairingError, check_pairing, expected_equal
from optrun.experiments.comparison.result import Comparison
from optrun.experiments.comparison.sweep import sweep
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import NothingMatchedError, UsageError

# ---- entries ---------------------------------------------------------------------------------------------------------


def names(targets, overrides=()):
    return {entry.name: entry for entry in make_entries(targets, overrides, Path("runs"))}


def test_overrides_are_for_all_or_for_one(base):
    entries = names(["mom", "adam"], ["train.epochs=5", "adam:optimizer.lr=3e-3"])
    assert [entry.config.train.epochs for entry in entries.values()] == [5, 5]
    assert entries["adam"].config.optimizer.args["lr"] == 0.003
    assert entries["mom"].config.optimizer.args["lr"] == 0.1
    assert entries["adam"].centre() == (0.003, "the command line")


def test_a_prefix_that_is_no_target_becomes_one(base):
    assert list(names(["mom"], ["adam:optimizer.lr=3e-3"])) == ["mom", "adam"]


def test_a_target_named_twice_gets_a_number(base):
    entries = names(["mom", "mom"], ["mom-2:optimizer.lr=0.2"])
    assert [entry.config.optimizer.args["lr"] for entry in entries.values()] == [0.1, 0.2]


def test_an_optimizers_name_takes_the_rest_from_a_preset():
    entries = names(["mom", "nag"])
    assert entries["nag"].config.optimizer.name == "nag"
    assert entries["nag"].config.optimizer.args["lr"] == entries["nag"].centre()[0]
    keys = {difference["key"] for difference in differences(list(entries.values()))}
    assert all(key.startswith("optimizer.") for key in keys)


def test_what_is_no_target_says_so(base):
    with pytest.raises(UsageError, match="mon"):
        names(["mon", "adam"])
    with pytest.raises(ConfigError, match="momentun"):
        names(["mom"], ["mom:optimizer.momentun=1"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": ["mom"]}, "at least two entries"),
        ({"baseline": "sdg"}, "no entry named 'sdg'. Did you mean 'sgd'"),
        ({"metric": "test/acuracy"}, "Did you mean 'test/accuracy'"),
        ({"metric": "test/loss"}, "no registered margin"),
        ({"seeds": -1}, "seeds: expected an int >= 1, got -1"),
        ({"seeds": 0}, "seeds: expected an int >= 1, got 0"),
        ({"seeds": "3"}, "seeds: expected an int >= 1, got '3'"),
        ({"alpha": 1.5}, "alpha: expected a number > 0, < 0.5, got 1.5"),
        ({"alpha": 0.5}, "alpha: expected a number > 0, < 0.5, got 0.5"),
        ({"alpha": 0.0}, "alpha: expected a number > 0, < 0.5, got 0.0"),
        ({"margin": float("inf")}, "margin: expected a finite number, got .inf"),
        ({"target": float("nan")}, "target: expected a finite number, got .nan"),
        ({"margin": -0.1}, "margin: expected a number >= 0, got -0.1"),
        ({"jobs": 0}, "jobs: expected an int >= 1, got 0"),
        ({"tune": 2}, "tune: expected .* int >= 3, .*got 2"),
        ({"tune": -1}, "tune: expected .* int >= 3, .*got -1"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_run(base, arguments, message):
    with pytest.raises(UsageError, match=message):
        compare(**{"targets": ["sgd", "mom"], **arguments})
    assert not list(Path("runs").glob("*/*")) if Path("runs").exists() else True


# ---- pairing ---------------------------------------------------------------------------------------------------------


def test_what_must_be_equal_follows_from_what_differs(base):
    configs = [entry.config.to_dict() for entry in names(["sgd", "adam"]).values()]
    assert expected_equal(configs) == ["parameters", "initial_loss", "order"]
    wider = [entry.config.to_dict() for entry in names(["sgd", "adam"], ["adam:model.hidden=[32]"]).values()]
    assert expected_equal(wider) == ["order"]
    other_batches = [entry.config.to_dict() for entry in names(["sgd", "adam"], ["adam:data.batch_size=32"]).values()]
    assert expected_equal(other_batches) == []


def test_a_mismatch_stops_with_an_explanation():
    same = {"parameters": "a", "initial_loss": 2.3, "order": "b"}
    assert check_pairing({"sgd": same, "adam": dict(same)}, ["parameters", "order"], 0) == {
        "parameters": "a",
        "order": "b",
    }
    with pytest.raises(PairingError, match="with seed 3, sgd and adam differ in their initial parameters"):
        check_pairing({"sgd": same, "adam": {**same, "parameters": "c"}}, ["parameters"], 3)


NOT_BY_SEED = """
import itertools, torch
_calls = itertools.count()
class Net(torch.nn.Module):
    def __init__(self, input_shape: list[int], num_outputs: int):
        super().__init__()
        self.layer = torch.nn.Linear(64, num_outputs)
        torch.nn.init.constant_(self.layer.weight, 0.01 * next(_calls))
    def forward(self, inputs):
        return self.layer(inputs.flatten(1))
"""


def test_a_mismatch_stops_the_comparison_and_loses_nothing(base):
    (base / "net.py").write_text(NOT_BY_SEED)
    with pytest.raises(PairingError, match=r"with seed 0, sgd and mom differ in their initial parameters") as stopped:
        compare(["sgd", "mom"], ["model=./net.py:Net"], seeds=2, tune=None, jobs=1, name="unlike")
    assert stopped.value.exit_code == 6
    found = Comparison(Path("runs/unlike"))
    assert [record.state for record in found.group.records] == ["done"] * 4
    assert "no verdict, since runs of one seed did not start alike" in found.sentence
    assert str(stopped.value) in found.sentence
    assert found.analysis.pairs == (), "nothing is tested that is no pair"


def test_rows_that_differ_are_no_pair(base):
    one = build(load_config("sgd", ["data.scaling=unit"])).splits
    scaled, other = fingerprints._data(one), fingerprints._data(build(load_config("sgd")).splits)
    assert scaled != other
    assert scaled == fingerprints._data(build(load_config("mom", ["data.scaling=unit"])).splits)
    same = {"order": "b", "data": scaled}
    with pytest.raises(PairingError, match="sgd and adam differ in their training, validation or test rows"):
        check_pairing({"sgd": same, "adam": {**same, "data": other}}, ["order"], 0)
    assert check_pairing({"sgd": same, "adam": {"order": "b"}}, ["order"], 0) == {"order": "b"}, "one of 0.2.0"


# ---- from end to end -------------------------------------------------------------------------------------------------


def test_a_comparison_is_tuned_paired_repeated_at_once_and_extended_with_a_note(base):
    events = []
    found = compare(["sgd", "mom"], seeds=4, tune=3, target=0.2, on_event=events.append)
    data = found.data
    assert data["complete"]
    assert [event["kind"] for event in events][:3] == ["question", "plan", "phase"]
    assert events[1]["plan"]["runs"] == 2 * (3 * 2 + 4)
    # Equal budgets: as many trials for one as for the other, extensions included.
    spent = {entry["name"]: entry["tuning"]["spent"] for entry in data["entries"]}
    assert len(set(spent.values())) == 1
    # Fresh seeds: none of those that chose the rate.
    assert set(data["protocol"]["seeds"]).isdisjoint(data["protocol"]["tune_seeds"])
    # Pairs are proven equal.
    assert data["pairing"]["checked"]
    assert set(data["pairing"]["seeds"]["0"]) == {"parameters", "initial_loss", "order", "data"}
    values = found.values()
    assert {name: sorted(by_seed) for name, by_seed in values.items()} == {"sgd": [0, 1, 2, 3], "mom": [0, 1, 2, 3]}
    assert found.sentence
    # Each is an ordinary run, with the chosen rate.
    for entry in data["entries"]:
        for run in found.runs(entry["name"]):
            assert isinstance(run, Run)
            assert run.config["optimizer"]["lr"] == entry["tuning"]["chosen"]
            assert run.summary["final"]["test/accuracy"] in values[entry["name"]].values()

    again = []
    assert compare(["sgd", "mom"], seeds=4, tune=3, target=0.2, train=False, on_event=again.append).path == found.path
    assert all(event["cached"] for event in again if event["kind"] == "finished")
    with pytest.raises(NothingMatchedError, match="leave out --no-train"):
        compare(["sgd", "mom"], seeds=5, tune=3, target=0.2, train=False)
    more = compare(["sgd", "mom"], seeds=5, tune=3, target=0.2)
    assert [look["exploratory"] for look in more.data["looks"]] == [False, True]
    assert more.path == found.path

    # Another comparison shares the runs that it has in common.
    third = compare(["sgd", "mom", "adam"], seeds=4, tune=3, target=0.2)
    cached = {run["entry"] for run in third.data["runs"] if run["cached"]}
    assert {"sgd", "mom"} <= cached


def test_a_against_a_is_identical(base):
    found = compare(["mom", "mom"], seeds=3, tune=None)
    assert "identical" in found.sentence
    (pair,) = found.analysis.pairs
    assert pair.result.p is None
    assert not found.data["protocol"]["tuned"]


def test_diverged_runs_are_results_and_stay_in_n(base):
    found = compare(["sgd", "mom"], ["mom:optimizer.lr=1e6", "stop.loss_above=1e3"], seeds=3, tune=None)
    assert found.values()["mom"] == {0: None, 1: None, 2: None}
    states = {run["entry"]: run["state"] for run in found.data["runs"]}
    assert states == {"sgd": "done", "mom": "diverged"}
    assert found.analysis.entry("mom").num_diverged == 3


def test_a_run_that_fails_is_reported_and_the_others_go_on(base):
    (base / "faulty.py").write_text(
        "from optrun.experiments import Hook\n"
        "class Faulty(Hook):\n"
        "    def after_run(self, ctx, values):\n"
        "        raise OSError('no more paper')\n"
    )
    found = compare(["sgd", "mom"], ["mom:hooks=[./faulty.py:Faulty]"], seeds=2, tune=None)
    assert {run["state"] for run in found.data["runs"] if run["entry"] == "mom"} == {"failed"}
    assert {run["state"] for run in found.data["runs"] if run["entry"] == "sgd"} == {"done"}
    assert "no more paper" in found.failed()[0]


def test_a_file_with_entries(base):
    (base / "study.yaml").write_text(
        "base: configs/sgd.yaml\n"
        "entries:\n"
        "  slow: {optimizer: {name: sgd, lr: 0.05}}\n"
        "  fast: {optimizer: {name: sgd, lr: 0.5}}\n"
        "  mom: configs/mom.yaml\n"
        "seeds: 2\n"
        "tune: false\n"
        "baseline: slow\n"
    )
    found = compare(["study.yaml"])
    assert found.entries == ["slow", "fast", "mom"]
    assert found.data["protocol"]["baseline"] == "slow"
    assert [e["config"]["optimizer"]["lr"] for e in found.data["entries"]] == [0.05, 0.5, 0.1]
    (base / "bad.yaml").write_text("entries: {a: mom, b: sgd}\nseed: 3\n")
    with pytest.raises(ConfigError, match=r"bad.yaml:2:1: seed: a comparison has no key 'seed'") as refused:
        compare(["bad.yaml"])
    assert refused.value.problems[0].hint == "did you mean 'seeds'?"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seeds: 0", r"study.yaml:2:8: seeds: expected an int >= 1, got 0"),
        ("alpha: 0", r"study.yaml:2:8: alpha: expected a number > 0, < 0.5, got 0"),
        ("tune: 1", r"study.yaml:2:7: tune: expected .*, got 1"),
        ("margin: -1", r"study.yaml:2:9: margin: expected a number >= 0, got -1"),
        ("metric: [a]", r"study.yaml:2:9: metric: expected text, got"),
    ],
)
def test_a_wrong_value_in_a_file_is_refused_with_its_place(base, line, message):
    (base / "study.yaml").write_text(f"entries: {{sgd: sgd, mom: mom}}\n{line}\n")
    with pytest.raises(ConfigError, match=message):
        compare(["study.yaml"])


def test_a_sweep_refuses_what_would_be_no_sweep(base):
    for options, message in (
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"trials": 0}, "--trials 0: a sweep has at least 2"),
        ({"jobs": 0}, "jobs must be at least 1, got 0"),
    ):
        with pytest.raises(UsageError, match=message):
            sweep("sgd", "optimizer.lr", "log:1e-2:1", **options)


def test_finished_runs_can_be_entries(base):
    from optrun.experiments import train

    for seed in (0, 1):
        train("sgd", {"seed": seed}, name=f"sgd-{seed}")
        train("mom", {"seed": seed}, name=f"mom-{seed}")
    found = compare(["run:sgd-0", "run:mom-0"], tune=None)
    assert found.values().keys() == {"sgd-0", "mom-0"}
    assert sorted(found.values()["sgd-0"]) == [0, 1]


def test_a_sweep_finds_the_best_value_and_says_what_it_tried(base):
    found = sweep("sgd", "optimizer.lr", "log:1e-2:1", trials=3, seeds=2)
    (entry,) = found.data["entries"]
    assert [trial["value"] for trial in entry["tuning"]["trials"]] == [0.01, 0.1, 1.0]
    means = {trial["value"]: trial["mean"] for trial in entry["tuning"]["trials"]}
    assert entry["tuning"]["chosen"] == max(means, key=lambda value: means[value])
    assert found.sentence
    assert isinstance(Comparison(found.path), Comparison)
    before = os.stat(found.path / "comparison.json").st_mtime_ns
    sweep("sgd", "optimizer.lr", "log:1e-2:1", trials=3, seeds=2)
    assert os.stat(found.path / "comparison.json").st_mtime_ns >= before
    assert all(run["cached"] for run in json.loads((found.path / "comparison.json").read_text())["runs"])
