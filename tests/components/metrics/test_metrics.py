"""Every registered metric; values counted by hand."""

from __future__ import annotations

import functools
import inspect
import math
import re
from pathlib import Path
from typing import Any

import pytest
import sklearn.metrics
import torch
from torch import nn

from optrun.experiments.components.data import PartInMemory
from optrun.experiments.components.metrics import make_metric, metric_value, registry
from optrun.experiments.errors import UsageError
from optrun.experiments.training.evaluator import Evaluator

NAMES = registry.names()


@pytest.mark.parametrize("name", NAMES)
def test_each_is_documented_and_says_what_is_better_by_how_much(name: str) -> None:
    component = registry.get(name)
    doc = inspect.getdoc(component.build) or ""
    assert re.fullmatch(r"[A-Z][^\n]*\.", component.summary)
    described = set(re.findall(r"^    (\w+): ", doc.split("Args:\n")[1].split("\n\n")[0], re.MULTILINE))
    assert described == {"outputs", "targets", *component.signature.names()}
    assert component.source
    assert "Source: " in doc
    assert component.facts["mode"] in ("max", "min")
    assert component.facts["margin"] > 0
    assert component.facts["task"] in ("classes", "values", "tokens")


def example(task: str, num: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    if task == "tokens":
        return torch.randn(num, 3, 8, generator=generator), torch.randint(8, (num, 3), generator=generator)
    outputs = torch.randn(num, 8, generator=generator)
    return outputs, torch.randint(8, (num,), generator=generator) if task == "classes" else outputs.flip(0)


@pytest.mark.parametrize("name", NAMES)
def test_each_gives_one_value_per_example_whatever_the_batch(name: str) -> None:
    """Or one row of values, where there is a `finish` for their means."""
    outputs, targets = example(registry.get(name).facts["task"])
    metric = make_metric(name)
    values = metric(outputs, targets)
    assert len(values) == 6
    assert values.dim() == 1 or hasattr(metric, "finish")
    assert values.is_floating_point()
    assert values.equal(torch.cat([metric(outputs[:2], targets[:2]), metric(outputs[2:], targets[2:])]))
    assert isinstance(metric_value(metric, values.double().mean(0)), float)


def value(name: str, outputs: torch.Tensor, targets: torch.Tensor, **args: Any) -> float:
    """Measure in batches of 7, as an evaluation does."""
    evaluator = Evaluator(
        "all", nn.Identity(), no_loss, {name: make_metric(name, **args)}, PartInMemory(outputs, targets), batch_size=7
    )
    measured = evaluator()
    assert measured is not None
    return measured[f"all/{name}"]


def no_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.zeros(())


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_is_scikit_learns(k: int) -> None:
    outputs, targets = example("classes", 200)
    expected = sklearn.metrics.top_k_accuracy_score(targets, outputs, k=k, labels=range(8))
    assert value("top_k", outputs, targets, k=k) == pytest.approx(expected, abs=1e-12)


def test_top_k_breaks_ties_by_the_number_of_the_class_and_refuses_what_is_always_right() -> None:
    outputs, targets = torch.zeros(4, 4), torch.arange(4)
    assert make_metric("top_k", k=2)(outputs, targets).tolist() == [1.0, 1.0, 0.0, 0.0]
    assert make_metric("top_k", k=1)(outputs, targets).equal(make_metric("accuracy")(outputs, targets))
    with pytest.raises(UsageError, match="k must be below 4"):
        make_metric("top_k")(outputs, targets)


@pytest.mark.parametrize("num", [3, 20, 200])
def test_macro_f1_is_scikit_learns_also_where_classes_are_missing(num: int) -> None:
    outputs, targets = example("classes", num)
    expected = sklearn.metrics.f1_score(targets, outputs.argmax(1), average="macro", zero_division=0)
    assert value("macro_f1", outputs, targets) == pytest.approx(expected, abs=1e-12)


def test_macro_f1_is_no_mean_over_batches() -> None:
    outputs, targets = example("classes", 200)
    score = functools.partial(sklearn.metrics.f1_score, average="macro", zero_division=0)
    parts = [score(targets[i : i + 7], outputs[i : i + 7].argmax(1)) for i in range(0, 200, 7)]
    assert abs(sum(parts) / len(parts) - value("macro_f1", outputs, targets)) > 0.01


@pytest.mark.parametrize("shape", [(50,), (50, 1), (50, 3)])
def test_regression_metrics_are_scikit_learns(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(shape, generator=generator) * torch.arange(1, shape[-1] + 1) + 100
    outputs = targets + torch.randn(shape, generator=generator)
    assert value("r2", outputs, targets) == pytest.approx(
        sklearn.metrics.r2_score(targets.double(), outputs.double()), rel=1e-9
    )
    assert value("mae", outputs, targets) == pytest.approx(
        sklearn.metrics.mean_absolute_error(targets, outputs), rel=1e-6
    )


@pytest.mark.parametrize("offset", [0.0, 0.125])
def test_r2_of_a_constant_target_is_scikit_learns(offset: float) -> None:
    targets = torch.full((9, 1), 1234.567)
    expected = sklearn.metrics.r2_score(targets, targets + offset)
    assert value("r2", targets + offset, targets) == expected == (offset == 0)


def test_perplexity_is_e_to_the_mean_loss_not_the_mean_of_e_to_the_loss() -> None:
    outputs, targets = example("tokens", 20)
    expected = sklearn.metrics.log_loss(targets.flatten(), outputs.double().softmax(2).flatten(0, 1), labels=range(8))
    assert value("perplexity", outputs, targets) == pytest.approx(math.exp(expected), rel=1e-6)
    assert value("bits_per_byte", outputs, targets) == pytest.approx(expected / math.log(2), rel=1e-6)
    means = make_metric("perplexity")(outputs, targets).exp().mean()
    assert float(means) > value("perplexity", outputs, targets) * 1.01


def test_equal_scores_for_bytes_take_eight_bits() -> None:
    outputs, targets = torch.zeros(3, 5, 256), torch.arange(15).view(3, 5)
    assert value("bits_per_byte", outputs, targets) == pytest.approx(8)
    assert value("perplexity", outputs, targets) == pytest.approx(256)


def test_token_accuracy_counts_right_tokens() -> None:
    outputs = torch.eye(4).expand(2, 4, 4)
    assert make_metric("token_accuracy")(outputs, torch.tensor([[0, 1, 2, 3], [0, 0, 0, 0]])).tolist() == [1.0, 0.25]


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "perplexity", "r2"])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_metrics_are_the_same_in_batches_of_any_size(name: str, batch_size: int) -> None:
    outputs, targets = example(registry.get(name).facts["task"], 64)
    metric = {name: make_metric(name)}
    whole, parts = (
        Evaluator("all", nn.Identity(), no_loss, metric, PartInMemory(outputs, targets), batch_size=size)()
        for size in (1000, batch_size)
    )
    assert whole is not None
    assert parts == pytest.approx(whole, rel=1e-12)


