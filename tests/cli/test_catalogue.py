"""`optrun list` and `optrun describe`: what they say can be pasted, and works."""

from __future__ import annotations

import pytest
import yaml

from optrun.experiments import load_config
from optrun.experiments.experiment import build
from optrun.experiments.registries import REGISTRIES

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


@pytest.mark.parametrize("reference", COMPONENTS)
def test_the_yaml_of_every_component_is_valid_where_it_is_pasted(optrun, folder, reference):
    pasted = yaml.safe_load(optrun("describe", reference, "--json").json["yaml"])
    regression = reference in ("loss/mse", "metric/mse")
    base = {
        "data": {"name": "linear_teacher"} if regression else {"name": "digits"},
        "model": "logistic",
        "loss": "mse" if regression else "cross_entropy",
        "optimizer": "sgd",
        "train": {"epochs": 2},
    }
    for section, value in pasted.items():
        base[section] = {**base["data"], **value} if section == "data" else value
    (folder / "pasted.yaml").write_text(yaml.safe_dump(base, sort_keys=False))
    config = load_config("pasted.yaml")
    if not reference.startswith(("data/", "hook/")) and "batch_norm" not in reference:  # these need others
        build(config)


@pytest.mark.parametrize("reference", COMPONENTS)
def test_every_component_is_described_in_full(optrun, reference):
    out = optrun("describe", reference).out
    described = optrun("describe", reference, "--json").json
    assert out.startswith(f"{reference}\n")
    assert described["text"]
    for argument in described["arguments"]:
        assert argument["name"] in out
        assert argument["meaning"], f"{argument['name']} of {reference} has no words in the docstring"
    assert "\nYAML\n" in out


def test_describe_shows_ranges_defaults_formula_and_source(optrun):
    out = " ".join(optrun("describe", "optimizer/adam").out.split())
    for part in ("number > 0; default 0.001", "m = beta1 * m + (1 - beta1) * g", "arXiv:1412.6980", "lr: 0.001"):
        assert part in out


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
    kinds = optrun("list", "./mine.py", "--json").json["kinds"]
    names = {kind: [entry["name"] for entry in listed] for kind, listed in kinds.items()}
    assert names == {
        "model": ["./mine.py:Net"],
        "hook": ["./mine.py:Watch"],
        "schedule": ["./mine.py:halve"],
        "loss": ["./mine.py:huber"],
    }
    assert "A net of my own." in optrun("list", "./mine.py:Net").out
    described = optrun("describe", "./mine.py:halve", "--json").json
    assert (described["kind"], described["yaml"]) == ("schedule", "schedule: {name: ./mine.py:halve, every: 10}")
    assert optrun("describe", "model/./mine.py:Net").out.startswith("model/./mine.py:Net\n")
    unclear = optrun("describe", "./mine.py:helper")
    assert unclear.code == 2
    assert "what kind of thing" in unclear.err
    assert optrun("describe", "./mine.py:nothing").code == 2
    assert optrun("list", "./nothing.py").code == 2
