"""Runs that are trained together: directories, logs, results, what ends one of them, and what goes on alone."""

from __future__ import annotations

import json
import logging

import pytest
import safetensors.torch
import torch

from optrun.experiments import load_config, resume, train
from optrun.experiments.components.hooks.hook import Every, Hook
from optrun.experiments.errors import DivergedError, Interrupted
from optrun.experiments.run_directory.run import Run
from optrun.experiments.training.batched import train_together
from optrun.experiments.training.session.step_calls import StepCalls
from optrun.experiments.training.together import Together
from optrun.experiments.training.train import training

CONFIG = {
    "data": {"name": "digits", "batch_size": 32, "subset": 160, "val": 0.2, "test": 0.2},
    "model": {"name": "mlp", "hidden": [16], "dropout": 0.1},
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "mom", "lr": 0.05},
    "schedule": {"name": "cosine"},
    "train": {"steps": 23},
    "eval": {"every": "5 steps"},
    "log": {"every": "4 steps"},
    "checkpoint": {"every": "7 steps", "keep": 9},
}


class Watching(Hook):
    """Notes at each row how far the run is, and what its weights are."""

    def __init__(self):
        self.seen = []

    def after_row(self, session, row):
        weight = next(session.train_op.model.parameters())
        self.seen.append((session.step, row["step"], weight.detach().clone()))


class FailAtRow(Hook):
    """Fails when a row of a step is written; it looks at nothing else."""

    only_values = True

    def __init__(self, step):
        self.step = step

    def after_row(self, session, row):
        if row["step"] == self.step:
            raise ValueError("no more")


class StopAt(Hook):
    """Ends a session at a step, as a signal would."""

    trigger = Every(steps=1)

    def __init__(self, step, outcome="interrupted"):
        self.step, self.outcome = step, outcome

    def after_run(self, ctx, values):
        if ctx.step == self.step:
            ctx.session.request_stop("because", self.outcome)


def together(folder, changes, hooks=None):
    """Train runs with such changes of the configuration at once; return what came of each, by name."""
    group, ended = Together(False), {}
    names = [*changes]
    attempts = [
        training(
            load_config({**CONFIG, **change}),
            folder,
            name,
            on_start=lambda experiment, run_dir: [*(hooks or {}).get(run_dir.name, [])],
            together=group,
        )
        for name, change in changes.items()
    ]
    train_together(attempts, group, lambda place, result: ended.update({names[place]: result}))
    return ended


def weights(folder, name):
    """Return all rows of a run, and its last state."""
    rows = (folder / name / "metrics.jsonl").read_text()
    return [json.loads(line) for line in rows.splitlines()], final_state(folder, name)


def final_state(folder, name):
    last = sorted((folder / name / "checkpoints").glob("step-*.safetensors"))[-1]
    tensors = safetensors.torch.load_file(last)  # the process's own random states are not the run's
    return {key: value.tolist() for key, value in tensors.items() if not key.startswith("rng/")}


