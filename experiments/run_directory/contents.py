"""The files of a finished run by their SHA-256, so that whoever took it for a result notices that it is another now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..system.content import file_sha256
from ..system.storage import explain

RESULT_FILES = ("config.yaml", "metrics.jsonl", "summary.json")  # what was run, and what came of it


def result_sha256(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that holds a run's result, by name; without those that are not there.

    Args:
        folder: the run directory.

    Raises:
        StorageError: one cannot be read.
    """
    found = {}
    for name in RESULT_FILES:
        path = folder / name
        if path.is_file():
            with explain("read", path):
                found[name] = file_sha256(path)
    return found


def changed_files(folder: Path, before: Mapping[str, str]) -> list[str]:
    """Return the names of the files that do not hold any more what `result_sha256` found, or are gone, or have come.

    Args:
        folder: the run directory.
        before: what was found then; nothing where nothing was kept, as by earlier versions.

    Raises:
        StorageError: one cannot be read.
    """
    now = result_sha256(folder) if before else {}
    return [name for name in RESULT_FILES if now.get(name) != before.get(name)]
