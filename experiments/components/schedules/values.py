"""The value of a schedule, looked at before anything uses it."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

from ...errors import UsageError
from ...registry.calls import described


def checked(value: Any, schedule: Callable[[int], Any], step: int) -> float:
    """Return the value that a schedule gave.

    Args:
        value: what it gave.
        schedule: named in errors; one that says `signed` may be negative.
        step: at which.

    Raises:
        UsageError: it is no finite number, or negative.
    """
    if type(value) is float and 0.0 <= value < math.inf:  # at nearly every step
        return value
    if isinstance(value, Real) and not isinstance(value, bool):
        signed, number = getattr(schedule, "signed", False), _as_float(value)
        if math.isfinite(number) and (signed or number >= 0):
            return value if isinstance(value, int | float) else number
        expected = "a finite number" if signed else "a finite number of at least 0"
    else:
        expected = "a number"
    raise UsageError(f"schedule '{name_of(schedule)}' gave {described(value)} at step {step}: expected {expected}")


def name_of(schedule: Callable[[int], Any]) -> str:
    """Return what a schedule is called: its name, or that of the function or class."""
    name = getattr(schedule, "name", None) or getattr(schedule, "__name__", None)
    return name if isinstance(name, str) else type(schedule).__name__


def _as_float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:  # an int that is larger than any float
        return math.inf
