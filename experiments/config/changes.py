"""The differences between two configurations."""

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
    return [change for change in _differences(before, after, "") if change.key != "name"]


def describe_changes(changes: list[Change]) -> str:
    """Return one indented line for each change: `  optimizer.lr: 0.1 -> 0.2`."""
    return "\n".join(f"  {change.text}" for change in changes)


def look_up(values: Any, key: str) -> Any:
    """Return what stands at a key path in plain data; None where nothing does."""
    for part in filter(None, key.split(".")):
        if isinstance(values, Mapping):
            values = values.get(part)
        elif isinstance(values, list) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        else:
            return None
    return values


def place_at(values: Any, key: str, value: Any) -> None:
    """Put a value at a key path into plain data; the items of a list are counted from 0."""
    path, _, last = key.rpartition(".")
    owner = look_up(values, path)
    owner[int(last) if isinstance(owner, list) else last] = value


def _differences(was: Any, now: Any, path: str) -> Iterator[Change]:
    """Yield what differs, key by key; where one side has no such mapping or list, each key of the other."""
    old, new = _inside(was), _inside(now)
    if old is None or new is None or not (old or new):
        if not _same(was, now):
            text = f"{path}: {_text(was)} -> {_text(now)}"
            yield Change(path, None if was is _MISSING else was, None if now is _MISSING else now, text)
        return
    for key in dict.fromkeys((*old, *new)):
        yield from _differences(old.get(key, _MISSING), new.get(key, _MISSING), f"{path}.{key}" if path else str(key))


def _inside(value: Any) -> Mapping[Any, Any] | None:
    """Return what is compared one by one: the keys of a mapping, the items of a list of mappings."""
    if value is _MISSING or value == []:
        return {}
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return dict(enumerate(value))
    return value if isinstance(value, Mapping) else None


def _same(was: Any, now: Any) -> bool:
    """Return True if two values are equal, where `true` is not 1."""
    if isinstance(was, list) and isinstance(now, list):
        return len(was) == len(now) and all(map(_same, was, now))
    return was == now and isinstance(was, bool) == isinstance(now, bool)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "(not set)" if value is _MISSING else "null" if value is None else str(value)
