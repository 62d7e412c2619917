"""Train straight, or stop and resume: the same bits, in weights, optimizer state, averages and metric rows."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from optrun.experiments import Hook, Run, build, load_config, resume, train
from optrun.experiments.components.hooks.hook import RunArgs
from optrun.experiments.errors import Interrupted, RunInUseError, UsageError
from optrun.experiments.run_directory.checkpoints import flatten_state
from optrun.experiments.run_directory.run_dir import RunDir

from ..helpers import in_turn

# Everything that has a state or draws numbers: torch's batch norm in one layer stack, dropout, noise on the inputs,
# an average of the weights, accumulation, an epoch of unequal batches, a skipped batch, and a rate that changes.
MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(),
            nn.Linear(4 * 64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, num_outputs),
        )

    def forward(self, inputs):
        return self.body(inputs)
"""

STEPS_PER_EPOCH = 7
SKIPPED_BATCH = 9
LAST_STEP = 20


class Poison(Hook):
    """Feed one batch of NaN."""

    def before_run(self, ctx):
        if ctx.batch != SKIPPED_BATCH:
            return None
        inputs, targets = ctx.train_op.data.batch(ctx.batch)
        return RunArgs(feed={"batch": (inputs * float("nan"), targets)})


class StopAt(Hook):
    """Ask for an early end, as if the process had been told to stop."""

    def __init__(self, step):
        self._step = step

    def after_run(self, ctx, values):
        if ctx.step == self._step:
            ctx.request_stop("told to")


@pytest.fixture
def config(tmp_path):
    (tmp_path / "net.py").write_text(MODEL)
    return make_config


