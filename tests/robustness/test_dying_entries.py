"""Code of the user's that ends its process while entries are tried: refused at its key, before any run, never the end.

The truth is the plan of the sweep: which of the entries dies, at which key, and how. A process that died while it tried
one itself would take the tests along.
"""

from __future__ import annotations

import itertools
import json
import random

import pytest

from optrun.cli.app import run

sample, slow = pytest.mark.sample, pytest.mark.slow

CODE = """
import ctypes, os, signal, threading, time
import torch
from torch import nn
from optrun.experiments import Dataset

def end_in_a_thread():
    thread = threading.Thread(target=lambda: os._exit(0))
    thread.start()
    thread.join()
    time.sleep(60)

HOW = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "term": lambda: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(60)),
    "thread": end_in_a_thread,
    "crash": lambda: ctypes.string_at(0),
    "abort": os.abort,
}

class Dying:
    def __init__(self, where: str = "", how: str = ""):
        self.where, self.how = where, how
        self.at("made")
    def at(self, place):
        if place == self.where:
            HOW[self.how]()

class Net(nn.Module):
    def __init__(self, input_shape: list[int], num_outputs: int, where: str = "", how: str = ""):
        super().__init__()
        self.net, self.dying = nn.Linear(input_shape[0], num_outputs), Dying(where, how)
    def forward(self, inputs):
        self.dying.at("called")
        return self.net(inputs)
class Loss(Dying):
    def __call__(self, outputs, targets):
        self.at("called")
        return nn.functional.cross_entropy(outputs, targets)
class Metric(Dying):
    def __call__(self, outputs, targets):
        self.at("called")
        return (outputs.argmax(1) == targets).float()
def data(where: str = "", how: str = "") -> Dataset:
    Dying(where, how)
    inputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    return Dataset(inputs, torch.arange(60) % 3, "classes", 3)
class Sgd(torch.optim.SGD):
    def __init__(self, params, *, lr: float = 0.1, where: str = "", how: str = ""):
        Dying(where, how)
        super().__init__(params, lr=lr)
"""
PARTS = {
    "data": ("data: {name: './own.py:data', batch_size: 32%s}", "data"),
    "model": ("model: {name: './own.py:Net'%s}", "model"),
    "loss": ("loss: {name: './own.py:Loss'%s}", "loss"),
    "metric": ("metrics: [accuracy, {name: './own.py:Metric'%s}]", "metrics.1"),
    "optimizer": ("optimizer: {name: './own.py:Sgd'%s}", "optimizer"),
}
#: How it dies, and what is said of it.
WAYS = {
    "kill": "killed by SIGKILL",
    "term": "killed by SIGTERM",
    "thread": "with exit code 70",
    "crash": "killed by SIGSEGV",
    "abort": "killed by SIGABRT",
}
PLACES = [(part, "made") for part in PARTS] + [(part, "called") for part in ("model", "loss", "metric")]
COMMANDS = ("first", "last", "sweep")
ALL = [(*place, how, command) for place, how, command in itertools.product(PLACES, WAYS, COMMANDS)]
FEW = [("model", "called", "kill", "last"), ("data", "made", "crash", "first"), ("loss", "called", "thread", "sweep")]


def marked():
    rest = random.Random(5).sample([case for case in ALL if case not in FEW], 6)
    return [*FEW, *(pytest.param(*c, marks=sample) for c in rest), *(pytest.param(*c, marks=slow) for c in ALL)]


def write(folder, name, dying=None, where="", how=""):
    lines = [text % (f", where: {where}, how: {how}" if part == dying else "") for part, (text, _) in PARTS.items()]
    (folder / f"{name}.yaml").write_text("\n".join([*lines, "train: {epochs: 1}", ""]))


@pytest.mark.parametrize(("part", "where", "how", "command"), marked())
def test_an_entry_that_ends_its_process_is_refused_before_any_run(part, where, how, command, tmp_path, capfd):
    (tmp_path / "own.py").write_text(CODE)
    write(tmp_path, "good")
    write(tmp_path, "bad", part, where, how)
    asked = {
        "first": ["compare", "bad.yaml", "good.yaml", "--no-tune", "--seeds", "2", "--across-problems"],
        "last": ["compare", "good.yaml", "bad.yaml", "--no-tune", "--seeds", "2", "--across-problems"],
        "sweep": ["sweep", "bad.yaml", "train.clip_norm=1,2"],
    }[command]
    code = run([*asked, "--json"])
    out, err = capfd.readouterr()
    assert code == 2, err
    (problem,) = json.loads(out)["problems"]
    assert (problem["file"], problem["code"]) == ("bad.yaml", "process-ended")
    assert problem["line"] == list(PARTS).index(part) + 1
    assert problem["key"] == PARTS[part][1]
    assert f"ended, {WAYS[how]}" in problem["message"]
    assert "in entry 'bad'" in err
    assert "Traceback" not in err
    assert not list(tmp_path.glob("runs/*/*/metrics.jsonl"))
