"""What single precision loses of numbers that were written with more digits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import DataError

LARGEST = float(np.finfo(np.float32).max)
_COARSE = 1e-3  # of a column's standard deviation: rounding that is larger loses what the column says
_MANY = 1 << 20  # different values: so many are close neighbours by nature


def refuse_coarse(numbers: np.ndarray, names: Sequence[str], way_out: str) -> None:
    """Refuse columns whose rows would become equal in single precision, such as times in seconds since 1970.

    Args:
        numbers: shape (rows, columns), in double precision; NaN where one is missing.
        names: what a message calls each column.
        way_out: what to do about it.

    Raises:
        DataError: the first such column.
    """
    rounding = np.nanmax(np.abs(numbers - numbers.astype(np.float32)), axis=0)
    low, high = np.nanmin(numbers, axis=0), np.nanmax(numbers, axis=0)
    coarse = (rounding > _COARSE * np.nanstd(numbers, axis=0)) & (low != high)
    for index, name in enumerate(names):
        if coarse[index] or (rounding[index] and loses_values(numbers[:, index])):
            said = f"{name} ({low[index]:.12g} to {high[index]:.12g}) loses {rounding[index]:g} by rounding"
            raise DataError(f"{said} to single precision: {way_out}")


def loses_values(column: np.ndarray) -> bool:
    """Return True for a column of which more than half of the different values become equal in single precision."""
    different = np.unique(column[~np.isnan(column)])
    if len(different) > _MANY:
        return False
    with np.errstate(over="ignore"):
        return 2 * len(np.unique(different.astype(np.float32))) < len(different)
