"""Shipped models on shipped data: what they reach, against bounds that other means set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from optrun.experiments import build, load_config, make_data, train
from optrun.experiments.components.data import split
from optrun.experiments.components.updates.batch_norm import BatchNormUpdate

sample = pytest.mark.sample


def final(config: Any, overrides: Any = ()) -> dict[str, float]:
    run = train(config, overrides)
    assert run.state == "done"
    return run.summary["final"]


@pytest.mark.parametrize(
    ("model", "lr", "epochs", "least"),
    [
        ({"name": "convnet", "channels": [16, 32]}, 0.01, 3, 0.9),
        pytest.param({"name": "preact_resnet", "depth": 8, "width": 8}, 0.01, 3, 0.93, marks=sample),
        pytest.param({"name": "wide_resnet", "depth": 10, "widen": 1}, 0.01, 3, 0.95, marks=sample),
        pytest.param({"name": "vit", "width": 32, "depth": 2, "heads": 2}, 0.005, 10, 0.8, marks=sample),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_image_models_learn_digits_in_seconds(model: dict[str, Any], lr: float, epochs: int, least: float) -> None:
    """Measured 94, 97, 99 and 86 % of the test part."""
    config = {
        "data": "digits",
        "model": model,
        "loss": "cross_entropy",
        "metrics": ["accuracy"],
        "optimizer": {"name": "adam", "lr": lr},
        "schedule": {"name": "cosine", "warmup": "10%"},
        "train": {"epochs": epochs},
    }
    assert final(config)["test/accuracy"] >= least


def bits_of_counts(order: int, data: dict[str, Any]) -> float:
    """Measure on the test part how many bits a byte takes by the counts of `order` bytes in the training part."""
    parts = split(make_data("text", length=data["length"]), val=data["val"], test=data["test"])
    assert parts.test is not None
    counts = torch.full((256,) * order, 0.1)
    for part in (parts.train, parts.test):
        grams = torch.cat([part.inputs, part.targets[:, -1:]], dim=1).unfold(1, order, 1).flatten(0, 1)[:, :order]
        if part is parts.train:
            counts.index_put_(tuple(grams.T), torch.ones(len(grams)), accumulate=True)
    chances = counts / counts.sum(-1, keepdim=True)
    return -float(chances[tuple(grams.T)].log2().mean())


@pytest.mark.parametrize(
    ("model", "order"),
    [pytest.param({"name": "gpt", "width": 64, "depth": 1}, 1, marks=sample), ({"name": "lstm", "width": 64}, 2)],
    ids=str,
)
def test_language_models_soon_know_more_than_counts(model: dict[str, Any], order: int) -> None:
    """Measured 3.98 bits per byte against 4.61 by the counts of bytes, and 3.08 against 3.26 by those of pairs."""
    data = {"name": "text", "length": 32, "batch_size": 16, "val": 0.05, "test": 0.05}
    config = {
        "data": data,
        "model": model,
        "loss": "next_token",
        "metrics": ["bits_per_byte", "perplexity"],
        "optimizer": {"name": "adam", "lr": 0.01},
        "schedule": {"name": "cosine", "warmup": "5%"},
        "train": {"steps": 150},
        "eval": {"every": "100%"},
    }
    reached = final(config)
    assert reached["test/bits_per_byte"] < bits_of_counts(order, data)
    assert reached["test/perplexity"] == pytest.approx(2 ** reached["test/bits_per_byte"], rel=1e-6)


@pytest.mark.slow
def test_the_preset_gpt_text_knows_more_than_counts_of_three_bytes() -> None:
    data = load_config("gpt-text").to_dict()["data"]
    assert final("gpt-text")["test/bits_per_byte"] < bits_of_counts(3, data)


@pytest.mark.slow
def test_the_preset_vit_digits_reaches_94_per_cent() -> None:
    """Measured 95.5 % of the test part."""
    assert final("vit-digits")["test/accuracy"] >= 0.94


@sample
def test_the_preset_autoencoder_is_better_than_any_linear_code_of_its_size() -> None:
    """No linear code has a smaller error on the training part than the first principal components."""
    parts = split(make_data("digits", targets="image"))
    assert parts.test is not None
    mean = parts.train.targets.mean(0)
    components = torch.linalg.svd(parts.train.targets - mean, full_matrices=False).Vh[:16]
    centred = parts.test.targets - mean
    linear = (centred - centred @ components.T @ components).square().mean()
    assert final("autoencoder")["test/mse"] < 0.75 * linear, "measured 0.049 against 0.082"


PHOTOGRAPHS = """
import torch
from optrun.experiments import Dataset


