"""Losses in which examples count by weights: the same as each example that many times, and as scikit-learn has it."""

from __future__ import annotations

import pytest
import torch
from sklearn import metrics
from torch import nn
from torch.nn import functional

from optrun.experiments import Batches, build_train_op, make_loss
from optrun.experiments.components.losses import registry, weighed
from optrun.experiments.components.losses.counting import Counting
from optrun.experiments.components.weighted import Weighted
from optrun.experiments.errors import DataError, UsageError

GENERATOR = torch.Generator().manual_seed(0)
TIMES = torch.tensor([2, 0, 1, 3, 1, 2])
SCORES, LABELS = torch.randn(6, 3, generator=GENERATOR), torch.tensor([0, 2, 1, 1, 2, 0])
IGNORING = torch.tensor([0, 2, -100, 1, 2, 0])
MANY, PIXELS = (
    torch.randn(6, 3, 2, generator=GENERATOR),
    torch.tensor([[0, 1], [2, 2], [1, -100], [0, 2], [1, 1], [2, 0]]),
)
VALUES, OTHERS = torch.randn(6, 2, generator=GENERATOR), torch.rand(6, 2, generator=GENERATOR)
TOKENS = torch.tensor([[1, 3], [0, -100], [2, 2], [3, 1], [-100, -100], [0, 1]])
NEXT = torch.randn(6, 2, 4, generator=GENERATOR)

CASES = [
    ("cross_entropy", {}, SCORES, LABELS),
    ("cross_entropy", {"class_weights": (1.0, 5.0, 0.5)}, SCORES, IGNORING),
    ("cross_entropy", {"class_weights": (1.0, 5.0, 0.5), "label_smoothing": 0.1}, SCORES, LABELS),
    ("cross_entropy", {"ignore_index": 0}, SCORES, LABELS),
    ("cross_entropy", {}, MANY, PIXELS),
    ("cross_entropy", {}, SCORES, SCORES.softmax(1)),
    ("mse", {}, VALUES, OTHERS),
    ("mse", {}, VALUES[:, 0], OTHERS[:, :1]),
    ("mae", {}, VALUES, OTHERS),
    ("huber", {"delta": 0.4}, VALUES, OTHERS),
    ("bce", {}, VALUES, OTHERS),
    ("next_token", {}, NEXT, TOKENS),
    (nn.CrossEntropyLoss(torch.tensor([1.0, 5.0, 0.5]), ignore_index=0), {}, SCORES, LABELS),
    (nn.SmoothL1Loss(beta=0.5), {}, VALUES, OTHERS),
    (nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 3.0])), {}, VALUES, OTHERS),
    (functional.mse_loss, {}, VALUES, OTHERS),
    (functional.cross_entropy, {}, SCORES, IGNORING),
]


def made(name, args, weights=None):
    return make_loss(name, weights=weights, **args) if isinstance(name, str) else weighed(name, None, None, weights)


@pytest.mark.parametrize(("name", "args", "outputs", "targets"), CASES)
def test_a_weight_counts_as_so_many_copies_of_an_example(name, args, outputs, targets):
    weighted = made(name, args, "w")
    outputs = outputs.clone().requires_grad_()
    found = weighted(outputs, Weighted(targets, TIMES.float()))
    (gradient,) = torch.autograd.grad(found, outputs)
    copies = outputs.repeat_interleave(TIMES, 0)
    expected = made(name, args)(copies, targets.repeat_interleave(TIMES, 0))
    (expected_gradient,) = torch.autograd.grad(expected, outputs)
    assert torch.allclose(found, expected, rtol=1e-5)
    assert torch.allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)
    # Equal weights, of whatever size, are none; and parts come to the whole by their counts.
    assert torch.allclose(
        weighted(outputs, Weighted(targets, torch.full((6,), 0.3))), made(name, args)(outputs, targets)
    )
    stretches = (slice(0, 1), slice(1, 4), slice(4, 6))
    parts = [Weighted(targets[rows], TIMES[rows].float()) for rows in stretches]
    shares = zip(Counting(weighted).weights(parts, [1, 3, 2]), stretches, parts, strict=True)
    total = sum(share * weighted(outputs[rows], part) for share, rows, part in shares if share)
    assert torch.allclose(total, found, rtol=1e-5)


