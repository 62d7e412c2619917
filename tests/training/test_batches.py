"""Runs whose targets are pixels, padded tokens or several labels, and whose inputs are tokens with class targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optrun.experiments import build, train
from optrun.experiments.components.data import Dataset
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import DataError

HERE = Path(__file__)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def tiny_pictures(ignore_index: int | None = 255) -> Dataset:
    inputs = torch.randn(24, 1, 4, 4, generator=_generator())
    targets = (inputs[:, 0] > 0).long()
    if ignore_index is not None:
        targets[:, 0, :2] = ignore_index
    return Dataset(inputs, targets, "classes", 2, ignore_index=ignore_index)


def tiny_texts(num_tokens: int | None = 7) -> Dataset:
    inputs = torch.randint(7, (30, 5), generator=_generator())
    return Dataset(inputs, (inputs.sum(1) % 3).long(), "classes", 3, num_tokens=num_tokens)


def tiny_labels() -> Dataset:
    inputs = torch.randn(30, 4, generator=_generator())
    return Dataset(inputs, (inputs[:, :3] > 0).float(), "values", 3)


class TinyUnet(nn.Module):
    def __init__(self, num_classes: int):
        super().__init__()
        self.conv = nn.Conv2d(1, num_classes, 3, padding=1)

    def forward(self, image: torch.Tensor) -> dict[str, Any]:
        return {"out": {"logits": self.conv(image)}, "aux": None}


class TinyTexter(nn.Module):
    def __init__(self, num_tokens: int, num_classes: int):
        super().__init__()
        self.embedding, self.linear = nn.Embedding(num_tokens, 4), nn.Linear(4, num_classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.linear(self.embedding(tokens).mean(1))


def config(**parts: Any) -> dict[str, Any]:
    base = {"optimizer": {"name": "sgd", "lr": 0.5}, "train": {"epochs": 3, "threads": 1}, "stop": {"on_nan": "skip"}}
    return {**base, **parts}


def segmentation(**loss: Any) -> dict[str, Any]:
    of = {"of": "out.logits"}
    return config(
        data={"name": f"{HERE}:tiny_pictures", "batch_size": 5, "eval_batch_size": 3},
        model=f"{HERE}:TinyUnet",
        loss={"name": "cross_entropy", **of, **loss},
        metrics=[{"name": "miou", **of}, {"name": "accuracy", "of": ["out", "logits"]}],
    )


def test_a_segmentation_net_trains_and_is_measured_by_pixel(tmp_path):
    run = train(segmentation(), root=tmp_path)
    assert run.result["final"]["test/miou"] > 0.5
    assert run.config["metrics"][0] == {"name": "miou", "of": "out.logits"}
    experiment = build(segmentation())
    assert experiment.evaluators["train"].metrics["miou"].func.ignore_index == 255  # by the data
    first = build({**segmentation(), "train": {"steps": 1, "accumulate": 3, "threads": 1}}).train_op
    whole = build({**segmentation(), "train": {"steps": 1, "threads": 1}}).train_op
    first.run()
    whole.run()
    assert first.last_loss.item() == pytest.approx(whole.last_loss.item(), rel=1e-6)


def test_class_weights_balance_the_training_pixels():
    experiment = build(segmentation(class_weights="balanced"))
    targets = experiment.splits.train.targets
    known = targets[targets != 255]
    expected = [len(known) / (2 * int((known == number).sum())) for number in (0, 1)]
    assert experiment.train_op.loss.func.keywords["class_weights"] == pytest.approx(expected)
    with pytest.raises(ConfigError, match="3 numbers for 2 classes") as caught:
        build(segmentation(class_weights=[1, 2, 3]))
    assert caught.value.problems[0].key == "loss.class_weights"


def test_a_part_that_is_not_there_is_told_at_its_key():
    wrong = segmentation()
    wrong["metrics"] = [{"name": "accuracy", "of": "logit"}]
    with pytest.raises(ConfigError, match=r"`of: logit` finds nothing in a dict with 'out', 'aux'") as caught:
        build(wrong)
    assert caught.value.problems[0].key == "metrics.0.of"
    with pytest.raises(ConfigError, match="takes one tensor of floating-point numbers") as caught:
        build({**segmentation(), "metrics": ["miou"]})
    assert caught.value.problems[0].key == "metrics.0"
    assert "metrics: [{name: miou, of: out}]" in (caught.value.problems[0].hint or "")


def test_tokens_with_class_targets_say_how_many_there_are(tmp_path):
    texts = config(
        data={"name": f"{HERE}:tiny_texts"}, model=f"{HERE}:TinyTexter", loss="cross_entropy", metrics=["accuracy"]
    )
    run = train(texts, root=tmp_path)
    assert run.result["steps"] == 3
    assert run.load_model().embedding.num_embeddings == 7  # kept with the run, without the data
    with pytest.raises(DataError, match="num_tokens"):
        tiny_texts(num_tokens=None)
    with pytest.raises(DataError, match="tokens from 0 to 4"):
        tiny_texts(num_tokens=5)


def test_several_labels_are_learnt_by_bce(tmp_path):
    labels = config(
        data={"name": f"{HERE}:tiny_labels", "batch_size": 6},
        model="logistic",
        loss="bce",
        metrics=["multilabel_f1", "binary_accuracy"],
    )
    labels["train"]["epochs"] = 30
    run = train(labels, root=tmp_path)
    assert run.result["final"]["test/binary_accuracy"] > 0.7


class ComputesItself(nn.Module):
    """nanoGPT's signature: (logits, loss), the loss where the targets are given."""

    def __init__(self, num_tokens: int, num_classes: int, average: bool = True):
        super().__init__()
        self.inner, self.average = TinyTexter(num_tokens, num_classes), average

    def forward(self, idx: torch.Tensor, targets: torch.Tensor | None = None) -> tuple[torch.Tensor, Any]:
        logits = self.inner(idx)
        kind = "mean" if self.average else "none"
        return logits, None if targets is None else nn.functional.cross_entropy(logits, targets, reduction=kind)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("average", [True, False])
