"""Reads a stored configuration as plain data: no component is looked up, none of its code is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..system import storage
from .nodes import Node
from .problems import ConfigError, Problem, in_order
from .reading import Reading
from .targets import file_source


def read_plain(path: Path) -> dict[str, Any]:
    """Return what a configuration file says, as dicts, lists and scalars.

    Raises:
        ConfigError: it is not a configuration that can be read.
        StorageError: it cannot be read, or is not there.
    """
    return read_nodes(path).plain


def read_nodes(path: Path) -> Node:
    """Return the same as a mapping of values that know where they stand."""
    problems: list[Problem] = []
    node = Reading(file_source(path), problems).read_bytes(storage.read_bytes(path))
    if problems or node is None or not isinstance(node.value, dict):
        raise ConfigError(in_order(problems))
    return node
