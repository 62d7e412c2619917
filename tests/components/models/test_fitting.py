"""Models meet data: what does not fit is said at its place; token models train, resume and run in bf16 like others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from optrun.experiments import train
from optrun.experiments.errors import UsageError

WORDS = """
import torch
from optrun.experiments import Dataset


def words(length: int = 8, vocabulary: int = 12):
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(vocabulary, (100, 1), generator=generator)
    tokens = (first + torch.arange(length + 1)) % vocabulary
    return Dataset(tokens[:, :-1], tokens[:, 1:], "tokens", vocabulary)


def first():
    return torch.nn.Embedding(12, 5)
"""


@pytest.fixture
def tokens() -> dict[str, Any]:
    """Return a configuration of a data set in which each token follows from the one before."""
    Path("words.py").write_text(WORDS)
    return {
        "data": {"name": "./words.py:words", "batch_size": 16},
        "model": {"name": "gpt", "width": 32, "depth": 1, "heads": 2},
        "loss": "next_token",
        "metrics": ["token_accuracy"],
        "optimizer": {"name": "adam", "lr": 0.01},
        "train": {"epochs": 8},
    }


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model", [{"name": "gpt", "width": 32, "depth": 1}, {"name": "lstm", "width": 32}], ids=str)
def test_token_models_learn_what_follows(tokens: dict[str, Any], model: dict[str, Any], precision: str) -> None:
    run = train(tokens, {"model": model, "train.precision": precision})
    assert run.summary["final"]["test/token_accuracy"] > 0.95


@pytest.mark.parametrize("model", [{"name": "gpt", "width": 32, "depth": 1}, {"name": "lstm", "width": 32}], ids=str)
def test_token_models_with_dropout_resume_bit_for_bit(tokens: dict[str, Any], model: dict[str, Any]) -> None:
    config = {**tokens, "model": {**model, "dropout": 0.2}, "log": {"every": "1 steps"}}
    whole = train(config, {"train.epochs": None, "train.steps": 12}, name="whole")
    train(config, {"train.epochs": None, "train.steps": 6}, name="part")
    resumed = train(config, {"train.epochs": None, "train.steps": 12}, name="part", allow_change=True)
    assert resumed.summary["final"] == whole.summary["final"]
    assert list(resumed.metrics["loss"].values) == list(whole.metrics["loss"].values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "mlp"}, r"model: the model does not take these tokens \(.*\); for tokens: gpt, lstm"),
        ({"data": "digits"}, "model: model 'gpt' is for tokens, but the targets of the data are classes"),
        ({"loss": "cross_entropy"}, "loss: loss 'cross_entropy' is for classes, but the targets of data .* are tokens"),
        ({"metrics": ["accuracy"]}, r"metrics\.0: metric 'accuracy' is for classes"),
        ({"model": {"name": "gpt", "num_outputs": 5}}, r"does not take these tokens \(index out of range in self\)"),
        ({"model": "./words.py:first"}, r"of shape \(20, 8, 5\), but data .* has 12 tokens to choose from"),
        ({"model": {"name": "gpt", "heads": 3}}, "heads: expected a divisor of the width 128"),
    ],
)
def test_what_does_not_fit_tokens_is_said_at_its_place(
    tokens: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        train({**tokens, **change})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"model": "autoencoder", "loss": "cross_entropy"},
            "data: model 'autoencoder': num_outputs: expected 64, the size of the input that is reproduced, got 10",
        ),
        (
            {"model": "autoencoder", "loss": "bce", "data": {"name": "digits", "targets": "image"}},
            r"loss: loss 'bce' takes targets from 0 to 1, but those of data 'digits' are -0.811\d* to 1.848",
        ),
        ({"model": {"name": "vit", "patch": 3}, "loss": "cross_entropy"}, "patch: expected a divisor of height 8"),
        ({"model": "resnet", "loss": "mse", "data": "linear_teacher"}, "model 'resnet': input_shape: expected images"),
        (
            {"model": "mlp", "loss": "cross_entropy", "metrics": [{"name": "top_k", "k": 10}]},
            r"metrics\.0: with k 10 and 10 classes every answer is right",
        ),
    ],
)
def test_what_does_not_fit_images_is_said_at_its_place(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train({"data": "digits", "optimizer": "sgd", "train": {"steps": 1}, **config})


def test_bce_reproduces_images_from_0_to_1() -> None:
    """The loss falls below the entropy of pixels that are drawn each from its own mean."""
    config = {
        "data": {"name": "digits", "targets": "image", "scaling": "unit"},
        "model": "autoencoder",
        "loss": "bce",
        "optimizer": {"name": "adam", "lr": 0.01},
        "train": {"epochs": 8},
    }
    assert train(config).summary["final"]["test/loss"] < 0.31


def test_a_user_metric_that_gives_several_numbers_is_said_at_its_place() -> None:
    Path("mine.py").write_text("def both(outputs, targets):\n    return outputs[:, :2]\n")
    config = {"data": "digits", "model": "mlp", "loss": "cross_entropy", "optimizer": "sgd", "train": {"steps": 1}}
    with pytest.raises(UsageError, match=r"metrics\.0: ValueError: a metric must come to one number"):
        train({**config, "metrics": ["./mine.py:both"], "eval": {"mode": "max"}})
