"""Runs of a batch that are made again by themselves: which, what is told of them, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from optrun.experiments import load_config
from optrun.experiments.comparison.compare import compare
from optrun.experiments.comparison.first_steps import NUM_STEPS, Apart, first_steps
from optrun.experiments.comparison.probing import why_not_batched
from optrun.experiments.comparison.sweep import sweep
from optrun.experiments.comparison.verifying import TOLERANCE, verify
from optrun.experiments.components.registries import REGISTRIES
from optrun.experiments.errors import NotVerifiedError, UsageError
from optrun.experiments.report.report import Report
from optrun.experiments.run_directory.run import Run
from optrun.experiments.training.build import build
from optrun.experiments.training.step.stacked.rows import Moves

OPTIONS = {"seeds": 3, "tune": None, "jobs": 1, "engine": "batched"}
MLP = {"name": "mlp", "hidden": [16]}
CONVOLUTIONS = {"name": "resnet", "depth": 8, "width": 4}


def record(found):
    return json.loads((found.path / "comparison.json").read_text())["verified"]


def config_of(optimizer, model, seed):
    facts = REGISTRIES["optimizer"].get(optimizer).facts
    chosen = {"name": optimizer, **({"lr": facts["centre_lr"]} if "centre_lr" in facts else {})}
    size = {"batch_size": 16, "subset": 96, "val": 0.2, "test": 0.2}
    train = {"epochs": 9, "threads": 1}
    plain = {"data": {"name": "digits", **size}, "model": model, "loss": "cross_entropy", "optimizer": chosen}
    return load_config({**plain, "schedule": "cosine", "train": train, "seed": seed})


def batched_optimizers():
    """Return the names of all optimizers whose runs can be trained in a batch."""
    found = []
    for name in REGISTRIES["optimizer"].names():
        try:
            experiment = build(config_of(name, MLP, 0))
        except Exception:  # noqa: BLE001 (it does not take this model)
            continue
        if why_not_batched(experiment) is None:
            found.append(name)
    return found


def check(optimizer, model):
    configs = [config_of(optimizer, model, seed).to_dict() for seed in range(3)]
    for apart in first_steps(configs, [0, 2], is_compiled=False, enough=TOLERANCE):
        assert apart.start == 0
        assert apart.early <= TOLERANCE / 10
        assert apart.share <= TOLERANCE or apart.by_itself > TOLERANCE


@pytest.mark.parametrize("optimizer", batched_optimizers())
def test_steps_in_a_batch_are_those_of_the_run_alone(optimizer):
    check(optimizer, MLP)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", batched_optimizers())
def test_steps_of_convolutions_and_batch_norm_are_those_of_the_run_alone(optimizer):
    check(optimizer, CONVOLUTIONS)


def test_most_optimizers_can_be_in_a_batch():
    assert len(batched_optimizers()) > 20


def test_another_rate_is_far_beyond_the_tolerance(monkeypatch):
    begin = Moves.begin

    def wrong(self, found, rates):
        begin(self, found, [[[1.02 * rate for rate in group] for group in each] for each in rates])

    monkeypatch.setattr(Moves, "begin", wrong)
    configs = [config_of("mom", MLP, seed).to_dict() for seed in range(3)]
    (apart,) = first_steps(configs, [1], is_compiled=False)
    assert apart.early > 10 * TOLERANCE


@pytest.mark.parametrize(
    ("apart", "refused"),
    [
        (Apart(0.0, 1e-6, 1e-6, 1e-6, None), ""),
        (Apart(0.0, 1e-6, 0.2, 0.1, 0.3), ""),  # chaotic by itself
        (Apart(0.0, 1e-6, 0.2, 0.1, 1e-5), "after 20 steps weights differ by 0.2 of the way"),
        (Apart(0.0, 0.01, 0.2, 0.1, None), "after 5 steps weights differ by 0.01 of the way"),
        (Apart(0.0, math.nan, math.nan, math.nan, None), "after 5 steps weights differ by nan"),
        (Apart(0.5, 1e-6, 1e-6, 1e-6, None), "differ by 0.5 before the first step"),
    ],
)
def test_only_what_a_rounding_explains_is_accepted(apart, refused):
    run = {"entry": "sgd", "seed": 0, "run": "a", "alone": "b", "apart": apart._asdict()}
    record = {"steps": 20, "tolerance": TOLERANCE, "runs": [run]}
    if refused:
        with pytest.raises(NotVerifiedError, match=refused):
            verify(record, Path())
    else:
        verify(record, Path())


def test_a_chaotic_run_is_found_to_be_one():
    configs = [config_of("asgd", CONVOLUTIONS, 2).to_dict()] * 2
    (seen,) = first_steps(configs, [0], is_compiled=False)
    assert seen.early < 1e-4
    assert seen.by_itself is None
    (apart,) = first_steps(configs, [0], is_compiled=False, enough=seen.early)
    assert apart.share > apart.early
    assert apart.by_itself > TOLERANCE


def test_members_are_made_again_and_held_against_each_other(base):
    found = compare(["sgd", "mom"], verify_batched=3, name="it", **OPTIONS)
    kept = record(found)
    assert [(run["entry"], run["seed"]) for run in kept["runs"]] == [("sgd", 0), ("mom", 0), ("sgd", 1)]
    assert kept["of"] == 6
    assert kept["tolerance"] == TOLERANCE
    root = found.path.parent
    for run in kept["runs"]:
        member, alone = Run(root / run["run"]), Run(root / run["alone"])
        assert member.env["engine"] == "batched"
        assert "engine" not in alone.env
        assert run["value"] == member.result["final"]["test/accuracy"]
        assert run["alone_value"] == alone.result["final"]["test/accuracy"]
        assert run["apart"]["start"] == 0
        assert run["apart"]["share"] <= TOLERANCE
    assert not {run["alone"] for run in kept["runs"]} & {run["path"] for run in found.data["runs"]}
    (said,) = [line for line in Report(found.path).protocol if "made again" in line]
    assert said.startswith("3 of 6 runs in batches were made again by themselves")
    assert f"tolerance {TOLERANCE:g}" in said
    assert found.as_dict()["verified"] == kept
    before = {path: path.stat().st_mtime_ns for path in root.rglob("summary.json")}
    again = compare(["sgd", "mom"], verify_batched=3, name="it", **OPTIONS)
    assert record(again) == kept
    assert {path: path.stat().st_mtime_ns for path in root.rglob("summary.json")} == before
    told = []
    compare(["sgd", "mom"], name="alone", on_event=told.append, **{**OPTIONS, "engine": "processes"})
    assert sum(event["kind"] == "finished" and event["cached"] for event in told) == 3  # they are runs like any other


def test_all_are_made_again_where_there_are_fewer(base):
    found = compare(["sgd", "mom"], verify_batched=99, **{**OPTIONS, "seeds": 2})
    assert len(record(found)["runs"]) == 4


def test_trials_of_a_sweep_are_verified(base):
    found = sweep("mom", "optimizer.lr", "0.01,0.1", engine="batched", verify_batched=2, jobs=1)
    assert len(record(found)["runs"]) == 2
    assert record(found)["metric"] == "val/accuracy"


def test_a_batch_that_computes_something_else_is_refused_and_kept(base, monkeypatch):
    begin = Moves.begin

    def wrong(self, found, rates):
        begin(self, found, [[[0.9 * rate for rate in group] for group in each] for each in rates])

    monkeypatch.setattr(Moves, "begin", wrong)
    with pytest.raises(NotVerifiedError, match=r"entry 'sgd', seed 0 .*after 4 steps .* more than 0.001") as refused:
        compare(["sgd", "mom"], verify_batched=2, name="it", **OPTIONS)
    assert "--engine processes" in str(refused.value)
    assert refused.value.exit_code == 1
    data = json.loads((refused.value.path / "comparison.json").read_text())
    assert data["complete"]
    assert len(data["verified"]["runs"]) == 2


def test_what_is_asked_for_is_checked(base):
    with pytest.raises(UsageError, match="exclude each other"):
        compare(["sgd", "mom"], verify_batched=2, **{**OPTIONS, "engine": "processes"})
    with pytest.raises(UsageError, match="verify_batched"):
        compare(["sgd", "mom"], verify_batched=0, **OPTIONS)


def test_where_nothing_was_in_a_batch_that_is_told(base, caplog):
    found = compare(["sgd", "mom"], verify_batched=2, **{**OPTIONS, "engine": "auto"})
    assert record(found) is None
    assert "nothing to verify" in caplog.text


def test_the_number_of_steps_is_that_of_a_short_run(base):
    found = compare(["sgd", "mom"], ["train.epochs=null", "train.steps=4"], verify_batched=1, **OPTIONS)
    assert record(found)["steps"] == 4
    assert NUM_STEPS > 4
