"""Values per seed as the statistics take them, and the checks of what is asked of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...errors import UsageError

#: A value per seed; None, NaN and the infinities mean that the run diverged. A sequence stands for seeds 0, 1, …
Values = Mapping[int, float | None] | Sequence[float | None]
Mode = Literal["max", "min"]


def by_seed(values: Values, name: str = "values") -> dict[int, float | None]:
    """Return the values by seed as floats, with None for each run that diverged.

    Raises:
        UsageError: a value is no number.
    """
    items = values.items() if isinstance(values, Mapping) else enumerate(values)
    return {seed: _as_float(value, f"{name}[{seed}]") for seed, value in items}


def finite(values: Sequence[float | None], name: str, least: int = 1) -> list[float]:
    """Return the values as floats.

    Raises:
        UsageError: one of them is no finite number, or there are fewer than `least`.
    """
    numbers = []
    for index, value in enumerate(values):
        number = _as_float(value, f"{name}[{index}]")
        if number is None:
            raise UsageError(f"{name}[{index}] is {value}: a finite number is needed here")
        numbers.append(number)
    if len(numbers) < least:
        raise UsageError(f"{name} holds {len(numbers)} of at least {least} values")
    return numbers


def _as_float(value: Any, place: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool | str | bytes):
        raise UsageError(f"{place} is {value!r}: a number, or None for a run that diverged, is needed")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UsageError(f"{place} is {value!r}: a number, or None for a run that diverged, is needed") from None
    return number if math.isfinite(number) else None


def check_alpha(alpha: float) -> None:
    if not 0 < alpha < 0.5:
        raise UsageError(f"alpha = {alpha!r} is no error rate: give a number above 0 and below 0.5, such as 0.05")


def check_margin(margin: float) -> None:
    if isinstance(margin, bool) or not (math.isfinite(margin) and margin >= 0):
        raise UsageError(f"margin = {margin!r}: give a number of at least 0, in the metric's unit")


def check_mode(mode: str) -> None:
    if mode not in ("max", "min"):
        raise UsageError(f"mode = {mode!r}: 'max' (more is better) or 'min' (less is better) is needed")
