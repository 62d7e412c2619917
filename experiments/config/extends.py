"""Reads a file and, left to right, the files that it extends, into one tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .limits import MAX_BYTES
from .merge import merge
from .nodes import Node, Source
from .problems import Problem, shorten, suggestion
from .python_data import from_python
from .reading import Reading
from .targets import find_extended, names_in

_MAX_FILES = 64


class Tree:
    """The merged values of one target.

    Args:
        presets: the folder of presets.
        problems: gets what is wrong.
    """

    def __init__(self, presets: Path, problems: list[Problem]):
        self.presets = presets
        self.problems = problems
        self.fatal = False
        self._num_files = 0

    def from_file(self, source: Source) -> Node:
        return self._extended(self._read(source), source, [source])

    def from_part(self, node: Node, source: Source) -> Node:
        return self._extended(node, source, [source])

    def from_python(self, values: Mapping[str, Any], source: Source) -> Node:
        before = len(self.problems)
        node = from_python(values, source, self.problems)
        self.fatal = self.fatal or len(self.problems) > before
        return self._extended(node, source, [source])

    def _read(self, source: Source) -> Node:
        reading = Reading(source, self.problems)
        assert source.path is not None
        try:
            with source.path.open("rb") as file:
                node = reading.read_bytes(file.read(MAX_BYTES + 1))
        except OSError as error:
            self.problems.append(Problem(source.origin(1, 1), "", "extends", f"cannot be read: {error.strerror}"))
            node = None
        self.fatal = self.fatal or reading.fatal or node is None
        return node or Node({}, source.origin(1, 1))

    def _extended(self, node: Node, source: Source, chain: list[Source]) -> Node:
        """Return `node` laid over what it extends."""
        if node.value is None:
            return Node({}, replace(node.origin, text="", width=1))
        if not isinstance(node.value, dict):
            message = "expected a mapping of sections, such as `optimizer: adam`"
            self._fail(Problem(replace(node.origin, width=1), "", "invalid-value", message))
            return Node({}, node.origin)
        own = {key: child for key, child in node.value.items() if key != "extends"}
        merged = Node({}, node.origin)
        for base in self._bases(node.value.get("extends"), source, chain):
            base.value.pop("name", None)  # a name belongs to one file, not to those that extend it
            merged = merge(merged, base)
        return merge(merged, Node(own, node.origin))

    def _bases(self, extends: Node | None, source: Source, chain: list[Source]) -> list[Node]:
        if extends is None or extends.value is None:
            return []
        many = isinstance(extends.value, list)
        bases = []
        for position, named in enumerate(extends.value if many else [extends]):
            key = f"extends.{position}" if many else "extends"
            if not isinstance(named.value, str) or not named.value:
                message = "expected a path, the name of a preset, or a list of these"
                self._fail(Problem(named.origin, key, "extends", message))
            elif (base := self._find(named, key, source, chain)) is not None:
                bases.append(self._extended(self._read(base), base, [*chain, base]))
        return bases

    def _find(self, named: Node, key: str, source: Source, chain: list[Source]) -> Source | None:
        self._num_files += 1
        if self._num_files > _MAX_FILES:
            if self._num_files == _MAX_FILES + 1:
                self._fail(Problem(named.origin, key, "limit", f"extends reads more than {_MAX_FILES} files"))
            return None
        base = find_extended(named.value, source, self.presets)
        if base is None:
            message = f"no file '{shorten(named.value)}' beside this one, and no preset of that name"
            hint = suggestion(Path(named.value).stem, [*names_in(source.folder), *names_in(self.presets)])
            self._fail(Problem(named.origin, key, "extends", message, hint))
            return None
        circle = [link.file for link in chain if link.path == base.path]
        if circle:
            names = [link.file for link in chain]
            message = f"extends goes in a circle: {' -> '.join([*names[names.index(circle[0]) :], base.file])}"
            self._fail(Problem(named.origin, key, "extends", message))
            return None
        return base

    def _fail(self, problem: Problem) -> None:
        self.problems.append(problem)
        self.fatal = True
