"""`optrun list` and `optrun describe`: what they say can be pasted, and works."""

from __future__ import annotations

import pytest
import torch
import yaml

from optrun.experiments import load_config
from optrun.experiments.components.registries import REGISTRIES
from optrun.experiments.training.build import build

FITTING = {  # data, a model and a loss that go together, by what the data asks for
    "classes": ({"name": "digits"}, "logistic", "cross_entropy"),
    "values": ({"name": "linear_teacher"}, "logistic", "mse"),
    "tokens": ({"name": "text", "path": "text.txt", "length": 8}, {"name": "lstm", "width": 8}, "next_token"),
    "none": ({"name": "none"}, "quadratic", "output"),
}
NEED_OTHERS = {  # data of another range or size, or another layer in the model
    "model/autoencoder",
    "loss/bce",
    "augmentation/cutout",
    "update/batch_norm",
    "update/tf_batch_norm",
}
COMPONENTS = [f"{kind}/{name}" for kind, registry in REGISTRIES.items() for name in registry.names()]

CODE = '''\
"""Parts of my own."""

import torch
from optrun.experiments import Hook


class Net(torch.nn.Module):
    """A net of my own."""

    def __init__(self, width: int = 8):
        super().__init__()


class Watch(Hook):
    """Look at it."""


def halve(step, *, every: int = 10):
    """Halve the rate now and then."""
    return 0.5 ** (step // every)


def huber(outputs, targets):
    """Be robust."""


def helper(x):
    """No component."""
'''

OPTIMIZERS = """
import torch

class Mine(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            for weight in group["params"]:
                self.state[weight]["memory"] = weight.detach().clone()
        return super().step(closure)

class Broken(torch.optim.SGD):
    def step(self, closure=None):
        raise ValueError("never")
"""


@pytest.mark.parametrize("reference", COMPONENTS)
def test_the_yaml_of_every_component_is_valid_where_it_is_pasted(optrun, folder, reference):
    pasted = yaml.safe_load(optrun("describe", reference, "--json").json["yaml"])
    kind, _, name = reference.partition("/")
    data, model, loss = FITTING[REGISTRIES[kind].get(name).facts.get("task", "classes")]
    base = {
        "data": data,
        "model": model,
        "loss": loss,
        "optimizer": "sgd",
        "train": {"epochs": 2},
    }
    for section, value in pasted.items():
        base[section] = {**base["data"], **value} if section == "data" else value
    (folder / "mine.py").write_text("def values(step): ...\ndef measured(session): ...\n")  # which hooks name
    (folder / "text.txt").write_text("to be or not to be " * 50)
    (folder / "pasted.yaml").write_text(yaml.safe_dump(base, sort_keys=False))
    config = load_config("pasted.yaml")
    if not reference.startswith(("data/", "hook/")) and reference not in NEED_OTHERS:
        build(config)


@pytest.mark.parametrize("reference", COMPONENTS)
def test_every_component_is_described_in_full(optrun, reference):
    out = optrun("describe", reference).out
    described = optrun("describe", reference, "--json").json
    assert out.startswith(f"{reference}\n")
    assert ">>>" not in out, "examples of Python stand after the sections that are shown"
    assert described["text"]
    for argument in described["arguments"]:
        assert argument["name"] in out
        assert argument["meaning"], f"{argument['name']} of {reference} has no words in the docstring"
    assert "\nYAML\n" in out


def test_describe_shows_ranges_defaults_formula_and_source(optrun):
    out = " ".join(optrun("describe", "optimizer/adam").out.split())
    for part in ("number > 0; default 0.001", "m = beta1 * m + (1 - beta1) * g", "arXiv:1412.6980", "lr: 0.001"):
        assert part in out


def test_describe_holds_flavors_against_each_other(optrun):
    out = optrun("describe", "optimizer/rmsprop").out
    assert max(map(len, out.splitlines())) <= 80
    for line in (
        "flavor torch, which the name alone means",
        "flavor tf1",
        "  alpha         0.99   0.9",  # defaults
        "  square_avg    0           1",  # state at first
        "  # or optimizer: {name: rmsprop, flavor: tf1}",
    ):
        assert line in out.splitlines()
    assert "b = momentum * b + lr * g / √(v - m² + eps)" in out
    described = optrun("describe", "optimizer/rmsprop", "--json").json
    assert list(described["flavors"]) == ["torch", "tf1"]
    assert described["flavor"] == "torch"
    assert described["probe"]["equal"]["alpha"] == 0.99


def test_describe_tells_another_rule_from_other_defaults(optrun):
    """Their rules differ in RMSProp alone of these: figures of torch's own optimizers, and of TensorFlow's."""
    start, gradients = (
        [1.0, -2.0, 0.5],
        [[0.5, -1, 0], [0.1, 0.2, -3], [-0.7, 0, 1e-4], [0.3, 0.3, 0.3], [2, -0.01, 0.5]],
    )
    weights = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.RMSprop([weights], lr=0.1)
    for gradient in gradients:
        weights.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
    tensorflows = torch.tensor([0.785529, -1.954656, 0.659800], dtype=torch.float64)
    apart = optrun("describe", "optimizer/rmsprop", "--json").json["probe"]
    assert apart["own_defaults"]["tf1"] == pytest.approx(float((weights.detach() - tensorflows).abs().max()), abs=1e-6)
    assert apart["equal_arguments"]["tf1"] > 0.1
    assert " another rule\n" in optrun("describe", "optimizer/rmsprop").out
    adagrad = optrun("describe", "optimizer/adagrad", "--json").json["probe"]
    assert adagrad["own_defaults"]["tf1"] > 0.01
    assert adagrad["equal_arguments"]["tf1"] < 1e-8
    assert adagrad["equal"]["initial_accumulator_value"] == 0.1, "the one that both accept"
    assert "one rule up to rounding, other defaults" in optrun("describe", "optimizer/adagrad").out
    assert "one rule, up to rounding" in optrun("describe", "optimizer/mom").out


