"""Columns brought to mean 0 and standard deviation 1, and columns for which that goes wrong."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch

_FLAT = 1e-2  # of a column's deviation: values that lie closer together are flattened by the others
_FEW = 0.01  # of the rows: at most so many values flatten a column


@dataclass(frozen=True)
class Scale:
    """Brings columns to mean 0 and standard deviation 1 over the rows that it was fitted to.

        (x - mean) / std,   in double precision, handed out in single precision

    Args:
        mean: of each column.
        std: of each column, with n in the denominator; 1 for a column that is constant over these rows, whose mean is
            its value.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fitted_to(cls, rows: torch.Tensor, unscaled: Collection[int] = ()) -> Scale:
        """Return the scale of some rows, shape (rows, columns); columns that are `unscaled` stay as they are."""
        numbers = rows.numpy()
        constant = is_constant(numbers)
        mean = np.where(constant, numbers[0], numbers.mean(0))
        std = np.where(constant, 1.0, numbers.std(0))
        mean[list(unscaled)], std[list(unscaled)] = 0.0, 1.0
        return cls(tuple(mean.tolist()), tuple(std.tolist()))

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return rows scaled, in single precision; what is too large for it becomes infinite."""
        with np.errstate(over="ignore"):
            scaled = ((rows.numpy() - np.array(self.mean)) / np.array(self.std)).astype(np.float32)
        return torch.from_numpy(scaled)

    def undone(self, values: torch.Tensor) -> torch.Tensor:
        """Return scaled values, shape (…, columns), in their original units, in double precision.

        x std + mean

        One column may come without its dimension, shape (…).
        """
        mean, std = (torch.tensor(each, dtype=torch.float64, device=values.device) for each in (self.mean, self.std))
        return values.double() * std + mean


def is_constant(numbers: np.ndarray) -> np.ndarray:
    """Return True for each column in which all numbers that are there are equal, up to the rounding of its type."""
    low, high = np.nanmin(numbers, axis=0), np.nanmax(numbers, axis=0)
    rounding = 4 * np.finfo(numbers.dtype).eps
    with np.errstate(over="ignore"):
        return (low == high) | (high - low <= rounding * np.maximum(np.abs(low), np.abs(high)))


def flattening(column: np.ndarray) -> tuple[int, float] | None:
    """Return the position of the value that leaves the others of a column no room, and how much of it they have.

    That is a hundredth of the column's standard deviation at most, as their own: a slip of the keyboard, or a number
    that stands for a missing one. At most one in a hundred is such a value, or one alone.
    """
    if len(column) < 3:
        return None
    from_mean = np.abs(column - column.mean())
    far = from_mean > from_mean.max() / 2
    if not 0 < far.sum() <= max(1, _FEW * len(column)):
        return None
    room = float(column[~far].std() / column.std())
    return (int(from_mean.argmax()), room) if 0 < room < _FLAT else None
