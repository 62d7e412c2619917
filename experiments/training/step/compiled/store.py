"""What was compiled, or found out on the way to it, kept between processes by all that it depends on.

A fact is a small JSON file `steps/<key>.json` in the folder of compiled code, written when all that it names is there.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ....errors import StorageError
from ....system.locks import try_lock
from ....system.places import folder_of
from ....system.storage import make_dir, read_bytes, write_derived
from .cannot import CannotCompile

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
    """Return what is kept under a key; None where nothing is, or where it cannot be read."""
    if key is None:
        return None
    file = private_folder() / "steps" / f"{key}.json"
    try:
        return json.loads(read_bytes(file)) if file.exists() else None
    except (StorageError, ValueError):  # of a disk that was full, say: it is made anew
        return None


def keep(key: str | None, facts: Facts) -> None:
    """Keep facts under a key, for other processes and for later."""
    if key is None:
        return
    file = private_folder() / "steps" / f"{key}.json"
    make_dir(file.parent, exist_ok=True)
    write_derived(file, json.dumps(facts))


@contextmanager
def alone(key: str | None) -> Iterator[None]:
    """Let one process at a time make what a key stands for: others wait, and find it made."""
    if key is None:
        yield
        return
    folder = private_folder() / "steps"
    make_dir(folder, exist_ok=True)
    lock = try_lock(folder / f"{key}.lock", folder, patience_secs=-1)
    assert lock is not None  # it waits for ever
    try:
        yield
    finally:
        lock.release()
