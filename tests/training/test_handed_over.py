"""Configurations with classes and functions in them: trained, recorded, resumed."""

from __future__ import annotations

import functools
import importlib
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from optrun.experiments import Run, find_lr, load_config, plan, resume, train, trained_model, verify_resume
from optrun.experiments.comparison.shipping import pack
from optrun.experiments.components.registries import REGISTRIES
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import UsageError
from optrun.experiments.registry import handed

OWN = """
import torch
from optrun.experiments import Dataset, Hook, Mixed, Update

class Net(torch.nn.Module):
    def __init__(self, input_shape=(4,), num_outputs=3, *, width: int = 5):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.Tanh(), torch.nn.Linear(width, 3))
    def forward(self, inputs):
        return self.layers(inputs)

class Opt(torch.optim.SGD):
    def __init__(self, params, *, lr: float = 0.1):
        super().__init__(params, lr=lr)

def loss(outputs, targets, *, smoothing: float = 0.0):
    return torch.nn.functional.cross_entropy(outputs, targets, label_smoothing=smoothing)

def hits(outputs, targets):
    return (outputs.argmax(dim=1) == targets).float()

def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 4, generator=generator)
    return Dataset(inputs, inputs[:, :3].argmax(dim=1), task="classes", num_outputs=3)

def schedule(step, *, half: int = 3):
    return 0.5 ** (step / half)

def init(model):
    torch.nn.init.zeros_(model.layers[2].weight)

def augmentation(inputs, generator):
    return inputs

class Count(Hook):
    def __init__(self):
        self.steps = 0
    def after_run(self, ctx, values):
        self.steps += 1
    def state_dict(self):
        return {"steps": self.steps}
    def load_state_dict(self, state):
        self.steps = state["steps"]

class Halve(Update):
    def __init__(self, model):
        pass
"""
WHERE = {  # a kind, and where a configuration has it
    "model": "model", "optimizer": "optimizer", "loss": "loss", "metric": "metrics.0", "data": "data",
    "schedule": "schedule", "init": "init", "augmentation": "data.augment.0", "hook": "hooks.0", "update": "updates.0",
}  # fmt: skip
OF_KIND = {"model": "Net", "optimizer": "Opt", "metric": "hits", "hook": "Count", "update": "Halve"}
TINY = {
    "data": {"name": "iris", "batch_size": 32},
    "model": "logistic",
    "loss": "cross_entropy",
    "optimizer": {"name": "sgd", "lr": 0.1},
    "train": {"epochs": 1},
}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Import a file of the user's."""
    monkeypatch.syspath_prepend(tmp_path)
    Path("handed_own.py").write_text(OWN)
    importlib.invalidate_caches()
    yield importlib.import_module("handed_own")
    sys.modules.pop("handed_own", None)


@pytest.fixture
def cell(monkeypatch):
    """Run a text as a notebook's cell would, in a program that has handed nothing over yet."""

    def run(text=OWN):
        exec(compile(text, "<cell>", "exec", dont_inherit=True), vars(program))
        return program

    program = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", program)
    monkeypatch.setattr(handed, "_held", {})
    return run


def config_of(own, **more):
    return {
        "data": {"name": own.data, "batch_size": 16},
        "model": {"name": own.Net, "width": 4},
        "optimizer": {"name": own.Opt, "lr": 0.2},
        "loss": own.loss,
        "metrics": [own.hits],
        "schedule": own.schedule,
        "init": own.init,
        "hooks": [own.Count],
        "train": {"epochs": 2},
        "eval": {"mode": "max"},
        **more,
    }


def weights(run):
    return {name: value.clone() for name, value in trained_model(run).state_dict().items()}


def put(path, value):
    """Return TINY with a value at a key path."""
    key, _, inner = path.partition(".")
    if inner == "0":
        return {**TINY, key: [value]}
    if inner:
        return {**TINY, key: {**TINY[key], inner.partition(".")[0]: [value]}}
    return {**TINY, key: value}


@pytest.mark.parametrize("kind", sorted(REGISTRIES))
@pytest.mark.parametrize("form", ["file", "cell", "partial"])
def test_each_kind_takes_a_class_or_function(kind, form, own, cell):
    thing = getattr(own if form == "file" else cell(), OF_KIND.get(kind, kind))
    thing = functools.partial(thing) if form == "partial" else thing
    extra = {"eval.mode": "max"} if kind == "metric" else {}
    config = load_config(put(WHERE[kind], thing), extra)
    (part,) = [part for part in config.components() if part.path == WHERE[kind]]
    assert part.component.build is thing
    assert type(part.name) is str
    assert part.component.is_of_a_program == (form != "file")


