"""The file that keeps an answer: the question as it was typed, what the answer depends on, what a repeat would tell.

<runs>/.cache/answers/<digest of the question>-<group>.json: a line with the SHA-256 of the rest, then one JSON object.
It can be made again, and is: one that is missing, damaged or of another form is as good as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import StorageError
from ..system import storage
from ..system.observed import kind_of
from ..system.stamps import Stamp, look, names_sha256

SCHEMA = "optrun/answer@1"
_UNSETTLED = ("updated", "wall_secs")  # of comparison.json, which each repeat writes anew


@dataclass
class Answer:
    """What is kept of a finished comparison or sweep.

    Args:
        question: as it was typed, with the folder in which it was.
        group: name of the group's folder.
        surroundings: see `system.surroundings`; without what has no part in this answer.
        files: stamps by path, each with size, times and SHA-256.
        names: what was at each path that was looked for, or that nothing was there.
        folders: SHA-256 of the names in folders whose content counts.
        modules: the same for folders in which the user's imports are looked for, of what they could find.
        content: SHA-256 of comparison.json, as a repeat would write it.
        events: that a repeat would tell.
        values: of special functions.
        written_ns: when the stamps were taken.
    """

    question: dict[str, Any]
    group: str
    surroundings: dict[str, Any]
    files: dict[str, list[Any]]
    names: dict[str, str]
    folders: dict[str, str | None]
    modules: dict[str, str | None]
    content: str
    events: list[dict[str, Any]]
    values: dict[str, str]
    written_ns: int = field(default_factory=time.time_ns)

    def is_still_right(self) -> bool:
        """Return True if files, names and folders are what they were; files of the same content get new stamps."""
        if any(kind_of(path) != kind for path, kind in self.names.items()):
            return False
        listed = [(path, names_sha256(path), was) for path, was in self.folders.items()]
        listed += [(path, names_sha256(path, importable=True), was) for path, was in self.modules.items()]
        if any(now != was for _, now, was in listed):
            return False
        started, touched = time.time_ns(), {}
        for path, kept in self.files.items():
            found, stamp = look(path, Stamp.of_list(kept), self.written_ns)
            if found == "other":
                return False
            if found == "touched":
                touched[path] = stamp.as_list()
        if touched:  # those that were settled stay so at a later moment
            self.files |= touched
            self.written_ns = started
        return True


def as_repeated(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of comparison.json as a repeat of a complete comparison or sweep leaves it, times apart."""
    runs = [{**run, "cached": True} for run in data["runs"]]
    estimate = None if data["estimate_secs"] is None else 0.0
    return {**data, "runs": runs, "estimate_secs": estimate}


def content_sha256(data: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what `as_repeated` gave, without the times."""
    settled = {key: value for key, value in data.items() if key not in _UNSETTLED}
    return hashlib.sha256(json.dumps(settled).encode()).hexdigest()


def read_answer(root: Path, question: Mapping[str, Any]) -> Answer | None:
    """Return the answer that is kept for a question; None where there is none that can be read."""
    for name in _names(root, _digest(question)):
        try:
            content = storage.read_bytes(_folder(root) / name)
        except StorageError:
            continue
        checksum, _, rest = content.partition(b"\n")
        if checksum.decode(errors="replace") != hashlib.sha256(rest).hexdigest():
            continue
        kept = json.loads(rest)
        if kept.pop("schema", None) == SCHEMA and kept["question"] == question:
            return Answer(**kept)
    return None


def write_answer(root: Path, answer: Answer) -> bool:
    """Keep an answer, and forget those of groups that are gone; return False where JSON does not hold it exactly.

    Raises:
        StorageError: it cannot be written.
    """
    kept = {"schema": SCHEMA, **asdict(answer)}
    try:
        text = json.dumps(kept)
    except (TypeError, ValueError):
        return False
    if json.loads(text) != kept:
        return False
    folder, rest = _folder(root), text.encode()
    storage.make_dir(folder, exist_ok=True)
    mine = f"{_digest(answer.question)}-{answer.group}.json"
    for name in os.listdir(folder):
        digest, _, group = name.removesuffix(".json").partition("-")
        if name != mine and (digest == mine.partition("-")[0] or not (root / group).is_dir()):
            with contextlib.suppress(storage.MissingFileError):
                storage.remove(folder / name)
    storage.write_derived(folder / mine, hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)
    return True


def _names(root: Path, digest: str) -> list[str]:
    try:
        return [name for name in os.listdir(_folder(root)) if name.startswith(f"{digest}-") and name.endswith(".json")]
    except OSError:
        return []


def _folder(root: Path) -> Path:
    return root / ".cache" / "answers"


def _digest(question: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:32]
