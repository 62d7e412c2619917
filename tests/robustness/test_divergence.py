"""Losses and gradients that are not finite, wherever they come from: caught, explained, kept, and gone on from.

The straight runs are the truth: what diverged at step k has the state of a run that was told to stop at step k, and
what goes on by leaving the batch out ends, bit for bit, where a run ends that left it out from the start.
"""

from __future__ import annotations

import itertools
import json
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from optrun.cli.app import run as command_line
from optrun.experiments import Run, resume, train
from optrun.experiments.comparison.compare import compare
from optrun.experiments.errors import DivergedError, StorageError
from optrun.experiments.run_directory.checkpoint_files import list_checkpoints
from optrun.experiments.system.rng import Stream
from optrun.experiments.training import train as training
from optrun.experiments.training.session.saved_state import load_state
from optrun.experiments.training.step import gradients
from optrun.experiments.training.step.finite_gate import Gate
from optrun.experiments.training.step.train_op import TrainOp

NUM_STEPS = 12
COUNT = itertools.count()
NET = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, num_outputs: int = 3):
        super().__init__(nn.LazyLinear(6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, num_outputs))
"""
PLAIN = {
    "data": {"name": "gaussian_classes", "num_examples": 60, "batch_size": 8},
    "model": "logistic",
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "mom", "lr": 0.01},
    "train": {"steps": NUM_STEPS},
    "eval": {"every": f"{NUM_STEPS} steps"},
    "log": {"every": "1 step"},
}
VARIANTS = {
    "plain": {},
    "accumulated": {"train.accumulate": 2},
    "bf16": {"train.precision": "bf16"},
    "norm": {"model": "./net.py:Net", "updates": ["ema"]},
    "norm_accumulated_bf16": {"model": "./net.py:Net", "train.accumulate": 2, "train.precision": "bf16"},
    "lbfgs": {"optimizer": {"name": "lbfgs", "lr": 0.1, "max_iter": 3}},
    "sam": {"model": "./net.py:Net", "optimizer": {"name": "sam", "lr": 0.01}},
}
PLACES = ("inputs", "loss", "gradient")
VALUES = (float("nan"), float("inf"))
WHEN = (0, 5, NUM_STEPS - 1)
POLICIES = ("raise", "stop", "skip")
ALL = list(itertools.product(VARIANTS, PLACES, VALUES, WHEN, POLICIES))


class Spoil(torch.autograd.Function):
    """The identity, whose first derivative is not finite."""

    @staticmethod
    def forward(ctx, outputs, value):
        ctx.value = value
        return outputs.clone()

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.clone()
        gradient.view(-1)[0] = ctx.value
        return gradient, None


class Spoiled:
    """Data whose batch at one position leads to a value that is not finite, there or in the loss."""

    def __init__(self, data, place, value, position):
        self._data, self._place, self._value, self._position = data, place, value, position
        self.is_bad = False

    def __getattr__(self, name):
        return getattr(self._data, name)

    def batch(self, position):
        self.is_bad = position == self._position
        batch = self._data.batch(position)
        if self.is_bad and self._place == "inputs":
            batch.inputs[0, 0] = self._value  # a copy: gathered for this batch
        return batch

    def around(self, loss):
        def spoiled(outputs, targets):
            if self.is_bad and self._place == "gradient":
                outputs = Spoil.apply(outputs, self._value)
            found = loss(outputs, targets)
            return found * self._value if self.is_bad and self._place == "loss" else found

        return spoiled


def spoiling(place, value, position, seen=None):
    def on_start(experiment, run_dir):
        op = experiment.train_op
        op.data = Spoiled(op.data, place, value, position)
        op.loss = op.data.around(op.loss)
        if seen is not None:
            seen.append(op)
        return []

    return on_start


def config(variant, policy="raise", **more):
    Path("net.py").write_text(NET)
    return PLAIN, {**VARIANTS[variant], "stop.on_nan": policy, **more}


def tensors(file):
    """Return all tensors of a checkpoint's model, optimizer and updates, and its counters."""
    sections = load_state(file).sections
    found = {}
    with safe_open(file.path, "pt") as content:
        for name in content.keys():  # noqa: SIM118 (no dict)
            if name.startswith(("model/", "optimizer/", "updates/")):
                found[name] = content.get_tensor(name)
    return found, sections["counters"]


def assert_equal(one, other, ignoring=()):
    assert one[0].keys() == other[0].keys()
    assert all(torch.equal(one[0][name], other[0][name]) for name in one[0])
    assert {k: v for k, v in one[1].items() if k not in ignoring} == {
        k: v for k, v in other[1].items() if k not in ignoring
    }


