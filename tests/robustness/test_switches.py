"""User code turns process-wide switches: a resumed run is as the straight one, or it is told; no later run inherits."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from optrun.experiments import Hook, Run, resume, sweep, train
from optrun.experiments.comparison import worker
from optrun.experiments.comparison.workers import Workers
from optrun.experiments.errors import SessionError
from optrun.experiments.run_directory import checkpoints
from optrun.experiments.system import places, switches
from optrun.experiments.system.switch_table import SWITCHES, VARIABLES
from optrun.experiments.training.session.process_state import ProcessState

from ..helpers import in_turn

#: A value that each switch can have here, and that is not its usual one.
_OTHER = {
    "default dtype": "float64",
    "default device": "meta",
    "threads": 2,
    "gradients": False,
    "forward gradients": False,
    "threads of gradients": False,
    "anomaly detection": True,
    "autocast on cpu": True,
    "autocast dtype on cpu": "float16",
    "autocast dtype on cuda": "bfloat16",
    "autocast cache": False,
    "deterministic algorithms": 1,
    "filling of uninitialized memory": False,
    "flushing of denormals": True,
    "float32 matmul precision": "medium",
    "mkldnn.enabled": False,
    "mkldnn.deterministic": True,
    "cudnn.enabled": False,
    "cudnn.benchmark": True,
    "cudnn.deterministic": True,
    "cudnn.allow_tf32": False,
    "cuda.matmul.allow_tf32": True,
    "cuda.matmul.fp16 reduction": False,
    "cuda.matmul.bf16 reduction": False,
    "cuda.matmul.fp16 accumulation": True,
    "sdp.flash": False,
    "sdp.efficient": False,
    "sdp.math": False,
    "sdp.cudnn": False,
    "sdp.math reduction": True,
    "nnpack": False,
    "attention fast path": False,
    "torchscript optimizing": False,
    "numpy errors": "divide=raise over=warn under=ignore invalid=warn",
    "decimal": "6 ROUND_DOWN",
    **dict.fromkeys(VARIABLES, "1"),
}
#: Those under which the small run below goes on, for the sweep over places.
_HARMLESS = [name for name in _OTHER if name not in ("default device", "gradients", "autocast on cpu")]


@pytest.fixture(autouse=True)
def _leave_the_process_alone(monkeypatch):
    """Put every switch back, also where the code under test did not."""
    before = switches.snapshot()
    monkeypatch.setattr(switches, "_imported", {})
    monkeypatch.setattr(switches, "_turned", set())
    monkeypatch.setattr(switches, "_origin", None)
    yield
    switches.put_back(before)


def test_nothing_is_unusual_in_a_new_process():
    code = "from optrun.experiments.system import switches; print(switches.unusual(switches.snapshot()))"
    variables = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=variables)
    assert done.stdout == "{}\n"


@pytest.mark.parametrize("name", _OTHER)
def test_each_switch_is_seen_and_put_back(name, monkeypatch):
    if name in VARIABLES:  # which who runs the tests may have set
        monkeypatch.delenv(name, raising=False)
    before = switches.snapshot()
    put = SWITCHES[name].put
    assert put is not None
    with switches.held_switches():
        put(_OTHER[name])
        found = switches.changes(before, switches.snapshot())
        assert found[name] == (before[name], _OTHER[name])
        assert name in switches.unusual(switches.snapshot()) or name in ("threads", "numpy errors", "decimal")
    assert switches.snapshot() == before


def test_all_that_can_be_set_are_swept():
    settable = {name for name, switch in SWITCHES.items() if switch.put is not None}
    others = {name for name in settable if name.endswith("fp32_precision")}  # set with float32 matmul precision
    needs_more = {"autocast on cuda", "cuda.blas", "cuda.linalg", "opt_einsum.enabled", "opt_einsum.strategy"}
    needs_more |= {"cpu fp16 reduction", "quantized engine", "locale", "warnings as errors"}  # not on every machine
    assert settable - others - needs_more == set(_OTHER)


_CODE = """\
import torch
from torch import nn
from optrun.experiments import Hook
from optrun.experiments.system.switch_table import SWITCHES

def turn(place):
    if place == {place!r}:
        SWITCHES[{name!r}].put({value!r})

turn("import")

class Net(nn.Module):
    def __init__(self, input_shape, num_outputs):
        super().__init__()
        turn("constructor")
        self.layer = nn.Linear(input_shape[0], num_outputs, dtype=torch.float32)
        self.count = 0
    def forward(self, x):
        self.count += self.training
        if self.count == 3:
            turn("forward")
        return self.layer(x)

class Turns(Hook):
    def after_run(self, ctx, values):
        if ctx.step == 3:
            turn("hook")
