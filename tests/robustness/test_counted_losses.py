"""A loss over parts of a batch is that of the whole, whatever its mean is over; in training and in evaluation."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from optrun.experiments import build_train_op
from optrun.experiments.components.data import PartInMemory
from optrun.experiments.components.losses import make_loss, registry
from optrun.experiments.errors import DivergedError, UsageError
from optrun.experiments.training.evaluator import Evaluator

CLASSES, EXAMPLES = 4, 11
WEIGHTS = torch.tensor([0.0, 1.0, 2.5, 7.0], dtype=torch.float64)


class Own(nn.Module):
    """A user's own: the mean over the targets above a bound, which it says."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        above = targets > 0
        return (outputs - targets)[above].square().mean()

    def count(self, targets: Tensor) -> Tensor:
        return (targets > 0).sum()


def own_function(outputs: Tensor, targets: Tensor, *, pad: int) -> Tensor:
    kept = targets != pad
    return functional.cross_entropy(outputs[kept], targets[kept])


own_function.count = lambda targets, pad: int((targets != pad).sum())  # type: ignore[attr-defined]

LOSSES: dict[str, tuple[Callable[..., Any], str]] = {
    **{name: (make_loss(name), registry.get(name).facts["task"]) for name in registry.names()},
    "cross_entropy, smoothed": (make_loss("cross_entropy", label_smoothing=0.2), "classes"),
    "cross_entropy, mixed": (make_loss("cross_entropy"), "mixed"),
    **{
        f"CrossEntropyLoss {index}": (
            nn.CrossEntropyLoss(weight=weight, ignore_index=ignored, label_smoothing=0.2 * smoothed),
            "classes",
        )
        for index, (weight, ignored, smoothed) in enumerate(itertools.product((None, WEIGHTS), (-100, 0, 3), (0, 1)))
        if weight is None or not smoothed or ignored == 0  # class 0, of weight 0: see the last test
    },
    "CrossEntropyLoss, mixed": (nn.CrossEntropyLoss(weight=WEIGHTS), "mixed"),
    "CrossEntropyLoss, pixels": (nn.CrossEntropyLoss(weight=WEIGHTS, ignore_index=1), "pixels"),
    "NLLLoss": (nn.NLLLoss(weight=WEIGHTS, ignore_index=2), "classes"),
    "functional.cross_entropy": (functional.cross_entropy, "classes"),
    "functional.nll_loss, bound": (functools.partial(functional.nll_loss, weight=WEIGHTS, ignore_index=1), "classes"),
    "CrossEntropyLoss, sum": (nn.CrossEntropyLoss(reduction="sum", ignore_index=1), "classes"),
    "MSELoss, sum": (nn.MSELoss(reduction="sum"), "values"),
    "functional.l1_loss, sum": (functools.partial(functional.l1_loss, reduction="sum"), "values"),
    **{f"{type(loss).__name__}": (loss, "values") for loss in (nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss())},
    "BCEWithLogitsLoss": (nn.BCEWithLogitsLoss(pos_weight=WEIGHTS + 1), "values"),
    "own": (Own(), "values"),
    "own function": (functools.partial(own_function, pad=2), "classes"),
}