def make_config(updates=("ema",), **changes):
    config = {
        "name": "exact",
        "data": {
            "name": "digits",
            "batch_size": 32,
            "subset": 32 * STEPS_PER_EPOCH - 12,
            "augment": [{"name": "noise", "std": 0.1}],
        },
        "model": {"name": "./net.py:Net"},
        "loss": "cross_entropy",
        "metrics": ["accuracy"],
        "optimizer": {"name": "mom", "lr": 0.01, "weight_decay": 1e-3},
        "schedule": {"name": "piecewise", "boundaries": ["1 epoch", "14 steps"], "factors": [1, 0.1, 0.01]},
        "updates": list(updates),
        "train": {"steps": LAST_STEP, "accumulate": 3, "clip_norm": 1.0},
        "eval": {"every": "1 epoch"},
        "stop": {"on_nan": "skip"},
        "log": {"every": "2 steps"},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        config[section][name] = value
    return config


def run(config, folder, *, stop_at=None):
    """Build everything anew and train in `folder` to the end, or to a step."""
    experiment = build(load_config(config))
    hooks = [Poison(), *([StopAt(stop_at)] if stop_at is not None else [])]
    with experiment.session(folder, hooks) as session:
        while not session.should_stop():
            session.run(experiment.train_op)
    return experiment.train_op


@dataclass(frozen=True)
class Straight:
    """What an uninterrupted run leaves."""

    digest: str
    rows: list
    skipped: int


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Return a function that trains a configuration without an end in between, once for all tests."""
    found = {}

    def train_once(made):
        key = json.dumps(made, sort_keys=True)
        if key not in found:
            folder = tmp_path_factory.mktemp("straight")
            train_op = run(made, folder)
            found[key] = Straight(digest(train_op), rows(folder), train_op.skipped)
        return found[key]

    return train_once


def digest(train_op):
    """Return the SHA-256 of all tensors and counters of a train op."""
    found = hashlib.sha256()
    for section, state in sorted(train_op.state_dict().items()):
        tensors, skeleton = flatten_state(section, state)
        for name in sorted(tensors):
            found.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
        found.update(json.dumps(skeleton, sort_keys=True).encode())
    return found.hexdigest()


def rows(folder):
    parsed = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "time"} for row in parsed]


# 6, 7, 8: around the rate's first boundary and the end of an epoch; 9, 10: around the skipped batch; 13 to 15: around
# the second boundary and epoch; 1, 19: next to the ends.
STOPS = (1, 6, 7, 8, 9, 10, 13, 14, 15, 19)
UPDATES = [("ema",), ("batch_norm", "ema"), ("tf_batch_norm", {"name": "ema", "num_updates": True})]


@pytest.mark.parametrize(("stop_at", "updates"), in_turn(STOPS, UPDATES, others=pytest.mark.slow))
def test_stopped_and_resumed_is_bit_identical(config, straight, tmp_path, updates, stop_at):
    made = config(updates)
    assert straight(made).skipped == 1
    stopped = run(made, tmp_path / "parts", stop_at=stop_at)
    assert stopped.global_step == stop_at
    resumed = run(made, tmp_path / "parts")
    assert digest(resumed) == straight(made).digest
    assert rows(tmp_path / "parts") == straight(made).rows


def test_the_comparison_can_fail(config, tmp_path):
    """Another seed, and a forgotten piece of state, are both seen."""
    made = config()
    assert digest(run(made, tmp_path / "a")) != digest(run(made | {"seed": 1}, tmp_path / "b"))
    stopped = run(made, tmp_path / "c", stop_at=10)
    state = stopped.state_dict()
    del state["optimizer"]["state"]["body.0.weight"]
    other = build(load_config(made)).train_op
    other.load_state_dict(state)
    assert digest(other) != digest(stopped)


def test_bf16_resumes_exactly(config, straight, tmp_path):
    made = config(train__precision="bf16")
    run(made, tmp_path / "parts", stop_at=11)
    assert digest(run(made, tmp_path / "parts")) == straight(made).digest


@pytest.mark.parametrize(
    "changes",
    [
        {"log__every": "3 steps"},
        {"eval__every": "2 steps"},
        {"checkpoint": {"every": "1 step"}},
        {"checkpoint": {"every": "1s", "best": False}},
        {"log__to": ["jsonl", "tensorboard"]},
    ],
)
def test_watching_changes_nothing(config, straight, tmp_path, changes):
    plain, watched = config(), config()
    for key, value in changes.items():
        section, _, name = key.partition("__")
        watched[section] = {**watched.get(section, {}), name: value} if name else value
    assert straight(plain).digest == digest(run(watched, tmp_path / "watched"))


def test_an_evaluation_that_was_cut_short_is_made_up_for(config, straight, tmp_path, monkeypatch):
    """A signal in the middle of the evaluation at step 14 costs no row."""
    made = config()
    experiment = build(load_config(made))
    session = experiment.session(tmp_path / "parts", [Poison()])
    evaluate = session.evaluators["val"]

    def interrupted_evaluation(interrupted):
        if session.step == 14:
            os.kill(os.getpid(), signal.SIGINT)
        return evaluate(interrupted)

    session.evaluators["val"] = interrupted_evaluation
    with pytest.raises(Interrupted), session:
        while not session.should_stop():
            session.run(experiment.train_op)
    assert experiment.train_op.global_step == 14
    assert [row["step"] for row in rows(tmp_path / "parts") if "val/loss" in row] == [7]
    assert digest(run(made, tmp_path / "parts")) == straight(made).digest
    assert rows(tmp_path / "parts") == straight(made).rows


# ---- train and resume as users call them ----------------------------------------------------------------------------


def test_a_named_run_is_idempotent_and_resumes(config, tmp_path):
    made = config()
    made["stop"] = {}
    first = train(made, name="again")
    rows_before = first.dir.metrics_path.read_bytes()
    second = train(made, name="again")
    assert second.path == first.path
    assert second.dir.metrics_path.read_bytes() == rows_before
    with pytest.raises(UsageError, match=r"optimizer\.lr: 0\.01 -> 0\.02"):
        train(made, {"optimizer.lr": 0.02}, name="again")
    longer = train(made, {"train.steps": LAST_STEP + 5}, name="again", allow_change=True)
    assert longer.summary["steps"] == LAST_STEP + 5
    fresh = train(made, {"optimizer.lr": 0.02}, name="again", fresh=True)
    assert fresh.config["optimizer"]["lr"] == 0.02
    assert list((tmp_path / "runs" / ".trash").iterdir())


MEANWHILE = """
import json
from pathlib import Path
from torch import nn
from optrun.experiments import train

num_made = 0

def net(input_shape, num_outputs):
    global num_made
    num_made += 1
    if num_made == 1:  # while the first start is still building
        train(json.loads(Path("second.json").read_text()), name="same")
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_outputs))
"""


@pytest.mark.parametrize("lr", [0.01, 0.02])
def test_two_starts_of_one_name_make_one_run(config, tmp_path, lr):
    made = config()
    made["stop"] = {}
    (tmp_path / "meanwhile.py").write_text(MEANWHILE + f"# {lr}")
    made["model"] = {"name": "./meanwhile.py:net"}
    second = {**made, "optimizer": {**made["optimizer"], "lr": lr}}
    (tmp_path / "second.json").write_text(json.dumps(second))
    if lr == made["optimizer"]["lr"]:
        assert train(made, name="same").state == "done"
    else:
        with pytest.raises(UsageError, match=rf"optimizer\.lr: {lr} -> 0\.01"):
            train(made, name="same")
    kept = Run("runs/same")
    assert (kept.state, kept.config["optimizer"]["lr"]) == ("done", lr)
    assert not (tmp_path / "runs/.trash").exists()


def test_resume_asks_before_it_changes_anything(config, tmp_path):
    made = config()
    made["stop"] = {}
    run = train(made, name="asked")
    assert resume("asked").path == run.path
    with pytest.raises(UsageError, match="Add --allow-change"):
        resume("asked", {"train.steps": 30})
    assert resume("asked", {"train.steps": 30}, allow_change=True).summary["steps"] == 30


def test_changed_user_code_is_not_loaded_unasked(config, tmp_path):
    made = config()
    made["stop"] = {}
    train(made, {"train.steps": 5}, name="code")
    (tmp_path / "net.py").write_text(MODEL + "\nprint('changed')\n")
    with pytest.raises(UsageError, match=r"net\.py has changed since the run was made: read it"):
        resume("code", {"train.steps": 9}, allow_change=True)
    assert resume("code", {"train.steps": 9}, allow_change=True, allow_code=True).summary["steps"] == 9


def test_a_run_in_use_is_refused(config, tmp_path):
    made = config()
    made["stop"] = {}
    held = RunDir.named(Path("runs"), "held")
    with held.lock():
        held.set_status("running")
        with pytest.raises(RunInUseError, match=f"process {os.getpid()}") as caught:
            train(made, name="held", allow_change=True, fresh=False)
    assert caught.value.exit_code == 73


def test_killed_and_resumed_is_bit_identical(config, tmp_path, server):
    """SIGKILL a process between two checkpoints, and resume it in another."""
    made = config()
    made["stop"] = {}
    made["checkpoint"] = {"every": "2 steps"}
    made["train"]["steps"] = 20
    Path("config.json").write_text(json.dumps(made))
    code = """
        import json, os, signal, sys
        from optrun.experiments import train, Hook
        class Kill(Hook):
            def after_run(self, ctx, values):
                if ctx.step == 11: os.kill(os.getpid(), signal.SIGKILL)
        name, kill = sys.argv[1], sys.argv[2] == "kill"
        train(json.load(open("config.json")), name=name, on_start=lambda *a: [Kill()] if kill else [])
    """

    def start(name, kill):
        process = server.python(code, name, "kill" if kill else "live")
        process.communicate()
        return process.returncode

    assert start("straight", kill=False) == 0
    assert start("killed", kill=True) == -signal.SIGKILL
    assert RunDir.named(Path("runs"), "killed").status()["state"] == "interrupted"
    assert start("killed", kill=False) == 0
    runs = [RunDir.named(Path("runs"), name) for name in ("straight", "killed")]
    assert rows(runs[0].path) == rows(runs[1].path)
    from optrun.experiments import Run
    from optrun.experiments.run_directory.checkpoints import load

    tensors = [load(Run(run_dir.path).checkpoint("last"))[0] for run_dir in runs]
    assert tensors[0].keys() == tensors[1].keys()
    for name, tensor in tensors[0].items():
        assert torch.equal(tensor, tensors[1][name]), name