def test_every_loss_takes_weights_but_the_models_own():
    assert {name for name, *_ in CASES if isinstance(name, str)} == set(registry.names()) - {"output"}
    with pytest.raises(UsageError, match="does not say the loss of each example"):
        make_loss("output", weights="w")
    with pytest.raises(UsageError, match="does not say the loss of each example"):
        weighed(nn.MSELoss(reduction="sum"), None, None, "w")


def test_the_loss_is_that_of_scikit_learn_with_sample_weight():
    weights = torch.rand(6, generator=GENERATOR)
    targets = Weighted(LABELS, weights)
    expected = metrics.log_loss(LABELS, SCORES.double().softmax(1), sample_weight=weights)
    assert make_loss("cross_entropy", weights="w")(SCORES, targets).item() == pytest.approx(expected, rel=1e-5)
    expected = metrics.mean_squared_error(OTHERS, VALUES, sample_weight=weights)
    assert make_loss("mse", weights="w")(VALUES, Weighted(OTHERS, weights)).item() == pytest.approx(expected, rel=1e-5)


def test_weights_may_be_one_for_each_target():
    mask = torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.0, 1.0], [0.5, 0.5], [1.0, 1.0], [0.0, 0.0]])
    unreduced = functional.cross_entropy(MANY, PIXELS, reduction="none")
    counts = mask * (PIXELS != -100)
    expected = (unreduced * counts).sum() / counts.sum()
    assert torch.allclose(make_loss("cross_entropy", weights="w")(MANY, Weighted(PIXELS, mask)), expected)
    with pytest.raises(UsageError, match=r"weights of shape \(6, 3\) do not fit"):
        make_loss("cross_entropy", weights="w")(MANY, Weighted(PIXELS, torch.ones(6, 3)))


def test_a_loss_of_ones_own_says_the_loss_of_each_example():
    def absolute(outputs, targets):
        return (outputs - targets).abs().mean()

    absolute.each = lambda outputs, targets: (outputs - targets).abs().mean(1)
    found = weighed(absolute, None, None, "w")(VALUES, Weighted(OTHERS, TIMES.float()))
    expected = absolute(VALUES.repeat_interleave(TIMES, 0), OTHERS.repeat_interleave(TIMES, 0))
    assert torch.allclose(found, expected)
    assert Counting(weighed(absolute, None, None, "w")).count(Weighted(OTHERS, TIMES.float()), 6) == 9


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("as_dict", [True, False])
def test_a_session_takes_weights_from_a_batch_by_name_or_place(accumulate, as_dict):
    """A step on weighted examples is the step on copies of them, in plain torch."""
    torch.manual_seed(0)
    model = nn.Linear(2, 2)
    copy = nn.Linear(2, 2)
    copy.load_state_dict(model.state_dict())
    batch = {"input": VALUES, "y": OTHERS, "w": TIMES} if as_dict else (VALUES, OTHERS, TIMES)
    loss = make_loss("mse", weights="w" if as_dict else 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    op = build_train_op(model, loss, optimizer, data=[batch], accumulate=accumulate)
    op.run()
    functional.mse_loss(copy(VALUES.repeat_interleave(TIMES, 0)), OTHERS.repeat_interleave(TIMES, 0)).backward()
    torch.optim.SGD(copy.parameters(), lr=0.1).step()
    assert torch.allclose(model.weight, copy.weight, rtol=1e-5)


@pytest.mark.parametrize(
    ("weights", "kind", "words"),
    [
        (torch.tensor([1.0, -1.0, 1.0, 1.0, 1.0, 1.0]), DataError, "example 1: .* got -1"),
        (torch.full((6,), float("nan")), DataError, "got nan"),
        (["a"] * 6, UsageError, "must be a tensor"),
        (None, UsageError, "no 'w' for the weights"),
    ],
)
def test_impossible_weights_in_a_batch_are_refused(weights, kind, words):
    model = nn.Linear(2, 2)
    batch = {"input": VALUES, "y": OTHERS, **({} if weights is None else {"w": weights})}
    loss = make_loss("mse", weights="w")
    op = build_train_op(model, loss, torch.optim.SGD(model.parameters(), lr=0.1), data=[batch])
    with pytest.raises(kind, match=words):
        op.run()


def test_batches_in_memory_have_weights_beside_their_targets():
    batches = Batches(VALUES, OTHERS, batch_size=3, weights=TIMES.float(), seed=2)
    batch = batches.batch(1)
    rows = batches.order(0)[3:]
    assert torch.equal(batch.targets.weights, TIMES[rows].float())
    assert torch.equal(batch.targets.targets, OTHERS[rows])
