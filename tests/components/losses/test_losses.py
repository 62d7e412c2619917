"""Every registered loss; definitions in double precision as independent truths."""

from __future__ import annotations

import inspect
import re

import pytest
import torch

from optrun.experiments.components.losses import make_loss, registry
from optrun.experiments.errors import UsageError

NAMES = registry.names()


def example(task: str, num: int = 6, num_outputs: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(num, num_outputs, generator=generator)
    if task == "classes":
        return outputs, torch.randint(num_outputs, (num,), generator=generator)
    if task == "tokens":
        scores = torch.randn(num, 3, num_outputs, generator=generator)
        return scores, torch.randint(num_outputs, (num, 3), generator=generator)
    if task == "none":
        return outputs[:, 0], torch.zeros(num)
    return outputs, torch.rand(num, num_outputs, generator=generator)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_documented_and_says_what_targets_it_is_for(name: str) -> None:
    component = registry.get(name)
    doc = inspect.getdoc(component.build) or ""
    assert re.fullmatch(r"[A-Z][^\n]*\.", component.summary)
    described = set(re.findall(r"^    (\w+): ", doc.split("Args:\n")[1].split("\n\n")[0], re.MULTILINE))
    assert described == {"outputs", "targets", *component.signature.names()}
    assert component.source
    assert "Source: " in doc
    assert component.facts["task"] in ("classes", "values", "tokens", "none")


@pytest.mark.parametrize("name", NAMES)
def test_each_is_the_mean_over_the_examples_with_a_gradient(name: str) -> None:
    outputs, targets = example(registry.get(name).facts["task"])
    loss = make_loss(name)
    whole = loss(outputs.requires_grad_(), targets)
    assert whole.shape == ()
    single = torch.stack([loss(outputs[i : i + 1], targets[i : i + 1]) for i in range(len(outputs))])
    torch.testing.assert_close(whole, single.mean())
    whole.backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_is_its_definition(smoothing: float) -> None:
    outputs, targets = example("classes")
    exact = outputs.double()
    log_softmax = exact - exact.exp().sum(1, keepdim=True).log()
    wanted = torch.full_like(exact, smoothing / 4)
    wanted[torch.arange(6), targets] += 1 - smoothing
    expected = -(wanted * log_softmax).sum(1).mean()
    ours = make_loss("cross_entropy", label_smoothing=smoothing)(outputs, targets)
    torch.testing.assert_close(ours.double(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_takes_probabilities_as_well(smoothing: float) -> None:
    """It is linear in the targets: mixed ones give the mixture of the losses of the classes."""
    outputs, targets = example("classes")
    loss, others = make_loss("cross_entropy", label_smoothing=smoothing), targets.flip(0)
    first, second = (torch.nn.functional.one_hot(labels, 4).float() for labels in (targets, others))
    torch.testing.assert_close(loss(outputs, first), loss(outputs, targets))
    mixed = loss(outputs, 0.3 * first + 0.7 * second)
    torch.testing.assert_close(mixed, 0.3 * loss(outputs, targets) + 0.7 * loss(outputs, others))


def test_cross_entropy_of_equal_scores_is_the_log_of_the_number_of_classes() -> None:
    value = make_loss("cross_entropy")(torch.zeros(3, 10), torch.tensor([0, 5, 9]))
    assert float(value) == pytest.approx(2.302585, rel=1e-6)


def test_mse_is_its_definition() -> None:
    outputs, targets = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert float(make_loss("mse")(outputs, targets)) == (0 + 4 + 9 + 16) / 4


def test_bce_is_its_definition_also_for_scores_that_saturate() -> None:
    outputs = torch.tensor([[0.5, -2.0], [3.0, 0.0]])
    targets = torch.tensor([[1.0, 0.0], [0.25, 0.5]])
    chance = 1 / (1 + (-outputs.double()).exp())
    expected = -(targets * chance.log() + (1 - targets) * (1 - chance).log()).mean()
    torch.testing.assert_close(make_loss("bce")(outputs, targets).double(), expected, rtol=1e-6, atol=0)
    assert float(make_loss("bce")(torch.tensor([200.0, -200.0]), torch.tensor([0.0, 1.0]))) == 200


def test_bce_of_two_classes_is_cross_entropy_of_the_difference() -> None:
    outputs, targets = torch.randn(6, 2), torch.arange(6) % 2
    binary = make_loss("bce")(outputs[:, 1] - outputs[:, 0], targets.float())
    torch.testing.assert_close(binary, make_loss("cross_entropy")(outputs, targets))


def test_mae_is_its_definition() -> None:
    outputs, targets = torch.tensor([[1.0, 2.0], [3.0, -4.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert float(make_loss("mae")(outputs, targets)) == (0 + 2 + 3 + 4) / 4


@pytest.mark.parametrize("delta", [0.5, 1.0, 2.0])
def test_huber_is_half_the_square_up_to_delta_and_then_its_tangent(delta: float) -> None:
    errors = torch.tensor([0.0, 0.3, -0.5, 1.0, -2.0, 7.0], dtype=torch.float64)
    expected = [e * e / 2 if abs(e) <= delta else delta**2 / 2 + delta * (abs(e) - delta) for e in errors.tolist()]
    value = make_loss("huber", delta=delta)(errors, torch.zeros(6, dtype=torch.float64))
    assert float(value) == pytest.approx(sum(expected) / 6, rel=1e-12)


def test_next_token_is_the_mean_over_all_tokens() -> None:
    outputs, targets = example("tokens")
    log_softmax = outputs.double().log_softmax(2)
    picked = [-log_softmax[i, j, targets[i, j]] for i in range(6) for j in range(3)]
    value = make_loss("next_token")(outputs, targets)
    torch.testing.assert_close(value.double(), sum(picked) / 18, rtol=1e-6, atol=0)
    assert float(
        make_loss("next_token")(torch.zeros(2, 3, 256), torch.zeros(2, 3, dtype=torch.int64))
    ) == pytest.approx(5.545177, rel=1e-6)


@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_each_takes_outputs_of_half_precision(name: str, autocast: bool) -> None:
    """As a forward pass in bf16 gives them; what is lost is no more than their own rounding."""
    outputs, targets = example(registry.get(name).facts["task"])
    half = outputs.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value = make_loss(name)(half, targets)
    value.backward()
    assert half.grad is not None
    assert half.grad.isfinite().all()
    torch.testing.assert_close(value.float(), make_loss(name)(half.detach().float(), targets), rtol=0.01, atol=0.01)


@pytest.mark.parametrize(("ours", "theirs"), [((5, 1), (5,)), ((5,), (5, 1)), ((5, 1), (5, 1)), ((5,), (5,))])
def test_mse_aligns_a_last_dimension_of_one_instead_of_broadcasting(ours: tuple, theirs: tuple) -> None:
    outputs, targets = torch.arange(5.0), torch.tensor([0.0, 1.0, 2.0, 3.0, 8.0])
    value = make_loss("mse")(outputs.reshape(ours), targets.reshape(theirs))
    assert float(value) == pytest.approx(16 / 5), "broadcast to (5, 5) it would be 10.4"


@pytest.mark.parametrize("name", ["mse", "mae", "huber", "bce"])
@pytest.mark.parametrize(("ours", "theirs"), [((5, 2), (5,)), ((5, 1), (5, 2)), ((1, 5), (5,)), ((5,), (1,))])
def test_values_of_shapes_that_differ_are_refused(name: str, ours: tuple, theirs: tuple) -> None:
    with pytest.raises(UsageError, match=r"outputs of shape .* do not match targets of shape"):
        make_loss(name)(torch.zeros(ours), torch.zeros(theirs))


def test_arguments_are_checked() -> None:
    with pytest.raises(UsageError, match="label_smoothing must be number >= 0, <= 1, got 2"):
        make_loss("cross_entropy", label_smoothing=2)
    with pytest.raises(UsageError, match="Did you mean 'label_smoothing'"):
        make_loss("cross_entropy", label_smothing=0.1)
    with pytest.raises(UsageError, match="delta must be number > 0, got 0"):
        make_loss("huber", delta=0)
    with pytest.raises(UsageError, match="no loss named 'crossentropy'"):
        make_loss("crossentropy")