@cache
def reference(root, variant, num_steps):
    """Return the state of a run that ended at this step, and its rows of each step."""
    run = train(*config(variant, **{"train.steps": num_steps}), name=f"{variant}-{num_steps}", root=root)
    return tensors(run.checkpoint("last")), logged(run)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    root = tmp_path_factory.mktemp("straight")
    yield lambda variant, num_steps: reference(root, variant, num_steps)
    reference.cache_clear()


def logged(run):
    return [{key: value for key, value in row.items() if key != "time"} for row in run.rows if "loss" in row]


def diverge(variant, place, value, when, policy):
    """Train to the divergence, or past it with `skip`; return the run and its train op."""
    seen = []
    args = config(variant, policy)
    if policy == "raise":
        with pytest.raises(DivergedError) as caught:
            train(*args, name="bad", on_start=spoiling(place, value, when, seen))
        assert caught.value.exit_code == 3
    else:
        train(*args, name="bad", on_start=spoiling(place, value, when, seen))
    return Run("runs/bad"), seen[0]


def check_facts(facts, variant, place, value, when):
    kind = "nan" if value != value else "inf"
    assert (facts["batch"], facts["step"], facts["note"]) == (when, when, None)
    assert (facts["evaluation"], facts["micro_batch"]) == (1, 1 if "accumulated" in variant else None)
    if place == "inputs":
        num_values = 8 * 10
        assert facts["first_bad"] == f"inputs ({kind}, 1 of {num_values} values)"
        assert facts["cause"] == "batch"
    elif place == "loss":
        assert facts["first_bad"] == f"loss ({kind})"
        assert facts["cause"] == "forward"
    else:
        assert facts["first_bad"].startswith("gradient of the output of ")
        assert facts["first_bad"].endswith(f"({kind}, 1 of {4 * 3 if 'accumulated' in variant else 8 * 3} values)")
        assert facts["cause"] == "backward"


def check(case, straight):
    variant, place, value, when, policy = case
    run, op = diverge(*case)
    file = run.path / "diverged" / f"batch-{when}.safetensors"
    batch = op.data.batch(when)
    assert file.is_file(), "the batch is kept"
    kept = load_file(file)
    assert torch.equal(kept["targets/value"], batch.targets)
    assert torch.equal(kept["inputs/value"].nan_to_num(7.0, 8.0), batch.inputs.nan_to_num(7.0, 8.0))
    if policy == "skip":
        assert (run.state, run.summary["steps"], run.summary["skipped"]) == ("done", NUM_STEPS, 1)
        assert run.summary["diverged"] is None
        with safe_open(file, "pt") as content:
            check_facts(json.loads(content.metadata()["optrun"]), variant, place, value, when)
        return
    summary, facts = run.summary, run.summary["diverged"]
    assert (run.state, summary["steps"], summary["batches"]) == ("diverged", when, when)
    assert run.status["batch_file"] == facts["batch_file"] == f"diverged/{file.name}"
    check_facts(facts, variant, place, value, when)
    assert not run.checkpoints, "such a state is never found by a run that goes on"
    if when:
        state, rows = straight(variant, when)
        assert_equal(tensors(list_checkpoints(run.dir.diverged_path)[0]), state, ignoring=["gradient_evaluations"])
        assert logged(run) == rows
    # It goes on from there without the batch, as if it had been told to from the start.
    train(*config(variant, "skip"), name="skipping", on_start=spoiling(place, value, when))
    resumed = resume(
        "bad", {"stop.on_nan": "skip"}, allow_change=True, allow_code=True, on_start=spoiling(place, value, when)
    )
    assert (resumed.state, resumed.summary["skipped"]) == ("done", 1)
    assert not list_checkpoints(run.dir.diverged_path), "it went on from the state that was kept there"
    assert_equal(
        tensors(resumed.checkpoint("last")),
        tensors(Run("runs/skipping").checkpoint("last")),
        ignoring=["gradient_evaluations"] if when else [],
    )
    assert logged(resumed) == logged(Run("runs/skipping"))


#: Every variant, place, value, moment and policy at least twice, by a stride that is coprime to all of their numbers.
@pytest.mark.parametrize("case", ALL[::23], ids=str)
def test_a_divergence_is_caught_explained_and_gone_on_from(case, straight):
    check(case, straight)


def blind(gate, loss, gradients):
    """Look at the loss alone, as TensorFlow 1's hook does."""
    return bool(torch.isfinite(loss))


