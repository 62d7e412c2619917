"""The user's own code that was trained with on this machine, by SHA-256: stored runs may execute it without asking.

A run directory says itself which code it was made with, and whoever makes a run directory writes that. So the run's
word is not enough: the same bytes must have been used here before, by this user's own command.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import StorageError
from . import storage

log = logging.getLogger("optrun")

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


def state_dir() -> Path:
    """Return the folder of what is remembered between runs: OPTRUN_STATE_DIR, else `optrun` in the user's state."""
    if own := os.environ.get("OPTRUN_STATE_DIR"):
        return Path(own).expanduser()
    state = os.environ.get("XDG_STATE_HOME", "")  # its specification has relative paths ignored
    return (Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state") / "optrun"


def is_trusted(sha256: str) -> bool:
    """Return True if code with this hash was trained with here, or allowed."""
    return _SHA256.fullmatch(sha256) is not None and (_folder() / sha256).is_file()


def trust(hashes: Iterable[str]) -> None:
    """Remember code by its hashes; where nothing can be written, say what follows."""
    new = [sha256 for sha256 in hashes if not is_trusted(sha256)]
    try:
        for sha256 in new:
            storage.make_dir(_folder(), exist_ok=True)
            storage.write_derived(_folder() / sha256, b"")
    except StorageError as error:
        log.warning("%s; so `eval` and `resume` will ask for --allow-code", error)


def _folder() -> Path:
    return state_dir() / "trusted-code"
