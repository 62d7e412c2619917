"""Lengths as people write them: `300 steps`, `2 epochs`, `5%`, and `10m` where a clock may decide."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar

_UNITS = {
    "step": "steps", "steps": "steps", "st": "steps",
    "epoch": "epochs", "epochs": "epochs", "ep": "epochs",
    "%": "%",
    "s": "secs", "sec": "secs", "secs": "secs",
    "m": "mins", "min": "mins", "mins": "mins",
    "h": "hours", "hour": "hours", "hours": "hours",
}  # fmt: skip
_SECS_PER_UNIT = {"secs": 1, "mins": 60, "hours": 3600}
_MOST = 10**15  # of any unit: far above any run, and below 2**53, so that each whole number is exact as a float
_PATTERN = re.compile(r"\s*(\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})\s*([a-z%]*)\s*", re.ASCII)


@dataclass(frozen=True)
class RunLength:
    """The length of a run: what percentages and epochs are measured against.

    Args:
        num_steps: applied updates in the whole run, or None when only a clock ends it.
        steps_per_epoch: applied updates in one pass over the training data, or None without data.
    """

    num_steps: int | None = None
    steps_per_epoch: int | None = None


@dataclass(frozen=True)
class Length:
    """A part of a run, in steps, epochs or per cent of the run.

    Args:
        amount: how many of `unit`.
        unit: `steps`, `epochs`, `%`, or for an Interval also `secs`.

    Raises:
        ValueError: the amount is negative, not finite or far too large, part of a step, or more than 100%.
    """

    amount: float
    unit: str = "steps"

    allows_time: ClassVar[bool] = False
    expected: ClassVar[str] = "a length such as `300 steps`, `2 epochs` or `5%`"

    def __post_init__(self) -> None:
        got = f"{_shown(self.amount)}{'' if self.unit == '%' else ' '}{self.unit}"
        if self.unit not in ("steps", "epochs", "%", *(["secs"] if self.allows_time else [])):
            raise ValueError(f"expected {self.expected}, got {got}")
        if not 0 <= self.amount <= _MOST:
            raise ValueError(f"expected an amount from 0 to {_MOST:.0e}, got {got}")
        if self.unit == "steps" and self.amount != int(self.amount):
            raise ValueError(f"expected a whole number of steps, got {got}")
        if self.unit == "%" and self.amount > 100:
            raise ValueError(f"expected at most 100%, got {got}")

    @classmethod
    def parse(cls, value: Any) -> Length:
        """Read a length; a bare whole number counts steps.

        Raises:
            ValueError: `value` is not a length, or is a time where only steps, epochs and % make sense.
        """
        if isinstance(value, Length):
            amount, unit = value.amount, value.unit
        elif isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError(f"expected {cls.expected}, got {_shown(value)}")
        else:
            match = _PATTERN.fullmatch(value.lower() if isinstance(value, str) else _shown(value))
            if match is None or (match[2] and match[2] not in _UNITS):
                raise ValueError(f"expected {cls.expected}, got {_shown(value)}")
            unit = _UNITS[match[2] or "steps"]
            amount = float(Decimal(match[1]) * _SECS_PER_UNIT.get(unit, 1))
            if amount > _MOST:
                kind = cls.expected.partition(" such")[0]
                raise ValueError(f"expected {kind}, got a number that is too large (over {_MOST:.0e}): {_shown(value)}")
        if unit in _SECS_PER_UNIT:
            if not cls.allows_time:
                got = value if isinstance(value, Length) else _shown(value)
                raise ValueError(f"expected {cls.expected}, got the time {got}: this must not depend on a clock")
            unit = "secs"
        return cls(amount, unit)

    def steps(self, run: RunLength) -> int:
        """Return the length in whole steps of `run`, rounded to the nearest, a half up.

        Raises:
            ValueError: the run has no epochs or no known number of steps to measure against.
        """
        if self.unit == "steps":
            return int(self.amount)
        if self.unit == "epochs":
            if run.steps_per_epoch is None:
                raise ValueError(f"'{self}' needs data with epochs")
            return self._part_of(run.steps_per_epoch)
        if self.unit == "%":
            if run.num_steps is None:
                raise ValueError(f"'{self}' needs a run length: set train.steps or train.epochs")
            return self._part_of(Fraction(run.num_steps, 100))
        raise ValueError(f"'{self}' is a time, not a number of steps")

    def _part_of(self, whole: int | Fraction) -> int:
        """Multiply the amount as it is written: 0.29 × 50 is 14.5, where binary floats give 14.499999999999998."""
        return math.floor(Fraction(repr(float(self.amount))) * whole + Fraction(1, 2))

    def __str__(self) -> str:
        if self.unit == "%":
            return f"{_decimal(self.amount)}%"
        if self.unit == "secs":
            for unit, letter in (("hours", "h"), ("mins", "m")):
                if self.amount and self.amount % _SECS_PER_UNIT[unit] == 0:
                    return f"{_decimal(self.amount / _SECS_PER_UNIT[unit])}{letter}"
            return f"{_decimal(self.amount)}s"
        return f"{_decimal(self.amount)} {self.unit[:-1] if self.amount == 1 else self.unit}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )


def _decimal(amount: float) -> str:
    """Write a number so that reading it gives the same one, without an exponent."""
    return str(int(amount)) if amount == int(amount) else f"{Decimal(repr(float(amount))):f}"


def _shown(value: Any) -> str:
    if isinstance(value, int) and abs(value) > 10**18:  # Python refuses to write out thousands of digits
        return "a huge number"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@dataclass(frozen=True)
class Interval(Length):
    """A Length that may also be a time: for saving, logging and stopping, where a clock is welcome."""

    allows_time: ClassVar[bool] = True
    expected: ClassVar[str] = "an interval such as `300 steps`, `2 epochs`, `5%` or `10m`"
