"""Takes a configuration given in Python: mappings with text keys, sequences, scalars, lengths and paths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .lengths import Length
from .limits import MAX_DEPTH, refusal
from .nodes import Node, Source, join
from .problems import Origin, Problem, shorten


def from_python(value: Any, source: Source, problems: list[Problem], path: str = "", depth: int = 0) -> Node:
    """Return the nodes of plain Python data; `problems` gets what no configuration can hold."""
    origin = source.origin(text=_text(value))
    if depth > MAX_DEPTH:
        problems.append(Problem(origin, path, "limit", f"deeper than {MAX_DEPTH} levels"))
        return Node(None, origin)
    if isinstance(value, Mapping):
        children: dict[str, Node] = {}
        for key, child in value.items():
            if isinstance(key, str):
                children[key] = from_python(child, source, problems, join(path, key), depth + 1)
                children[key].key = origin
            else:
                problems.append(Problem(origin, path, "invalid-value", f"keys are text, got {key!r}"))
        return Node(children, origin)
    if isinstance(value, list | tuple):
        items = enumerate(value)
        return Node([from_python(item, source, problems, join(path, at), depth + 1) for at, item in items], origin)
    return Node(_scalar(value, origin, problems, path), origin)


def _scalar(value: Any, origin: Origin, problems: list[Problem], path: str) -> str | int | float | bool | None:
    if isinstance(value, Length | Path):
        value = str(value)
    if not isinstance(value, str | int | float | bool | None):
        message = f"a {type(value).__name__} cannot be a config value: use text, numbers, lists and mappings"
        problems.append(Problem(origin, path, "invalid-value", message))
        return None
    if isinstance(value, str) and (message := refusal(value)):
        problems.append(Problem(origin, path, "encoding", message))
        return None
    return value


def _text(value: Any) -> str:
    return "…" if isinstance(value, Mapping | list | tuple) else shorten(str(value))
