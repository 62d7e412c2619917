"""What was compiled, or found out on the way to it, kept between processes by all that it depends on.

A fact is a small JSON file `steps/<key>.json` in the folder of compiled code, written when all that it names is there.
"""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ....errors import StorageError
from ....system.locks import locked
from ....system.places import folder_of
from ....system.storage import make_dir, read_bytes, write_derived
from .cannot import CannotCompile

log = logging.getLogger("optrun")

Facts = dict[str, Any]


def compiled_dir() -> Path:
    """Return the folder of compiled code: OPTRUN_COMPILED_DIR, else `optrun/compiled` in the user's cache."""
    if (own := folder_of("OPTRUN_COMPILED_DIR")) is not None:
        return own
    cache = os.environ.get("XDG_CACHE_HOME", "")  # its specification has relative paths ignored
    return (Path(cache) if os.path.isabs(cache) else Path.home() / ".cache") / "optrun" / "compiled"


def folder_problem() -> str | None:
    """Return why the folder of compiled code cannot be used, in words: code in it is executed, so it must be private.

    It is made where there is none.
    """
    folder = compiled_dir()
    try:
        if make_dir(folder, exist_ok=True):
            folder.chmod(0o700)
        found = folder.stat()
    except (OSError, StorageError) as error:
        return f"the folder of compiled code cannot be used ({error}): set OPTRUN_COMPILED_DIR"
    if os.name == "posix" and found.st_uid != os.getuid():
        return f"{folder}, where compiled code is kept, belongs to somebody else: set OPTRUN_COMPILED_DIR"
    if os.name == "posix" and stat.S_IMODE(found.st_mode) & 0o077:
        return f"{folder}, where compiled code is kept, is open to others: chmod 700 {folder}"
    return None


def private_folder() -> Path:
    """Return the folder of compiled code.

    Raises:
        CannotCompile: it cannot be used.
    """
    if (problem := folder_problem()) is not None:
        raise CannotCompile(problem)
    return compiled_dir()


def recall(key: str | None) -> Facts | None:
    """Return what is kept under a key; None where nothing is, or what a full disk or a crash left of it: no loss."""
    if key is None:
        return None
    file = _file_of(key)
    try:
        return json.loads(read_bytes(file)) if file.exists() else None
    except (StorageError, ValueError):
        return None


def keep(key: str | None, facts: Facts) -> None:
    """Keep facts under a key, for other processes and for later."""
    if key is None:
        return
    try:
        write_derived(_file_of(key), json.dumps(facts))
    except StorageError as error:
        log.warning("what was compiled is not kept for later runs: %s", error)


@contextmanager
def alone(key: str | None) -> Iterator[None]:
    """Let one process at a time make what a key stands for: others wait, and find it made.

    Raises:
        CannotCompile: the folder cannot be locked.
    """
    with ExitStack() as stack:
        if key is not None:
            try:
                stack.enter_context(locked(_file_of(key)))
            except StorageError as error:
                raise CannotCompile(f"the folder of compiled code cannot be locked: {error}") from error
        yield


def _file_of(key: str) -> Path:
    folder = private_folder() / "steps"
    try:
        make_dir(folder, exist_ok=True)
    except StorageError as error:
        raise CannotCompile(f"the folder of compiled code cannot be used: {error}") from error
    return folder / f"{key}.json"