@pytest.mark.parametrize("kind", sorted(REGISTRIES))
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (torch.nn.Linear(4, 3), "give the class, {'name': Linear, …}"),
        (types.SimpleNamespace(), "a SimpleNamespace cannot be a config value"),
        (torch, "a module cannot be a config value"),
        (np.float32(1.0), "write value.item()"),
        (object(), "a object cannot be a config value"),
        (3, "expected the name of"),
    ],
)
def test_each_kind_refuses_what_is_neither(kind, wrong, said):
    with pytest.raises(ConfigError) as caught:
        load_config(put(WHERE[kind], wrong))
    assert [problem.key for problem in caught.value.problems] == [WHERE[kind]]
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "key", ["name", "seed", "train.epochs", "train.device", "optimizer.lr", "data.path", "extends"]
)
def test_other_values_are_no_classes(key, own):
    config = (
        {**TINY, "data": {"name": "csv", "path": "x.csv", "target": "y", "task": "classes"}}
        if key == "data.path"
        else TINY
    )
    with pytest.raises(ConfigError) as caught:
        if key == "extends":
            load_config({**config, key: own.Net})
        else:
            load_config(config, {key: own.Net})
    assert key in [problem.key for problem in caught.value.problems]


def test_what_is_registered_keeps_its_name():
    mom = REGISTRIES["optimizer"].get("mom").build
    assert load_config({**TINY, "optimizer": {"name": mom, "lr": 0.1}}).optimizer.name == "mom"


def test_a_run_of_classes_is_that_of_the_same_names_in_a_file(own, tmp_path):
    handed_over = train(config_of(own))
    named = {
        each: f"./handed_own.py:{each}" for each in ("data", "Net", "Opt", "loss", "hits", "schedule", "init", "Count")
    }
    written = train(config_of(types.SimpleNamespace(**named)))
    assert handed_over.config == written.config
    assert handed_over.summary["final"] == written.summary["final"]
    mine, theirs = weights(handed_over), weights(written)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert handed_over.env["code"] == written.env["code"] != {}
    assert "objects" not in handed_over.env


def test_a_run_of_classes_in_a_file_goes_on_where_nothing_was_handed_over(own, monkeypatch):
    whole = train(config_of(own), name="whole")
    train(config_of(own), {"train.epochs": 1}, name="parts")
    monkeypatch.setattr(handed, "_held", {})
    sys.modules.pop("handed_own")
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(Path.cwd())])
    resumed = resume("parts", ["train.epochs=2"], allow_change=True)
    first, second = weights(whole), weights(resumed)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_of_a_cell_is_recorded_and_goes_on_in_its_session_alone(cell):
    run = train(config_of(cell()), {"train.epochs": 1}, name="mine")
    assert set(run.env["objects"]) == {
        f"{kind} '__main__:{OF_KIND.get(kind, kind)}'" for kind in WHERE if kind not in ("augmentation", "update")
    }
    assert resume("mine").state == "done"
    assert train(config_of(cell()), {"train.epochs": 1}, name="mine").state == "done"  # the same cell again
    assert resume("mine", {"train.epochs": 2}, allow_change=True).summary["steps"] == 6
    vars(sys.modules["__main__"]).clear()
    handed._held.clear()
    assert Run(run.path).summary["steps"] == 6  # reading needs none of it
    with pytest.raises(ConfigError) as caught:
        resume("mine")
    assert "define it there again, and go on from Python" in str(caught.value)
    assert {problem.origin.line is not None for problem in caught.value.problems} == {True}


def test_a_cell_that_was_run_again_with_other_code(cell):
    train(config_of(cell()), name="mine")
    changed = cell(OWN.replace("0.5 **", "0.25 **"))
    for again in (lambda: resume("mine"), lambda: train(config_of(changed), name="mine")):
        with pytest.raises(UsageError, match="schedule '__main__:schedule' is defined now with other code"):
            again()
    assert resume("mine", allow_code=True).state == "done"


def test_a_stored_configuration_names_nothing_of_this_program_that_its_run_did_not_have(cell):
    program = cell()
    run = train({**TINY, "loss": program.loss}, name="mine")
    stored = (run.path / "config.yaml").read_text()
    (run.path / "config.yaml").write_text(stored.replace("name: constant", "name: __main__:schedule"))
    with pytest.raises(UsageError, match="schedule '__main__:schedule' is not code that the run was made with"):
        resume("mine", allow_change=True)


def test_two_closures_are_two_schedules():
    def held(value):
        return lambda step: value

    one, two = (train({**TINY, "schedule": held(value)}) for value in (1.0, 0.01))
    assert one.config["schedule"]["name"] != two.config["schedule"]["name"]
    assert one.summary["final"] != two.summary["final"]
    assert one.summary["final"] == train(TINY).summary["final"]  # as the schedule is constant


def test_what_was_handed_over_is_sent_to_other_processes(cell, monkeypatch):
    program = cell()
    config = load_config({**TINY, "model": functools.partial(program.Net, width=3), "loss": program.loss})
    shipment = pack([config])
    handed._held.clear()
    vars(program).clear()
    shipment.unpack()
    again = load_config(config.to_dict())
    assert again.model.component.make().layers[0].out_features == 3
    assert again.to_dict() == config.to_dict()


def test_studies_take_what_train_takes(cell):
    program = cell()
    assert plan(config_of(program), measure=False).name == "run"
    assert find_lr({**TINY, "optimizer": {"name": program.Opt, "lr": 0.1}}, num_steps=5).rates
    with pytest.raises(UsageError, match=r"data: data is of a notebook or program.*put it into a file"):
        verify_resume(config_of(program))