SEEDS = {"a": {"seed": 0}, "b": {"seed": 1}, "c": {"seed": 2, "optimizer": {"name": "adam", "lr": 0.01}}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return folder, together(folder, SEEDS)


def test_members_are_runs_like_any_other(trained):
    folder, ended = trained
    assert {name: run.state for name, run in ended.items()} == dict.fromkeys("abc", "done")
    for name, change in SEEDS.items():
        run = Run(folder / name)
        assert run.env["engine"] == "batched"
        assert run.result["steps"] == 23
        assert run.result["train_secs"] is None
        assert run.result["cpu_secs"] is None
        alone = train({**CONFIG, **change}, name=f"{name}-alone", root=folder)
        assert "engine" not in alone.env
        rows, other = weights(folder, name)[0], weights(folder, f"{name}-alone")[0]
        assert [row["step"] for row in rows] == [row["step"] for row in other]
        assert all("time" not in row for row in rows)
        for one, two in zip(rows, other, strict=True):
            assert {key: pytest.approx(value, abs=2e-4) for key, value in two.items() if key != "time"} == one
        assert run.result["final"] == pytest.approx(alone.result["final"], abs=2e-4)


def test_each_log_tells_of_its_own_run(trained):
    folder, _ = trained
    together(folder, {"quiet": {"seed": 3}, "loud": {"seed": 4, "train": {"steps": 3}}}, {"loud": [Says()]})
    assert "said by loud" in (folder / "loud" / "log.txt").read_text()
    assert "said by loud" not in (folder / "quiet" / "log.txt").read_text()


class Says(Hook):
    trigger = Every(steps=2)

    def after_run(self, ctx, values):
        logging.getLogger("optrun").info("said by loud")


def test_a_member_alone_and_in_any_company_has_the_same_bits(trained, tmp_path):
    folder, _ = trained
    together(tmp_path, {"c": SEEDS["c"], "x": {"seed": 7}, "a": SEEDS["a"], "y": {"seed": 8}})
    together(tmp_path / "alone", {"b": SEEDS["b"]})
    assert weights(tmp_path, "a") == weights(folder, "a")
    assert weights(tmp_path, "c") == weights(folder, "c")
    assert weights(tmp_path / "alone", "b") == weights(folder, "b")


@pytest.mark.parametrize("step", [3, 9, 16])
def test_a_member_that_was_interrupted_goes_on_alone_with_the_same_bits(trained, tmp_path, step):
    folder, _ = trained
    ended = together(tmp_path, SEEDS, {"a": [StopAt(step)], "c": [StopAt(step + 2)]})
    assert isinstance(ended["a"], Interrupted)
    assert isinstance(ended["c"], Interrupted)
    assert weights(tmp_path, "b") == weights(folder, "b")
    for name in "ac":
        run = resume(name, root=tmp_path)
        assert run.state == "done"
        assert run.env["engine"] == "batched"
        assert weights(tmp_path, name) == weights(folder, name)


def test_members_that_were_interrupted_go_on_together_with_the_same_bits(trained, tmp_path):
    folder, _ = trained
    together(tmp_path, SEEDS, {"a": [StopAt(4)], "b": [StopAt(11)], "c": [StopAt(18)]})
    assert {name: run.state for name, run in together(tmp_path, SEEDS).items()} == dict.fromkeys("abc", "done")
    assert all(weights(tmp_path, name) == weights(folder, name) for name in "abc")


def test_a_member_that_diverges_or_stops_leaves_the_others_alone(trained, tmp_path):
    folder, _ = trained
    wild = {"seed": 5, "optimizer": {"name": "sgd", "lr": 1e30}}
    ended = together(
        tmp_path,
        {"wild": wild, "a": SEEDS["a"], "early": {"seed": 6}, "b": SEEDS["b"]},
        {"early": [StopAt(8, "stopped")]},
    )
    assert isinstance(ended["wild"], DivergedError)
    assert Run(tmp_path / "wild").state == "diverged"
    assert Run(tmp_path / "wild").result["diverged"]["batch_file"]
    assert (ended["early"].state, ended["early"].result["steps"]) == ("stopped", 8)
    assert all(weights(tmp_path, name) == weights(folder, name) for name in "ab")


def test_a_member_whose_hook_fails_leaves_the_others_alone(trained, tmp_path):
    folder, _ = trained

    class Fails(Hook):
        trigger = Every(steps=5)

        def after_run(self, ctx, values):
            raise ZeroDivisionError("in a hook")

    ended = together(tmp_path, {"bad": {"seed": 5}, "a": SEEDS["a"]}, {"bad": [Fails()]})
    assert "in a hook" in str(ended["bad"])
    assert Run(tmp_path / "bad").state == "failed"
    assert weights(tmp_path, "a") == weights(folder, "a")


@pytest.mark.parametrize("every", ["1 steps", "3 steps"])
def test_rows_are_those_of_a_run_alone_wherever_they_are_written(tmp_path, every):
    changes = {name: {**change, "log": {"every": every}} for name, change in SEEDS.items()}
    together(tmp_path, changes)
    for name, change in changes.items():
        alone = train({**CONFIG, **change}, name=f"alone-{name}", root=tmp_path)
        ours = Run(tmp_path / name).rows
        assert [row["step"] for row in ours] == [row["step"] for row in alone.rows]
        for one, other in zip(ours, alone.rows, strict=True):
            other.pop("time")
            assert one == pytest.approx(other, rel=1e-3)
            assert [one.get(key) for key in ("lr", "batch", "examples", "epoch")] == [
                other.get(key) for key in ("lr", "batch", "examples", "epoch")
            ]


def test_rows_wait_for_hooks_that_look_at_nothing_but_values(tmp_path):
    longest, counts = StepCalls._block, {}

    def noted(self, most):
        block = longest(self, most)
        counts.setdefault(id(self), []).append(block.count)
        return block

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StepCalls, "_block", noted)
        together(tmp_path, {"plain": {"log": {"every": "1 steps"}}})
    (plain,) = counts.values()
    assert max(plain) > 1  # several rows at once


