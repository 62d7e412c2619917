"""Paths in a configuration: what relative ones are relative to, and how they are called within a project."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..registry import Component
from ..registry.arguments import InputFile
from ..system.observed import looked_for
from ..system.patterns import expanded
from ..system.places import absolute
from .nodes import Node
from .problems import DEFAULT, Origin, display
from .sections import ComponentConfig

log = logging.getLogger("optrun")

_MARKS = ("pyproject.toml", ".git", "setup.py", "setup.cfg")  # of the folder of a project
_MAX_UP = 2  # folders above the project in which a file still has a relative name


def project_of(folder: Path) -> Path:
    """Return the nearest folder, this one or above, that has `pyproject.toml`, `.git` or a setup; else this one."""
    folder = absolute(folder)
    for candidate in (folder, *folder.parents):
        if any(_is_there(candidate / mark) for mark in _MARKS):
            return candidate
    return folder


def name_in(project: Path | str, path: str) -> str:
    """Return a file's name within a project, the same wherever the project lies; its path if it lies far outside."""
    relative = Path(os.path.relpath(path, project))
    return path if relative.parts[: _MAX_UP + 1] == ("..",) * (_MAX_UP + 1) else relative.as_posix()


def path_in(project: Path | str, name: str) -> str:
    """Return the path of a name that `name_in` gave."""
    return os.path.normpath(os.path.join(project, name))


def input_files(component: Component) -> dict[str, InputFile]:
    """Return the arguments of a component that name files or folders which it reads, and which of their values do.

    They say so in their annotations (`DataPath`, or `pathlib.Path`); for data, `path` is one however it is annotated.
    """
    if component.kind == "hook":  # these write
        return {}
    always = {"path"} if component.kind == "data" else set()
    marks = {each.name: each.input_file for each in component.signature.arguments}
    marks |= {name: InputFile() for name in always & marks.keys()}
    return {name: mark for name, mark in marks.items() if mark is not None}


def files_read(part: ComponentConfig) -> Iterator[str]:
    """Yield the absolute paths that a component's arguments name; those that it `reads`, where it says so."""
    if (reads := part.component.facts.get("reads")) is not None:
        yield from reads(part.args)
        return
    for name, mark in input_files(part.component).items():
        for each in _paths_in(part.args.get(name), mark):
            for path in _expanded(os.path.expanduser(each)):
                yield str(absolute(path))


def _expanded(path: str) -> list[str]:
    """Return the files that a path names, such as `part-{000..003}.tar`; itself where it is no such pattern."""
    try:
        return expanded(path) or [path]
    except ValueError:  # which reading it tells
        return [path]


def _paths_in(value: Any, mark: InputFile) -> Iterator[str]:
    """Yield the paths in a value: one, several, or several by name."""
    if isinstance(value, list | tuple | Mapping):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _paths_in(each, mark)
    elif mark.is_meant(value):
        yield os.fspath(value)


def place_of_defaults(component: Component) -> Origin:
    """Return what the paths among a component's defaults are relative to: the user's file that has them."""
    if component.code is None:
        return DEFAULT
    path = Path(component.code.path)
    return Origin("file", display(path), folder=path.parent)


def placed(value: Any, node: Node, mark: InputFile) -> Any:
    """Return a path, or several, or several by name, as absolute ones.

    In a file they are relative to its folder; what is not there, but in the current folder, is that. Elsewhere (on the
    command line, in Python) they are relative to the current folder.

    Args:
        value: checked.
        node: where it stands, of which each path may have been named by another file.
        mark: of the argument.
    """
    if isinstance(value, list | tuple):
        return type(value)(placed(each, _inner(node, place), mark) for place, each in enumerate(value))
    if isinstance(value, Mapping):
        return {name: placed(each, _inner(node, name), mark) for name, each in value.items()}
    origin = node.origin
    if not mark.is_meant(value, origin.folder if origin.kind == "file" else Path()):
        return value
    given = os.path.expanduser(os.fspath(value))
    here = str(absolute(given))
    found = here
    if origin.kind == "file" and not os.path.isabs(given):
        beside = str(absolute(origin.folder / given))
        has_both = _is_there(beside) and _is_there(here)
        if has_both and os.path.realpath(beside) != os.path.realpath(here):
            shown = display(Path(beside)), display(Path(here))
            log.warning("%s: %s means %s, beside the file; there is %s as well", origin.place, value, *shown)
        found = here if _is_there(here) and not _is_there(beside) else beside
    return found if isinstance(value, str) else Path(found)


def _is_there(path: str | Path) -> bool:
    looked_for(path)
    return os.path.exists(path)


def _inner(node: Node, step: Any) -> Node:
    """Return the node inside, or this one where a default stands in its place."""
    return node.value[step] if isinstance(node.value, dict | list) else node


def with_places(node: Node, move: Callable[[str], str]) -> None:
    """Let `move` replace the absolute paths in a tree, those of code references included."""
    for _, inner in node.walk():
        if isinstance(inner.value, str):
            inner.value = moved_text(inner.value, move)


def moved(plain: Any, move: Callable[[str], str]) -> Any:
    """Return plain data with its absolute paths, those of code references included, replaced by `move`."""
    if isinstance(plain, Mapping):
        return {key: moved(value, move) for key, value in plain.items()}
    if isinstance(plain, list):
        return [moved(value, move) for value in plain]
    return moved_text(plain, move) if isinstance(plain, str) else plain


def moved_text(text: str, move: Callable[[str], str]) -> str:
    location, colon, attribute = text.rpartition(":")
    if colon and os.path.isabs(location) and location.endswith(".py"):
        return f"{move(location)}:{attribute}"
    return move(text) if os.path.isabs(text) and "\0" not in text else text
