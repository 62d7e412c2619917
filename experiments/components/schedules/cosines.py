"""Cosines beyond the plain one: with restarts, times a straight line, with noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction as Ratio
from itertools import count
from statistics import NormalDist
from typing import Annotated, Any

from annotated_types import Ge

from ...registry.arguments import Fraction, Natural, NonNegative
from ...system import rng
from . import Steps, register_schedule
from .spans import check_lengths, check_span, elapsed, since, span_changes


def restart(first: int, t_mul: float, cycle: int) -> Ratio:
    """Return exactly after how many steps a cycle begins: first * (1 + t_mul + … + t_mul^(cycle - 1)).

    `t_mul` counts as it is written: 1.1 is 11/10, so that a cycle that ends on a whole step does so.
    """
    ratio = Ratio(repr(float(t_mul)))
    return Ratio(first * cycle) if ratio == 1 else first * (ratio**cycle - 1) / (ratio - 1)


def _cycle(done: int, first: int, t_mul: float) -> tuple[int, float]:
    """Return the number of the cycle that a step belongs to, and the part of it that has passed."""
    if t_mul == 1:
        return done // first, done % first / first
    place = math.log1p(done * (t_mul - 1) / first) / math.log(t_mul)  # whole at a restart
    cycle = math.floor(place)
    if abs(place - round(place)) < 1e-9 * max(1.0, place):  # too near for a logarithm: ask exactly
        cycle = round(place) - (restart(first, t_mul, round(place)) > done)
    begin = first * (t_mul**cycle - 1) / (t_mul - 1)
    return cycle, (done - begin) / (first * t_mul**cycle)


def _restarts(args: Mapping[str, Any]) -> Iterator[int]:
    return (args["start"] + math.ceil(restart(args["first"], args["t_mul"], cycle)) for cycle in count())


@register_schedule(
    "cosine_restarts",
    source="Loshchilov and Hutter, 2017, arXiv:1608.03983",
    check=check_lengths("first"),
    changes=_restarts,
    example={"first": "30%"},
)
def cosine_restarts(
    step: int,
    *,
    first: Steps,
    t_mul: Annotated[float, Ge(1)] = 2.0,
    m_mul: NonNegative = 1.0,
    final: Fraction = 0.0,
    start: Steps | None = None,
) -> float:
    """Follow half a cosine down, again and again, each time longer.

        cycle i lasts first * t_mul^i steps; t is the part of it that has passed, 0 ≤ t < 1
        value(step) = final + (1 - final) * m_mul^i * (1 + cos(π t)) / 2

    A restart belongs to the new cycle: its first step runs at the new peak. Restarts are placed exactly, where
    float32 logarithms, as in TensorFlow, may be off by a step late in a run.

    Args:
        step: the number of updates applied before this one.
        first: the length of the first cycle (TensorFlow: first_decay_steps; torch: T_0).
        t_mul: each cycle is so many times as long as the one before (torch: T_mult, 1 unless it is given).
        m_mul: each peak is so many times as high as the one before; the floor `final` stays.
        final: the multiple of optimizer.lr that each cycle falls to (TensorFlow: alpha).
        start: where the first cycle begins; left out, after the warm-up, or with its piece of a sequence.

    Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017; TensorFlow 1's
    cosine_decay_restarts; torch's CosineAnnealingWarmRestarts.

    Example:
        >>> from optrun.experiments import make_schedule
        >>> schedule = make_schedule("cosine_restarts", first=10, t_mul=2.0)
        >>> [round(schedule(step), 4) for step in (0, 5, 10, 20, 30)]
        [1.0, 0.5, 1.0, 0.5, 1.0]
    """
    cycle, part = _cycle(since(step, start), first, t_mul)
    return final + (1 - final) * m_mul**cycle * 0.5 * (1 + math.cos(math.pi * part))


@register_schedule(
    "linear_cosine",
    source="Bello et al., 2017, arXiv:1709.07417, section 4.2",
    check=check_span,
    changes=span_changes,
)
def linear_cosine(
    step: int,
    *,
    start: Steps | None = None,
    end: Steps | None = None,
    num_periods: NonNegative = 0.5,
    alpha: NonNegative = 0.0,
    beta: NonNegative = 0.001,
) -> float:
    """Follow a straight line times a cosine.

        t = (step - start) / (end - start), kept within 0 and 1
        value(step) = (alpha + 1 - t) * (1 + cos(2 π num_periods t)) / 2 + beta

    It begins at 1 + alpha + beta.

    Args:
        step: the number of updates applied before this one.
        start: its first step; left out, it begins after the warm-up, or with its piece of a sequence.
        end: where t becomes 1; left out, the end of the run, or of its piece of a sequence. TensorFlow's decay_steps
            is end - start.
        num_periods: of the cosine; with 0.5 it falls once, and the value ends at `beta`.
        alpha: added to the line.
        beta: added to the whole.

    Source: Bello, Zoph, Vasudevan and Le, "Neural optimizer search with reinforcement learning", 2017; TensorFlow 1's
    linear_cosine_decay.

    Example:
        >>> from optrun.experiments import make_schedule
        >>> schedule = make_schedule("linear_cosine", num_steps=100)
        >>> [round(schedule(step), 4) for step in (0, 50, 100)]
        [1.001, 0.251, 0.001]
    """
    done, length = elapsed(step, start, end, "linear_cosine")
    return _noisy(done, length, num_periods, alpha, beta, 0.0)


def _noisy(done: int, length: int, num_periods: float, alpha: float, beta: float, noise: float) -> float:
    wave = 0.5 * (1 + math.cos(2 * math.pi * num_periods * done / length))
    return (alpha + (length - done) / length + noise) * wave + beta


@register_schedule(
    "noisy_linear_cosine",
    source="Bello et al., 2017, arXiv:1709.07417, section 4.2",
    check=check_span,
    changes=span_changes,
    values="may be negative",
)
def noisy_linear_cosine(
    step: int,
    *,
    start: Steps | None = None,
    end: Steps | None = None,
    initial_variance: NonNegative = 1.0,
    variance_decay: NonNegative = 0.55,
    num_periods: NonNegative = 0.5,
    alpha: NonNegative = 0.0,
    beta: NonNegative = 0.001,
    seed: Natural | None = None,
) -> float:
    """Follow a straight line with noise, times a cosine.

        s = step - start,  n = end - start,  s at most n,  t = s / n
        noise ~ N(0, initial_variance / (1 + s)^variance_decay), drawn by seed and step
        value(step) = (alpha + 1 - t + noise) * (1 + cos(2 π num_periods t)) / 2 + beta

    The noise of a step is always the same one, so that a resumed run draws what the uninterrupted one would have. As in
    TensorFlow, large noise makes the value negative: with the default variance the first step's is for one seed in six.

    Args:
        step: the number of updates applied before this one.
        start: its first step; left out, it begins after the warm-up, or with its piece of a sequence.
        end: where t becomes 1; left out, the end of the run, or of its piece of a sequence. TensorFlow's decay_steps
            is end - start.
        initial_variance: of the noise at the first step.
        variance_decay: how fast the variance falls: the power of 1 + s that it is divided by.
        num_periods: of the cosine; with 0.5 it falls once, and the value ends at `beta`.
        alpha: added to the line.
        beta: added to the whole.
        seed: of the noise; left out, the run's own.

    Source: Bello, Zoph, Vasudevan and Le, "Neural optimizer search with reinforcement learning", 2017; TensorFlow 1's
    noisy_linear_cosine_decay, whose noise has no seed.

    Example:
        >>> from optrun.experiments import make_schedule
        >>> schedule = make_schedule("noisy_linear_cosine", num_steps=100, seed=1)
        >>> again = make_schedule("noisy_linear_cosine", num_steps=100, seed=1)
        >>> schedule(30) == again(30), round(schedule(100), 4)  # the same noise, and at last beta alone
        (True, 0.001)
    """
    done, length = elapsed(step, start, end, "noisy_linear_cosine")
    deviation = math.sqrt(initial_variance / (1 + done) ** variance_decay)
    return _noisy(done, length, num_periods, alpha, beta, deviation * _normal(seed or 0, step))


def _normal(seed: int, step: int) -> float:
    """Draw from N(0, 1): the quantile at a place in (0, 1) that seed and step address."""
    return NormalDist().inv_cdf((rng.key(seed, "schedule", step) // 2**11 + 0.5) / 2**52)
