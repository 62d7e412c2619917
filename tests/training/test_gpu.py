"""What a machine with a GPU can check (`pytest -m gpu`): exactness, the gate, compiled steps, checkpoints, profiles."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from optrun.experiments import StopAtStepHook, build, load_config, train
from optrun.experiments.components.optimizers import registry
from optrun.experiments.errors import DivergedError

from .session.test_blocks import equal, trained

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here"),
]

CONFIG = {
    "name": "gpu",
    "seed": 3,
    "data": {"name": "digits", "batch_size": 64},
    "model": {"name": "mlp", "hidden": [16], "dropout": 0.2},
    "loss": "cross_entropy",
    "optimizer": {"name": "adamw", "lr": 0.01},
    "train": {"steps": 30, "device": "cuda", "clip_norm": 1.0},
    "log": {"every": "7 steps"},
    "eval": {"every": "10 steps"},
}
CONVOLUTIONS = {**CONFIG, "model": {"name": "resnet", "width": 4}, "optimizer": {"name": "mom", "lr": 0.05}}


def with_train(config=CONFIG, **options):
    return {**config, "train": {**config["train"], **options}}


def states_of(config, folder, how="run_block"):
    state, rows, outcome, _ = trained(config, folder, how)
    assert outcome == "done"
    return state, rows


@pytest.mark.parametrize("config", [CONFIG, CONVOLUTIONS, with_train(CONVOLUTIONS, channels_last=True)])
@pytest.mark.parametrize("compiles", [False, True])
def test_runs_are_exact_however_steps_are_cut(config, compiles, tmp_path):
    config = with_train(config, compile=compiles)
    blocks = states_of(config, tmp_path / "blocks")
    assert equal(blocks, states_of(config, tmp_path / "again"))
    assert equal(blocks, states_of(config, tmp_path / "one", "run"))


@pytest.mark.parametrize("compiles", [False, True])
def test_a_resumed_run_is_the_uninterrupted_one(compiles, tmp_path):
    config = with_train(compile=compiles)
    straight, _ = states_of(config, tmp_path / "straight")
    for last in (9, 16, 30):
        experiment = build(load_config(config))
        with experiment.session(tmp_path / "cut", [StopAtStepHook(last_step=last)]) as session:
            while not session.should_stop():
                session.run_block(experiment.train_op)
    assert equal(straight, experiment.train_op.state_dict())


def test_steps_are_compiled_here():
    experiment = build(load_config(with_train(compile=True)))
    assert experiment.train_op.compiled.why_not is None
    assert experiment.environment()["compiled"] is True


@pytest.mark.parametrize("compiles", [False, True])
def test_steps_are_those_of_the_cpu_within_rounding(compiles, tmp_path):
    config = with_train({**CONFIG, "model": {"name": "mlp", "hidden": [16]}}, steps=3, compile=compiles)
    (here, _), (there, _) = (
        states_of(with_train(config, device=device), tmp_path / device) for device in ("cuda", "cpu")
    )
    for name, weight in there["model"].items():
        torch.testing.assert_close(here["model"][name].cpu(), weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in registry.names() if "/" not in name and name != "sparse_adam"])
def test_each_optimizer_takes_the_steps_of_the_cpu(name, tmp_path):
    config = with_train({**CONFIG, "model": {"name": "mlp", "hidden": [16]}, "optimizer": {"name": name}}, steps=2)
    (here, _), (there, _) = (
        states_of(with_train(config, device=device), tmp_path / device) for device in ("cuda", "cpu")
    )
    for key, weight in there["model"].items():
        torch.testing.assert_close(here["model"][key].cpu(), weight, rtol=1e-3, atol=1e-4)


class Poisoned(nn.Module):
    """A linear layer whose fifth call in training gives NaN."""

    def __init__(self, input_shape=(64,), num_outputs=10):
        super().__init__()
        self.layer, self.calls = nn.Linear(64, num_outputs), 0

    def forward(self, inputs):
        self.calls += self.training
        return self.layer(inputs.flatten(1)) + (float("nan") if self.training and self.calls == 5 else 0.0)


@pytest.mark.parametrize("policy", ["skip", "raise"])
def test_the_gate_lets_no_bad_step_through(policy, tmp_path):
    config = {**with_train(steps=6), "model": Poisoned, "stop": {"on_nan": policy}}
    if policy == "raise":
        with pytest.raises(DivergedError, match="is nan"):
            train(config, root=tmp_path)
        return
    state, _ = states_of(config, tmp_path)
    assert state["counters"]["skipped"] == 1
    assert all(torch.isfinite(weight).all() for weight in state["model"].values())


def test_a_profile_waits_for_the_device(tmp_path):
    run = train(CONFIG, root=tmp_path, profile=True)
    assert run.result["profile"]["waited_secs"] > 0
