"""Test functions against closed forms: values, gradients, minima, curvatures, noise; and what descends on them."""

from __future__ import annotations

import inspect
import math
import re
from typing import Any

import numpy as np
import pytest
import torch

from optrun.experiments import train
from optrun.experiments.components.data import make_data
from optrun.experiments.components.losses import make_loss
from optrun.experiments.components.models import make_model, registry
from optrun.experiments.components.models.functions import Function
from optrun.experiments.errors import UsageError

NAMES = [name for name in registry.names() if registry.get(name).facts.get("task") == "none"]
PLACES = [(0.3, -0.7), (1.0, 1.0), (-1.2, 1.0), (2.5, 0.4)]


def exact(name: str, x: float, y: float) -> tuple[float, list[float]]:
    """Return value and gradient in double precision, differentiated by hand."""
    if name == "beale":
        terms = [(c - x + x * y**p, y**p - 1, p * x * y ** (p - 1)) for p, c in ((1, 1.5), (2, 2.25), (3, 2.625))]
        return sum(t * t for t, _, _ in terms), [sum(2 * t * d[i] for t, *d in terms) for i in (0, 1)]
    if name == "rosenbrock":
        return 100 * (y - x * x) ** 2 + (1 - x) ** 2, [-400 * x * (y - x * x) - 2 * (1 - x), 200 * (y - x * x)]
    if name == "saddle":
        return x * x - y * y + 0.25 * y**4, [2 * x, -2 * y + y**3]
    if name == "monkey_saddle":
        around = x * x + y * y
        return x**3 - 3 * x * y * y + 0.5 * around**2, [
            3 * x * x - 3 * y * y + 2 * x * around,
            -6 * x * y + 2 * y * around,
        ]
    curvatures = (1.0, 0.1) if name == "quadratic" else (1.0, 0.5)
    return 0.5 * (curvatures[0] * x * x + curvatures[1] * y * y), [curvatures[0] * x, curvatures[1] * y]


def made(name: str, **args: Any) -> Function:
    model = make_model(
        name, **({"num_dims": 2} if name == "noisy_quadratic" and "spectrum" not in args else {}), **args
    )
    assert isinstance(model, Function)
    return model


