"""Takes a configuration given in Python: mappings with text keys, sequences, scalars, lengths and paths.

Where a file has the name of a component, Python may have a class or function.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..registry.handed import can_be_handed, hand_over
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
    if can_be_handed(value):
        try:
            return hand_over(value)
        except UsageError as error:
            problems.append(Problem(origin, path, "invalid-value", str(error)))
            return None
    if not isinstance(value, str | int | float | bool | None):
        message = f"a {type(value).__name__} cannot be a config value: use text, numbers, lists and mappings"
        hint = _instead_of(value, path)
        problems.append(Problem(origin, path, "invalid-value", message, hint))
        return None
    if isinstance(value, str) and (message := refusal(value)):
        problems.append(Problem(origin, path, "encoding", message))
        return None
    return value


def _instead_of(value: Any, path: str) -> str | None:
    """Return what to give at a path instead of an object; None for Python's own."""
    cls = type(value).__qualname__
    if type(value).__module__.partition(".")[0] in sys.stdlib_module_names:
        return None
    if getattr(value, "shape", None) == ():
        return "write value.item()"
    if hasattr(value, "shape") and path.partition(".")[0] == "data":
        return "give a function that returns them, {'data': lambda: (inputs, targets)}, or a class with arguments"
    if any(each.__name__ == "DataLoader" for each in type(value).__mro__):  # whose data set no file could give
        return f"give a function that returns it: lambda: {cls}(…)"
    returned = "a function that returns one" + (f": lambda: {cls}(…)" if path in ("data", "data.name") else "")
    return (
        f"each run makes its own, from its seed: give the class, {{'name': {cls}, …}} with its arguments, or {returned}"
    )


def _text(value: Any) -> str:
    if can_be_handed(value):
        return shorten(getattr(value, "__qualname__", type(value).__name__))
    return "…" if isinstance(value, Mapping | list | tuple) else shorten(str(value))