def test_a_model_that_computes_its_loss_is_given_the_targets(accumulate: int, average: bool):
    train_config = {"steps": 4, "threads": 1, "accumulate": accumulate}
    data = {"name": f"{HERE}:tiny_texts", "batch_size": 7}
    own = {"name": f"{HERE}:ComputesItself", "average": average}
    by_model = build(config(
        data=data, model=own, loss={"name": "output", "of": 1}, metrics=[{"name": "accuracy", "of": 0}],
        train=train_config,
    ))  # fmt: skip
    by_loss = build(config(data=data, model=f"{HERE}:TinyTexter", loss="cross_entropy", train=train_config))
    for _ in range(4):
        by_model.train_op.run()
        by_loss.train_op.run()
    pairs = zip(by_model.train_op.model.parameters(), by_loss.train_op.model.parameters(), strict=True)
    for one, other in pairs:
        assert torch.equal(one, other) if average else torch.allclose(one, other, rtol=1e-5, atol=1e-7)
    assert by_model.evaluators["val"]()["val/loss"] == pytest.approx(by_loss.evaluators["val"]()["val/loss"], rel=1e-6)


@pytest.mark.parametrize(("mean_over", "is_noted"), [("examples", True), ("targets", False)])
def test_a_models_loss_that_ignores_targets_is_noted_unless_it_says_so(mean_over: str, is_noted: bool) -> None:
    experiment = build(config(
        data={"name": f"{HERE}:ignored_texts"}, model=f"{HERE}:ComputesItself",
        loss={"name": "output", "of": 1, "mean_over": mean_over}, metrics=[],
        train={"steps": 1, "threads": 1, "accumulate": 2},
    ))  # fmt: skip
    notes = [note for note in experiment.notes if "is no mean over the examples" in note]
    assert bool(notes) == is_noted
    assert all("`mean_over: targets`" in note for note in notes)


def ignored_texts() -> Dataset:
    """Return texts whose first half has no class."""
    texts = tiny_texts()
    targets = texts.targets.clone()
    targets[:15] = -100
    return Dataset(texts.inputs, targets, "classes", 3, num_tokens=7, ignore_index=-100)
