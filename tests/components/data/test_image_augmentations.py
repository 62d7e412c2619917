"""Augmentations of images against loops over single images; mixed targets; what evaluation applies."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from optrun.experiments import Batches, build, load_config
from optrun.experiments.components.data import make_augmentation
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import UsageError
from optrun.experiments.system import rng

IMAGES = torch.rand(300, 3, 6, 8, generator=torch.Generator().manual_seed(0))


def augmented(name: str, inputs: torch.Tensor = IMAGES, **args: Any) -> Any:
    return make_augmentation(name, **args)(inputs, rng.generator(0, "test"))


def test_crop_cuts_every_window_of_the_padded_image() -> None:
    seen = set()
    for image, cropped in zip(IMAGES, augmented("crop", padding=1, fill=-1.0), strict=True):
        padded = functional.pad(image, (1, 1, 1, 1), value=-1.0)
        windows = {(i, j): padded[:, i : i + 6, j : j + 8] for i in range(3) for j in range(3)}
        (place,) = [place for place, window in windows.items() if cropped.equal(window)]
        seen.add(place)
    assert len(seen) == 9


def test_crop_is_the_same_choice_as_shift_made_faster() -> None:
    shifted = make_augmentation("shift", pixels=2)(IMAGES, rng.generator(3, "test"))
    assert make_augmentation("crop", padding=2)(IMAGES, rng.generator(3, "test")).equal(shifted)


def test_flip_mirrors_about_half_of_the_images() -> None:
    result = augmented("flip")
    mirrored = 0
    for image, flipped in zip(IMAGES, result, strict=True):
        columns = torch.stack([image[:, :, 7 - column] for column in range(8)], dim=2)
        is_mirrored = flipped.equal(columns)
        assert is_mirrored or flipped.equal(image)
        mirrored += is_mirrored
    assert mirrored == pytest.approx(150, abs=4 * math.sqrt(300 / 4))  # 4 standard deviations
    assert augmented("flip", probability=0).equal(IMAGES)
    assert augmented("flip", probability=1).equal(IMAGES.flip(3))


def test_standardise_is_tensorflows_rule_for_each_image() -> None:
    images = torch.cat([IMAGES[:5] * 3 + 7, torch.full((1, 3, 6, 8), 0.25), 1e-3 * IMAGES[:1]])
    for image, result in zip(images, augmented("standardise", images), strict=True):
        numbers = image.double()
        std = numbers.std(correction=0).clamp(min=1 / math.sqrt(3 * 6 * 8))
        torch.testing.assert_close(result.double(), (numbers - numbers.mean()) / std, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [3, 4])
def test_cutout_blanks_one_square_at_every_place(size: int) -> None:
    centres = set()
    for image, result in zip(IMAGES, augmented("cutout", size=size, fill=-1.0), strict=True):
        expected = []
        for row in range(6):
            for column in range(8):
                top, left = row - size // 2, column - size // 2
                blanked = image.clone()
                blanked[:, max(top, 0) : top + size, max(left, 0) : left + size] = -1.0
                expected.append(((row, column), blanked))
        found = [place for place, blanked in expected if result.equal(blanked)]
        assert found
        centres.update(found)
    assert len(centres) == 48, "each pixel is the centre of some square"


def test_mixup_averages_pairs_by_weights_from_beta() -> None:
    mixed = augmented("mixup", alpha=0.5)
    assert mixed.partners.sort().values.equal(torch.arange(300)), "each example is a partner once"
    for index in range(300):
        weight = float(mixed.weights[index])
        expected = weight * IMAGES[index] + (1 - weight) * IMAGES[mixed.partners[index]]
        torch.testing.assert_close(mixed.inputs[index], expected)
    uniform = augmented("mixup", torch.zeros(20_000, 1), alpha=0.5).weights.double()
    assert float(uniform.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(uniform.var()) == pytest.approx(1 / 8, rel=0.03)  # 1 / (4 (2 alpha + 1))


def test_batches_mix_targets_as_the_inputs_were_mixed() -> None:
    inputs, classes = torch.eye(4), torch.tensor([0, 1, 2, 1])
    one_hot = functional.one_hot(classes, 3).float()
    batch = Batches(inputs, classes, batch_size=4, augment=[make_augmentation("mixup", alpha=1)], num_classes=3)
    for position in range(5):
        mixed = batch.batch(position)
        # Inputs are the identity, so that a mixed input holds the weights of the examples in it.
        torch.testing.assert_close(mixed.targets, mixed.inputs @ one_hot)
        assert mixed.targets.sum(1).tolist() == pytest.approx([1] * 4)
    values = torch.arange(8.0).reshape(4, 2)
    mixed = Batches(inputs, values, batch_size=4, augment=[make_augmentation("mixup", alpha=1)]).batch(0)
    torch.testing.assert_close(mixed.targets, mixed.inputs @ values)
    with pytest.raises(UsageError, match="classes whose number is known, can be mixed"):
        Batches(inputs, classes, batch_size=4, augment=[make_augmentation("mixup")]).batch(0)


@pytest.mark.parametrize("name", ["crop", "flip", "cutout"])
def test_what_is_no_image_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=rf"{name} needs images, shape \(examples, channels.*got \(3, 4\)"):
        augmented(name, torch.zeros(3, 4))


def test_a_square_as_large_as_the_image_is_refused() -> None:
    with pytest.raises(UsageError, match="cutout of 6 pixels would blank whole images of 6x8"):
        augmented("cutout", size=6)


CONFIG = {
    "data": {"name": "digits", "scaling": "unit", "subset": 64, "augment": ["standardise"]},
    "model": "logistic",
    "loss": "cross_entropy",
    "optimizer": {"name": "sgd", "lr": 0.1},
    "train": {"steps": 2},
}


def config_with(*augment: Any) -> Any:
    return load_config({**CONFIG, "data": {**CONFIG["data"], "augment": list(augment)}})  # type: ignore[dict-item]


def test_evaluation_standardises_and_does_not_augment() -> None:
    experiment = build(config_with("standardise", {"name": "noise", "std": 5}))
    part = experiment.splits.val
    assert part is not None
    images = part.inputs[: len(part)]
    expected = torch.stack([(image - image.mean()) / image.std(correction=0) for image in images])
    torch.testing.assert_close(experiment.evaluators["val"].part.inputs[: len(part)], expected)
    assert float(experiment.train_op.data.batch(0).inputs.std()) > 4
    plain = build(config_with({"name": "noise", "std": 5})).evaluators["val"].part.inputs
    assert isinstance(plain, torch.Tensor)
    assert plain.equal(images)


def test_code_of_the_users_own_says_so_by_an_attribute(tmp_path: Path) -> None:
    text = "def halve(inputs, generator):\n    return inputs / 2\n"
    (tmp_path / "random.py").write_text(text)
    (tmp_path / "always.py").write_text(f"{text}halve.evaluation = True\n")
    images = build(config_with()).evaluators["val"].part.inputs[:10]
    for file, factor in (("random", 1.0), ("always", 0.5)):
        found = build(config_with(f"./{file}.py:halve")).evaluators["val"].part.inputs[:10]
        assert found.equal(images * factor)


def test_mixup_trains_with_cross_entropy_and_measures_hard_labels() -> None:
    experiment = build(config_with("mixup"))
    with experiment.session() as session:
        while not session.should_stop():
            session.run(experiment.train_op)
    assert experiment.train_op.data.batch(0).targets.shape == (64, 10)
    assert math.isfinite(session.final["val/loss"])


def test_what_does_not_fit_is_found_before_the_run() -> None:
    with pytest.raises(ConfigError, match="cutout of 16 pixels would blank whole images of 8x8"):
        build(config_with("cutout"))
