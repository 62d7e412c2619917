"""Code of the user's that raises what ends a process, wherever a command calls it: a failure that is told, never 0.

The truth is a file that the code writes when it is reached: a command whose code was reached must not exit with 0,
nor as after a signal or with an answer, and must say what was raised and where; one that never reached it exits with 0.
"""

from __future__ import annotations

import gc
import json
import os
import random
import re
import sys
import threading
from pathlib import Path

import pytest

from optrun.cli.app import run
from optrun.experiments.config import ConfigError
from optrun.experiments.system import signals
from optrun.experiments.system.raised import guarded_process_end
from optrun.experiments.training.train import train

sample, slow = pytest.mark.sample, pytest.mark.slow

CODE = """
import asyncio, os, sys, threading
from pathlib import Path
import torch
from torch import nn
from optrun.experiments import Dataset, Hook, Update

class Own(BaseException): pass
class Mute(Exception):
    def __str__(self): raise ValueError("no words")
    __repr__ = __str__
class MuteExit(SystemExit):
    def __str__(self): sys.exit(0)
    __repr__ = __str__
HOW = {
    "exit 0": lambda: sys.exit(0), "exit text": lambda: sys.exit("bye"), "exit None": lambda: sys.exit(),
    "os exit": lambda: os._exit(0), "interrupt": lambda: throw(KeyboardInterrupt()),
    "generator": lambda: throw(GeneratorExit("gone")), "stop": lambda: throw(StopIteration(3)),
    "cancelled": lambda: throw(asyncio.CancelledError()), "own": lambda: throw(Own("mine")),
    "click": lambda: click_exit(), "mute": lambda: throw(Mute()), "mute exit": lambda: throw(MuteExit(0)),
    "surrogate": lambda: throw(RuntimeError("a\\udc80b")), "control": lambda: throw(SystemExit("a\\x1b[31mb\\x07")),
    "long": lambda: throw(SystemExit("x" * 10_000_000)),
}
def throw(error): raise error
def click_exit():
    import click
    raise click.exceptions.Exit(0)
def here(place):
    if place == os.environ.get("AT"):
        Path("reached").touch()
        HOW[os.environ["HOW"]]()

here("import")
class Model(nn.Module):
    def __init__(self, input_shape: list[int], num_outputs: int):
        super().__init__()
        here("model")
        self.net, self.calls = nn.Linear(input_shape[0], num_outputs), 0
    def forward(self, x):
        self.calls += self.training
        if self.calls > 2: here("forward")
        if not self.training and self.calls > 2: here("forward in evaluation")
        return Back.apply(self.net(x))
    def load_state_dict(self, *args, **kwargs):
        here("model.load_state_dict")
        return super().load_state_dict(*args, **kwargs)
class Back(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return x.clone()
    @staticmethod
    def backward(ctx, g):
        here("backward")
        return g
calls = 0
def loss(outputs, targets):
    here("loss")
    if outputs.requires_grad: here("loss in training")
    return nn.functional.cross_entropy(outputs, targets)
def metric(outputs, targets):
    here("metric")
    return (outputs.argmax(1) == targets).float()
def data() -> Dataset:
    here("data")
    g = torch.Generator().manual_seed(0)
    return Dataset(torch.randn(60, 4, generator=g), torch.arange(60) % 3, "classes", 3)
def augment(inputs, generator):
    here("augmentation")
    return inputs
def schedule(step):
    here("schedule")
    if step > 2: here("schedule at step 3")
    return 1.0
def init(model): here("init")
class Optimizer(torch.optim.SGD):
    def __init__(self, params, *, lr: float = 0.1):
        here("optimizer")
        super().__init__(params, lr=lr)
    def step(self, closure=None):
        here("optimizer.step")
        return super().step(closure)
    def __setstate__(self, state):
        super().__setstate__(state)
        here("optimizer.load")
class Own2(Update):
    def __init__(self, model): here("update")
    def apply(self): here("update.apply")
    def state_dict(self):
        here("update.state_dict")
        return {"a": 1}
    def load_state_dict(self, state): here("update.load_state_dict")
EVENTS = ("begin after_create_session before_run after_gradients after_run after_row after_evaluation before_save "
          "after_save end state_dict load_state_dict on_error").split()
class H(Hook):
    def __init__(self): here("hook")
    def __del__(self): here("__del__")
    def close(self): here("closer")
def event(name):
    def call(self, *args):
        here(name)
        if name == "begin": args[0].on_close(self.close)
        if name == "after_run" and os.environ["AT"] == "on_error" and args[0].step == 2: raise RuntimeError("first")
        if name == "after_run" and os.environ["AT"] == "thread":
            t = threading.Thread(target=here, args=("thread",)); t.start(); t.join()
        return {} if name == "state_dict" else None
    return call
for each in EVENTS: setattr(H, each, event(each))
"""
CONFIG = """
data: {name: "./own.py:data", batch_size: 16, augment: ["./own.py:augment"]}
model: {name: "./own.py:Model"}
loss: "./own.py:loss"
metrics: ["./own.py:metric"]
init: "./own.py:init"
optimizer: {name: "./own.py:Optimizer", lr: 0.1}
schedule: "./own.py:schedule"
updates: ["./own.py:Own2"]
hooks: ["./own.py:H"]
train: {steps: 6}
log: {every: 2 steps}
eval: {every: 3 steps, mode: max}
checkpoint: {every: 3 steps}
"""
PLACES = [
    *("import", "model", "forward", "forward in evaluation", "backward", "loss", "loss in training", "metric", "data"),
    *(
        "augmentation",
        "schedule",
        "schedule at step 3",
        "init",
        "optimizer",
        "optimizer.step",
        "update",
        "update.apply",
    ),
    *("update.state_dict", "hook", "begin", "after_create_session", "before_run", "after_gradients", "after_run"),
    *("after_row", "after_evaluation", "before_save", "after_save", "end", "state_dict", "closer", "on_error"),
]
RESUMED = ["model.load_state_dict", "optimizer.load", "update.load_state_dict", "load_state_dict"]
HARMLESS = ["__del__", "thread"]  # Python lets neither end anything: the run is whole
HOW = [
    *("exit 0", "exit text", "exit None", "os exit", "interrupt", "generator", "stop", "cancelled", "own", "click"),
    *("mute", "mute exit", "surrogate", "control", "long"),
]
NAMES = {
    **dict.fromkeys(("exit 0", "exit text", "exit None", "os exit", "control", "long"), "SystemExit"),
    "interrupt": "KeyboardInterrupt",
    "generator": "GeneratorExit",
    "stop": "StopIteration",
    "own": "Own",
    "cancelled": "CancelledError",
    "click": "Exit",
    "mute": "Mute",
    "mute exit": "MuteExit",
    "surrogate": "RuntimeError",
}

