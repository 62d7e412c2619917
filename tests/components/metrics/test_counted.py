"""Targets that are ignored, pixels, padding, several labels: losses and metrics against scikit-learn and torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from optrun.experiments.components.losses import make_loss
from optrun.experiments.components.losses.class_weights import balanced_weights
from optrun.experiments.components.losses.counting import Counting
from optrun.experiments.components.metrics import make_metric, metric_value
from optrun.experiments.errors import ArgumentsError

NUM_CLASSES = 4


def pictures(ignored: int = 255) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores and classes of the pixels of 9 pictures; a different share of each is ignored, of one all."""
    generator = torch.Generator().manual_seed(1)
    outputs = torch.randn(9, NUM_CLASSES, 3, 5, generator=generator)
    targets = torch.randint(NUM_CLASSES - 1, (9, 3, 5), generator=generator)  # the last class has no members
    shares = torch.linspace(0, 1, 9)[:, None, None]
    return outputs, targets.masked_fill(torch.rand(targets.shape, generator=generator) < shares, ignored)


def value_of(metric: Any, outputs: torch.Tensor, targets: torch.Tensor, batch_size: int) -> float:
    parts = zip(outputs.split(batch_size), targets.split(batch_size), strict=True)
    return metric_value(metric, torch.cat([metric(x, y) for x, y in parts]).double().mean(0))


@pytest.mark.parametrize("batch_size", [1, 2, 4, 9])
@pytest.mark.parametrize("ignored", [255, -100])
def test_pixels_are_counted_as_scikit_learn_counts_them(batch_size: int, ignored: int) -> None:
    outputs, targets = pictures(ignored)
    counts = targets != ignored
    truth, found = targets[counts].numpy(), outputs.argmax(1)[counts].numpy()
    args = {} if ignored == -100 else {"ignore_index": ignored}
    for name, expected in {
        "miou": sklearn.metrics.jaccard_score(truth, found, average="macro", labels=np.union1d(truth, found)),
        "macro_f1": sklearn.metrics.f1_score(truth, found, average="macro"),
        "accuracy": sklearn.metrics.accuracy_score(truth, found),
    }.items():
        value = value_of(make_metric(name, **args), outputs, targets, batch_size)
        assert value == pytest.approx(expected, rel=1e-6), name


@pytest.mark.parametrize("batch_size", [1, 3, 9])
def test_padding_counts_in_no_metric_of_tokens(batch_size: int) -> None:
    outputs, targets = pictures(0)
    outputs, targets = outputs[:, :, 0].transpose(1, 2), targets[:, 0].clone()
    targets[1:, :2][targets[1:, :2] == 0] = 1
    kept = targets != 0
    losses = functional.cross_entropy(outputs[kept], targets[kept], reduction="none").double()
    right = (outputs.argmax(-1) == targets)[kept].double().mean().item()
    for name, expected in {
        "bits_per_byte": losses.mean().item() / math.log(2),
        "perplexity": losses.mean().exp().item(),
        "token_accuracy": right,
    }.items():
        value = value_of(make_metric(name, ignore_index=0), outputs, targets, batch_size)
        assert value == pytest.approx(expected, rel=1e-6), name


def test_ignored_targets_are_never_answers() -> None:
    outputs, targets = torch.eye(3), torch.tensor([0, 1, -100])
    assert make_metric("accuracy")(outputs, targets)[:2].tolist() == [1.0, 1.0]
    assert make_metric("accuracy")(outputs, targets)[2].isnan()  # no class, and nothing says that it is ignored
    assert value_of(make_metric("accuracy", ignore_index=-100), outputs, targets, 2) == 1.0
    with pytest.raises(IndexError, match="out of bounds"):  # instead of a loss of 0 that would count
        make_metric("perplexity")(outputs[None], targets[None])


def test_labels_are_counted_as_scikit_learn_counts_them() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(50, 6, generator=generator), (torch.rand(50, 6, generator=generator) < 0.3).float()
    targets[:, 5], outputs[:, 5] = 0, -1  # a label that nobody has or gets
    answers = (outputs > 0).numpy()
    f1 = sklearn.metrics.f1_score(targets.numpy(), answers, average="macro", zero_division=0)
    assert value_of(make_metric("multilabel_f1"), outputs, targets, 7) == pytest.approx(f1, rel=1e-6)
    share = (answers == targets.numpy()).mean()
    assert value_of(make_metric("binary_accuracy"), outputs, targets, 7) == pytest.approx(share, rel=1e-6)


@pytest.mark.parametrize("weights", [None, (1.0, 0.5, 2.0, 3.0)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_parts_of_a_batch_come_to_the_whole_with_ignored_and_weighted_classes(weights: Any, smoothing: float) -> None:
    outputs, targets = pictures()
    loss = make_loss("cross_entropy", ignore_index=255, class_weights=weights, label_smoothing=smoothing)
    weight = None if weights is None else torch.tensor(weights)
    expected = functional.cross_entropy(
        outputs.double(), targets, None if weight is None else weight.double(),
        ignore_index=255, label_smoothing=smoothing,
    )  # fmt: skip
    counting, parts = Counting(loss), [slice(0, 2), slice(2, 7), slice(7, 9)]
    shares = counting.weights([targets[part] for part in parts], [2, 5, 2])
    pairs = zip(parts, shares, strict=True)
    whole = sum(share * loss(outputs[part], targets[part]).double() for part, share in pairs if share)
    assert float(whole) == pytest.approx(expected.item(), rel=1e-5)
    assert loss(outputs, targets).item() == pytest.approx(expected.item(), rel=1e-5)


def test_balanced_weights_are_scikit_learns() -> None:
    targets = torch.tensor([0, 0, 0, 1, 2, 2, 255])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=targets[:-1].numpy())
    assert balanced_weights(targets, 3, 255) == pytest.approx(tuple(expected))
    with pytest.raises(ArgumentsError, match="class 3 has no training targets"):
        balanced_weights(targets, 4, 255)
    with pytest.raises(ArgumentsError, match="training targets, which are not known"):
        make_loss("cross_entropy", class_weights="balanced")(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ArgumentsError, match="2 numbers for 3 classes"):
        make_loss("cross_entropy", class_weights=[1.0, 2.0])(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))
