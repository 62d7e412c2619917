"""Parts that schedules share: how far a span has come, and checks of lengths.

A check takes the arguments that are given, and returns (argument, message) pairs, empty where all is well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from ...config.lengths import Length

Problems = list[tuple[str, str]]


def elapsed(step: int, start: int | None, end: int | None, name: str) -> tuple[int, int]:
    """Return how many steps of the span have passed, and how many it has: (0, n) to (n, n).

    Args:
        step: the number of updates applied before this one.
        start: its first step; None is 0.
        end: the first step after it.
        name: of the schedule, for the error.

    Raises:
        TypeError: there is no end, which `make_schedule` takes from the run.
    """
    if end is None:
        raise TypeError(f"{name} needs an `end`, which make_schedule takes from the run")
    start = start or 0
    return min(max(step - start, 0), end - start), end - start


def since(step: int, start: int | None) -> int:
    """Return how many steps have passed since `start`; 0 before."""
    return max(step - (start or 0), 0)


def check_span(args: Mapping[str, Any]) -> Problems:
    """Refuse an end that does not come after the start, as far as the two can be compared."""
    start, end = args.get("start"), args.get("end")
    if isinstance(start, int) and isinstance(end, int) and start >= end:
        return [("end", f"there is nothing left to decay over: it starts at step {start}")]
    return []


def check_lengths(*names: str) -> Callable[[Mapping[str, Any]], Problems]:
    """Return a check that each of these lengths, where it is given, is at least one step."""

    def check(args: Mapping[str, Any]) -> Problems:
        given = [(name, args[name]) for name in names if args.get(name) is not None]
        amounts = [(name, length.amount if isinstance(length, Length) else length) for name, length in given]
        return [(name, "expected at least one step") for name, amount in amounts if amount == 0]

    return check


def span_changes(args: Mapping[str, Any]) -> Sequence[int]:
    """Return the two ends of a span."""
    return [args["start"], args["end"]]


def stairs(args: Mapping[str, Any]) -> Any:
    """Return where each stair begins: `start` and every `every` steps from there, without end."""
    return count(args["start"], args["every"])
