"""Relative paths mean one thing while something runs, whatever folder the user's code changes to meanwhile."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import StorageError

#: Of these the last has several folders.
_FOLDERS = ("OPTRUN_RUNS_DIR", "OPTRUN_DATA_DIR", "OPTRUN_STATE_DIR", "OPTRUN_COMPILED_DIR", "OPTRUN_CONFIG_PATH")
_held: Path | None = None  # the folder in which what runs now was started
has_moved = False  # whether the user's code has ever gone to another folder, and was brought back
_given_relative: set[Path] = set()  # those that are shown so


@contextmanager
def held_places(*, come_back: bool = True) -> Iterator[None]:
    """Let relative paths mean what they mean now until the end of the block, those of variables and imports too.

    An inner block changes nothing. It is a decorator, too, for functions that run the user's code.

    Args:
        come_back: the process is in this folder again at the end, wherever it went.
    """
    global _held, has_moved
    if _held is not None:
        yield
        return
    folder = current_folder()
    variables = {name: os.environ[name] for name in _FOLDERS if os.environ.get(name)}
    relative = [
        entry for entry in sys.path if not os.path.isabs(entry) and os.path.exists(entry or ".")
    ]  # no hook's name
    imports = {entry: str(absolute(entry)) for entry in relative}
    os.environ.update({name: _absolute_list(value) for name, value in variables.items()})
    sys.path[:] = [imports.get(entry, entry) for entry in sys.path]
    _held = folder
    try:
        yield
    except FileNotFoundError as error:
        if error.filename is None and _is_gone():
            raise StorageError(
                "code that was called has changed to a folder that was deleted: let it come back first"
            ) from error
        raise
    finally:
        _held = None
        os.environ.update(variables)
        before = {absolute: entry for entry, absolute in imports.items()}
        sys.path[:] = [before.get(entry, entry) for entry in sys.path]
        if come_back and not _is_here(folder) and os.path.isdir(folder):
            has_moved = True
            os.chdir(folder)


def current_folder() -> Path:
    """Return the folder that relative paths are relative to: that in which what runs was started.

    Raises:
        StorageError: it was deleted.
    """
    if _held is not None:
        return _held
    try:
        return Path.cwd()
    except OSError as error:
        raise StorageError("the current folder was deleted: change to another one (cd)") from error


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return a path that means the same wherever the process is; its links stay."""
    place = Path(os.path.normpath(current_folder() / path))
    if not os.path.isabs(path):
        _given_relative.add(place)
    return place


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path as it was given, or as what it lies in was: relative or absolute."""
    place = Path(path)
    return from_here(place) if any(each in _given_relative for each in (place, *place.parents)) else str(place)


def from_here(path: str | os.PathLike[str]) -> str:
    """Return a path as users like to read it: relative to their folder where it lies below."""
    try:
        return Path(os.path.normpath(current_folder() / path)).relative_to(current_folder()).as_posix()
    except (StorageError, ValueError):
        return str(path)


def _is_gone() -> bool:
    """Return True if the folder in which the process is was deleted."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _is_here(folder: Path) -> bool:
    try:
        return Path.cwd() == folder
    except OSError:  # it was deleted
        return False


def folder_of(variable: str) -> Path | None:
    """Return the folder that an environment variable names, `~` meaning the user's; None where it is not set.

    Raises:
        StorageError: there is something else of that name.
    """
    value = os.environ.get(variable)
    if not value:
        return None
    folder = absolute(os.path.expanduser(value))
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{variable}={value}: expected a folder, and this is a file")
    return folder


def _absolute_list(value: str) -> str:
    """Make each folder in a list such as that of OPTRUN_CONFIG_PATH independent of where the process is."""
    entries = (os.path.expanduser(entry) for entry in value.split(os.pathsep))
    return os.pathsep.join(str(absolute(entry)) if entry else "" for entry in entries)
