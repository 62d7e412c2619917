"""Every registered loss; definitions in double precision as independent truths."""

from __future__ import annotations

import inspect
import re

import pytest
import torch

from optrun.experiments.errors import UsageError
from optrun.experiments.losses import make_loss, registry

NAMES = registry.names()


def example(task: str, num: int = 6, num_outputs: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(num, num_outputs, generator=generator)
    if task == "classes":
        return outputs, torch.randint(num_outputs, (num,), generator=generator)
    return outputs, torch.randn(num, num_outputs, generator=generator)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_documented_and_says_what_targets_it_is_for(name: str) -> None:
    component = registry.get(name)
    doc = inspect.getdoc(component.build) or ""
    assert re.fullmatch(r"[A-Z][^\n]*\.", component.summary)
    described = set(re.findall(r"^    (\w+): ", doc.split("Args:\n")[1].split("\n\n")[0], re.MULTILINE))
    assert described == {"outputs", "targets", *component.signature.names()}
    assert component.source
    assert "Source: " in doc
    assert component.facts["task"] in ("classes", "values")


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


def test_cross_entropy_of_equal_scores_is_the_log_of_the_number_of_classes() -> None:
    value = make_loss("cross_entropy")(torch.zeros(3, 10), torch.tensor([0, 5, 9]))
    assert float(value) == pytest.approx(2.302585, rel=1e-6)


def test_mse_is_its_definition() -> None:
    outputs, targets = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert float(make_loss("mse")(outputs, targets)) == (0 + 4 + 9 + 16) / 4


@pytest.mark.parametrize(("ours", "theirs"), [((5, 1), (5,)), ((5,), (5, 1)), ((5, 1), (5, 1)), ((5,), (5,))])
def test_mse_aligns_a_last_dimension_of_one_instead_of_broadcasting(ours: tuple, theirs: tuple) -> None:
    outputs, targets = torch.arange(5.0), torch.tensor([0.0, 1.0, 2.0, 3.0, 8.0])
    value = make_loss("mse")(outputs.reshape(ours), targets.reshape(theirs))
    assert float(value) == pytest.approx(16 / 5), "broadcast to (5, 5) it would be 10.4"


@pytest.mark.parametrize(("ours", "theirs"), [((5, 2), (5,)), ((5, 1), (5, 2)), ((1, 5), (5,)), ((5,), (1,))])
def test_mse_refuses_shapes_that_differ(ours: tuple, theirs: tuple) -> None:
    with pytest.raises(UsageError, match=r"outputs of shape .* do not match targets of shape"):
        make_loss("mse")(torch.zeros(ours), torch.zeros(theirs))


def test_arguments_are_checked() -> None:
    with pytest.raises(UsageError, match="label_smoothing must be number >= 0, <= 1, got 2"):
        make_loss("cross_entropy", label_smoothing=2)
    with pytest.raises(UsageError, match="Did you mean 'label_smoothing'"):
        make_loss("cross_entropy", label_smothing=0.1)
    with pytest.raises(UsageError, match="no loss named 'crossentropy'"):
        make_loss("crossentropy")
