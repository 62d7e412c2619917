"""Schedules made of schedules: a warm-up before one, several one after another."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from ...errors import UsageError
from ...registry.arguments import Fraction
from . import Schedule, Span, Steps, register_schedule
from .spans import Problems


def _after_warmup(args: Mapping[str, Any], span: Span) -> dict[str, Any]:
    length = args["length"]
    if 0 < length <= span.start:
        place = f"its piece of the sequence begins at step {span.start}"
        raise UsageError(f"schedule 'warmup': length: it would be over at step {length}, but {place}")
    return {"then": Span(max(length, span.start), span.end)}


def _warmup_changes(args: Mapping[str, Any]) -> list[int]:
    return [args["length"], *(step for step in _boundaries(args["then"]) if step > args["length"])]


def _boundaries(schedule: Any) -> tuple[int, ...]:
    return schedule.boundaries() if hasattr(schedule, "boundaries") else ()


@register_schedule(
    "warmup",
    source="Goyal et al., 2017, arXiv:1706.02677",
    spans=_after_warmup,
    changes=_warmup_changes,
    example={"length": "5%", "then": "cosine"},
)
def warmup(step: int, *, length: Steps, then: Schedule, start: Fraction = 0.0) -> float:
    """Rise in a straight line to the value at which `then` takes over.

        value(step) = (start + (1 - start) * (step + 1) / length) * then(length)     while step < length
        value(step) = then(step)                                                     afterwards

    The first step is already one part of the way up, so that no step runs at rate 0 and the last step of the
    warm-up runs at the full rate.

    Args:
        step: the number of updates applied before this one.
        length: how long the warm-up lasts.
        then: the schedule that follows; its own lengths, too, count from the beginning of the run.
        start: the part of the full rate that the line starts at.

    Source: the gradual warm-up of Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017.

    Example:
        >>> from optrun.experiments import make_schedule
        >>> schedule = make_schedule("warmup", length=10, then="constant")
        >>> [round(schedule(step), 4) for step in (0, 4, 9, 50)]
        [0.1, 0.5, 1.0, 1.0]
    """
    if step >= length:
        return then(step)
    return (start + (1 - start) * (step + 1) / length) * then(length)


def check_sequence(args: Mapping[str, Any]) -> Problems:
    """Refuse arguments of `sequence` that do not fit together."""
    schedules, at = args.get("schedules"), args.get("at")
    problems = []
    if schedules is not None and not schedules:
        problems.append(("schedules", "expected at least one schedule"))
    elif schedules is not None and at is not None and len(at) != len(schedules) - 1:
        problems.append(("at", f"expected {len(schedules) - 1} boundaries between {len(schedules)} schedules"))
    if at is not None and all(isinstance(step, int) for step in at) and any(a >= b for a, b in pairwise(at)):
        problems.append(("at", "each boundary must lie after the one before"))
    return problems


def _pieces(args: Mapping[str, Any], span: Span) -> dict[str, Any]:
    edges = [span.start, *args["at"], span.end]
    return {"schedules": [Span(start, end) for start, end in pairwise(edges)]}


def _sequence_changes(args: Mapping[str, Any]) -> list[int]:
    edges = [float("-inf"), *args["at"], float("inf")]
    inner = [
        step
        for schedule, (start, end) in zip(args["schedules"], pairwise(edges), strict=True)
        for step in _boundaries(schedule)
        if start < step < end
    ]
    return [*args["at"], *inner]


@register_schedule(
    "sequence",
    source="torch.optim.lr_scheduler.SequentialLR, with lengths that count from the beginning of the run",
    check=check_sequence,
    spans=_pieces,
    changes=_sequence_changes,
    example={"schedules": ["constant", "cosine"], "at": ["50%"]},
)
def sequence(step: int, *, schedules: tuple[Schedule, ...], at: tuple[Steps, ...]) -> float:
    """Run schedules one after another.

        value(step) = s(step),  s = schedules[i],  i = the number of boundaries b in `at` with b <= step

    Args:
        step: the number of updates applied before this one.
        schedules: the pieces; one without a `start` or `end` of its own spans its piece.
        at: where each next piece begins, increasing: one fewer than schedules.

    Source: torch's SequentialLR; here all lengths count from the beginning of the run.

    Example:
        >>> from optrun.experiments import make_schedule
        >>> schedule = make_schedule("sequence", num_steps=100, schedules=["constant", "linear"], at=["50%"])
        >>> [round(schedule(step), 4) for step in (49, 50, 75, 100)]
        [1.0, 1.0, 0.5, 0.0]
    """
    return schedules[bisect_right(at, step)](step)