@pytest.mark.parametrize("name", NAMES)
def test_each_is_documented(name: str) -> None:
    component = registry.get(name)
    assert re.fullmatch(r"[A-Z][^\n]*\.", component.summary)
    doc = inspect.getdoc(component.build) or ""
    described = re.findall(r"^    (\w+): ", doc.split("Args:\n")[1].split("\n\n")[0], re.MULTILINE)
    assert described == component.signature.names()
    assert not any(argument.required for argument in component.signature.arguments)
    assert re.search(r"^    f\(", doc, re.MULTILINE), "its formula"
    assert component.source
    assert "Source: " in doc


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_those_of_the_formula(name: str, place: tuple[float, float]) -> None:
    model = made(name, start=place)
    model.eval()
    outputs = model(torch.zeros(5, 1))
    assert outputs.shape == (5,)
    value, gradient = exact(name, *place)
    assert outputs.tolist() == pytest.approx([value] * 5, rel=1e-5, abs=1e-6)
    make_loss("output")(outputs, torch.zeros(5, 1)).backward()
    assert model.w.grad is not None
    assert model.w.grad.tolist() == pytest.approx(gradient, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_minima_are_where_no_other_place_is_lower(name: str) -> None:
    model = made(name)
    assert model.minima
    for minimum in model.minima:
        value, gradient = exact(name, *minimum)
        assert value == pytest.approx(model.minimum, abs=1e-12)
        assert gradient == pytest.approx([0.0, 0.0], abs=1e-12)
    grid = torch.cartesian_prod(*[torch.linspace(-4, 4, 201)] * 2)
    assert float(model.value(grid).min()) >= model.minimum - 1e-5


@pytest.mark.parametrize(("name", "bound"), [("saddle", 0.1), ("saddle", 1.0), ("monkey_saddle", 0.25)])
def test_the_minima_of_a_bounded_saddle_are_where_descent_ends(name: str, bound: float) -> None:
    model = made(name, bound=bound)
    points = torch.tensor([[x, y] for x in (-0.3, 0.4) for y in (-0.5, 0.6)], requires_grad=True)
    for _ in range(1500):
        (gradient,) = torch.autograd.grad(model.value(points).sum(), points)
        with torch.no_grad():
            points -= 0.02 * gradient
    assert model.value(points).tolist() == pytest.approx([model.minimum] * 4, rel=1e-4)
    distances = torch.cdist(points.detach(), torch.tensor(model.minima))
    assert float(distances.min(dim=1).values.max()) < 1e-2


@pytest.mark.parametrize("name", ["saddle", "monkey_saddle"])
def test_a_saddle_without_bound_has_no_minimum(name: str) -> None:
    model = made(name, bound=0)
    assert (model.minima, model.minimum) == ((), None)
    assert float(model.value(torch.tensor([0.0, 1e4]) if name == "saddle" else torch.tensor([-1e4, 0.0]))) < -1e7


def test_the_curvatures_at_rosenbrocks_minimum_are_the_documented_ones() -> None:
    model = made("rosenbrock")
    hessian = torch.autograd.functional.hessian(model.value, torch.ones(2, dtype=torch.float64))
    assert np.linalg.eigvalsh(np.asarray(hessian)).tolist() == pytest.approx([0.39936, 1001.6006], rel=1e-4)


def test_rosenbrock_takes_more_than_two_numbers() -> None:
    w = torch.tensor([0.5, -0.2, 0.7, 1.1], dtype=torch.float64)
    expected = sum(100 * (w[i + 1] - w[i] ** 2) ** 2 + (1 - w[i]) ** 2 for i in range(3))
    assert float(made("rosenbrock", start=w.tolist()).value(w)) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("rotation_seed", [None, 0, 3])
def test_a_quadratic_has_the_curvatures_asked_for(rotation_seed: int | None) -> None:
    model = made("quadratic", spectrum=(3.0, 0.5, 0.02), rotation_seed=rotation_seed)
    hessian = torch.autograd.functional.hessian(model.value, torch.randn(3))
    assert np.linalg.eigvalsh(np.asarray(hessian)).tolist() == pytest.approx([0.02, 0.5, 3.0], rel=1e-4)
    diagonal = float((hessian - hessian.diag().diag()).abs().max()) < 1e-6
    assert diagonal == (rotation_seed is None)


@pytest.mark.parametrize("lr", [0.01, 0.3, 1.0])
def test_gradient_descent_on_a_quadratic_shrinks_each_part_by_1_minus_lr_h(lr: float) -> None:
    spectrum, steps = (1.5, 0.4, 0.01), 25
    config = {
        "data": "none",
        "model": {"name": "quadratic", "spectrum": spectrum, "start": [1.0, -2.0, 0.5]},
        "loss": "output",
        "optimizer": {"name": "sgd", "lr": lr},
        "train": {"steps": steps},
    }
    start = np.array([1.0, -2.0, 0.5])
    expected = 0.5 * sum(h * (w * (1 - lr * h) ** steps) ** 2 for h, w in zip(spectrum, start, strict=True))
    final = train(config).summary["final"]
    assert final["val/loss"] == pytest.approx(expected, rel=1e-4, abs=1e-12)
    assert final["test/loss"] == final["val/loss"]


def test_the_noise_of_the_noisy_quadratic_has_the_covariance_of_the_curvature_over_the_batch() -> None:
    torch.manual_seed(0)
    model = made("noisy_quadratic", spectrum=(1.0, 0.25, 0.04), noise=2.0, start=(1.0, 2.0, 3.0))
    for batch in (1, 16):
        draws = []
        for _ in range(2000):
            (gradient,) = torch.autograd.grad(model(torch.zeros(batch, 1)).mean(), model.w)
            draws.append(gradient)
        drawn = torch.stack(draws).double()
        expected = torch.tensor([1.0, 0.25, 0.04]) * 4 / batch
        torch.testing.assert_close(drawn.var(dim=0).float(), expected, rtol=0.1, atol=0)
        errors = drawn.mean(dim=0).float() - torch.tensor([1.0, 0.5, 0.12])
        assert bool((errors.abs() < 4 * (expected / 2000).sqrt()).all())
        assert float(np.abs(np.corrcoef(drawn.T.numpy()) - np.eye(3)).max()) < 0.08


def test_noise_is_in_the_gradient_only_and_in_training_only() -> None:
    torch.manual_seed(0)
    model = made("noisy_quadratic", start=(1.0, 2.0))
    assert model(torch.zeros(3, 1)).tolist() == pytest.approx([0.5 * (1 + 0.5 * 4)] * 3)
    model.eval()
    (gradient,) = torch.autograd.grad(model(torch.zeros(3, 1)).mean(), model.w)
    assert gradient.tolist() == [1.0, 1.0]


def test_a_noisy_quadratic_starts_from_the_seed_and_has_the_papers_spectrum() -> None:
    torch.manual_seed(1)
    first = make_model("noisy_quadratic", num_dims=1000)
    torch.manual_seed(1)
    assert make_model("noisy_quadratic", num_dims=1000).w.equal(first.w)
    assert float(first.w.detach().std()) == pytest.approx(1.0, abs=0.1)
    assert first.spectrum[[0, 1, 9, 999]].tolist() == pytest.approx([1, 1 / 2, 1 / 10, 1 / 1000])


def test_the_noise_ball_of_sgd_is_that_of_the_closed_form() -> None:
    """At rest E w² = lr² (h / batch) / (1 - (1 - lr h)²), so that each direction adds h lr / (2 batch (2 - lr h))."""
    lr, batch, losses = 0.5, 4, []
    config = {
        "data": {"name": "none", "batch_size": batch},
        "model": {"name": "noisy_quadratic", "spectrum": [1.0] * 400, "start": [0.0] * 400},
        "loss": "output",
        "optimizer": {"name": "sgd", "lr": lr},
        "train": {"steps": 40},
    }
    for seed in range(3):
        losses.append(train(config, {"seed": seed}).summary["final"]["val/loss"])
    assert len(set(losses)) == 3
    assert np.mean(losses) == pytest.approx(400 * lr / (2 * batch * (2 - lr)), rel=0.12)


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("quadratic", {"spectrum": (1.0, 2.0), "start": (1.0,)}, "start: expected 2 numbers, as many as spectrum has"),
        ("quadratic", {"spectrum": ()}, "spectrum: expected one curvature or more"),
        ("quadratic", {"spectrum": (1.0, -1.0)}, "spectrum must be"),
        ("noisy_quadratic", {"num_dims": 3, "start": (1.0,)}, "start: expected 3 numbers"),
        ("noisy_quadratic", {"spectrum": ()}, "spectrum: expected one curvature or more"),
        ("noisy_quadratic", {"noise": -1}, "noise must be number >= 0"),
        ("rosenbrock", {"start": (1.0,)}, "start: expected two numbers or more"),
        ("beale", {"start": (1.0, 2.0, 3.0)}, "start must be"),
        ("saddle", {"bound": -1.0}, "bound must be number >= 0"),
    ],
)
def test_what_cannot_be_is_refused(name: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_model(name, **args)
    assert message in str(caught.value)


def test_data_none_is_all_the_same_and_can_be_split() -> None:
    dataset = make_data("none", num_examples=7)
    assert (dataset.task, len(dataset), float(dataset.inputs.abs().max())) == ("none", 7, 0.0)


def test_the_loss_output_is_the_mean_and_takes_one_number_per_example() -> None:
    assert float(make_loss("output")(torch.tensor([1.0, 2.0, 6.0]), torch.zeros(3, 1))) == 3.0
    with pytest.raises(UsageError, match=r"one output per example, shape \(examples,\), got \(3, 2\)"):
        make_loss("output")(torch.zeros(3, 2), torch.zeros(3, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "mse"}, "loss 'mse' is for values, but the targets of data 'none' are none"),
        ({"data": "digits"}, "is for none, but the targets of"),
        ({"model": "logistic"}, "one output per example"),
    ],
)
def test_a_function_goes_with_data_none_and_loss_output(change: dict[str, Any], message: str) -> None:
    config = {"data": "none", "model": "beale", "loss": "output", "optimizer": "sgd", "train": {"steps": 2}}
    with pytest.raises(UsageError) as caught:
        train({**config, **change})
    assert message in str(caught.value)


def test_a_function_resumes_bit_for_bit() -> None:
    config = {
        "data": {"name": "none", "batch_size": 8},
        "model": {"name": "noisy_quadratic", "num_dims": 10},
        "loss": "output",
        "optimizer": {"name": "adam", "lr": 0.1},
        "train": {"steps": 30},
        "eval": {"every": "10 steps"},
        "checkpoint": {"every": "10 steps"},
    }
    whole = train(config, name="whole")
    train(config, {"train.steps": 15}, name="part")
    resumed = train(config, name="part", allow_change=True)
    rows = [[{**row, "time": 0} for row in run.rows if row["step"] == 30] for run in (whole, resumed)]
    assert rows[0] == rows[1]
    assert math.isfinite(rows[0][-1]["val/loss"])
