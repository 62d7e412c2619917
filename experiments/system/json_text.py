"""JSON as optrun writes it: strict, exact, and with null where a number is not finite."""

from __future__ import annotations

import json
import math
import os
from typing import Any

_COMPACT = json.JSONEncoder(
    allow_nan=False, ensure_ascii=False, separators=(",", ":")
)  # made once, since rows are many


def encode_json(value: Any, indent: int | None = None) -> bytes:
    """Return `value` as one JSON document ended by a newline: compact, or indented for people.

    JSON has no NaN and no infinities: they become null. Numbers are written in the shortest form that reads back
    exactly. Zero-dimensional arrays and tensors are written as the number that they hold.

    Raises:
        TypeError: JSON cannot hold a value; the message says where it is.
    """
    encoder = _COMPACT if indent is None else json.JSONEncoder(allow_nan=False, ensure_ascii=False, indent=indent)
    try:
        text = encoder.encode(value)
    except (TypeError, ValueError):  # rare, so the common case pays for no walk through the values
        text = encoder.encode(_plain(value, ""))
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _plain(value: Any, place: str) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item, f"{place}.{key}" if place else str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return _plain(value.item(), place)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"'{place}' is a {type(value).__name__}, which JSON cannot hold: give a number, text, list or dict")
