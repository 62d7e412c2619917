"""The best view of each test function: a part of the plane, a number of steps, and rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

View = tuple[float, float, float, float]


@dataclass(frozen=True)
class Picture:
    """The best view of a function, unless the user says otherwise.

    Args:
        steps: length of the runs.
        view: the part of the plane to show: left, right, bottom, top.
        model: arguments of the function that differ from its defaults.
        rates: by optimizer; others start from the rate that their tuning is centred on.
    """

    steps: int = 100
    view: View | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)


def _rates(*rates: float) -> dict[str, float]:
    """Return rates by optimizer; Adam's relatives have Adam's."""
    names = ("sgd", "mom", "nag", "adagrad", "adadelta", "rmsprop", "adam", "adamax")
    found = dict(zip(names, rates, strict=True))
    return {**found, **dict.fromkeys(("nadam", "amsgrad"), found["adam"])}


#: Rates are among the best of 1, 2 and 5 times powers of ten: with these a rule comes far and shows its nature.
PICTURES: Mapping[str, Picture] = {
    "beale": Picture(
        120, (-0.5, 4.5, -2.0, 2.5), {"start": [1.0, 1.5]}, _rates(0.01, 0.005, 0.005, 1, 20, 0.05, 0.2, 0.5)
    ),
    "rosenbrock": Picture(300, (-1.7, 1.5, -0.5, 1.7), {}, _rates(0.001, 0.001, 0.001, 0.5, 2, 0.02, 0.1, 0.5)),
    "quadratic": Picture(
        60, (-0.9, 1.3, -0.5, 0.9), {"start": [1.0, 0.7]}, _rates(1.5, 0.1, 0.1, 0.5, 20, 0.02, 0.1, 0.2)
    ),
    "noisy_quadratic": Picture(
        100,
        (-0.9, 1.3, -0.5, 0.9),
        {"spectrum": [1.0, 0.1], "start": [1.0, 0.7]},
        _rates(0.2, 0.05, 0.05, 0.2, 10, 0.01, 0.05, 0.1),
    ),
    "saddle": Picture(120, (-1.3, 1.3, -1.8, 1.8), {}, _rates(0.02, 0.02, 0.02, 0.5, 5, 0.02, 0.05, 0.1)),
    "monkey_saddle": Picture(120, (-2.2, 1.8, -2.0, 2.0), {}, _rates(0.1, 0.02, 0.02, 0.5, 2, 0.02, 0.05, 0.1)),
}
