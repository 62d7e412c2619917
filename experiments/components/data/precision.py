"""What single precision loses of numbers that were written with more digits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import FaultsError
from .table_file import listed

LARGEST = float(np.finfo(np.float32).max)
_COARSE = 1e-3  # of a column's standard deviation: rounding that is larger loses what the column says
_MANY = 1 << 20  # different values: so many are close neighbours by nature


def refuse_coarse(numbers: np.ndarray, names: Sequence[str], way_out: str, key: str, where: str = "") -> None:
    """Refuse columns whose rows would become equal in single precision, such as times in seconds since 1970.

    Args:
        numbers: shape (rows, columns), in double precision; NaN where one is missing.
        names: what a message calls each column.
        way_out: what to do about it.
        key: the argument of the data set that decides about it.
        where: a message begins with this.

    Raises:
        FaultsError: there are some.
    """
    said = []
    for name, column in zip(names, numbers.T, strict=True):
        there = column[~np.isnan(column)]
        if not len(there):
            continue
        rounding, low, high = np.abs(there - there.astype(np.float32)).max(), there.min(), there.max()
        is_coarse = rounding > _COARSE * there.std() and low != high
        if is_coarse or (rounding and loses_values(there)):
            said.append(f"{name} ({low:.12g} to {high:.12g}) loses {rounding:g} by rounding")
    if said:
        raise FaultsError((key, f"{where}{said[0]} to single precision{_likewise(said[1:])}: {way_out}"))


def _likewise(others: Sequence[str]) -> str:
    return f"; likewise {listed(others, 'columns')}" if others else ""


def loses_values(column: np.ndarray) -> bool:
    """Return True for a column of which more than half of the different values become equal in single precision."""
    different = np.unique(column[~np.isnan(column)])
    if len(different) > _MANY:
        return False
    with np.errstate(over="ignore"):
        return 2 * len(np.unique(different.astype(np.float32))) < len(different)