ERRORS = ("stop", "click", "mute", "surrogate")  # what Python calls an Exception

#: The command, and what is done before it with code that does nothing.
COMMANDS = {
    "train": ["train", "own.yaml", "--name", "r"],
    "dry run": ["train", "own.yaml", "--dry-run"],
    "resume": ["resume", "r", "train.steps=9", "--allow-change"],
    "eval": ["eval", "r"],
    "validate": ["validate", "own.yaml", "--allow-code"],
    "plan": ["plan", "own.yaml", "--allow-code"],
    "lr-find": ["lr-find", "own.yaml", "--steps", "5", "--allow-code"],
    "compare": ["compare", "own.yaml", "other.yaml", "--no-tune", "--seeds", "2", "-j", "1", "--margin", "0.1"],
    "sweep": ["sweep", "own.yaml", "optimizer.lr=0.1,0.2", "--seeds", "1", "-j", "1"],
}
NEEDS_A_RUN = ("resume", "eval")
AFTER_A_RUN = {"resume": [*PLACES, *RESUMED], "eval": [*PLACES, *RESUMED]}
IN_WORKERS = ("compare", "sweep")  # which take longer: by each way to end at a few places, at each place by a few ways
ALL = [
    (command, place, how)
    for command in COMMANDS
    for place in [*AFTER_A_RUN.get(command, PLACES), *HARMLESS]
    for how in HOW
    if (place, how) != ("thread", "os exit")  # which ends the process
    and (command not in IN_WORKERS or place in ("import", "data", "forward", "after_run") or how in ("exit 0", "own"))
]
FEW = [("train", place, HOW[number % len(HOW)]) for number, place in enumerate([*PLACES, "__del__"])]
FEW += [("train", "import", "long")]
FEW += [
    (command, place, how)
    for turn, command in enumerate(name for name in COMMANDS if name != "train")
    for place, how in ((("data", "forward")[turn % 2], HOW[turn]), ("after_run", HOW[(turn + 8) % len(HOW)]))
    if command not in IN_WORKERS or place == "after_run"
]
FEW += [("resume", "model.load_state_dict", "click"), ("resume", "update.load_state_dict", "surrogate")]
FEW += [("resume", "optimizer.load", "exit 0"), ("eval", "load_state_dict", "own")]


