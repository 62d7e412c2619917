"""What differs between two configurations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_MISSING = object()


class Change(NamedTuple):
    """One key whose value differs; a value that is not there is None, and `text` says so."""

    key: str
    before: Any
    after: Any
    text: str


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """List the keys that differ between two configurations as plain data; a run's name is no part of what it is."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    keys = [key for key in (*old, *(key for key in new if key not in old)) if key != "name"]
    changes = []
    for key in keys:
        was, now = old.get(key, _MISSING), new.get(key, _MISSING)
        if was != now:
            text = f"{key}: {_text(was)} -> {_text(now)}"
            changes.append(Change(key, None if was is _MISSING else was, None if now is _MISSING else now, text))
    return changes


def describe_changes(changes: list[Change]) -> str:
    """Return one indented line for each change: `  optimizer.lr: 0.1 -> 0.2`."""
    return "\n".join(f"  {change.text}" for change in changes)


def _leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(values, Mapping) and values:
        for key, value in values.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(values, list) and any(isinstance(item, Mapping) for item in values):
        for index, item in enumerate(values):
            yield from _leaves(item, f"{path}.{index}")
    else:
        yield path, values


def _text(value: Any) -> str:
    return "(not set)" if value is _MISSING else "null" if value is None else str(value)