def test_describe_shows_one_flavor_alone(optrun):
    done = optrun("describe", "optimizer/adam", "--flavor", "tf1")
    assert done.out.startswith("optimizer/adam, flavor tf1\n")
    assert "  beta1_power  scalar            at first 0.9" in done.out.splitlines()
    assert "flavor: tf1" in done.out
    assert "Distance" not in done.out
    described = optrun("describe", "adam", "--flavor", "tf1", "--json").json
    assert (described["flavor"], "flavors" in described) == ("tf1", False)
    assert (
        "optimizer 'adam' has no flavor 'paper'; it has: torch, tf1"
        in optrun("describe", "optimizer/adam", "--flavor", "paper").err
    )
    assert optrun("describe", "model/mlp", "--flavor", "tf1").code == 2


def test_describe_reads_the_state_from_a_real_optimizer(optrun, folder):
    assert {"name": "momentum_buffer", "shape": "like the weights", "start": "the first gradient"} in optrun(
        "describe", "optimizer/nag", "--json"
    ).json["state"]
    assert "State  none\n" in optrun("describe", "optimizer/proximal_gradient_descent").out
    done = optrun("describe", "optimizer/adagrad_da")
    assert "square_sum    like the weights  at first 0.1" in done.out
    assert done.err == "", "a probe trains nothing that one should be warned of"
    (folder / "mine.py").write_text(OPTIMIZERS)
    mine = optrun("describe", "optimizer/./mine.py:Mine", "--allow-code").out
    assert "  memory  like the weights  at first the weights\n" in mine
    assert "State  optimizer './mine.py:Broken' takes no step over a plain network: never" in " ".join(
        optrun("describe", "optimizer/./mine.py:Broken", "--allow-code").out.split()
    ).replace("State optimizer", "State  optimizer")


def test_describe_finds_a_name_that_only_one_kind_has(optrun):
    assert optrun("describe", "cosine").out.startswith("schedule/cosine\n")
    several = optrun("describe", "mse")
    assert several.code == 2
    assert "loss/mse, metric/mse" in several.err


@pytest.mark.parametrize(
    ("reference", "guess"), [("optimizer/adm", "adam"), ("optimiser/adam", "optimizer"), ("cosin", "cosine")]
)
def test_describe_has_a_guess_for_what_it_does_not_know(optrun, reference, guess):
    done = optrun("describe", reference)
    assert done.code == 2
    assert guess in done.err


def test_describe_sends_presets_to_config(optrun):
    assert "`optrun config mom`" in optrun("describe", "preset/mom").err


def test_list_knows_every_kind_in_singular_and_plural(optrun):
    found = optrun("list", "--json").json["kinds"]
    assert [*REGISTRIES, "preset"] == list(found)
    assert "adam" in [entry["name"] for entry in found["optimizer"]]
    assert all(entry["summary"] for listed in found.values() for entry in listed)
    for word in ("optimizer", "optimizers", "losses", "data", "datasets", "configs"):
        assert optrun("list", word).code == 0
    unknown = optrun("list", "optimisers")
    assert unknown.code == 2
    assert "Did you mean optimizer?" in unknown.err


def test_list_fits_80_columns(optrun):
    assert max(map(len, optrun("list").out.splitlines())) <= 80


def test_code_of_ones_own_is_listed_and_described(optrun, folder):
    (folder / "mine.py").write_text(CODE)
    for line in (("list", "./mine.py"), ("describe", "./mine.py:halve"), ("describe", "model/./mine.py:Net")):
        asking = optrun(*line)
        assert (asking.code, "mine.py, which was never trained with" in asking.err) == (2, True), asking
    kinds = optrun("list", "./mine.py", "--json", "--allow-code").json["kinds"]
    names = {kind: [entry["name"] for entry in listed] for kind, listed in kinds.items()}
    assert names == {
        "model": ["./mine.py:Net"],
        "hook": ["./mine.py:Watch"],
        "schedule": ["./mine.py:halve"],
        "loss": ["./mine.py:huber"],
    }
    assert "A net of my own." in optrun("list", "./mine.py:Net", "--allow-code").out
    described = optrun("describe", "./mine.py:halve", "--json", "--allow-code").json
    assert (described["kind"], described["yaml"]) == ("schedule", "schedule: {name: ./mine.py:halve, every: 10}")
    assert optrun("describe", "model/./mine.py:Net", "--allow-code").out.startswith("model/./mine.py:Net\n")
    unclear = optrun("describe", "./mine.py:helper", "--allow-code")
    assert unclear.code == 2
    assert "what kind of thing" in unclear.err
    assert optrun("describe", "./mine.py:nothing").code == 2
    assert optrun("list", "./nothing.py").code == 2
