"""Data made to order, whose best model is known."""

from __future__ import annotations

import math
from typing import Literal

import torch

from ...errors import DataError
from ...registry.arguments import Count, Natural, NonNegative, Positive
from ...system import rng
from . import register_data
from .dataset import Dataset


@register_data(
    "synthetic",
    source="see linear_teacher and gaussian_classes, which it stands for",
    unit_targets=lambda args: True,
)
def synthetic(
    task: Literal["values", "classes"] = "values",
    num_examples: Count = 1000,
    num_inputs: Count = 20,
    data_seed: Natural = 0,
) -> Dataset:
    """Data whose best model is known: a linear teacher for values, normal classes for classes.

    `linear_teacher` and `gaussian_classes` are the same with all their arguments.

    Args:
        task: `values` for a regression, `classes` for a classification into 3 classes.
        num_examples: how many.
        num_inputs: numbers per example.
        data_seed: of all that is drawn.

    Raises:
        DataError: sizes that make no such problem.

    Source: those of linear_teacher and gaussian_classes.
    """
    make = linear_teacher if task == "values" else gaussian_classes
    return make(num_examples=num_examples, num_inputs=num_inputs, data_seed=data_seed)


@register_data(
    "linear_teacher",
    source="least squares with a prescribed spectrum: Golub and Van Loan, section 5.3",
    unit_targets=lambda args: args["noise"] <= 1,
)
def linear_teacher(
    num_examples: Count = 1000,
    num_inputs: Count = 20,
    noise: NonNegative = 0.1,
    condition: Positive = 100.0,
    data_seed: Natural = 0,
) -> Dataset:
    """A linear regression whose optimum, curvature and smallest loss are known exactly.

        targets = X w + noise * e,   X'X / n = H,   X'e = 0,   e'e / n = 1,   w'H w = 1

    The eigenvalues of H fall from 1 to 1/condition in equal ratios, along random directions. Means are zero. So over
    all examples the mean squared error is (v - w)'H (v - w) + noise²: smallest, noise², at the teacher w, where the
    curvature has the given condition number. A random part of the examples has nearly the same optimum.

    Facts: `weights` (w), `loss` (noise²), `eigenvalues` (of H; the Hessian of the error is 2 H).

    Args:
        num_examples: n.
        num_inputs: the length of w.
        noise: the standard deviation of what no linear model explains; the explained part has variance 1.
        condition: the largest eigenvalue of H over the smallest.
        data_seed: of X, w and e.

    Raises:
        DataError: too few examples for exact moments, or a condition below 1.

    Source: the construction by orthogonal factors is standard: Golub and Van Loan, "Matrix computations", 2013.
    """
    if num_examples < num_inputs + 2:
        raise DataError(f"{num_inputs} inputs take at least {num_inputs + 2} examples, got {num_examples}")
    if condition < 1:
        raise DataError(f"condition is at least 1, got {condition}")
    generator = rng.generator(data_seed, "linear_teacher")

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    # Orthonormal columns: a constant, the inputs' directions and the noise, so that all three are uncorrelated.
    columns = torch.cat([torch.ones(num_examples, 1, dtype=torch.float64), normal(num_examples, num_inputs + 1)], dim=1)
    directions = torch.linalg.qr(columns).Q[:, 1:] * math.sqrt(num_examples)
    eigenvalues = torch.logspace(0, -math.log10(condition), num_inputs, dtype=torch.float64)
    rotation = torch.linalg.qr(normal(num_inputs, num_inputs)).Q
    inputs = directions[:, :num_inputs] * eigenvalues.sqrt() @ rotation.T
    weights = normal(num_inputs)
    weights /= (rotation.T @ weights).square().mul(eigenvalues).sum().sqrt()
    targets = inputs @ weights + noise * directions[:, num_inputs]
    return Dataset(
        inputs=inputs.float(),
        targets=targets.float()[:, None],
        task="values",
        num_outputs=1,
        description=f"linear teacher, {num_inputs} inputs, condition {condition:g}, smallest loss {noise**2:g}",
        facts={"weights": weights, "loss": noise**2, "eigenvalues": eigenvalues},
    )


@register_data("gaussian_classes", source="linear discriminant: Fisher, 1936, doi:10.1111/j.1469-1809.1936.tb02137.x")
def gaussian_classes(
    num_examples: Count = 1000,
    num_classes: Count = 3,
    num_inputs: Count = 10,
    separation: NonNegative = 3.0,
    data_seed: Natural = 0,
) -> Dataset:
    """Spherical normal classes at equal distances, where the accuracy of the best classifier is known.

        inputs = mean of the class + N(0, I),   |mean_a - mean_b| = separation

    The best classifier is linear. With d = separation / √2 its accuracy is ∫ φ(z - d) Φ(z)^(num_classes - 1) dz: the
    chance that the score of the right class is the highest.

    Facts: `accuracy`, the best that is possible on fresh examples, and `means`, shape (num_classes, num_inputs).

    Args:
        num_examples: the classes take turns, so that their sizes differ by one at most.
        num_classes: at least 2.
        num_inputs: at least num_classes.
        separation: the distance between the means, in standard deviations.
        data_seed: of the noise and of the directions of the means.

    Raises:
        DataError: fewer than two classes, or fewer inputs than classes.

    Source: the setting of Fisher's linear discriminant, 1936.
    """
    if not 2 <= num_classes <= num_inputs:
        raise DataError(f"expected 2 to {num_inputs} classes (the number of inputs), got {num_classes}")
    generator = rng.generator(data_seed, "gaussian_classes")
    targets = torch.arange(num_examples) % num_classes
    directions = torch.randn(num_inputs, num_inputs, generator=generator, dtype=torch.float64)
    means = torch.linalg.qr(directions).Q[:num_classes] * (separation / math.sqrt(2))
    inputs = means[targets] + torch.randn(num_examples, num_inputs, generator=generator, dtype=torch.float64)
    accuracy = best_accuracy(num_classes, separation)
    return Dataset(
        inputs=inputs.float(),
        targets=targets,
        task="classes",
        num_outputs=num_classes,
        description=f"{num_classes} normal classes {separation:g} apart, best accuracy {accuracy:.4f}",
        facts={"accuracy": accuracy, "means": means},
    )


def best_accuracy(num_classes: int, separation: float) -> float:
    """Integrate φ(z - d) Φ(z)^(num_classes - 1) over z, by the trapezium rule on a grid so fine that it is exact."""
    z = torch.linspace(-12, 12, 4801, dtype=torch.float64) + separation / math.sqrt(2)
    density = torch.exp(-0.5 * (z - separation / math.sqrt(2)).square()) / math.sqrt(2 * math.pi)
    return float(torch.trapezoid(density * torch.special.ndtr(z) ** (num_classes - 1), z))