"""
_CONFIG = {
    "data": {"name": "iris", "batch_size": 16},
    "model": "./code.py:Net",
    "loss": "cross_entropy",
    "optimizer": {"name": "mom", "lr": 0.1},
    "log": {"every": "1 steps"},
    "checkpoint": {"every": "4 steps"},
    "hooks": ["./code.py:Turns"],
}


class _Break(Hook):
    """End the run in the middle of a step, one after its checkpoint."""

    def after_run(self, ctx, values):
        if ctx.step == 5:
            raise RuntimeError("broken off")


def _break_off(target: str, folder: Path) -> None:
    with pytest.raises(Exception, match="broken off"):
        train(target, name="parts", root=folder, on_start=lambda *_: [_Break()])


def _config(folder: Path, name: str, place: str) -> str:
    (folder / "code.py").write_text(_CODE.format(place=place, name=name, value=_OTHER[name]))
    (folder / "run.yaml").write_text(json.dumps({**_CONFIG, "train": {"steps": 8, "threads": 1}}))
    return str(folder / "run.yaml")


def _rows(run):
    return [{key: value for key, value in row.items() if key != "time"} for row in run.rows]


def _weights(run):
    """Return the digests of what the last checkpoint holds of model and optimizer."""
    tensors, _ = checkpoints.load(run.checkpoints[-1])
    return {name: hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest() for name, tensor in tensors.items()}


def _check(folder: Path, name: str, place: str, caplog) -> None:
    """Train straight, and in two parts: the same rows and weights, the switch set at the same steps, and told."""
    before = switches.snapshot()
    target = _config(folder, name, place)
    caplog.set_level(logging.INFO, logger="optrun")
    straight = train(target, name="straight", root=folder)
    now = switches.snapshot()
    if place != "import":  # what an import did, it does once
        assert now == before
    said = caplog.text
    caplog.clear()
    _break_off(target, folder)
    seen = {}

    class Sees(Hook):
        def before_run(self, ctx):
            seen[ctx.step] = SWITCHES[name].get()

    parts = resume("parts", root=folder, on_start=lambda *_: [Sees()])
    assert _rows(parts) == _rows(straight)
    assert _weights(parts) == _weights(straight)
    change = switches.words({name: (before[name], _OTHER[name])})
    if place in ("forward", "hook"):
        assert change in said
        assert straight.env["turned"][name] == [before[name], _OTHER[name]]
        if name in VARIABLES:
            assert f"not bit-exact with what ran before: {change}" in caplog.text
        else:
            assert set(seen.values()) == {_OTHER[name]}
    elif name not in ("threads", "numpy errors", "decimal"):
        assert straight.env["switches"][name] == _OTHER[name]


PLACES = ["import", "constructor", "forward", "hook"]


@pytest.mark.parametrize(("name", "place"), in_turn(["threads", "mkldnn.enabled", "default dtype", "MKL_CBWR"], PLACES))
def test_a_resumed_run_is_as_the_straight_one_or_told(tmp_path, name, place, caplog):
    _check(tmp_path, name, place, caplog)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", _HARMLESS)
def test_every_switch_at_every_place(tmp_path, name, place, caplog):
    _check(tmp_path, name, place, caplog)


def test_what_an_import_has_turned_is_told_to_other_runs(tmp_path, caplog):
    train(_config(tmp_path, "float32 matmul precision", "import"), name="a", root=tmp_path)
    assert "start a new process" not in caplog.text
    train(_config(tmp_path, "float32 matmul precision", "import"), name="b", root=tmp_path)
    assert "start a new process" not in caplog.text  # it is its own code
    train({**_CONFIG, "model": "logistic", "hooks": [], "train": {"steps": 2}}, name="c", root=tmp_path)
    assert "float32 matmul precision highest -> medium" in caplog.text
    assert "since code was imported that is not this run's: start a new process" in caplog.text


@pytest.mark.parametrize(("place", "says"), [("import", worker.BY_IMPORTS), ("hook", worker.BY_RUNS), ("never", "")])
def test_a_worker_says_whether_it_is_as_a_new_one(tmp_path, place, says, monkeypatch):
    monkeypatch.setattr(places, "has_moved", False)  # by another test in this process
    train(_config(tmp_path, "mkldnn.enabled", place), name="a", root=tmp_path)
    assert worker._what_has_turned() == says


_FREEZES = """\
from torch import nn
from optrun.experiments import Hook

def net(input_shape, num_outputs):
    return nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.Linear(16, num_outputs))

class Turns(Hook):
    def after_run(self, ctx, values):
        if ctx.step == 3:
            ctx.train_op.model[1].eval()
