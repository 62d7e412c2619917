"""Runs as the library starts them: what is written, what the environment may change, what a failure leaves."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from optrun.experiments import Hook, Run, build, evaluate, load_config, resume, train, trained_model
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import DivergedError, UsageError
from optrun.experiments.training.train import dry_run

SMALL = {
    "name": "small",
    "data": {"name": "digits", "subset": 128, "batch_size": 32},
    "model": {"name": "mlp", "hidden": [16]},
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "mom", "lr": 0.1},
    "train": {"epochs": 3},
    "eval": {"target": 0.3},
    "updates": [{"name": "ema", "decay": 0.9}],
}


def test_a_run_directory_holds_what_it_should():
    run = train(SMALL)
    assert run.path == Path.cwd() / "runs/small-0001"
    names = {path.name for path in run.path.iterdir() if not path.name.startswith(".")}
    assert names == {
        *("config.yaml", "origins.json", "env.json", "metrics.jsonl"),
        *("summary.json", "status.json", "data.json", "log.txt", "checkpoints"),
    }
    assert run.env["threads"] == 1
    assert run.env["torch"]
    assert json.loads((run.path / "origins.json").read_text())["optimizer.lr"]
    assert "Traceback" not in (run.path / "log.txt").read_text()
    assert run.state == "done"


@pytest.mark.parametrize("weights", ["raw", "ema"])
@pytest.mark.parametrize("checkpoint", ["last", "best", 8])
def test_a_trained_model_gives_the_figures_of_its_run(checkpoint, weights):
    run = train({**SMALL, "checkpoint": {"every": "4 steps", "keep": 3}})
    model = trained_model(run, checkpoint=checkpoint, weights=weights)
    experiment = build(run.config)
    part = experiment.splits.val
    with torch.no_grad():
        correct = model(part.inputs).argmax(1) == part.targets
    measured = evaluate(run, checkpoint=checkpoint, weights=weights, split="val")
    assert correct.double().mean().item() == measured["val/accuracy"]
    assert not model.training
    first = torch.nn.utils.parameters_to_vector(experiment.model.parameters())
    assert not torch.equal(torch.nn.utils.parameters_to_vector(model.parameters()), first)  # `build` does not train


def test_an_experiment_is_built_from_whatever_names_a_configuration(tmp_path):
    Path("small.yaml").write_text(json.dumps(SMALL))  # JSON is YAML
    made = [build(given) for given in (load_config(SMALL), SMALL, "small.yaml", Path("small.yaml"))]
    vectors = [torch.nn.utils.parameters_to_vector(each.model.parameters()) for each in made]
    assert all(torch.equal(vector, vectors[0]) for vector in vectors)
    with pytest.raises(ConfigError, match="optimizr"):
        build({**SMALL, "optimizr": "sgd"})
    loaded = load_config("small.yaml", {"seed": 3})
    assert train(loaded).config["seed"] == 3
    with pytest.raises(UsageError, match="was loaded before: give overrides to"):
        train(loaded, {"seed": 4})


def test_the_stored_configuration_trains_to_the_same_bits():
    first = train(SMALL)
    again = train(first.path / "config.yaml")
    assert again.config == first.config
    losses = [[row.get("loss", row.get("val/loss")) for row in run.rows] for run in (first, again)]
    assert losses[0] == losses[1]


def test_summary_and_curves_agree():
    run = train(SMALL, {"log.every": "1 step"})
    summary, curve = run.summary, run.metrics["val/accuracy"]
    assert summary["schema"] == "optrun/summary@1"
    assert (summary["steps"], summary["batches"], summary["epochs"], summary["examples"]) == (12, 12, 3.0, 3 * 128)
    assert curve.steps.tolist() == [4, 8, 12]
    assert summary["final"]["val/accuracy"] == curve.last
    assert summary["best"]["val/accuracy"] == np.max(curve.values)
    assert summary["curve"] == curve.values.tolist()
    first = next(step for step, value in zip(curve.steps, curve.values, strict=True) if value >= 0.3)
    assert summary["target_reached"]["step"] == first
    assert run.metrics["loss"].steps.tolist() == list(range(1, 13))
    assert run.metrics["lr"].values.tolist() == [0.1] * 12


def test_evaluate_measures_what_the_run_measured():
    run = train(SMALL)
    measured = evaluate(run)
    assert measured["step"] == 12
    for name in ("test/loss", "test/accuracy"):
        assert measured[name] == pytest.approx(run.summary["final"][name], abs=1e-12)
    averaged = evaluate(run, weights="ema", split="val")
    assert averaged["val/loss"] != pytest.approx(run.summary["final"]["val/loss"], abs=1e-6)
    best = evaluate(run, checkpoint="best", split="val")
    assert best["val/accuracy"] == pytest.approx(run.summary["best"]["val/accuracy"])
    with pytest.raises(UsageError, match="no split 'tset'"):
        evaluate(run, split="tset")


def test_a_dry_run_leaves_nothing_behind():
    values = dry_run(load_config(SMALL))
    assert math.isfinite(values["loss"])
    assert "val/accuracy" in values
    assert "test/accuracy" not in values, "the test split is read once, at the end of a run"
    assert not Path("runs").exists()


def test_what_cannot_be_built_leaves_no_run_directory():
    with pytest.raises(ConfigError):
        train({**SMALL, "loss": "mse", "metrics": []})
    assert not Path("runs").exists()


@pytest.mark.parametrize("policy", ["raise", "stop"])
def test_a_diverged_run_says_so_and_can_go_on_with_another_rate(policy):
    config = {**SMALL, "stop": {"on_nan": policy, "loss_above": 100.0}, "checkpoint": {"every": "4 steps"}}
    config["schedule"] = {"name": "piecewise", "boundaries": [6], "factors": [1.0, 1e6]}
    if policy == "raise":
        with pytest.raises(DivergedError):
            train(config, name="wild")
    else:
        assert train(config, name="wild").state == "diverged"
    run = Run("runs/wild")
    assert run.state == "diverged"
    assert run.summary["outcome"] == "diverged"
    assert "above stop.loss_above = 100" in run.summary["message"]
    assert run.summary["final"] == {}
    assert [file.step for file in run.checkpoints] == [4]
    tamed = resume("wild", {"schedule.factors": [1.0, 0.1]}, allow_change=True)
    assert (tamed.state, tamed.summary["steps"]) == ("done", 12)


def test_a_failing_hook_leaves_a_failed_run_that_can_be_resumed():
    class Clumsy(Hook):
        def after_run(self, ctx, values):
            if ctx.step == 6:
                raise OSError("dropped it")

    straight = train(SMALL, name="straight")
    with pytest.raises(OSError, match="dropped it"):
        train(SMALL, {"checkpoint.every": "1 epoch"}, name="clumsy", on_start=lambda *_: [Clumsy()])
    run = Run("runs/clumsy")
    assert run.state == "failed"
    assert "dropped it" in run.summary["message"]
    assert [file.step for file in run.checkpoints] == [4], "nothing is saved in the middle of a step"
    resumed = resume("clumsy")
    assert resumed.state == "done"
    assert resumed.summary["final"] == straight.summary["final"]


def test_the_environment_may_name_folders_and_a_device(monkeypatch, tmp_path):
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "special.yaml").write_text("extends: mom\ntrain: {epochs: 1}\n")
    monkeypatch.setenv("OPTRUN_CONFIG_PATH", str(tmp_path / "shelf"))
    assert load_config("special").train.epochs == 1
    monkeypatch.setenv("OPTRUN_DEVICE", "cpu")
    assert load_config("special").train.device == "cpu"
    assert load_config("special", ["train.device=auto"]).train.device == "auto"
    assert load_config("special", {"train.device": "auto"}).train.device == "auto"
    monkeypatch.setenv("OPTRUN_RUNS_DIR", str(tmp_path / "elsewhere"))
    assert train("special").path.parent == tmp_path / "elsewhere"


def test_another_number_of_threads_is_announced(caplog):
    config = {**SMALL, "train": {"epochs": 3, "threads": 1}}

    class Stop(Hook):
        def after_run(self, ctx, values):
            if ctx.step == 5:
                ctx.request_stop()

    train(config, name="threads", on_start=lambda *_: [Stop()])
    resume("threads", {"train.threads": 2, "train.epochs": 4}, allow_change=True)
    assert "not bit-exact with what ran before: threads 1 -> 2" in caplog.text