def problem(task: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(EXAMPLES, 5, dtype=torch.float64, generator=generator)
    numbers = torch.randint(CLASSES, (EXAMPLES, 3), generator=generator)
    numbers[1:4, 0] = -100
    numbers[5, :] = -100
    return inputs, {
        "classes": numbers[:, 0].clamp(min=-100),
        "tokens": numbers,
        "pixels": numbers,
        "mixed": torch.rand(EXAMPLES, CLASSES, dtype=torch.float64, generator=generator).softmax(1),
        "values": torch.rand(EXAMPLES, CLASSES, dtype=torch.float64, generator=generator),
        "none": torch.zeros(EXAMPLES, dtype=torch.float64),
    }[task]


class Net(nn.Module):
    def __init__(self, task: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.task, self.layer = task, nn.Linear(5, 3 * CLASSES, dtype=torch.float64)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.layer(inputs).view(-1, 3, CLASSES)
        per_class = {"tokens": outputs, "pixels": outputs.transpose(1, 2), "none": outputs[:, 0, 0]}
        return per_class.get(self.task, outputs[:, 0])


def targets_for(loss: Any, task: str) -> tuple[Tensor, Tensor]:
    """Return a problem whose ignored targets are those that the loss ignores."""
    inputs, targets = problem(task)
    inner = getattr(loss, "ignore_index", getattr(loss, "keywords", {}).get("ignore_index", -100))
    if isinstance(loss, functools.partial) and "pad" in loss.keywords:
        inner = loss.keywords["pad"]
    return inputs, targets if targets.is_floating_point() else targets.where(targets != -100, torch.tensor(inner))


def gradients_of(model: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("name", LOSSES)
def test_micro_batches_come_to_the_whole_batch(name: str) -> None:
    loss, task = LOSSES[name]
    inputs, targets = targets_for(loss, task)
    reference = Net(task)
    whole = loss(reference(inputs), targets)
    (whole + 0.05 * sum(p.square().sum() for p in reference.parameters())).backward()
    for parts in range(1, EXAMPLES + 1):
        model = Net(task)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        op = build_train_op(model, loss, optimizer, [(inputs, targets)], accumulate=parts, l2=0.1)
        op.run()
        penalty = 0.05 * sum(p.detach().square().sum() for p in model.parameters())
        torch.testing.assert_close(op.last_loss, (whole + penalty).detach(), rtol=1e-12, atol=1e-12)
        for ours, theirs in zip(gradients_of(model), gradients_of(reference), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_evaluation_does_not_depend_on_its_batches(name: str) -> None:
    loss, task = LOSSES[name]
    inputs, targets = targets_for(loss, task)
    model = Net(task)
    with torch.no_grad():
        whole = loss(model(inputs), targets).item()
    for size in range(1, EXAMPLES + 1):
        measured = Evaluator("val", model, loss, {}, PartInMemory(inputs, targets), batch_size=size)()
        assert measured == {"val/loss": pytest.approx(whole, rel=1e-12)}


def test_where_nothing_counts_the_gate_says_so() -> None:
    inputs, _ = problem("classes")
    targets = torch.full((EXAMPLES,), -100)
    model = Net("classes")
    for parts in (1, 3):
        op = build_train_op(
            model,
            nn.CrossEntropyLoss(),
            torch.optim.SGD(model.parameters(), 0.1),
            [(inputs, targets)],
            accumulate=parts,
        )
        with pytest.raises(DivergedError, match="loss is nan"):
            op.run()


@pytest.mark.parametrize("value", [-1, float("nan"), None, "3", torch.ones(2), True])
def test_what_is_no_count_is_refused(value: Any) -> None:
    class Wrong(nn.MSELoss):
        def count(self, targets: Tensor) -> Any:
            return value

    inputs, targets = problem("values")
    model = Net("values")
    with pytest.raises(UsageError, match=r"`count` of the loss gave .*: expected a finite number of at least 0"):
        Evaluator("val", model, Wrong(), {}, PartInMemory(inputs, targets))()


def test_a_part_whose_mean_is_undefined_is_refused() -> None:
    """Smoothing counts a target of weight 0 in the sum, and nothing in what it is divided by."""
    loss = nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.2)
    inputs, model = problem("classes")[0], Net("classes")
    targets = torch.tensor([0] * 6 + [1] * 5)
    assert Evaluator("val", model, loss, {}, PartInMemory(inputs, targets))() is not None
    with pytest.raises(UsageError, match="only targets of weight 0, which label_smoothing counts all the same"):
        Evaluator("val", model, loss, {}, PartInMemory(inputs, targets), batch_size=5)()
