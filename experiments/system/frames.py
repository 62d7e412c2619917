"""Rows as pandas' data frames, for those who ask for one: pandas is imported only then."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UsageError


def data_frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> Any:
    """Return rows as a data frame; what a row does not have is missing.

    Raises:
        UsageError: pandas is not installed.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as error:
        raise UsageError("a data frame needs pandas, which is not installed: pip install 'optrun[pandas]'") from error
    return pandas.DataFrame([dict(row) for row in rows], columns=None if columns is None else list(columns))