def elsewhere(run_dir, changed):
    """Leave the kept state where it is."""
    return "nothing done"


def see_nothing(op, by_hook=False):
    """Take all gradients for finite."""
    return gradients.present(op.parameters)


NAN = float("nan")
BUGS = {
    "buffers are not put back": (Gate, "restore", lambda gate: None, ("norm", "loss", NAN, 5, "raise")),
    "gradients are not looked at": (Gate, "passes", blind, ("plain", "gradient", NAN, 5, "raise")),
    "noise is consumed, not keyed": (Stream, "key", lambda *_: next(COUNT), ("norm", "loss", NAN, 5, "stop")),
    "the kept state is not used": (training, "choose_start", elsewhere, ("plain", "loss", NAN, 5, "stop")),
    "the update is not called off": (
        TrainOp, "_check_finite", see_nothing, ("plain", "loss", NAN, 5, "raise")
    ),
    "averages see the refused batch": (
        TrainOp, "discard_evaluation", lambda op: None, ("norm", "inputs", NAN, 5, "raise")
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", BUGS)
def test_the_checks_notice(bug, straight, monkeypatch):
    place, name, mutant, case = BUGS[bug]
    straight(case[0], case[3])
    monkeypatch.setattr(place, name, mutant)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(case, straight)


@pytest.mark.slow
def test_all_divergences(straight, tmp_path, monkeypatch):
    for number, case in enumerate(ALL):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        try:
            check(case, straight)
        except AssertionError as error:
            error.add_note(f"replay: check({case!r}, straight)")
            raise
    print(f"{len(ALL)} divergences")  # noqa: T201 (with -s)


# ---- rates that are too high -----------------------------------------------------------------------------------------


@pytest.fixture
def optrun(capsys):
    def call(*args):
        capsys.readouterr()
        code = command_line(args)
        return code, *capsys.readouterr()

    return call


TINY = """
data: {name: gaussian_classes, num_examples: 200, batch_size: 20}
model: {name: mlp, hidden: [16, 16]}
loss: cross_entropy
metrics: [accuracy]
optimizer: {name: sgd, lr: 0.1}
train: {epochs: 4}
log: {every: 2 steps}
"""


def words(text):
    return " ".join(text.split())


def test_a_run_with_too_high_a_rate_goes_on_with_a_lower_one(optrun):
    """From the last checkpoint before: the batch is not finite at these weights, whatever the rate of its update."""
    Path("tiny.yaml").write_text(
        TINY + "schedule: {name: piecewise, boundaries: [6], factors: [1.0, 1e8]}\ncheckpoint: {every: 2 steps}\n"
    )
    code, out, err = optrun("train", "tiny.yaml", "--name", "wild")
    assert code == 3
    facts = Run("runs/wild").summary["diverged"]
    assert facts["step"] > 6
    assert f"first not finite: {facts['first_bad']}, then " in words(err)
    assert f"the batch is kept in runs/wild/{facts['batch_file']}" in words(err)
    assert "optrun resume wild optimizer.lr=0.01 --allow-change" in err
    assert "next: optrun train tiny.yaml optimizer.lr=0.01" in err
    code, shown, _ = optrun("show", "wild")
    assert code == 0
    assert f"diverged in batch {facts['batch']} after {facts['step']} steps" in words(shown)
    assert facts["first_bad"] in words(shown)
    assert "optrun resume wild optimizer.lr=0.01 --allow-change" in shown
    start = max(step for step in range(0, facts["step"], 2))
    assert f"go on from step {start} with a lower rate" in shown
    code, out, err = optrun("resume", "wild", "schedule.factors=[1.0, 0.1]", "--allow-change")
    assert (code, f"it goes on from step {start}" in err) == (0, True)
    assert "wild: done after 24 steps" in out
    assert Run("runs/wild").summary["diverged"] is None


def test_json_carries_the_facts_and_show_says_the_last_rows(optrun):
    Path("tiny.yaml").write_text(TINY)
    code, out, _ = optrun("train", "tiny.yaml", "optimizer.lr=1e6", "--json")
    document = json.loads(out)
    assert (code, document["outcome"]) == (3, "diverged")
    facts = document["diverged"]
    assert Path(document["path"], facts["batch_file"]).is_file()
    assert facts["trail"][0]["num_bad"] > 0
    assert json.loads(optrun("show", "@1", "--json")[1])["summary"]["diverged"] == facts
    shown = optrun("show", "@1")[1]
    assert "  step     lr       loss\n     2  1e+06" in shown


def test_an_optimizer_that_evaluates_again_goes_on_from_where_it_diverged(optrun):
    """L-BFGS leaves good weights by too long a step; its next evaluation is not finite, and a shorter step helps."""
    Path("tiny.yaml").write_text(TINY.replace("sgd, lr: 0.1", "lbfgs, lr: 0.3, max_iter: 3"))
    jump = "schedule={name: piecewise, boundaries: [6], factors: [1.0, 1e30]}"
    code, _, err = optrun("train", "tiny.yaml", jump, "--name", "far")
    facts = Run("runs/far").summary["diverged"]
    assert (code, facts["step"], facts["evaluation"]) == (3, 6, 2)
    assert "in evaluation 2 of the batch" in words(err)
    assert "go on from step 6 with a lower rate" in err
    code, _, err = optrun("resume", "far", "schedule.factors=[1.0, 1.0]", "--allow-change")
    assert (code, "after 6 steps: it goes on from there, with batch 6" in err) == (0, True)
    optrun("train", "tiny.yaml", "schedule={name: piecewise, boundaries: [6], factors: [1.0, 1.0]}", "--name", "near")
    states = [tensors(Run(f"runs/{name}").checkpoint("last")) for name in ("far", "near")]
    assert_equal(*states, ignoring=["gradient_evaluations"])


def test_bad_data_is_named_and_can_be_left_out(optrun):
    import numpy as np

    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(200, 10)).astype("float32")
    inputs[::7, 3] = np.nan
    Path("table").mkdir()
    np.save("table/inputs.npy", inputs)
    np.save("table/targets.npy", (inputs[:, 0] > 0).astype("int64"))
    Path("bad.yaml").write_text(TINY.replace("gaussian_classes, num_examples: 200", "arrays, path: table"))
    code, _, err = optrun("train", "bad.yaml", "--name", "bad")
    assert code == 3
    assert "first not finite: inputs (nan, " in err
    assert "leaving such batches out: optrun resume bad stop.on_nan=skip --allow-change" in err
    assert "largest weight" not in err


@pytest.mark.parametrize("level", ["facts", "summary"])
def test_runs_of_older_versions_still_show(optrun, level):
    Path("tiny.yaml").write_text(TINY)
    optrun("train", "tiny.yaml", "optimizer.lr=1e6", "--name", "old")
    summary = json.loads(Path("runs/old/summary.json").read_text())
    del summary["diverged"]
    Path("runs/old/summary.json").write_text(json.dumps(summary))
    if level == "summary":
        Path("runs/old/summary.json").unlink()
    code, out, _ = optrun("show", "old")
    assert code == 0
    assert "old: diverged" in out
    assert "first not finite" not in out
    code, out, _ = optrun("resume", "old", "optimizer.lr=0.01", "--allow-change")
    assert (code, "old: done after 24 steps" in out) == (0, True)


def test_a_disk_that_refuses_the_batch_hides_no_divergence(monkeypatch):
    from optrun.experiments.system import storage

    write = storage.write_atomic

    def refuse(path, data):
        if "batch-" in Path(path).name:
            raise StorageError(f"cannot write {path}: no space")
        write(path, data)

    monkeypatch.setattr(storage, "write_atomic", refuse)
    with pytest.raises(DivergedError) as caught:
        train(*config("plain"), name="full", on_start=spoiling("loss", float("nan"), 5))
    assert any("no space" in note for note in caught.value.__notes__)
    run = Run("runs/full")
    assert (run.state, run.summary["diverged"]["first_bad"]) == ("diverged", "loss (nan)")
    assert run.summary["diverged"]["batch_file"] is None


@pytest.mark.slow  # the comparison's workers are processes of their own
def test_in_a_comparison_the_others_go_on():
    Path("configs").mkdir()
    for name, lr in (("sgd", 0.5), ("mom", 1e30)):
        text = TINY.replace("{name: sgd, lr: 0.1}", f"{{name: {name}, lr: {lr}}}")
        Path(f"configs/{name}.yaml").write_text(text)
    found = compare(["sgd", "mom"], seeds=2, tune=None)
    states = [(run["entry"], run["state"]) for run in found.data["runs"]]
    assert sorted(states) == [("mom", "diverged")] * 2 + [("sgd", "done")] * 2
    runs = [Run(path.parent) for path in Path("runs").rglob("status.json")]
    bad = [run for run in runs if run.state == "diverged"]
    assert len(bad) == 2
    for run in bad:
        assert (run.path / run.summary["diverged"]["batch_file"]).is_file()