"""


def test_modes_of_modules_are_saved_and_restored(tmp_path):
    """A hook freezes one dropout after three steps; the run that is resumed after four has it frozen too."""
    (tmp_path / "code.py").write_text(_FREEZES)
    config = {**_CONFIG, "model": "./code.py:net", "eval": {"every": "2 steps"}, "train": {"steps": 8}}
    (tmp_path / "run.yaml").write_text(json.dumps(config))
    straight = train(str(tmp_path / "run.yaml"), name="straight", root=tmp_path)
    _break_off(str(tmp_path / "run.yaml"), tmp_path)
    seen = []

    class Sees(Hook):
        def before_run(self, ctx):
            seen.append([module.training for module in ctx.train_op.model])

    parts = resume("parts", root=tmp_path, on_start=lambda *_: [Sees()])
    assert _rows(parts) == _rows(straight)
    assert seen == [[True, False, True]] * 4


def test_a_checkpoint_sets_nothing_that_it_may_not(caplog):
    state = ProcessState()
    saved = {"threads": (1, 10**9), "default dtype": ("float32", 7), "MKL_CBWR": (None, "x"), "no such": (1, 2)}
    before = switches.snapshot()
    state.restore(saved, 5)
    assert switches.snapshot() == before
    assert "not bit-exact with what ran before" in caplog.text
    assert os.environ.get("MKL_CBWR") is None
    assert torch.get_default_dtype() == torch.float32
    assert nn.Linear(1, 1).weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("place", "num_workers"),
    [
        pytest.param("import", 1, marks=pytest.mark.slow),
        pytest.param("constructor", 7, marks=pytest.mark.sample),
        ("hook", 4),
        pytest.param("never", 1, marks=pytest.mark.sample),
    ],
)
def test_a_run_of_a_sweep_is_what_it_is_alone(tmp_path, place, num_workers, monkeypatch):
    """One worker at a time; it goes on only where it is as a new one, or where all that differs is the same import.

    What is tried before the runs, each value and the entry itself, is built in a worker too.
    """
    target = _config(tmp_path, "default dtype", place)
    monkeypatch.chdir(tmp_path)
    if place == "import":  # which a forked worker would find done
        monkeypatch.setattr(Workers, "start_method", "spawn")
    started = []
    start = Workers._start
    monkeypatch.setattr(Workers, "_start", lambda self: started.append(1) or start(self))
    found = sweep(target, "optimizer.lr", "0.1,0.2", seeds=2, jobs=1, root=tmp_path / "runs")
    assert [record.state for record in found.group.records] == ["done"] * 4
    assert len(started) == num_workers
    for record in found.group.records:
        made = Run(tmp_path / "runs" / record.path)
        alone = train(made.config, name="alone", fresh=True, root=tmp_path)
        assert _rows(made) == _rows(alone)
        turned = {name: value for name, value in made.env["switches"].items() if name not in VARIABLES}
        assert turned == ({} if place in ("hook", "never") else {"default dtype": "float64"})
        assert made.env["given"].keys() <= set(VARIABLES)  # which who runs the tests may have set


def _cached(**changes) -> list[bool]:
    """Return which runs of a small sweep are found, after the records of all that are there were changed."""
    for file in Path("runs").glob("*/*/env.json"):
        env = json.loads(file.read_text())
        env = {key: value for key, value in {**env, **changes}.items() if value is not None}
        file.write_text(json.dumps(env))
    config = {**_CONFIG, "model": "logistic", "hooks": [], "train": {"steps": 2}}
    Path("plain.yaml").write_text(json.dumps(config))
    found = sweep("plain.yaml", "optimizer.lr", "0.1,0.2", seeds=1, jobs=1)
    return [record.cached for record in found.group.records]


_CIRCUMSTANCES = {
    "numerics": 0,
    "python": "2.7.18",
    "torch": "1.0",
    "numpy": "1.0",
    "cpu": "NONE",
    "cpu_model": "Z80",
    "device_name": "other",
    "given": {"MKL_CBWR": "COMPATIBLE"},
}


_SLOW = [pytest.param(key, marks=pytest.mark.slow) for key in _CIRCUMSTANCES if key not in ("numpy", "given")]


@pytest.mark.parametrize("key", ["numpy", "given", *_SLOW])
def test_runs_made_otherwise_are_made_anew_and_told_once(key, caplog):
    assert _cached() == [False, False]
    assert _cached(**{key: _CIRCUMSTANCES[key]}) == [False, False]
    said = [each.getMessage() for each in caplog.records if "made anew" in each.getMessage()]
    assert len(said) == 1
    assert ("MKL_CBWR COMPATIBLE -> unset" if key == "given" else f"{key} ") in said[0]
    assert _cached() == [True, True]
    assert _cached(**dict.fromkeys(_CIRCUMSTANCES)) == [True, True]  # of an earlier version, which recorded less


def test_gradients_that_are_switched_off_are_named(tmp_path):
    (tmp_path / "code.py").write_text(_CODE.format(place="hook", name="gradients", value=False))
    (tmp_path / "run.yaml").write_text(json.dumps({**_CONFIG, "train": {"steps": 8, "threads": 1}}))
    with pytest.raises(SessionError, match="gradients are switched off for the whole process, by code that the run"):
        train(str(tmp_path / "run.yaml"), name="a", root=tmp_path)
    assert torch.is_grad_enabled()


def test_the_variables_of_threads_are_no_question_of_a_comparison(monkeypatch):
    """Its processes have values of their own."""
    assert _cached() == [False, False]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert _cached() == [True, True]
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    assert _cached() == [False, False]