def photographs(scaling: str = "unit"):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(256, (100, 3, 32, 32), generator=generator).float()
    return Dataset(inputs, torch.arange(100) % 10, "classes", 10, splits={"test": torch.arange(90, 100)})
"""


@pytest.fixture
def recipe() -> dict[str, Any]:
    """Return overrides that give the preset cifar10-resnet random images of CIFAR-10's shape."""
    Path("photos.py").write_text(PHOTOGRAPHS)
    return {"data.name": "./photos.py:photographs", "data.batch_size": 16, "train.device": "cpu"}


def test_the_preset_cifar10_resnet_is_the_recipe_to_the_letter(recipe: dict[str, Any]) -> None:
    """The figures of research/resnet in TensorFlow's model garden; kernels are its variables called DW."""
    assert load_config("cifar10-resnet").data.batch_size == 128
    experiment = build(load_config("cifar10-resnet", recipe))
    train_op = experiment.train_op
    assert experiment.num_parameters == 464_154
    rates = {0: 0.1, 39_999: 0.1, 40_000: 0.01, 59_999: 0.01, 60_000: 0.001, 79_999: 0.001, 80_000: 0.0001}
    assert {step: experiment.schedule(step) for step in rates} == rates
    assert type(train_op.optimizer).__name__ == "TF1Momentum"
    assert {(group["momentum"], group["weight_decay"]) for group in train_op.optimizer.param_groups} == {(0.9, 0.0)}
    kernels = [value for name, value in experiment.model.named_parameters() if "conv" in name or name == "head.weight"]
    assert train_op.l2 is not None
    assert train_op.l2.rate == 0.0002
    assert {id(weight) for weight in train_op.l2.weights} == {id(kernel) for kernel in kernels}
    assert len(kernels) == 32, "one per layer"
    (update,) = train_op.updates
    assert isinstance(update, BatchNormUpdate)
    assert (update.decay, update.variance, update.zero_debias) == (0.9, "biased", True)
    assert {layer.eps for layer in update.layers.values()} == {0.001}


def test_the_preset_cifar10_resnet_augments_as_the_recipe_does(recipe: dict[str, Any]) -> None:
    """Training images are cut out of 36x36 and mirrored; all images have mean 0 and deviation 1 each."""
    experiment = build(load_config("cifar10-resnet", recipe))
    given = experiment.splits.train.inputs
    data = experiment.train_op.data
    images = data.batch(0).inputs
    assert images.shape == (16, 3, 32, 32)
    torch.testing.assert_close(images.flatten(1).mean(1), torch.zeros(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(images.flatten(1).std(1, correction=0), torch.ones(16), atol=1e-4, rtol=0)
    padded = torch.nn.functional.pad(given[:].float(), (2, 2, 2, 2))
    corners = [padded[:, :, top : top + 32, left : left + 32] for top in range(5) for left in range(5)]
    possible = torch.cat([view for corner in corners for view in (corner, corner.flip(3))]).flatten(1)
    possible = (possible - possible.mean(1, keepdim=True)) / possible.std(1, correction=0, keepdim=True)
    nearest = torch.cdist(images.flatten(1), possible).amin(1)
    assert nearest.max() < 0.1, "each is one of the 25 places, mirrored or not, of one of the images"


def test_the_preset_cifar10_resnet_trains(recipe: dict[str, Any]) -> None:
    reached = final("cifar10-resnet", {**recipe, "train.steps": 2, "log.every": "1 steps"})
    assert {"val/accuracy", "test/accuracy"} <= reached.keys()