def test_a_metric_that_comes_to_several_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one number, not a tensor of shape \(3,\)"):
        metric_value(lambda outputs, targets: outputs, torch.zeros(3))


def test_a_metric_of_the_users_own_may_finish_its_means(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "class Rmse:\n"
        "    def __init__(self, scale: float = 1.0):\n"
        "        self.scale = scale\n"
        "    def __call__(self, outputs, targets):\n"
        "        return (outputs - targets).square().mean(1)\n"
        "    def finish(self, means):\n"
        "        return self.scale * means.sqrt()\n"
    )
    metric = make_metric("./mine.py:Rmse", base=tmp_path, scale=10.0)
    outputs, targets = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[1.0], [0.0], [0.0]])
    measured = Evaluator(
        "all", nn.Identity(), no_loss, {"rmse": metric}, PartInMemory(outputs, targets), batch_size=2
    )()
    assert measured == pytest.approx({"all/loss": 0.0, "all/rmse": 10 * math.sqrt(13 / 3)})


def test_accuracy_counts_right_answers() -> None:
    outputs = torch.tensor([[0.1, 0.9], [0.9, 0.1], [2.0, 1.0]])
    assert make_metric("accuracy")(outputs, torch.tensor([1, 1, 0])).tolist() == [1.0, 0.0, 1.0]


def test_scores_that_are_not_numbers_are_wrong_answers() -> None:
    nan = float("nan")
    outputs = torch.tensor([[nan, nan], [nan, 1.0], [1.0, float("inf")]])
    assert make_metric("accuracy")(outputs, torch.tensor([0, 0, 1])).tolist() == [0.0, 0.0, 1.0]
    assert make_metric("top_k", k=1)(outputs, torch.tensor([0, 0, 1])).tolist() == [0.0, 0.0, 1.0]
    assert make_metric("token_accuracy")(outputs[None], torch.tensor([[0, 0, 1]])).tolist() == [pytest.approx(1 / 3)]
    assert value("macro_f1", outputs, torch.tensor([0, 0, 1])) == 0.5, "class 0 has no answer, class 1 is right"


def test_mse_averages_over_the_outputs_of_each_example() -> None:
    outputs, targets = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert make_metric("mse")(outputs, targets).tolist() == [2.0, 12.5]


@pytest.mark.parametrize(("ours", "theirs"), [((3, 1), (3,)), ((3,), (3, 1)), ((3, 1), (3, 1)), ((3,), (3,))])
def test_values_are_never_broadcast(ours: tuple, theirs: tuple) -> None:
    outputs, targets = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 0.0, 0.0])
    assert make_metric("mse")(outputs.reshape(ours), targets.reshape(theirs)).tolist() == [0.0, 4.0, 9.0]
    assert make_metric("mae")(outputs.reshape(ours), targets.reshape(theirs)).tolist() == [0.0, 2.0, 3.0]
    assert value("r2", outputs.reshape(ours), targets.reshape(theirs)) == pytest.approx(1 - 13 / (2 / 3), rel=1e-12)
    for name in ("mse", "mae", "r2"):
        with pytest.raises(UsageError, match="do not match"):
            make_metric(name)(torch.zeros(3, 2), torch.zeros(3))
