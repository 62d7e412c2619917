"""The user's own code that was trained with on this machine, by SHA-256: other commands may execute it without asking.

A run directory says itself which code it was made with, and whoever makes a run directory writes that. So the run's
word is not enough: the same files must have been used here before, together, by this user's own command.

The list is `trusted-code.txt`, a set of files a line: the SHA-256 of the set, then those of its files, sorted. It was a
folder `trusted-code` first, with an empty file for each hash: what is in one counts as one more set.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from ..errors import StorageError
from . import storage
from .append_file import AppendFile
from .places import folder_of

log = logging.getLogger("optrun")

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SET = re.compile(r"[0-9a-f]{64}(?: [0-9a-f]{64})+", re.ASCII)


def state_dir() -> Path:
    """Return the folder of what is remembered between runs: OPTRUN_STATE_DIR, else `optrun` in the user's state."""
    if (own := folder_of("OPTRUN_STATE_DIR")) is not None:
        return own
    state = os.environ.get("XDG_STATE_HOME", "")  # its specification has relative paths ignored
    return (Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state") / "optrun"


def is_trusted(hashes: Collection[str]) -> bool:
    """Return True if files with these hashes were trained with here, or allowed, all of them together."""
    wanted = set(hashes)
    return any(wanted <= known for known in _sets())


def trust(hashes: Iterable[str]) -> None:
    """Remember a set of files by their hashes; where nothing can be written, say what follows."""
    new = sorted({sha256 for sha256 in hashes if _SHA256.fullmatch(sha256)})
    if not new or frozenset(new) in _sets():
        return
    try:
        storage.make_dir(state_dir(), exist_ok=True)
        file = AppendFile(_list())
        try:
            file.append(f"{set_sha256(new)} {' '.join(new)}\n".encode())
        finally:
            file.close()
    except StorageError as error:
        log.warning("%s; so other commands will ask for --allow-code", error)


def set_sha256(hashes: Iterable[str]) -> str:
    """Return the SHA-256 of a set of files, given theirs."""
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()


def _sets() -> list[frozenset[str]]:
    """Return the sets of the list; a line that is damaged is none."""
    try:
        lines = storage.read_bytes(_list()).decode("ascii", "replace").splitlines()
    except StorageError:
        lines = []
    found = [line.split() for line in lines if _SET.fullmatch(line)]
    sets = [frozenset(files) for key, *files in found if key == set_sha256(files)]
    try:
        before = frozenset(name for name in os.listdir(state_dir() / "trusted-code") if _SHA256.fullmatch(name))
    except OSError:
        return sets
    return [*sets, before]


def _list() -> Path:
    return state_dir() / "trusted-code.txt"
