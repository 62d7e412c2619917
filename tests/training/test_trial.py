"""The trial before a run: what it finds, where it tells it, and that the run never notices it."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from optrun.experiments.components.data import PartInMemory
from optrun.experiments.config import ConfigError
from optrun.experiments.training.build import build
from optrun.experiments.training.evaluator import Evaluator
from optrun.experiments.training.load import load_config
from optrun.experiments.training.train import train
from optrun.experiments.training.trial import Trial

OWN = '''
import collections, dataclasses, random, threading
import numpy as np
import torch
from torch import nn

class Norm(nn.Sequential):
    def __init__(self, input_shape, num_outputs):
        super().__init__(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, num_outputs))

class Noticing(nn.Module):
    """Keeps what its forward passes leave, in every way that there is."""
    def __init__(self, input_shape, num_outputs, lock: bool = False):
        super().__init__()
        self.inner = Norm(input_shape, num_outputs)
        self.register_buffer("seen", torch.zeros(()))
        self.calls, self.sizes, self.last = 0, [], None
        self.generator = torch.Generator().manual_seed(3)
        if lock:
            self.lock = threading.Lock()
    def forward(self, inputs):
        self.calls += 1
        self.sizes.append(len(inputs))
        self.seen += 1
        self.last = inputs
        random.random(), np.random.rand(), torch.rand(1), torch.rand(1, generator=self.generator)
        return self.inner(inputs)

@dataclasses.dataclass
class Output(collections.OrderedDict):
    logits: torch.Tensor = None
    def __post_init__(self):
        self["logits"] = self.logits

class Gives(nn.Module):
    """Gives its scores in a form of its own, always or in training alone."""
    def __init__(self, input_shape, num_outputs, form: str = "tuple", only: str = ""):
        super().__init__()
        self.line, self.form, self.only = nn.Linear(4, num_outputs), form, only
    def forward(self, inputs):
        scores = self.line(inputs)
        if self.only == "train" and not self.training:
            return scores
        return {"tuple": (scores, scores), "dict": {"logits": scores}, "object": Output(scores),
                "detached": scores.detach(), "numpy": scores.detach().numpy(), "None": None}[self.form]

class Squeezing(nn.Module):
    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.line = nn.Linear(4, num_outputs)
    def forward(self, inputs):
        return self.line(inputs).squeeze()

class Watched(nn.Module):
    """Hands on its inputs, for a loss that takes the gradient by them."""
    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.line = nn.Linear(4, num_outputs)
    def forward(self, inputs):
        inputs = inputs.detach().requires_grad_(True)
        return self.line(inputs), inputs

def penalised(outputs, targets):
    scores, inputs = outputs
    loss = torch.nn.functional.cross_entropy(scores, targets)
    return loss + torch.autograd.grad(loss, inputs, create_graph=True)[0].square().sum()

def of_first(outputs, targets):
    return torch.nn.functional.cross_entropy(outputs[0], targets)

def of_rows(outputs, targets):
    return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")

def as_number(outputs, targets):
    return torch.nn.functional.cross_entropy(outputs, targets).item()

def constant(outputs, targets):
    return torch.zeros((), requires_grad=True) * 1.0

def detached(outputs, targets):
    return torch.nn.functional.cross_entropy(outputs, targets).detach()
'''
BASE = {
    "data": {"name": "iris", "batch_size": 16, "val": 0.2, "test": 0.2},  # 90 to train on, 30 and 30
    "model": "mlp",
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "sgd", "lr": 0.1},
    "train": {"epochs": 1, "threads": 1},
}


@pytest.fixture(autouse=True)
def _own(tmp_path):
    (tmp_path / "own.py").write_text(OWN)


def refusal(overrides=(), **sections) -> tuple[str, str, str | None]:
    """Return key, message and hint of the one problem with a configuration."""
    with pytest.raises(ConfigError) as caught:
        build(load_config({**BASE, **sections}, overrides))
    (problem,) = caught.value.problems
    return problem.key, problem.message, problem.hint


def built(overrides=(), **sections):
    return build(load_config({**BASE, **sections}, overrides))


@pytest.mark.parametrize(
    ("overrides", "key", "words", "way"),
    [
        (["data.batch_size=89"], "data.batch_size", "the last batch of each epoch has 1 of 90 examples", "drop_last"),
        (["data.batch_size=1"], "data.batch_size", "a batch has 1 example", "a larger batch_size"),
        (["data.batch_size=10", "train.accumulate=7"], "train.accumulate", "micro-batches of a batch of 10", "fewer"),
        (["data.batch_size=89", "train.accumulate=2"], "data.batch_size", "has 1 of 90 examples", "drop_last"),
    ],
)
def test_a_batch_of_one_is_told_at_its_size(overrides, key, words, way):
    found = refusal(overrides, model="./own.py:Norm")
    assert found[0] == key
    assert words in found[1]
    assert "Expected more than 1 value per channel" in found[1]
    assert way in (found[2] or "")


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.batch_size=89", "data.drop_last=true"],
        ["data.batch_size=88"],
        ["data.batch_size=89", "train.epochs=null", "train.steps=1"],  # the run ends before it comes to the last batch
    ],
)
def test_batches_that_are_large_enough_pass(overrides):
    assert built(overrides, model="./own.py:Norm").train_op.global_step == 0


def test_grouped_batch_norm_is_tried_as_well():
    found = refusal(["data.batch_size=89"], model="./own.py:Norm", updates=["tf_batch_norm"])
    assert found[0] == "data.batch_size"


def test_a_model_that_loses_the_batch_of_one_is_told_at_the_size():
    found = refusal(["data.batch_size=89"], model="./own.py:Squeezing")
    assert found[0] == "data.batch_size"
    found = refusal(["data.eval_batch_size=29"], model="./own.py:Squeezing")
    assert found[0] == "data.eval_batch_size"
    assert "has 1 of 30 examples" in found[1]


@pytest.mark.parametrize(
    ("form", "words", "way"),
    [
        ("tuple", "a tuple of 2", "`loss: {name: cross_entropy, of: 0}`"),
        ("dict", "a dict with 'logits'", "of: logits}"),
        ("object", "an Output with 'logits'", "of: logits}"),
        ("numpy", "a numpy array of shape", "scores"),
        ("None", "None", "scores"),
    ],
)
@pytest.mark.parametrize("only", ["", "train"])
def test_outputs_of_another_form_are_told_with_the_way_out(form, words, way, only):
    found = refusal(model={"name": "./own.py:Gives", "form": form, "only": only})
    assert found[0] == ("loss" if only else "model")  # in training alone the model is as it is meant to be
    assert words in found[1]
    assert ("what it gives in evaluation" if only else way) in (found[2] or "")


def test_a_metric_of_optruns_that_cannot_take_them_is_told_itself():
    found = refusal(model="./own.py:Gives", loss="./own.py:of_first")
    assert found[0] == "metrics.0"
    assert "a tuple of 2 in evaluation" in found[1]


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ("of_rows", "one number, the mean over the batch, not a tensor of shape"),
        ("as_number", "(float)"),
        ("detached", "carries no gradient"),
        ("constant", "does not depend on any weight"),
    ],
)
def test_a_loss_that_cannot_be_minimised_is_refused(loss, words):
    key, message, _ = refusal(loss=f"./own.py:{loss}")
    assert key == "loss"
    assert words in message


def test_outputs_without_a_gradient_are_told_at_the_model():
    assert refusal(model={"name": "./own.py:Gives", "form": "detached"})[0] == "model"


def state_of(model: nn.Module) -> dict:
    module = {name: value for name, value in vars(model).items() if name in ("calls", "sizes", "last")}
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    return {**module, **tensors, "generator": model.generator.get_state()}


@pytest.mark.parametrize("lock", [False, True])  # what holds a lock cannot be copied
def test_the_run_never_notices(lock, monkeypatch):
    def all_of(experiment):
        generators = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        return state_of(experiment.model), generators, experiment.model.training

    section = {"name": "./own.py:Noticing", "lock": lock}
    tried = all_of(built(model=section))
    assert tried[0]["calls"] == 0
    assert tried[0]["sizes"] == []
    monkeypatch.setattr(Trial, "measure", lambda self: None)
    monkeypatch.setattr(Trial, "train", lambda self: None)
    untried = all_of(built(model=section))
    assert untried[1:] == tried[1:]
    assert untried[0].keys() == tried[0].keys()
    for name, value in untried[0].items():
        assert torch.equal(value, tried[0][name]) if isinstance(value, torch.Tensor) else value == tried[0][name], name
    experiment = built(model=section)
    assert all(parameter.grad is None for parameter in experiment.model.parameters())


def test_a_loss_with_a_gradient_in_it_is_measured_where_it_is_asked_for():
    key, message, hint = refusal(model="./own.py:Watched", loss="./own.py:penalised", metrics=[])
    assert (key, hint) == ("loss", "eval.gradients: true records them")
    assert "takes gradients itself" in message
    sections = {"model": "./own.py:Watched", "loss": "./own.py:penalised", "metrics": [], "eval": {"gradients": True}}
    experiment = built(**sections)
    before = [parameter.grad for parameter in experiment.model.parameters()]
    values = experiment.evaluators["val"]()
    assert [parameter.grad for parameter in experiment.model.parameters()] == before
    # by hand: the gradient of cross-entropy by the inputs is W^T (p - y) / n
    part = experiment.splits.val
    scores = part.inputs @ experiment.model.line.weight.T + experiment.model.line.bias
    surplus = scores.softmax(1) - nn.functional.one_hot(part.targets, 3)
    gradient = surplus @ experiment.model.line.weight / len(part)
    expected = nn.functional.cross_entropy(scores, part.targets) + gradient.square().sum()
    assert values["val/loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_gradients_of_the_parameters_stay_where_a_loss_goes_backward_itself():
    model = nn.Linear(4, 3)
    (model(torch.randn(5, 4)).sum()).backward()
    before = [parameter.grad.clone() for parameter in model.parameters()]

    def backward_inside(outputs, targets):
        loss = nn.functional.cross_entropy(outputs, targets)
        loss.backward()
        return loss

    inputs, targets = torch.randn(10, 4), torch.randint(3, (10,))
    Evaluator("val", model, backward_inside, {}, PartInMemory(inputs, targets), batch_size=4, gradients=True)()
    assert all(torch.equal(parameter.grad, old) for parameter, old in zip(model.parameters(), before, strict=True))


def test_all_entries_are_tried_before_the_first_run(tmp_path):
    from optrun.experiments.comparison.compare import compare

    bad = {**BASE, "model": "./own.py:Norm", "data": {**BASE["data"], "batch_size": 89}}
    good = {**BASE, "model": "./own.py:Norm", "data": {**BASE["data"], "batch_size": 88}}
    with pytest.raises(ConfigError, match="has 1 of 90 examples") as caught:
        compare({"good": good, "bad": bad}, seeds=2, tune=None, jobs=1, across_problems=True)
    assert "in entry 'bad'" in caught.value.__notes__
    assert not list(tmp_path.glob("runs/*/*"))


def test_a_large_model_is_tried_on_few_examples(monkeypatch):
    monkeypatch.setattr("optrun.experiments.training.trial._MOST_WORK", 1)
    sizes = []
    original = nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: (sizes.append(len(x)), original(self, x))[1])
    built()
    assert max(sizes) == 2
    assert train({**BASE}).summary["steps"] == 6
