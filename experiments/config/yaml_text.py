"""Plain data written as YAML that reads back equal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from .scalars import resolve

_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./%+-]*([ :][A-Za-z0-9_./%+-]+)*")
_UNSAFE = re.compile(r"[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]")


def to_yaml(values: Mapping[str, Any]) -> str:
    """Write plain data as YAML: blocks for sections, one line for short lists and what is inside them."""
    return "\n".join(_block(values, "")) + "\n"


def _block(values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in values.items():
        head = f"{indent}{_text(key)}:"
        if isinstance(value, dict) and value:
            yield head
            yield from _block(value, indent + "  ")
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            yield head
            yield from (f"{indent}  - {flow(item)}" for item in value)
        else:
            yield f"{head} {flow(value)}"


def flow(value: Any) -> str:
    """Write plain data in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(str(key))}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, str):
        return _text(value)
    return "null" if value is None else json.dumps(value)


def _text(value: str) -> str:
    if len(value) < 200 and _PLAIN.fullmatch(value) and isinstance(resolve(value), str):
        return value
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))
