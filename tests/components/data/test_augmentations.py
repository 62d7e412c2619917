"""Every registered augmentation; noise and shifts against what they claim."""

from __future__ import annotations

import inspect
import re

import pytest
import torch

from optrun.experiments.components.data import Mixed, make_augmentation
from optrun.experiments.components.data.augmentations import registry
from optrun.experiments.errors import UsageError
from optrun.experiments.system import rng

NAMES = registry.names()


@pytest.mark.parametrize("name", NAMES)
def test_each_is_documented(name: str) -> None:
    component = registry.get(name)
    doc = inspect.getdoc(component.build) or ""
    assert re.fullmatch(r"[A-Z][^\n]*\.", component.summary)
    described = set(re.findall(r"^    (\w+): ", doc.split("Args:\n")[1].split("\n\n")[0], re.MULTILINE))
    assert described == {"inputs", "generator", *component.signature.names()}
    assert component.source
    assert "Source: " in doc


@pytest.mark.parametrize("name", NAMES)
def test_each_keeps_shape_and_type_and_draws_from_the_generator_alone(name: str) -> None:
    inputs = torch.rand(6, 2, 5, 7)
    kept = inputs.clone()
    augmentation = make_augmentation(name, **{"cutout": {"size": 3}}.get(name, {}))

    def augmented(seed: int) -> torch.Tensor:
        result = augmentation(inputs, rng.generator(seed, "test"))
        return result.inputs if isinstance(result, Mixed) else result

    first = augmented(0)
    assert first.shape == inputs.shape
    assert first.dtype == inputs.dtype
    assert not first.equal(inputs)
    assert inputs.equal(kept), "the batch itself stays as it is"
    torch.rand(3)
    assert augmented(0).equal(first)
    is_random = not registry.get(name).facts.get("evaluation")
    assert augmented(1).equal(first) != is_random


def test_noise_has_the_standard_deviation_asked_for() -> None:
    inputs = torch.full((200, 1, 10, 10), 3.0)
    moved = make_augmentation("noise", std=0.5)(inputs, rng.generator(0, "test")) - inputs
    assert float(moved.mean()) == pytest.approx(0.0, abs=0.015)  # 4 standard errors
    assert float(moved.std()) == pytest.approx(0.5, rel=0.02)
    assert make_augmentation("noise", std=0)(inputs, rng.generator(0, "test")).equal(inputs)


def test_shift_moves_each_image_as_a_whole_and_fills_the_border() -> None:
    inputs = torch.arange(1.0, 41.0).reshape(1, 2, 4, 5).repeat(300, 1, 1, 1)
    moved = make_augmentation("shift", pixels=2, fill=-1.0)(inputs, rng.generator(0, "test"))
    padded = torch.full((2, 8, 9), -1.0)
    padded[:, 2:6, 2:7] = inputs[0]
    windows = {(i, j): padded[:, i : i + 4, j : j + 5] for i in range(5) for j in range(5)}
    seen = set()
    for image in moved:
        (place,) = [place for place, window in windows.items() if image.equal(window)]
        seen.add(place)
    assert seen == set(windows), "all 25 shifts occur in 300 images"


def test_shift_needs_images() -> None:
    with pytest.raises(UsageError, match=r"shift needs images.*got \(3, 4\)"):
        make_augmentation("shift")(torch.zeros(3, 4), torch.Generator())
    with pytest.raises(UsageError, match="pixels must be int >= 1, got 0"):
        make_augmentation("shift", pixels=0)
