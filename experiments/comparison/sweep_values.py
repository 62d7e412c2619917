"""The values of one key that a sweep tries: written out, or taken from a range."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from typing import Any

from ..config.scalars import resolve
from ..errors import UsageError

RANGES = ("log", "lin", "int")
_NUM_VALUES = 9  # of a range, where nothing else is said
_LARGEST_INT = 1 << 53
_FORMS = "a range (log:1e-3:1, lin:0:1, int:2:8) or at least two values (a,b,c)"


def parse_spec(key: str, spec: str, trials: int | None, method: str, seed: int) -> list[Any]:
    """Turn `log:1e-3:1`, `lin:0:1`, `int:2:8` or `a,b,c` into the values of a sweep, no two of them equal.

        log: low (high / low)^s   lin: low + (high - low) s   with s from 0 to 1 in even steps, or drawn

    The ends of a grid are as written; what lies between is rounded to three figures, or as many more as keep the values
    apart. `int` gives whole numbers, all of them where there are no more than trials.

    Args:
        key: what is swept, for messages.
        spec: as written.
        trials: how many values of a range.
        method: `grid` spreads them evenly, `random` draws them.
        seed: of the draws.

    Raises:
        UsageError: it is none of the four, or names a value twice.
    """
    kind, _, rest = spec.partition(":")
    if kind not in RANGES:
        return _listed(key, spec)
    number = _NUM_VALUES if trials is None else trials
    if number < 2:
        raise UsageError(f"--trials {number}: a sweep has at least 2")
    low, high = _ends(key, spec, kind, rest)
    if kind == "int":
        return _whole(int(low), int(high), number, method, seed)
    draw = random.Random(seed)
    if method == "random":
        return _rounded(key, spec, sorted(_between(kind, low, high, draw.random()) for _ in range(number)), low, high)
    inner = [_between(kind, low, high, step / (number - 1)) for step in range(1, number - 1)]
    return [low, *_rounded(key, spec, inner, low, high, ends_taken=True), high]


def spec_of(key: str, values: Sequence[Any]) -> str:
    """Return values that are given one by one as a sweep is written: `a,b,c`.

    Raises:
        UsageError: one is neither a number nor a name.
    """
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float | str) or set(str(value)) & {",", ":"}:
            raise UsageError(f"{key}: {value!r} is no value of a sweep: give numbers or names, or a range as text")
    return ",".join(map(str, values))


def _listed(key: str, spec: str) -> list[Any]:
    parts = [part.strip() for part in spec.split(",")]
    values = [resolve(part) for part in parts if part]
    if len(values) < 2 or "" in parts[:-1]:
        raise UsageError(f"{key}={spec}: give {_FORMS}")
    for place, value in enumerate(values):
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{key}={spec}: {parts[place]} is no number to try")
        if value in values[:place]:
            raise UsageError(f"{key}={spec}: {parts[place]} is there twice; --seeds says how often each is tried")
    return values


def _ends(key: str, spec: str, kind: str, rest: str) -> tuple[float, float]:
    number = int if kind == "int" else float
    try:
        low, high = (number(part) for part in rest.split(":"))
    except ValueError:
        what = "two whole numbers" if kind == "int" else "two numbers"
        raise UsageError(f"{key}={spec}: expected {kind}:LOW:HIGH, {what}") from None
    if "_" in rest or not all(map(math.isfinite, (low, high))):
        raise UsageError(f"{key}={spec}: expected {kind}:LOW:HIGH, two numbers")
    if not low < high or (kind == "log" and low <= 0):
        raise UsageError(f"{key}={spec}: LOW must be below HIGH{', and above 0' if kind == 'log' else ''}")
    if kind == "int" and max(abs(low), abs(high)) > _LARGEST_INT:
        raise UsageError(f"{key}={spec}: whole numbers go up to {_LARGEST_INT}")
    if not math.isfinite(high - low):
        raise UsageError(f"{key}={spec}: the range is too wide")
    return low, high


def _between(kind: str, low: float, high: float, share: float) -> float:
    if kind == "lin":
        return low + (high - low) * share
    return low * (high / low) ** share


def _rounded(
    key: str, spec: str, values: Sequence[float], low: float, high: float, ends_taken: bool = False
) -> list[float]:
    """Round ascending values to as few figures as keep them apart and in their range, at least three."""
    for figures in range(3, 18):
        found = [float(f"{value:.{figures}g}") for value in values]
        whole = [low, *found, high] if ends_taken else found
        apart = all(one < other for one, other in itertools.pairwise(whole))
        if apart and all(low <= value <= high for value in found):
            return found
    raise UsageError(f"{key}={spec}: there are not so many numbers between {low!r} and {high!r}")


def _whole(low: int, high: int, number: int, method: str, seed: int) -> list[int]:
    if high - low < number:
        return list(range(low, high + 1))
    if method == "random":
        return sorted(random.Random(seed).sample(range(low, high + 1), number))
    steps = number - 1
    return [low + ((high - low) * step * 2 + steps) // (2 * steps) for step in range(number)]
