"""User code changes the current folder, at every place where it is called: everything of a run stays together."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from optrun.cli.app import run
from optrun.experiments import Hook, MonitoredTrainingSession, StopAtStepHook, build_train_op, compare, train

_CODE = """\
import os
import torch
from torch import nn
from optrun.experiments import Hook
import helper

def move(place):
    if place == "{place}":
        os.chdir({elsewhere!r})

move("import")

class Net(nn.Module):
    def __init__(self, input_shape, num_outputs):
        super().__init__()
        move("constructor")
        self.layer = nn.Linear(input_shape[0], num_outputs)
    def forward(self, x):
        if self.training:
            move("forward")
        return self.layer(x)

def right(outputs, targets):
    move("metric")
    import late  # found by PYTHONPATH's relative folder, wherever the process is
    return (outputs.argmax(1) == targets).float()

class Moves(Hook):
    def begin(self, session):
        move("begin")
    def after_run(self, ctx, values):
        if ctx.step == 3:
            move("after_run")
    def after_save(self, session, step, path):
        move("after_save")
"""
_DAILY = ["import", "forward", "after_run", "nowhere"]
_PLACES = [
    *_DAILY,
    *(pytest.param(p, marks=pytest.mark.sample) for p in ("constructor", "begin", "metric", "after_save")),
]
_YAML = """\
data: {name: csv, path: data/table.csv, target: y, task: classes, batch_size: 8}
model: ./code.py:Net
loss: cross_entropy
metrics: [./code.py:right]
optimizer: {name: sgd, lr: 0.1}
train: {steps: 6}
log: {every: 1 steps, to: [jsonl, csv, tensorboard]}
eval: {every: 2 steps, mode: max}
checkpoint: {every: 2 steps}
hooks: [./code.py:Moves, {name: profiler, every: 4 steps}]
"""


@pytest.fixture(params=_PLACES)
def project(request, tmp_path, monkeypatch):
    """A project whose code changes to another folder at one place, and variables that are relative."""
    for folder in ("elsewhere", "data", "lib"):
        (tmp_path / folder).mkdir()
    rows = "".join(f"{i},{i % 3 - i},{'ab'[i % 2]}\n" for i in range(40))
    (tmp_path / "data/table.csv").write_text(f"p,q,y\n{rows}")
    (tmp_path / "t.yaml").write_text(_YAML)
    (tmp_path / "code.py").write_text(_CODE.format(place=request.param, elsewhere=str(tmp_path / "elsewhere")))
    for name in ("helper", "late"):
        (tmp_path / f"lib/{name}.py").write_text("")
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
    monkeypatch.syspath_prepend("lib")
    for name in ("RUNS", "DATA", "STATE"):
        monkeypatch.setenv(f"OPTRUN_{name}_DIR", f"my/{name.lower()}")
    return tmp_path


def _files(folder: Path) -> set[str]:
    """Return what a run left, without what is in names by chance."""
    return {
        path.relative_to(folder).as_posix().partition("-0000000")[0].partition(".tfevents")[0]
        for path in folder.rglob("*")
    }


def _strays(project: Path) -> list[Path]:
    return list((project / "elsewhere").rglob("*"))


def test_a_run_of_the_command_stays_together(project, capsys):
    assert run(["train", "t.yaml", "--name", "a"]) == 0
    assert Path.cwd() == project
    assert not _strays(project)
    found = _files(project / "my/runs/a")
    assert {"metrics.jsonl", "metrics.csv", "log.txt", "summary.json", "status.json", "config.yaml", "traces"} <= found
    assert "events.out" in found
    assert len(list((project / "my/runs/a/checkpoints").iterdir())) >= 2
    assert run(["train", "t.yaml", "--name", "a"]) == 0  # it is found, and nothing has changed
    assert run(["resume", "a", "train.steps=8", "--allow-change"]) == 0
    assert run(["eval", "a"]) == 0
    assert run(["show", "a"]) == 0
    assert "path      my/runs/a" in capsys.readouterr().out
    assert not _strays(project)


def test_a_run_in_python_stays_together(project):
    one = train("t.yaml", name="a", root=Path("here"))
    assert (one.path, one.state) == (project / "here/a", "done")
    assert Path.cwd() == project
    assert not _strays(project)


class _Moves(Hook):
    def __init__(self, folder, at):
        self.folder, self.at = folder, at

    def begin(self, session):
        if self.at == "begin":
            os.chdir(self.folder)

    def after_run(self, ctx, values):
        if ctx.step == self.at:
            os.chdir(self.folder)


@pytest.mark.parametrize("at", ["begin", 1, 3])
def test_a_session_stays_together(tmp_path, at):
    (tmp_path / "elsewhere").mkdir()
    model = nn.Linear(2, 1)
    batches = [(torch.ones(4, 2), torch.zeros(4, 1))] * 6
    op = build_train_op(model, nn.functional.mse_loss, torch.optim.SGD(model.parameters(), 0.1), data=batches)
    hooks = [_Moves("elsewhere", at), StopAtStepHook(last_step=6)]
    with MonitoredTrainingSession(checkpoint_dir="run", hooks=hooks, save_checkpoint_steps=2) as session:
        while not session.should_stop():
            session.run(op)
    assert not list((tmp_path / "elsewhere").iterdir())
    assert len(list((tmp_path / "run").glob("*.safetensors"))) == 3
    assert Path.cwd() == tmp_path / "elsewhere"  # the script's own affair


@pytest.mark.parametrize(
    "project",
    ["import", "after_run", *(pytest.param(place, marks=pytest.mark.sample) for place in ("forward", "nowhere"))],
    indirect=True,
)
def test_a_comparison_stays_together(project):
    options = {"optimizers": ["adam"], "seeds": 2, "tune": None, "jobs": 1, "metric": "test/loss", "margin": 0.1}
    found = compare(["t.yaml"], root=Path("here"), **options)
    assert found.path.parent == project / "here"
    assert [record.state for record in found.group.records] == ["done"] * 4
    assert all((project / "here" / record.path / "metrics.csv").is_file() for record in found.group.records)
    assert Path.cwd() == project
    assert not _strays(project)
    assert all(record.cached for record in compare(["t.yaml"], root=Path("here"), **options).group.records)
