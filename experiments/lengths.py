"""Lengths as people write them: `300 steps`, `2 epochs`, `5%`, and `10m` where a clock may decide."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

_UNITS = {
    "step": "steps", "steps": "steps", "st": "steps",
    "epoch": "epochs", "epochs": "epochs", "ep": "epochs",
    "%": "%",
    "s": "secs", "sec": "secs", "secs": "secs",
    "m": "mins", "min": "mins", "mins": "mins",
    "h": "hours", "hour": "hours", "hours": "hours",
}  # fmt: skip
_SECS_PER_UNIT = {"secs": 1.0, "mins": 60.0, "hours": 3600.0}
_PATTERN = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z%]*)\s*", re.ASCII)


@dataclass(frozen=True)
class RunLength:
    """How long a run is: what percentages and epochs are measured against.

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
    """

    amount: float
    unit: str = "steps"

    allows_time: ClassVar[bool] = False
    expected: ClassVar[str] = "a length such as `300 steps`, `2 epochs` or `5%`"

    @classmethod
    def parse(cls, value: Any) -> Length:
        """Read a length; a bare whole number counts steps.

        Raises:
            ValueError: `value` is not a length, or is a time where only steps, epochs and % make sense.
        """
        if isinstance(value, Length):
            amount, unit = value.amount, value.unit
        elif isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError(f"expected {cls.expected}, got {value!r}")
        else:
            match = _PATTERN.fullmatch(str(value).lower())
            if match is None or (match[2] and match[2] not in _UNITS):
                raise ValueError(f"expected {cls.expected}, got {value!r}")
            amount, unit = float(match[1]), _UNITS[match[2] or "steps"]
        if unit in _SECS_PER_UNIT:
            if not cls.allows_time:
                raise ValueError(f"expected {cls.expected}, got the time {value!r}: this must not depend on a clock")
            amount, unit = amount * _SECS_PER_UNIT[unit], "secs"
        if unit == "steps" and amount != int(amount):
            raise ValueError(f"expected a whole number of steps, got {value!r}")
        if unit == "%" and amount > 100:
            raise ValueError(f"expected at most 100%, got {value!r}")
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
            return math.floor(self.amount * run.steps_per_epoch + 0.5)
        if self.unit == "%":
            if run.num_steps is None:
                raise ValueError(f"'{self}' needs a run length: set train.steps or train.epochs")
            return math.floor(self.amount * run.num_steps / 100 + 0.5)
        raise ValueError(f"'{self}' is a time, not a number of steps")

    def __str__(self) -> str:
        amount = f"{self.amount:g}" if self.amount < 1e5 or self.amount % 1 else str(int(self.amount))
        if self.unit == "%":
            return f"{amount}%"
        if self.unit == "secs":
            for unit, letter in (("hours", "h"), ("mins", "m")):
                if self.amount and self.amount % _SECS_PER_UNIT[unit] == 0:
                    return f"{self.amount / _SECS_PER_UNIT[unit]:g}{letter}"
            return f"{amount}s"
        return f"{amount} {self.unit[:-1] if self.amount == 1 else self.unit}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )


@dataclass(frozen=True)
class Interval(Length):
    """A Length that may also be a time: for saving, logging and stopping, where a clock is welcome."""

    allows_time: ClassVar[bool] = True
    expected: ClassVar[str] = "an interval such as `300 steps`, `2 epochs`, `5%` or `10m`"
