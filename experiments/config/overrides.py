"""Overrides: `optimizer.lr=0.2` on the command line, or a mapping in Python, laid over the files as one layer.

All overrides together form the layer, so their order does not matter unless two set the same key; then the last wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..system.places import current_folder
from .limits import MAX_DEPTH, MAX_OVERRIDES
from .merge import merge, named
from .nodes import Node, Source
from .problems import Origin, Problem, shorten
from .python_data import from_python
from .reading import Reading
from .sections import COMPONENT_SECTIONS

_INDEX = re.compile(r"[0-9]{1,5}")
_FORM = re.compile(r"([^=\s]+)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class _Override:
    path: tuple[str, ...]
    keys: tuple[Origin, ...]
    node: Node
    readable: bool


def split_by_name(overrides: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Split the overrides of several configurations: `key=value` is for all, `NAME:key=value` for the one of that name.

    Returns:
        Those for all, and those for one by its name, without it.
    """
    shared: list[str] = []
    own: dict[str, list[str]] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        name, colon, key = key.rpartition(":")
        (own.setdefault(name, []) if colon else shared).append(f"{key}{equals}{value}")
    return shared, own


def numbered(names: Iterable[str]) -> list[str]:
    """Return names of which none stands twice: the second `mom` is `mom-2`."""
    found: list[str] = []
    for stem in names:
        name, number = stem, 1
        while name in found:
            number += 1
            name = f"{stem}-{number}"
        found.append(name)
    return found


def apply(root: Node, overrides: Sequence[str] | Mapping[str, Any], problems: list[Problem]) -> tuple[Node, bool]:
    """Lay the overrides over `root`; also return whether every value could be read."""
    if isinstance(overrides, Mapping):
        found = [_from_python(str(key), value, problems) for key, value in overrides.items()]
    else:
        found = [_parse(argument, index, problems) for index, argument in enumerate(overrides[:MAX_OVERRIDES])]
    if len(overrides) > MAX_OVERRIDES:
        return root, _too_many(overrides, problems)
    usable = [override for override in found if override is not None]
    layer = Node({}, Origin("override", "command line"))
    for override in sorted(usable, key=lambda override: len(override.path)):  # `optimizer=adam` before `optimizer.lr=1`
        if not _into_list(override):
            layer = merge(layer, _single(override))
    root = merge(root, layer)
    for override in usable:
        if _into_list(override):
            root = _replace(root, override, 0, problems)
    return root, all(override.readable for override in usable)


def _too_many(overrides: Sequence[str] | Mapping[str, Any], problems: list[Problem]) -> bool:
    first = shorten(str(list(overrides)[MAX_OVERRIDES]))
    origin = Origin(
        "override", "command line", None, 1, text=first, snippet=first.replace("\n", " "), index=MAX_OVERRIDES
    )
    problems.append(
        Problem(origin, "", "limit", f"at most {MAX_OVERRIDES} overrides, got {len(overrides)}: use a file")
    )
    return False


def _parse(argument: str, index: int, problems: list[Problem]) -> _Override | None:
    match = _FORM.fullmatch(argument)
    start = match.start(2) if match else 0
    source = Source("override", "command line", current_folder(), argument=argument, start=start, index=index)
    path = tuple(match[1].split(".")) if match else ()
    if match is None or not _is_path(path):
        origin = source.origin(None, 1, text=argument, snippet=argument.replace("\n", " "), width=len(argument))
        message = f"expected an override such as `optimizer.lr=0.2`, got {shorten(argument)!r}"
        problems.append(Problem(origin, "", "override", message))
        return None
    reading = Reading(source, found := [])
    node = reading.read_text(match[2])
    for problem in found:
        key = ".".join(part for part in (match[1], problem.key) if part)
        problems.append(replace(problem, key=key))
    readable = node is not None and not reading.fatal
    return _Override(path, tuple(_key_origins(source, path)), node or Node(None, source.origin()), readable)


def _from_python(key: str, value: Any, problems: list[Problem]) -> _Override | None:
    source = Source("override", "overrides", current_folder())
    path, origin = tuple(key.split(".")), source.origin(text=shorten(str(value)))
    if not _is_path(path):
        problems.append(Problem(origin, "", "override", f"expected a key path such as `optimizer.lr`, got {key!r}"))
        return None
    before = len(problems)
    node = from_python(value, source, problems, key)
    return _Override(path, (origin,) * len(path), node, len(problems) == before)


def _key_origins(source: Source, path: tuple[str, ...]) -> Iterator[Origin]:
    assert source.argument is not None
    column = 1
    for part in path:
        yield source.origin(None, column, text=part, snippet=source.argument.replace("\n", " "), width=len(part))
        column += len(part) + 1


def _into_list(override: _Override) -> bool:
    return any(_INDEX.fullmatch(part) for part in override.path)


def _is_path(parts: Sequence[str]) -> bool:
    return all(parts) and len(parts) <= MAX_DEPTH


def _single(override: _Override) -> Node:
    """Return the override as a mapping that holds nothing else."""
    node = Node(override.node.value, override.node.origin, override.keys[-1])
    for position in range(len(override.path) - 1, -1, -1):
        key = override.keys[position - 1] if position else None
        node = Node({override.path[position]: node}, override.keys[position], key)
    return node


def _replace(node: Node, override: _Override, depth: int, problems: list[Problem]) -> Node:
    """Return `node` with the override's value at `override.path[depth:]`, lists indexed by number."""
    if depth == len(override.path):
        return merge(node, override.node, override.path)
    part, key = override.path[depth], override.keys[depth]
    if isinstance(node.value, str) and (depth > 1 or override.path[0] in COMPONENT_SECTIONS):
        node = named(node)
    if isinstance(node.value, dict):
        child = node.value.get(part)
        if child is not None:
            child = _replace(child, override, depth + 1, problems)
        elif depth + 1 == len(override.path):
            child = Node(override.node.value, override.node.origin, key)
        else:
            child = _replace(Node(None, key, key), override, depth + 1, problems)
        return Node({**node.value, part: child}, node.origin, node.key)
    if isinstance(node.value, list) and _INDEX.fullmatch(part) and int(part) < len(node.value):
        items = list(node.value)
        items[int(part)] = _replace(items[int(part)], override, depth + 1, problems)
        return Node(items, node.origin, node.key)
    where = ".".join(override.path[:depth])
    if isinstance(node.value, list):
        message = f"{where} has {len(node.value)} entries, counted from 0: there is no '{part}'"
    else:
        message = f"{where} is not given as a list here, so it has no '{part}': give the whole list"
    problems.append(Problem(key, ".".join(override.path), "override", message))
    return node
