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
from optrun.experiments.components.data.facts import DataFacts
from optrun.experiments.components.registries import REGISTRIES
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import UsageError
from optrun.experiments.registry import handed
from optrun.experiments.training.compatibility import filled

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

def function(value):
    return value
"""
#: A class of each kind: what is made of it shows the arguments that it was made with.
CLASSES = """
import torch
from optrun.experiments import Dataset, Hook, Update

class model(torch.nn.Linear):
    def __init__(self, size: int = 4, num_outputs: int = 3, *, value: float = 0.0):
        super().__init__(size, num_outputs)
        self.value = value

class optimizer(torch.optim.SGD):
    def __init__(self, params, *, lr: float = 0.1, value: float = 0.0):
        super().__init__(params, lr=lr)
        self.value = value

class hook(Hook):
    def __init__(self, *, value: float = 0.0):
        self.value = value

class update(Update):
    def __init__(self, model, *, value: float = 0.0):
        self.value = value
    def apply(self):
        pass

class data(torch.utils.data.Dataset):
    num_classes = 3
    def __init__(self, *, value: float = 0.0):
        self.value = value
    def __len__(self):
        return 60
    def __getitem__(self, number):
        return torch.full((4,), self.value), number % 3

class called:
    def __init__(self, *, value: float = 0.0):
        self.value = value

class init(called):
    def __init__(self, model, **more):
        super().__init__(**more)

class loss(called):
    def __call__(self, outputs, targets):
        return torch.nn.functional.cross_entropy(outputs, targets) + self.value

class metric(called):
    def __call__(self, outputs, targets):
        return torch.full((len(targets),), self.value)

class schedule(called):
    def __call__(self, step):
        return self.value

class augmentation(called):
    def __call__(self, inputs, generator):
        return inputs + self.value

class function(called):
    def __call__(self, value):
        return value
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


def nested_arguments():
    """Return each argument of a section or a registered component that is a component: kind, whole component, key."""
    found = [("function", {"name": "iris"}, "data.collate"), ("augmentation", {"name": "iris"}, "data.augment.0")]
    for kind, registry in REGISTRIES.items():
        for name in registry.names():
            own = registry.get(name)
            for argument in own.signature.arguments:
                if argument.nested is not None:
                    inner, many = argument.nested
                    given = {"name": name, **own.facts.get("example", {})}
                    place = f"{argument.name}.0" if many else argument.name
                    found.append((inner, given, f"{WHERE[kind]}.{place}"))
    return found


@pytest.mark.parametrize(("kind", "given", "key"), nested_arguments(), ids=lambda each: str(each)[:40])
@pytest.mark.parametrize("form", ["function", "class", "partial", "partial of a class", "lambda", "method"])
def test_each_argument_that_is_a_component_takes_a_class_or_function(kind, given, key, form, own, cell):
    thing = getattr(own, OF_KIND.get(kind, kind))
    if "class" in form:
        thing = getattr(cell(CLASSES), kind)
    if "partial" in form:
        thing = functools.partial(thing)
    if form == "lambda":
        thing = lambda *given, **more: None  # noqa: E731
    if form == "method":
        thing = types.MethodType(thing, 0)
    place, last = key.rpartition(".")[0], key.rpartition(".")[2]
    item = [thing, *given.get(place.rpartition(".")[2], [])[1:]] if last == "0" else thing
    name = place.rpartition(".")[2] if last == "0" else last
    config = load_config(put(next(at for at in WHERE.values() if key.startswith(f"{at}.")), {**given, name: item}))
    (part,) = [part for part in config.components() if part.path == key]
    assert part.component.build is thing
    assert callable(part.component.bind() if kind != "optimizer" else part.component.build)


@pytest.mark.parametrize("kind", [*sorted(REGISTRIES), "function"])
def test_a_partial_of_a_class_is_the_class_with_its_arguments(kind, cell):
    cls = getattr(cell(CLASSES), kind)
    part = put({**WHERE, "function": "hooks.0"}[kind], functools.partial(cls, value=0.5))
    if kind == "function":
        part = put("hooks.0", {"name": "feed", "function": functools.partial(cls, value=0.5)})
    config = load_config(part, {"eval.mode": "max"} if kind == "metric" else {})
    (component,) = [each.component for each in config.components() if each.component.kind == kind and "@" in each.name]
    given = [[*torch.nn.Linear(4, 3).parameters()]] if kind == "optimizer" else [None] * component.given
    bound = kind in ("schedule", "loss", "metric", "augmentation", "function")
    made = component.bind() if bound else component.make(*given)
    assert type(made) is cls
    assert made.value == 0.5
    again = component.bind(value=2.0) if bound else component.make(*given, value=2.0)
    assert again.value == 2.0  # what the configuration says goes first


def test_a_run_of_partials_of_classes_is_that_of_the_classes_with_arguments(cell):
    program = cell(CLASSES)
    kinds = ("model", "loss", "metric", "schedule", "hook", "optimizer", "data", "augmentation", "update")

    def config(form):
        parts = {kind: form(getattr(program, kind)) for kind in kinds}
        data = parts["data"] if isinstance(parts["data"], dict) else {"name": parts["data"]}
        return {
            **{kind: parts[kind] for kind in ("model", "loss", "schedule", "optimizer")},
            "data": {**data, "batch_size": 16, "augment": [parts["augmentation"]]},
            "metrics": [parts["metric"]],
            "hooks": [parts["hook"]],
            "updates": [parts["update"]],
            "train": {"steps": 3},
            "eval": {"mode": "max"},
        }

    one = train(config(lambda cls: functools.partial(cls, value=0.5)))
    other = train(config(lambda cls: {"name": cls, "value": 0.5}))
    assert [*one.summary["final"].values()] == [*other.summary["final"].values()]
    assert 0.5 in one.summary["final"].values()  # the metric
    mine, theirs = weights(one), weights(other)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_what_a_partial_has_given_is_given():
    cross_entropy = functools.partial(torch.nn.CrossEntropyLoss, weight=torch.tensor([1.0, 2.0, 4.0]))
    one = train({**TINY, "loss": cross_entropy}, {"loss.label_smoothing": 0.1})
    hand = functools.partial(torch.nn.functional.cross_entropy, weight=torch.tensor([1.0, 2.0, 4.0]))
    other = train({**TINY, "loss": lambda outputs, targets: hand(outputs, targets, label_smoothing=0.1)})
    assert all(map(torch.equal, weights(one).values(), weights(other).values()))
    assert "weight" not in one.config["loss"]  # which no file can express
    wide = load_config({**TINY, "model": functools.partial(REGISTRIES["model"].get("mlp").build, num_outputs=7)})
    assert filled(wide.model, DataFacts((4,), "float32", "float32", "classes", 3))["num_outputs"] == 7
    rate = load_config({**TINY, "optimizer": functools.partial(torch.optim.SGD, lr=0.25)})
    assert "lr" in rate.optimizer.given  # so that no registered rate takes its place in a comparison
    assert rate.origin("optimizer.lr").kind == "python"
    judged = load_config({**TINY, "metrics": [functools.partial(REGISTRIES["metric"].get("top_k").build, k=1)]})
    assert judged.metrics[0].component.facts["mode"] == "max"  # whose direction is the registered one
    with pytest.raises(ConfigError, match=r"name the schedule '.*', which does the same"):
        load_config({**TINY, "schedule": functools.partial(torch.optim.lr_scheduler.StepLR, step_size=3)})


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
