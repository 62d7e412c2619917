"""Decays by a simple rule: straight, polynomial, exponential, in steps; TensorFlow's among them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import count
from typing import Any

from ...registry.arguments import NonNegative, Positive
from . import Steps, register_schedule
from .spans import check_lengths, check_span, elapsed, since, span_changes, stairs


@register_schedule("linear", source="torch.optim.lr_scheduler.LinearLR", check=check_span, changes=span_changes)
def linear(
    step: int,
    *,
    start: Steps | None = None,
    end: Steps | None = None,
    initial: NonNegative = 1.0,
    final: NonNegative = 0.0,
) -> float:
    """Go in a straight line from `initial` to `final`.

        t = (step - start) / (end - start), kept within 0 and 1
        value(step) = initial + (final - initial) * t

    Args:
        step: the number of updates applied before this one.
        start: the last step at `initial`; left out, it begins after the warm-up, or with its piece of a sequence.
        end: the first step at `final`; left out, the end of the run, or of its piece of a sequence.
        initial: the multiple of optimizer.lr that it begins at (torch: start_factor).
        final: the multiple of optimizer.lr that it ends at (torch: end_factor).

    Source: torch's LinearLR, whose total_iters is end - start.

    Example:
        >>> from optrun.experiments import make_schedule
        >>> schedule = make_schedule("linear", num_steps=100)
        >>> [round(schedule(step), 4) for step in (0, 25, 100)]
        [1.0, 0.75, 0.0]
    """
    done, length = elapsed(step, start, end, "linear")
    return float(final) if done == length else initial + (final - initial) * done / length


def _cycles(args: Mapping[str, Any]) -> Any:
    """A cycle ends at a whole multiple of the span, at `final`; the next step is the first of a longer one."""
    start, end = args["start"], args["end"]
    return count(end + 1, end - start) if args["cycle"] else [start, end]


@register_schedule(
    "polynomial",
    source="tf.compat.v1.train.polynomial_decay (TensorFlow 1)",
    check=check_span,
    changes=_cycles,
    example={"power": 2.0},
)
def polynomial(
    step: int,
    *,
    start: Steps | None = None,
    end: Steps | None = None,
    power: Positive = 1.0,
    final: NonNegative = 0.0,
    cycle: bool = False,
) -> float:
    """Fall from 1 to `final` like a power of what is left.

        s = step - start,  n = end - start,  s at most n
        value(step) = final + (1 - final) * (1 - s / n)^power
        with cycle: s goes on, and n is multiplied by max(1, ⌈s / n⌉)

    With `cycle` the rate jumps up after each n steps, and falls to `final` again at the next multiple of n.

    Args:
        step: the number of updates applied before this one.
        start: the last step at 1; left out, it begins after the warm-up, or with its piece of a sequence.
        end: the first step at `final`; left out, the end of the run, or of its piece of a sequence. TensorFlow's
            decay_steps is end - start.
        power: 1 is a straight line.
        final: the multiple of optimizer.lr that it ends at. TensorFlow's end_learning_rate is the rate itself, 0.0001
            unless it is given: final = end_learning_rate / learning_rate.
        cycle: whether to begin again after the end.

    Source: TensorFlow 1's polynomial_decay; without cycle also torch's PolynomialLR.

    Example:
        >>> from optrun.experiments import make_schedule
        >>> schedule = make_schedule("polynomial", num_steps=100, power=2.0)
        >>> [round(schedule(step), 4) for step in (0, 50, 100)]
        [1.0, 0.25, 0.0]
    """
    done, length = elapsed(step, start, end, "polynomial")
    if cycle:
        done = since(step, start)
        length *= max(1, -(-done // length))
    return final + (1 - final) * (1 - done / length) ** power


def _stairs_if_any(args: Mapping[str, Any]) -> Any:
    return stairs(args) if args["staircase"] else [args["start"]]


def _parts(step: int, start: int | None, every: int, staircase: bool) -> float:
    done = since(step, start)
    return done // every if staircase else done / every


@register_schedule(
    "exponential",
    source="tf.compat.v1.train.exponential_decay (TensorFlow 1)",
    check=check_lengths("every"),
    changes=_stairs_if_any,
    example={"every": "30%", "factor": 0.1},
)
def exponential(
    step: int, *, every: Steps, factor: Positive, staircase: bool = False, start: Steps | None = None
) -> float:
    """Multiply the rate by `factor` over each `every` steps, little by little.

        p = (step - start) / every, rounded down with staircase
        value(step) = factor^p

    Args:
        step: the number of updates applied before this one.
        every: how long it takes to fall by one factor (TensorFlow: decay_steps; torch's ExponentialLR: one step).
        factor: TensorFlow's decay_rate, torch's gamma.
        staircase: fall at once, at each multiple of `every`, instead of little by little.
        start: the last step at 1; left out, it begins after the warm-up, or with its piece of a sequence.

    Source: TensorFlow 1's exponential_decay; torch's ExponentialLR.

    Example:
        >>> from optrun.experiments import make_schedule
        >>> schedule = make_schedule("exponential", every=10, factor=0.25)
        >>> [round(schedule(step), 4) for step in (0, 5, 10, 20)]
        [1.0, 0.5, 0.25, 0.0625]
    """
    return float(factor ** _parts(step, start, every, staircase))


@register_schedule(
    "natural_exp",
    source="tf.compat.v1.train.natural_exp_decay (TensorFlow 1)",
    check=check_lengths("every"),
    changes=_stairs_if_any,
    example={"every": "30%", "rate": 0.5},
)
def natural_exp(
    step: int, *, every: Steps, rate: NonNegative, staircase: bool = False, start: Steps | None = None
) -> float:
    """Fall exponentially at a rate given for each `every` steps.

        p = (step - start) / every, rounded down with staircase
        value(step) = exp(-rate * p)

    Args:
        step: the number of updates applied before this one.
        every: the unit of time (TensorFlow: decay_steps).
        rate: by how much the logarithm falls in each unit (TensorFlow: decay_rate).
        staircase: fall at once, at each multiple of `every`, instead of little by little.
        start: the last step at 1; left out, it begins after the warm-up, or with its piece of a sequence.

    Source: TensorFlow 1's natural_exp_decay.

    Example:
        >>> from optrun.experiments import make_schedule
        >>> schedule = make_schedule("natural_exp", every=10, rate=1.0)
        >>> [round(schedule(step), 4) for step in (0, 10, 20)]
        [1.0, 0.3679, 0.1353]
    """
    return math.exp(-rate * _parts(step, start, every, staircase))


@register_schedule(
    "inverse_time",
    source="tf.compat.v1.train.inverse_time_decay (TensorFlow 1)",
    check=check_lengths("every"),
    changes=_stairs_if_any,
    example={"every": "10%", "rate": 0.5},
)
def inverse_time(
    step: int, *, every: Steps, rate: NonNegative, staircase: bool = False, start: Steps | None = None
) -> float:
    """Fall like one over the time.

        p = (step - start) / every, rounded down with staircase
        value(step) = 1 / (1 + rate * p)

    Args:
        step: the number of updates applied before this one.
        every: the unit of time (TensorFlow: decay_steps).
        rate: by how much the denominator grows in each unit (TensorFlow: decay_rate).
        staircase: fall at once, at each multiple of `every`, instead of little by little.
        start: the last step at 1; left out, it begins after the warm-up, or with its piece of a sequence.

    Source: TensorFlow 1's inverse_time_decay.

    Example:
        >>> from optrun.experiments import make_schedule
        >>> schedule = make_schedule("inverse_time", every=10, rate=0.5)
        >>> [round(schedule(step), 4) for step in (0, 20, 60)]
        [1.0, 0.5, 0.25]
    """
    return 1 / (1 + rate * _parts(step, start, every, staircase))


@register_schedule(
    "step",
    source="torch.optim.lr_scheduler.StepLR",
    check=check_lengths("every"),
    changes=stairs,
    example={"every": "30%"},
)
def drop(step: int, *, every: Steps, factor: Positive = 0.1, start: Steps | None = None) -> float:
    """Multiply the rate by `factor` every so many steps.

        value(step) = factor^⌊(step - start) / every⌋

    Args:
        step: the number of updates applied before this one.
        every: how long each rate lasts (torch: step_size).
        factor: torch's gamma.
        start: where the first `every` steps begin; left out, after the warm-up, or with its piece of a sequence.

    Source: torch's StepLR.

    Example:
        >>> from optrun.experiments import make_schedule
        >>> schedule = make_schedule("step", every=30)
        >>> [round(schedule(step), 4) for step in (29, 30, 60)]
        [1.0, 0.1, 0.01]
    """
    return float(factor ** (since(step, start) // every))
