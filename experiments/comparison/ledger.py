"""The keeper of comparison.json: everything that is known of a group, written whenever something changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..run_directory.comparison_file import FILE_NAME, SCHEMA, is_group, read_group
from ..run_directory.looks import seeds_of, why_exploratory
from ..system import storage
from ..system.json_text import encode_json
from .identity import PROCESSES
from .tasks import Task


class Ledger:
    """Keeps a group's file.

    Args:
        path: the group's folder, made if missing.
        kind: `compare` or `sweep`.
        protocol: what was decided before the first run.
        entries: one mapping for each contender.
        pairing: `same` and `differences`: what the entries have in common, and in what they differ.

    Raises:
        DataError: the file that is there cannot be read.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        protocol: dict[str, Any],
        entries: list[dict[str, Any]],
        pairing: dict[str, Any],
    ):
        self.path = path
        before = read_group(path) if is_group(path) else {}
        self.data: dict[str, Any] = {
            "schema": SCHEMA,
            "kind": kind,
            "name": path.name,
            "created": before.get("created", _now()),
            "updated": _now(),
            "complete": False,
            "protocol": protocol,
            "entries": entries,
            "runs": [],
            "pairing": {"checked": False, "seeds": {}, **pairing},
            "engine": before.get("engine", {"name": PROCESSES} if before else None),
            "looks": before.get("looks", []),
            "verified": before.get("verified"),
            "estimate_secs": None,
            "wall_secs": None,
        }
        self.tasks: list[Task] = []

    def add(self, tasks: list[Task]) -> None:
        """Take tasks in, and number them."""
        for task in tasks:
            task.number = len(self.tasks)
            self.tasks.append(task)

    def of(self, role: str, entry: str) -> list[Task]:
        """Return the tasks of one entry in one role."""
        return [task for task in self.tasks if (task.role, task.entry) == (role, entry)]

    def entry(self, name: str) -> dict[str, Any]:
        """Return the mapping of one contender, to be changed in place."""
        return next(entry for entry in self.data["entries"] if entry["name"] == name)

    def look(self, seeds: Sequence[int]) -> None:
        """Record that a verdict was read, and with which seeds; one that others were planned for is exploratory."""
        looks = self.data["looks"]
        if not looks or seeds_of(looks[-1]) != frozenset(seeds):
            looks.append({"seeds": len(seeds), "set": sorted(seeds), "when": _now()})
            looks[-1]["exploratory"] = bool(why_exploratory(looks))

    def write(self) -> None:
        """Write the file, durably."""
        storage.make_dir(self.path, exist_ok=True)
        self.data["updated"] = _now()
        self.data["runs"] = [task.as_dict() for task in self.tasks]
        storage.write_atomic(self.path / FILE_NAME, encode_json(self.data, indent=1))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
