"""Plain YAML scalars by the core schema of YAML 1.2 (section 10.3.2): `1e-3` is a float, `no` a string, `010` ten."""

from __future__ import annotations

import re

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NAN = {".nan", ".NaN", ".NAN"}
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o([0-7]+)")
_HEXADECIMAL = re.compile(r"0x([0-9a-fA-F]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)")

Scalar = str | int | float | bool | None


def resolve(text: str) -> Scalar:
    """Return the value of a plain (unquoted) scalar.

    Raises:
        ValueError: a whole number of more digits than Python converts.
    """
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _DECIMAL.fullmatch(text):
        return int(text)
    if match := _OCTAL.fullmatch(text):
        return _bounded(int(match[1], 8))
    if match := _HEXADECIMAL.fullmatch(text):
        return _bounded(int(match[1], 16))
    if _FLOAT.fullmatch(text):
        return float(text)
    if match := _INFINITE.fullmatch(text):
        return float(f"{match[1]}inf")
    return float("nan") if text in _NAN else text


def _bounded(number: int) -> int:
    """Refuse a number that Python reads but does not write."""
    str(number)
    return number
