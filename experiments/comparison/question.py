"""The question that a comparison under a name of its own asks: the same one goes on, another one is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..components.registries import REGISTRIES
from ..config.defaults import changes_since
from ..errors import UsageError, in_python
from ..run_directory.comparison_file import is_group, read_group
from ..run_directory.run_dir import RunDir, is_run
from ..system.places import shown
from .entry import Entry
from .protocol import IDENTIFYING, Protocol


def named_path(root: Path, name: str, entries: Sequence[Entry], protocol: Protocol, fresh: bool) -> Path:
    """Return the folder of a comparison with a name of its own.

    Args:
        root: the folder of runs.
        name: of the comparison.
        entries, protocol: what is asked now.
        fresh: what is there goes to the trash, whatever it asked.

    Raises:
        UsageError: the name is none, or it belongs to a run, to another question or to something else.
    """
    path = RunDir.named(root, name).path
    if is_run(path):
        raise UsageError(f"{shown(path)} is a run: give the comparison another --name (in Python `name=`)")
    if not is_group(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(f"{shown(path)} is there, and is no comparison: give another --name (in Python `name=`)")
        return path
    changes = changed_question(read_group(path), entries, protocol)
    if changes and not fresh:
        listed = "\n".join(f"  {change}" for change in changes)
        raise UsageError(
            f"{name} asks another question:\n{listed}\nGive this one another --name, or --fresh to begin {name} anew"
            f"{in_python('--fresh')}"
        )
    return path


def changed_question(stored: Mapping[str, Any], entries: Sequence[Entry], protocol: Protocol) -> list[str]:
    """List in what a stored comparison asks something else; more seeds are the same question.

    Args:
        stored: the content of its file.
        entries, protocol: what is asked now.
    """
    if stored.get("kind") != "compare":
        return [f"it is a {stored.get('kind')}"]
    before = {entry["name"]: entry["config"] for entry in stored["entries"]}
    names = [entry.name for entry in entries]
    if list(before) != names:
        return [f"entries: {', '.join(before)} -> {', '.join(names)}"]
    found = [
        f"{entry.name}: {change.text}"
        for entry in entries
        for change in changes_since(before[entry.name], entry.config, REGISTRIES)
    ]
    decided, now = stored.get("protocol") or {}, protocol.as_dict()
    found += [f"{key}: {decided.get(key)} -> {now[key]}" for key in IDENTIFYING if decided.get(key) != now[key]]
    return found
