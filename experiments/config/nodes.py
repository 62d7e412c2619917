"""Values that know where they stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .problems import Origin


@dataclass
class Node:
    """A value and its place.

    Args:
        value: a scalar, a dict of nodes or a list of nodes.
        origin: where the value stands.
        key: where its key stands, for a value in a mapping.
    """

    value: Any
    origin: Origin
    key: Origin | None = None

    @property
    def plain(self) -> Any:
        """Return the value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain for node in self.value]
        return self.value

    def walk(self, path: str = "") -> Iterator[tuple[str, Node]]:
        """Yield all nodes below, and this one, with their key paths."""
        yield path, self
        if isinstance(self.value, dict | list):
            items = self.value.items() if isinstance(self.value, dict) else enumerate(self.value)
            for key, node in items:
                yield from node.walk(f"{path}.{key}" if path else str(key))


@dataclass(frozen=True)
class Source:
    """A text to read.

    Args:
        kind: as in Origin.
        file: as in Origin.
        folder: as in Origin.
        path: the file itself.
        via: as in Origin.
        argument: for an override the whole argument.
        start: where its value begins in it.
        index: as in Origin.
    """

    kind: str
    file: str
    folder: Path
    path: Path | None = None
    via: str | None = None
    argument: str | None = None
    start: int = 0
    index: int = 0

    def origin(self, line: int | None = None, column: int | None = None, **more: Any) -> Origin:
        return Origin(self.kind, self.file, line, column, via=self.via, folder=self.folder, index=self.index, **more)


@dataclass(frozen=True)
class Part:
    """A configuration that stands inside a file of something else, such as an entry of a comparison.

    Args:
        name: of the run, unless the configuration has one.
        node: what stands there, `extends` included.
        source: the file.
    """

    name: str
    node: Node
    source: Source


def join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)