def marked(few, cases):
    """Return a few cases for every day, others drawn from all of them as a sample, and all of them."""
    rest = random.Random(2).sample([case for case in cases if case not in few], 30)
    return [*few, *(pytest.param(*each, marks=sample) for each in rest), *(pytest.param(*c, marks=slow) for c in cases)]


@pytest.fixture(autouse=True)
def _handled():
    """Handle signals as the command does: a KeyboardInterrupt is then the user's own."""
    signals.install()
    yield
    signals.uninstall()


@pytest.fixture
def own(tmp_path, monkeypatch, capsys):
    """Return a function that runs a command while the code raises something somewhere."""
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)  # of `__del__`: pytest would fail the test
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(CODE)
    Path("own.yaml").write_text(CONFIG)
    Path("other.yaml").write_text(CONFIG.replace("lr: 0.1", "lr: 0.2"))

    def call(command, place, how):
        monkeypatch.setenv("AT", "nowhere")
        monkeypatch.setenv("HOW", how)
        if command in NEEDS_A_RUN:
            assert run(["train", "own.yaml", "--name", "r", "-q"]) == 0
        monkeypatch.setenv("AT", place)
        capsys.readouterr()
        with guarded_process_end():
            code = run(COMMANDS[command])
            gc.collect()  # whose `__del__` belongs to this
        monkeypatch.setenv("AT", "nowhere")
        return int(code), Path("reached").exists(), capsys.readouterr()

    return call


@pytest.mark.parametrize(("command", "place", "how"), marked(FEW, ALL))
def test_no_exit_of_the_users_code_looks_like_success(own, command, place, how):
    code, was_reached, (out, err) = own(command, place, how)
    err += out if command == "validate" else ""  # which says on stdout what is wrong
    assert len(err) < 20_000
    assert "Traceback" not in err
    err.encode()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", err)
    if not was_reached or place in HARMLESS:
        assert code == 0, err
        return
    assert code in (2, 6, 70), (code, err)
    assert NAMES[how] in err or (place == "on_error" and "first" in err), err  # which comes second there
    is_told_by_worker = command in IN_WORKERS and how in ERRORS  # as any error, without a place
    assert "own.py:" in err or "own.yaml:" in err or is_told_by_worker, err
    status = Path("runs/r/status.json")
    if command in ("train", "resume") and status.exists():
        state = json.loads(status.read_text())["state"]
        assert state == "failed" or (state == "done" and code == 2), state  # what cannot be built changes no run


def test_a_python_caller_gets_a_located_error_with_what_was_raised_as_its_cause(own, monkeypatch):
    monkeypatch.setenv("AT", "forward")
    monkeypatch.setenv("HOW", "exit 0")
    said = r"own.yaml:3:8: model: SystemExit: 0, at \S*own\.py:\d+ in .*: .* \(in the forward pass .*, at step 2\)"
    with pytest.raises(ConfigError, match=said) as caught:
        train("own.yaml", name="r")
    assert isinstance(caught.value.__cause__, SystemExit)


def test_ctrl_c_stays_ctrl_c_where_python_itself_handles_it(own, monkeypatch):
    signals.uninstall()
    monkeypatch.setenv("AT", "data")
    monkeypatch.setenv("HOW", "interrupt")
    with pytest.raises(KeyboardInterrupt):
        train("own.yaml", name="r")
    assert run(COMMANDS["train"]) == 130


def test_an_entry_that_ends_whatever_process_times_it_ends_no_comparison(own, monkeypatch, capsys):
    source = CODE.replace(
        "HOW[os.environ", f"if os.getpid() != {os.getpid()}: os.kill(os.getpid(), 9)\n        HOW[os.environ"
    )
    Path("own.py").write_text(source)
    monkeypatch.setenv("AT", "forward")
    monkeypatch.setenv("HOW", "exit 0")
    assert run(["compare", "own.yaml", "other.yaml", "--no-tune", "--seeds", "1", "-j", "1", "--margin", "0.1"]) == 6
    assert "its worker process died twice, the last one killed by SIGKILL" in capsys.readouterr().out.replace(
        "\n  ", " "
    )
