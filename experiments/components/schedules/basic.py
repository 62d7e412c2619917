"""The plain schedules: constant, piecewise constant and cosine."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

from ...config.lengths import Length
from ...registry.arguments import Fraction, NonNegative
from . import Steps, register_schedule
from .spans import Problems, check_span, elapsed, span_changes


@register_schedule("constant", source="the optimizer's own rate throughout")
def constant(step: int) -> float:
    """Keep the rate: value(step) = 1.

    Args:
        step: the number of updates applied before this one.

    Source: none needed.

    Example:
        >>> from optrun.experiments import make_schedule
        >>> schedule = make_schedule("constant")
        >>> [round(schedule(step), 4) for step in (0, 50, 1000)]
        [1.0, 1.0, 1.0]
    """
    return 1.0


def check_piecewise(args: Mapping[str, Any]) -> Problems:
    """Refuse arguments of `piecewise` that do not fit together."""
    boundaries, factors, values = (args.get(name) for name in ("boundaries", "factors", "values"))
    problems = []
    if (factors is None) == (values is None):
        problems.append(("factors", "give either `factors` (multiples of optimizer.lr) or `values` (rates)"))
    for name, pieces in (("factors", factors), ("values", values)):
        if pieces is not None and boundaries is not None and len(pieces) != len(boundaries) + 1:
            needed = f"{len(boundaries)} boundaries make {len(boundaries) + 1} pieces"
            problems.append((name, f"expected {len(boundaries) + 1} numbers ({needed})"))
    if boundaries is not None and not _increases(boundaries):
        problems.append(("boundaries", "each boundary must lie after the one before"))
    return problems


def _increases(lengths: Sequence[int | Length]) -> bool:
    """Compare neighbours; those in different units can only be compared once the run's length is known."""
    pairs = [length if isinstance(length, Length) else Length(length) for length in lengths]
    return all(first.amount < second.amount for first, second in pairwise(pairs) if first.unit == second.unit)


def _piece_starts(args: Mapping[str, Any]) -> list[int]:
    return [boundary + (args["side"] == "le") for boundary in args["boundaries"]]


@register_schedule(
    "piecewise",
    source="He et al., 2016, arXiv:1512.03385, section 4.2",
    check=check_piecewise,
    changes=_piece_starts,
    absolute=lambda args: args["values"] is not None,
    example={"boundaries": ["50%", "75%"], "factors": [1, 0.1, 0.01]},
)
def piecewise(
    step: int,
    *,
    boundaries: tuple[Steps, ...],
    factors: tuple[NonNegative, ...] | None = None,
    values: tuple[NonNegative, ...] | None = None,
    side: Literal["lt", "le"] = "lt",
) -> float:
    """Hold the rate constant between boundaries.

        value(step) = pieces[i],  i = the number of boundaries b with  b <= step  (side lt)  or  b < step  (side le)

    Args:
        step: the number of updates applied before this one.
        boundaries: where a piece ends and the next begins, increasing.
        factors: one multiple of optimizer.lr per piece: one more than boundaries.
        values: one learning rate per piece, instead of factors and of optimizer.lr.
        side: `lt`: a piece lasts while step < boundary, as in torch's MultiStepLR; `le`: while step <= boundary, as
            in TensorFlow's piecewise_constant.

    Source: the step schedule of He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016.

    Example:
        >>> from optrun.experiments import make_schedule
        >>> schedule = make_schedule("piecewise", num_steps=100, boundaries=["50%", "75%"], factors=[1.0, 0.1, 0.01])
        >>> [round(schedule(step), 4) for step in (49, 50, 74, 75)]
        [1.0, 0.1, 0.1, 0.01]
    """
    pieces = factors if values is None else values
    assert pieces is not None  # check_piecewise
    return pieces[bisect_right(boundaries, step) if side == "lt" else bisect_left(boundaries, step)]


@register_schedule(
    "cosine",
    source="Loshchilov and Hutter, 2017, arXiv:1608.03983",
    check=check_span,
    changes=span_changes,
)
def cosine(step: int, *, start: Steps | None = None, end: Steps | None = None, final: Fraction = 0.0) -> float:
    """Follow half a cosine from 1 down to `final`.

        t = (step - start) / (end - start), kept within 0 and 1
        value(step) = final + (1 - final) * (1 + cos(π t)) / 2

    Args:
        step: the number of updates applied before this one.
        start: the last step at 1; left out, it begins after the warm-up, or with its piece of a sequence.
        end: the first step at `final`; left out, the end of the run, or of its piece of a sequence. A direct call has
            to name it.
        final: the multiple of optimizer.lr that it ends at.

    Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017, one period.

    Example:
        >>> from optrun.experiments import make_schedule
        >>> schedule = make_schedule("cosine", num_steps=100)
        >>> [round(schedule(step), 4) for step in (0, 50, 100)]
        [1.0, 0.5, 0.0]
    """
    done, length = elapsed(step, start, end, "cosine")
    if done == 0:
        return 1.0
    if done == length:
        return float(final)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done / length))
