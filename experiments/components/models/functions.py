"""Test functions: one parameter, no data, a known minimum. Train them with data `none` and loss `output`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...registry.arguments import Count, Natural, NonNegative, Positive
from ...system import rng
from . import register_model

Point = tuple[float, ...]


class Function(nn.Module):
    """A function of its one parameter `w`; an output is the function's value, the same for every example.

    Args:
        start: where `w` begins, shape (numbers,).
        minima: all lowest points, as far as there are any.
        minimum: the value there; None if the function falls without end.
    """

    def __init__(self, start: Sequence[float] | Tensor, minima: Sequence[Point] = (), minimum: float | None = None):
        super().__init__()
        self.w = nn.Parameter(torch.as_tensor(start, dtype=torch.float32).clone())
        self.minima, self.minimum = tuple(minima), minimum

    def value(self, w: Tensor) -> Tensor:
        """Return the function at `w`, shape (…, numbers), as shape (…)."""
        raise NotImplementedError

    def forward(self, inputs: Tensor) -> Tensor:
        return self.value(self.w).expand(len(inputs))


def _check_quadratic(args: Mapping[str, Any]) -> list[tuple[str, str]]:
    spectrum, start = args.get("spectrum", (1.0, 0.1)), args.get("start")
    if not spectrum:
        return [("spectrum", "expected one curvature or more")]
    if start is not None and len(start) != len(spectrum):
        return [("start", f"expected {len(spectrum)} numbers, as many as spectrum has")]
    return []


@register_model(
    "quadratic",
    source="Boyd and Vandenberghe, Convex optimization, 2004, section 9.3.2",
    task="none",
    check=_check_quadratic,
)
class Quadratic(Function):
    """A quadratic bowl with the curvatures that are asked for.

        f(w) = ½ w'H w,   H = Q diag(spectrum) Q'

    The minimum is 0 at 0. Under gradient descent the part of w along an eigenvector of curvature h shrinks by exactly
    1 - lr h in each step, so that it diverges when lr > 2 / h.

    Args:
        spectrum: the eigenvalues of H; the largest divided by the smallest is the condition number.
        start: where w begins; by default 1 in each direction.
        rotation_seed: of the eigenvectors Q; by default they are the axes.

    Source: Boyd and Vandenberghe, "Convex optimization", 2004, section 9.3.2.
    """

    spectrum: Tensor
    rotation: Tensor

    def __init__(
        self,
        spectrum: tuple[Positive, ...] = (1.0, 0.1),
        start: tuple[float, ...] | None = None,
        rotation_seed: Natural | None = None,
    ):
        size = len(spectrum)
        super().__init__([1.0] * size if start is None else start, [(0.0,) * size], 0.0)
        rotation = torch.eye(size)
        if rotation_seed is not None:
            drawn = torch.randn(size, size, generator=rng.generator(rotation_seed, "quadratic"), dtype=torch.float64)
            rotation = torch.linalg.qr(drawn).Q.float()
        self.register_buffer("spectrum", torch.tensor(spectrum, dtype=torch.float32), persistent=False)
        self.register_buffer("rotation", rotation, persistent=False)

    def value(self, w: Tensor) -> Tensor:
        return 0.5 * ((w @ self.rotation).square() * self.spectrum).sum(-1)


def _check_noisy(args: Mapping[str, Any]) -> list[tuple[str, str]]:
    size = args.get("num_dims", 100) if args.get("spectrum") is None else len(args["spectrum"])
    if not size:
        return [("spectrum", "expected one curvature or more")]
    start = args.get("start")
    return [("start", f"expected {size} numbers, one per dimension")] if start and len(start) != size else []


@register_model("noisy_quadratic", source="Zhang et al., 2019, arXiv:1907.04164", task="none", check=_check_noisy)
class NoisyQuadratic(Function):
    """The noisy quadratic model: a bowl whose gradient is known up to noise that falls with the batch size.

        f(w) = ½ Σ_i h_i w_i²
        gradient_i = h_i w_i + noise * √(h_i / batch) * e_i,    e ~ N(0, I)

    The noise has the covariance of the curvature, as it has near the minimum of a network. It is drawn in training
    only, anew in each step; outputs are the true values. The minimum is 0 at 0.

    Args:
        num_dims: how many numbers, if `spectrum` does not say it; the paper has 10,000.
        spectrum: the curvatures h; by default 1, 1/2, 1/3, … 1/num_dims.
        noise: the noise of one example, in units of √h; 0 for none.
        start: where w begins; by default standard normal.

    Source: Zhang et al., "Which algorithmic choices matter at which batch sizes?", 2019.
    """

    spectrum: Tensor

    def __init__(
        self,
        num_dims: Count = 100,
        spectrum: tuple[Positive, ...] | None = None,
        noise: NonNegative = 1.0,
        start: tuple[float, ...] | None = None,
    ):
        curvatures = [1 / i for i in range(1, num_dims + 1)] if spectrum is None else spectrum
        size = len(curvatures)
        super().__init__(torch.randn(size) if start is None else start, [(0.0,) * size], 0.0)
        self.register_buffer("spectrum", torch.tensor(curvatures, dtype=torch.float32), persistent=False)
        self.noise = noise

    def value(self, w: Tensor) -> Tensor:
        return 0.5 * (w.square() * self.spectrum).sum(-1)

    def forward(self, inputs: Tensor) -> Tensor:
        value = self.value(self.w)
        if self.training and self.noise:
            push = torch.randn_like(self.w) * (self.spectrum / len(inputs)).sqrt() * self.noise
            value = value + push @ (self.w - self.w.detach())  # adds 0, and to the gradient the noise
        return value.expand(len(inputs))


def _check_rosenbrock(args: Mapping[str, Any]) -> list[tuple[str, str]]:
    short = len(args.get("start", (0.0, 0.0))) < 2
    return [("start", "expected two numbers or more")] if short else []


@register_model(
    "rosenbrock", source="Rosenbrock, 1960, doi:10.1093/comjnl/3.3.175", task="none", check=_check_rosenbrock
)
class Rosenbrock(Function):
    """Rosenbrock's valley: easy to find, curved, and flat along its floor.

        f(w) = Σ_i 100 (w_{i+1} - w_i²)² + (1 - w_i)²

    The minimum is 0 where all numbers are 1; there, with two numbers, the curvatures are 1001.6 and 0.4.

    Args:
        start: where w begins; two numbers or more.

    Source: Rosenbrock, "An automatic method for finding the greatest or least value of a function", 1960.
    """

    def __init__(self, start: tuple[float, ...] = (-1.2, 1.0)):
        super().__init__(start, [(1.0,) * len(start)], 0.0)

    def value(self, w: Tensor) -> Tensor:
        first, second = w[..., :-1], w[..., 1:]
        return (100 * (second - first.square()).square() + (1 - first).square()).sum(-1)


@register_model("beale", source="Beale, 1958; Moré, Garbow and Hillstrom, 1981, doi:10.1145/355934.355936", task="none")
class Beale(Function):
    """Beale's function: a flat valley that leads to the minimum between steep walls.

        f(x, y) = (1.5 - x + x y)² + (2.25 - x + x y²)² + (2.625 - x + x y³)²

    The minimum is 0 at (3, 0.5).

    Args:
        start: where w = (x, y) begins.

    Source: Beale, "On an iterative method for finding a local minimum of a function of more than one variable", 1958;
    function 5 of Moré, Garbow and Hillstrom, "Testing unconstrained optimization software", 1981.
    """

    def __init__(self, start: tuple[float, float] = (1.0, 1.0)):
        super().__init__(start, [(3.0, 0.5)], 0.0)

    def value(self, w: Tensor) -> Tensor:
        x, y = w.unbind(-1)
        terms = 1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3
        return torch.stack([term.square() for term in terms]).sum(0)


@register_model("saddle", source="Dauphin et al., 2014, arXiv:1406.2572, on saddle points in training", task="none")
class Saddle(Function):
    """A saddle: a valley along x that is a ridge along y.

        f(x, y) = x² - y² + bound * y⁴

    The gradient at (x, 0) leads to the saddle point (0, 0) and vanishes there. The minima are -1 / (4 bound) at
    y = ±1 / √(2 bound); with bound 0 there are none.

    Args:
        start: where w = (x, y) begins; by default a little off the ridge.
        bound: how much of y⁴ keeps the function from falling without end.

    Source: the hyperbolic paraboloid; Dauphin et al., "Identifying and attacking the saddle point problem in
    high-dimensional non-convex optimization", 2014.
    """

    def __init__(self, start: tuple[float, float] = (1.0, 0.001), bound: NonNegative = 0.25):
        y = 1 / math.sqrt(2 * bound) if bound else 0.0
        super().__init__(start, [(0.0, y), (0.0, -y)] if bound else [], -0.25 / bound if bound else None)
        self.bound = bound

    def value(self, w: Tensor) -> Tensor:
        x, y = w.unbind(-1)
        return x.square() - y.square() + self.bound * y**4


@register_model(
    "monkey_saddle", source="Hilbert and Cohn-Vossen, Geometry and the imagination, 1932, section 29", task="none"
)
class MonkeySaddle(Function):
    """The monkey saddle: three valleys meet at a point where the curvature vanishes too.

        f(x, y) = x³ - 3 x y² + bound * (x² + y²)²

    The minima are -27 / (256 bound³), at the distance 3 / (4 bound) from (0, 0) in the directions 60°, 180° and 300°;
    with bound 0 there are none.

    Args:
        start: where w = (x, y) begins.
        bound: how much of the fourth power keeps the function from falling without end.

    Source: Hilbert and Cohn-Vossen, "Geometry and the imagination", 1932, section 29.
    """

    def __init__(self, start: tuple[float, float] = (1.0, 0.001), bound: NonNegative = 0.5):
        radius = 0.75 / bound if bound else 0.0
        angles = (math.pi / 3, math.pi, 5 * math.pi / 3) if bound else ()
        minima = [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]
        super().__init__(start, minima, -27 / (256 * bound**3) if bound else None)
        self.bound = bound

    def value(self, w: Tensor) -> Tensor:
        x, y = w.unbind(-1)
        return x**3 - 3 * x * y.square() + self.bound * (x.square() + y.square()).square()
