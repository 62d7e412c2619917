"""What is measured on a split does not depend on the evaluation's batches, and is what scikit-learn says."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor, nn

from optrun.experiments import build
from optrun.experiments.components.data import PartInMemory
from optrun.experiments.components.metrics import make_metric, registry
from optrun.experiments.config import ConfigError
from optrun.experiments.training import build as building
from optrun.experiments.training.evaluator import Evaluator

NUM = 23
SIZES = (1, 3, 7, NUM)


def first_mean(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.mean()


def problem(task: str, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return outputs and targets; the first examples are of class 0 alone, so that batches lack classes."""
    generator = torch.Generator().manual_seed(num_classes)
    if task == "tokens":
        outputs = torch.randn(NUM, 5, num_classes, dtype=torch.float64, generator=generator)
        return outputs, torch.randint(num_classes, (NUM, 5), generator=generator)
    outputs = torch.randn(NUM, num_classes, dtype=torch.float64, generator=generator)
    if task == "values":
        return outputs, outputs + torch.rand(NUM, num_classes, dtype=torch.float64, generator=generator)
    targets = torch.randint(num_classes, (NUM,), generator=generator)
    targets[:9] = 0
    return outputs, targets


def flat(outputs: Tensor, targets: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities and class numbers of all positions."""
    return outputs.flatten(0, -2).softmax(-1).numpy(), targets.flatten().numpy()


def token_loss(outputs: Tensor, targets: Tensor) -> float:
    scores, classes = flat(outputs, targets)
    return sk.log_loss(classes, scores, labels=range(scores.shape[1]))


#: By metric: scikit-learn's value of outputs and targets.
TRUTH: dict[str, Callable[[Tensor, Tensor], float]] = {
    "accuracy": lambda o, t: sk.accuracy_score(t, o.argmax(1)),
    "top_k": lambda o, t: sk.top_k_accuracy_score(t, o, k=2, labels=range(o.shape[1])),
    "macro_f1": lambda o, t: sk.f1_score(t, o.argmax(1), average="macro"),
    "miou": lambda o, t: sk.jaccard_score(t, o.argmax(1), average="macro"),
    "binary_accuracy": lambda o, t: sk.accuracy_score((t > 0.5).flatten(), (o > 0).flatten()),
    "multilabel_f1": lambda o, t: sk.f1_score(t > 0.5, o > 0, average="macro", zero_division=0),
    "mse": lambda o, t: sk.mean_squared_error(t, o),
    "rmse": lambda o, t: math.sqrt(sk.mean_squared_error(t, o)),
    "mae": lambda o, t: sk.mean_absolute_error(t, o),
    "r2": lambda o, t: sk.r2_score(t, o),
    "token_accuracy": lambda o, t: sk.accuracy_score(t.flatten(), o.argmax(2).flatten()),
    "perplexity": lambda o, t: math.exp(token_loss(o, t)),
    "bits_per_byte": lambda o, t: token_loss(o, t) / math.log(2),
}


@pytest.mark.parametrize("name", registry.names())
@pytest.mark.parametrize("num_classes", [2, 3, 4])
def test_every_metric(name: str, num_classes: int) -> None:
    if name == "top_k" and num_classes == 2:
        pytest.skip("of two classes the better two are all")
    outputs, targets = problem(registry.get(name).facts["task"], num_classes)
    metric = make_metric(name, **({"k": 2} if name == "top_k" else {}))
    truth = TRUTH[name](outputs, targets)
    for size in SIZES:
        measure = Evaluator(
            "val", nn.Identity(), first_mean, {name: metric}, PartInMemory(outputs, targets), batch_size=size
        )
        assert (measure() or {})[f"val/{name}"] == pytest.approx(truth, rel=1e-6)


OWN = """\\
import torch


def per_class(outputs, targets):
    predicted = outputs.argmax(1)
    return torch.stack([(predicted[targets == c] == c).double().mean() for c in range(outputs.shape[1])])


def of_the_batch(outputs, targets):
    predicted = outputs.argmax(1)
    hits = ((predicted == 1) & (targets == 1)).sum()
    f1 = 2 * hits / ((predicted == 1).sum() + (targets == 1).sum())
    return f1.expand(len(targets))


def centred(outputs, targets):
    return outputs[:, 0] - outputs[:, 0].mean()


def right(outputs, targets):
    return (outputs.argmax(1) == targets).float()


class F1:
    def __call__(self, outputs, targets):
        predicted = outputs.argmax(1)
        return torch.stack([(predicted == 1) & (targets == 1), predicted == 1, targets == 1], dim=1).double()

    def finish(self, means):
        return 2 * means[0] / (means[1] + means[2])


class Counts:
    calls = 0

    def __call__(self, outputs, targets):
        self.calls += 1
        return right(outputs, targets) * self.calls


class Buffered(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("hits", torch.zeros(2))

    def forward(self, outputs, targets):
        self.hits += torch.tensor([right(outputs, targets).sum(), float(len(targets))])
        return (self.hits[0] / self.hits[1]).expand(len(targets))


class KeptForFinish:
    def __init__(self):
        self.seen = []

    def __call__(self, outputs, targets):
        self.seen.append(targets.double() + len(self.seen))
        return targets.double()

    def finish(self, means):
        return torch.cat(self.seen).mean()


def drawn(outputs, targets):
    return torch.rand(len(targets))


class Caches:
    shape = None

    def __call__(self, outputs, targets):
        self.shape = outputs.shape
        return right(outputs, targets)
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("per_class", r"one value per example; .*per_class gave"),
        ("of_the_batch", "changes with the others in its batch.*data.eval_batch_size"),
        ("centred", "changes with the others in its batch.*data.eval_batch_size"),
        ("Counts", "it keeps something between calls, or draws|changes with the others"),
        ("Buffered", "it keeps something between calls, or draws|changes with the others"),
        ("KeptForFinish", "it keeps something between calls, or draws"),
        ("drawn", "it keeps something between calls, or draws|changes with the others"),
        ("Caches", None),
        ("right", None),
        ("F1", None),
    ],
)
def test_metrics_of_ones_own(name: str, message: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    config: dict[str, Any] = {
        "data": {"name": "breast_cancer", "subset": 120},
        "model": "logistic",
        "loss": "cross_entropy",
        "metrics": [f"./own.py:{name}"],
        "eval": {"mode": "max"},
        "optimizer": "sgd",
        "train": {"epochs": 1},
    }
    if message is None:
        values = []
        for size in SIZES:
            config["data"]["eval_batch_size"] = size
            values.append((build(config).evaluators["val"]() or {})[f"val/{name}"])
        assert values == pytest.approx([values[0]] * len(SIZES), rel=1e-9)
        return
    with pytest.raises(ConfigError, match=message) as caught:
        build(config)
    assert [problem.key for problem in caught.value.problems] == ["metrics.0"]


OWN_LOSS = """\\
import torch
from torch.nn import functional

WEIGHTS = torch.tensor([1.0, 20.0])


def weighted(outputs, targets):
    return functional.cross_entropy(outputs, targets, weight=WEIGHTS)


def counted(outputs, targets):
    return functional.cross_entropy(outputs, targets, weight=WEIGHTS)


counted.count = lambda targets: WEIGHTS[targets].sum()
"""


@pytest.mark.parametrize(("name", "noted"), [("weighted", True), ("counted", False)])
def test_a_loss_of_ones_own_that_is_no_mean_over_examples_is_noted(
    name: str, noted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN_LOSS)
    config = {"data": "breast_cancer", "model": "logistic", "loss": f"./own.py:{name}", "optimizer": "sgd"}
    whole = build({**config, "train": {"epochs": 1}})
    assert not any("count(targets)" in note for note in whole.notes), "one batch each time: nothing is weighed"
    parts = build({**config, "train": {"epochs": 1, "accumulate": 3}})
    assert any("is no mean over the examples" in note and "count(targets)" in note for note in parts.notes) == noted


IGNORING = """\
import torch
from torch import nn
from torch.nn import functional


class Ignoring(nn.Module):
    def __init__(self):
        super().__init__()
        self.loss = nn.CrossEntropyLoss(ignore_index=0)

    def forward(self, outputs, targets):
        return self.loss(outputs, targets)


class Weighing(Ignoring):
    def __init__(self):
        super().__init__()
        self.loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 0.0, 0.5]))


def kept(outputs, targets):
    return functional.cross_entropy(outputs[targets > 0], targets[targets > 0])


def pair(outputs, targets):  # nan for outputs that are repeated, as no model gives them
    few = len(outputs.unique(dim=0)) <= 8 < len(outputs)
    return functional.cross_entropy(outputs, targets) + (torch.nan if few else 0.0)


class Counted(Ignoring):
    def count(self, targets):
        return (targets != 0).sum()
"""


@pytest.mark.parametrize("size", [1, 2, 3, 8, 30])
@pytest.mark.parametrize("name", ["Ignoring", "Weighing", "kept", "pair", "Counted"])
def test_a_loss_is_refused_if_and_only_if_the_evaluation_would_be_nan(
    name: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(IGNORING)
    config = {
        "data": {"name": "iris", "batch_size": 45, "eval_batch_size": size},
        "model": {"name": "mlp", "hidden": [4]},
        "loss": f"./own.py:{name}",
        "optimizer": "sgd",
        "train": {"epochs": 1},
    }
    with monkeypatch.context() as patched:
        patched.setattr(building, "check_uncounted", lambda *args: None)
        measured = [build(config).evaluators[split]() for split in ("val", "test")]
    is_nan = any(math.isnan(values[f"{split}/loss"]) for split, values in zip(("val", "test"), measured, strict=True))
    assert not (is_nan and name == "Counted")
    if not is_nan:
        build(config)
        return
    with pytest.raises(ConfigError, match=r"is nan for examples \d+ to \d+ of (val|test), a batch") as caught:
        build(config)
    assert [problem.key for problem in caught.value.problems] == ["loss"]
    assert "count(targets)" in str(caught.value)
