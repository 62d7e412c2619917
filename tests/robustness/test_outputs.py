"""Outputs of a wrong form, shape or type, for every loss, metric and model, are refused at a key before the run.

A model of each kind is made to give something else, always, in training alone or in evaluation alone. The last batch
of an epoch and of an evaluation are the small ones. What is refused is a ConfigError at the model, the loss or the
metric; what is not is trained to its end.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from optrun.experiments.components.registries import REGISTRIES
from optrun.experiments.config import ConfigError
from optrun.experiments.training.train import train

from .sweep import report
from .wrong_outputs import FORMS

CHANGED = f"{Path(__file__).with_name('wrong_outputs.py')}:Changed"
WHEN = ("always", "in training", "in evaluation")


DATA = {
    "classes": {"name": "iris", "batch_size": 89, "eval_batch_size": 29},  # 90 to train on, 30 to measure twice
    "values": {"name": "diabetes", "batch_size": 88, "subset": 89, "eval_batch_size": 87},
    "tokens": {"name": "text", "length": 4, "subset": 9, "batch_size": 8},
    "none": {"name": "none"},
    "pictures": {"name": "digits", "batch_size": 32, "subset": 33},
}
LOSS = {"classes": "cross_entropy", "values": "mse", "tokens": "next_token", "none": "output"}
MODEL = {"classes": "logistic", "values": "logistic", "tokens": "lstm", "none": "quadratic"}
PICTURES = ("convnet", "resnet", "preact_resnet", "wide_resnet", "vit")


def problem(kind: str, name: str) -> tuple[str, str, str, list[str]]:
    """Return data, model, loss and metrics with one component of a kind in its place."""
    task = REGISTRIES[kind].get(name).facts.get("task") or {"bag_of_words": "tokens", "autoencoder": "values"}.get(
        name, "classes"
    )
    data = "pictures" if name in PICTURES else task
    loss = name if kind == "loss" else LOSS[task]
    return data, name if kind == "model" else MODEL[task], loss, [name] if kind == "metric" else []


def cases():
    for kind in ("loss", "metric", "model"):
        for name in REGISTRIES[kind].names():
            for form, when in itertools.product(FORMS, WHEN):
                yield kind, name, form, when


CASES = list(cases())


def wrongly_told(kind, name, form, when) -> str | None:
    """Train one case; return what is wrong with how it ended."""
    data, model, loss, metrics = problem(kind, name)
    config = {
        "data": DATA[data],
        "model": {
            "name": CHANGED,
            "of": model,
            "form": form,
            "when": when,
        },
        "loss": loss,
        "metrics": [{"name": each, "k": 2} if each == "top_k" else each for each in metrics],
        "optimizer": {"name": "sgd", "lr": 1e-3},
        "train": {"steps": 2, "threads": 1},
        "eval": {"every": "1 steps"},
        "stop": {"on_nan": "stop"},
    }
    label = f"{kind} {name}, {form} {when}"
    try:
        train(config)
    except ConfigError as error:
        key = error.problems[0].key
        expected = ("model", "loss", *(["metrics.0"] if metrics else []), "data.batch_size", "data.eval_batch_size")
        return None if key in expected else f"{label}: told at {key}: {error.headline}"
    except Exception as error:  # noqa: BLE001 (that is what is counted)
        return f"{label}: {type(error).__name__}: {error}"
    return None


@pytest.mark.parametrize(
    ("kind", "name", "form", "when"), random.Random(8).sample(CASES, 24), ids=lambda value: str(value)
)
def test_it_is_refused_at_a_key_or_trains(kind, name, form, when):
    assert wrongly_told(kind, name, form, when) is None


@pytest.mark.slow
def test_all_of_them():
    found = [wrong for case in CASES if (wrong := wrongly_told(*case))]
    report("wrong outputs for losses, metrics and models", len(CASES), found)
