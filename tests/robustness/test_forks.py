"""Code of the user's that forks: a child that goes on is refused, and leaves no trace in the run, which goes on.

The truth is the run of the same configuration in which nobody forks: its rows, checkpoints and result.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from pathlib import Path

import pytest

sample, slow = pytest.mark.sample, pytest.mark.slow

CODE = """
import multiprocessing, os, subprocess, sys
from pathlib import Path
import torch
from torch import nn
from optrun.experiments import Dataset, Hook

has_come = False
class Left(Exception): pass
def nothing(): pass
def fork(in_child):
    pid = os.fork()
    if pid == 0:
        return in_child()
    Path("child").write_text(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
def throw(): raise Left("of the child alone")
def process():
    child = multiprocessing.get_context("fork").Process(target=nothing)
    child.start()
    child.join()
    Path("child").write_text(str(child.exitcode))
def pool():
    with multiprocessing.get_context("fork").Pool(1) as workers:
        Path("child").write_text(str(workers.map(abs, [0])[0]))
HOW = {
    "goes on": lambda: fork(nothing), "raises": lambda: fork(throw), "sys.exit": lambda: fork(lambda: sys.exit(0)),
    "os._exit": lambda: fork(lambda: os._exit(0)), "multiprocessing": process, "pool": pool,
    "subprocess": lambda: Path("child").write_text(str(subprocess.run(["true"]).returncode)),
    "rebinds": lambda: fork(lambda: os.execvp("true", ["true"])),
}
def here(place):
    global has_come
    if not has_come and place == os.environ.get("AT"):
        has_come = True
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
        return self.net(x)
def loss(outputs, targets):
    if outputs.requires_grad: here("loss")
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
    if step > 2: here("schedule")
    return 1.0
class Optimizer(torch.optim.SGD):
    def __init__(self, params, *, lr: float = 0.1):
        here("optimizer")
        super().__init__(params, lr=lr)
    def step(self, closure=None):
        here("optimizer.step")
        return super().step(closure)
class H(Hook):
    pass
def event(name):
    def call(self, *args):
        here(name)
        return {} if name == "state_dict" else None
    return call
for each in EVENTS: setattr(H, each, event(each))
"""
EVENTS = [
    "begin",
    "after_create_session",
    "before_run",
    "after_gradients",
    "after_run",
    "after_row",
    "after_evaluation",
    "before_save",
]
EVENTS += ["after_save", "state_dict", "end"]
CONFIG = """
data: {name: "./own.py:data", batch_size: 16, augment: ["./own.py:augment"]}
model: {name: "./own.py:Model"}
loss: "./own.py:loss"
metrics: ["./own.py:metric"]
optimizer: {name: "./own.py:Optimizer", lr: 0.1}
schedule: "./own.py:schedule"
hooks: ["./own.py:H"]
train: {steps: 6}
log: {every: 2 steps}
eval: {every: 3 steps, mode: max}
checkpoint: {every: 3 steps}
"""
PLACES = ["import", "model", "forward", "forward in evaluation", "loss", "metric", "data", "augmentation", "schedule"]
PLACES += ["optimizer", "optimizer.step", *EVENTS]
COMES_BACK = ["goes on", "raises", "sys.exit"]
ENDS = ["os._exit", "multiprocessing", "pool", "subprocess", "rebinds"]
ALL = list(itertools.product(PLACES, [*COMES_BACK, *ENDS]))
FEW = [
    ("after_run", "goes on"),
    ("forward", "goes on"),
    ("model", "goes on"),
    ("end", "goes on"),
    ("import", "goes on"),
]
FEW += [("before_save", "sys.exit"), ("metric", "raises"), ("after_run", "multiprocessing")]


def marked():
    """Return a few cases for every day, others drawn from all of them as a sample, and all of them."""
    rest = random.Random(5).sample([case for case in ALL if case not in FEW], 8)
    every = [pytest.param(*case, marks=slow) for case in ALL]
    return [*FEW, *(pytest.param(*case, marks=sample) for case in rest), *every]


def write(folder):
    (folder / "own.py").write_text(CODE.replace("EVENTS:", f"{EVENTS}:"))
    (folder / "own.yaml").write_text(CONFIG)


def found(folder):
    """Return all that the folder of runs holds, but for what differs from one time to the next."""
    kept = {}
    for path in sorted(folder.glob("runs/**/*")):
        if path.is_file() and path.name not in ("env.json", "status.json", "origins.json"):
            kept[path.relative_to(folder).as_posix()] = re.sub(rb"-[0-9a-f]{64}\.", b".", path.read_bytes())
    rows = [json.loads(line) for line in (folder / "runs/r/metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("time")
    summary = json.loads((folder / "runs/r/summary.json").read_text())
    log = re.sub(r"^\S+ ", "", (folder / "runs/r/log.txt").read_text(), flags=re.M)
    status = json.loads((folder / "runs/r/status.json").read_text())["state"]
    return [re.sub(r"[0-9a-f]{60,}", "", name) for name in kept], rows, summary["final"], status, len(log.splitlines())


@pytest.fixture(scope="module")
def undisturbed(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    write(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        child = server.optrun("train", "own.yaml", "--name", "r")
    assert (child.communicate(), child.returncode)[1] == 0
    return found(folder)


@pytest.mark.parametrize(("place", "how"), marked())
def test_a_forked_process_that_comes_back_leaves_the_run_alone(server, undisturbed, tmp_path, monkeypatch, place, how):
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    child = server.optrun("train", "own.yaml", "--name", "r", "--json", variables={"AT": place, "HOW": how})
    out, err = (text.decode() for text in child.communicate())
    assert child.returncode == 0, err
    assert json.loads(out)["schema"] == "optrun/train@1", "the child's words are not on stdout"
    assert found(tmp_path) == undisturbed
    code, refused = int(Path("child").read_text()), "was forked by code that this run calls" in " ".join(err.split())
    assert (code, refused) == ((2, True) if how == "goes on" else (code, False)), err
    assert (code == 0) == (how not in ("goes on", "raises"))
    assert not list(tmp_path.glob("runs/.trash/*"))
    assert len(list(tmp_path.glob("runs/*/"))) == 1


def test_the_run_is_still_held_after_the_child_has_been_refused(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    more = "\nimport time\nHOW['held'] = lambda: (HOW['goes on'](), Path('child').exists() and time.sleep(20))\n"
    Path("own.py").write_text(Path("own.py").read_text() + more)
    first = server.optrun("train", "own.yaml", "--name", "r", variables={"AT": "after_run", "HOW": "held"})
    while not Path("child").exists():
        assert first.poll() is None
    second = server.optrun("train", "own.yaml", "--name", "r")
    _, err = second.communicate()
    first.kill()
    first.communicate()
    assert second.returncode == 73, err


def test_a_forked_worker_of_a_comparison_is_refused_and_the_runs_are_whole(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    command = ["compare", "own.yaml", "own.yaml", "--no-tune", "--seeds", "1", "-j", "1", "--margin", "0.1", "--json"]
    child = server.optrun(*command, variables={"AT": "after_run", "HOW": "goes on"})
    out, err = (text.decode() for text in child.communicate())
    assert child.returncode == 0, err
    assert json.loads(out)["failed"] == []
    assert Path("child").read_text() == "2"
    assert "was forked by code that this run calls" in err