def test_a_hook_that_may_look_at_weights_sees_those_of_each_row(trained, tmp_path):
    watching = Watching()
    changes = {"a": {"log": {"every": "1 steps"}}, "b": {"log": {"every": "1 steps"}}}
    together(tmp_path, changes, {"a": [watching]})
    seen = [(step, row) for step, row, _ in watching.seen]
    assert all(step == row for step, row in seen)
    by_step = {row: weight for _, row, weight in watching.seen}
    assert not any(torch.equal(by_step[step], by_step[step + 1]) for step in range(1, 22))
    assert weights(tmp_path, "a")[1] == weights(trained[0], "a")[1]


def test_a_hook_that_fails_at_a_row_ends_its_run_there(trained, tmp_path):
    ended = together(tmp_path, SEEDS, {"b": [FailAtRow(8)]})
    assert isinstance(ended["b"], ValueError)
    assert any("after_row of hook 'fail_at_row'" in note for note in ended["b"].__notes__)
    failed = Run(tmp_path / "b")
    assert failed.status["state"] == "failed"
    assert [row["step"] for row in failed.rows] == [4, 5, 8]
    for name in "ac":
        assert weights(tmp_path, name) == weights(trained[0], name)
    assert resume(tmp_path / "b").state == "done"
    assert weights(tmp_path, "b") == weights(trained[0], "b")


def test_a_run_that_was_begun_alone_stays_alone(tmp_path):
    with pytest.raises(Interrupted):
        train({**CONFIG, "seed": 0}, name="a", root=tmp_path, on_start=lambda experiment, run_dir: [StopAt(9)])
    straight = train({**CONFIG, "seed": 0}, name="straight", root=tmp_path)
    ended = together(tmp_path, {"a": {"seed": 0}, "b": {"seed": 1}})
    assert "engine" not in ended["a"].env
    assert final_state(tmp_path, "a") == final_state(tmp_path, "straight")
    assert straight.state == "done"


AVERAGED = {"updates": [{"name": "ema", "decay": 0.8}], "eval": {"every": "5 steps", "weights": "ema"}}


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": ["accuracy", "macro_f1", {"name": "top_k", "k": 2}]},
        AVERAGED,
        {"data": {**CONFIG["data"], "eval_batch_size": 7}},
        {"loss": {"name": "cross_entropy", "label_smoothing": 0.1}},
        {"eval": {"every": "5 steps", "gradients": True}},
        {"train": {"steps": 23, "precision": "bf16"}},
    ],
    ids=["metrics", "averaged", "small batches", "smoothed", "gradients", "bf16"],
)
def test_evaluations_together_are_those_of_each_alone(tmp_path, change):
    ended = together(tmp_path, {"a": change, "b": {**change, "seed": 1}, "c": {**change, "seed": 2}})
    tolerance = 0.02 if "precision" in change.get("train", {}) else 2e-4
    for seed, run in enumerate(ended.values()):
        alone = train({**CONFIG, **change, "seed": seed}, name=f"alone-{seed}", root=tmp_path)
        measured = [row for row in run.rows if "val/loss" in row]
        expected = [row for row in alone.rows if "val/loss" in row]
        assert len(measured) == len(expected) == 4
        for one, other in zip(measured, expected, strict=True):
            assert one == pytest.approx({key: value for key, value in other.items() if key != "time"}, abs=tolerance)
        assert run.result["final"] == pytest.approx(alone.result["final"], abs=tolerance)
    assert ended["a"].result["final"] != ended["b"].result["final"]
