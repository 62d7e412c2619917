"""Runs and groups found by what a user types; a thousand runs are looked through in some milliseconds."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import NothingMatchedError, UsageError, nearest
from ..system.places import absolute, shown
from .comparison_file import FILE_NAME, find_groups, is_group
from .run_dir import RunDir, default_root, is_run

_MIN_PREFIX = 4


def find_runs(root: str | Path | None = None) -> list[RunDir]:
    """Return all runs below `root`, those in groups (`root/group/run`) included, in order of their names.

    Args:
        root: by default `default_root()`.
    """
    found = []
    for folder in _folders(absolute(root) if root is not None else default_root()):
        if is_run(folder):
            found.append(folder)
        else:
            found += [inner for inner in _folders(folder) if is_run(inner)]
    return [RunDir(path) for path in sorted(found, key=_natural_order)]


def find_run(text: str, root: str | Path | None = None) -> RunDir:
    """Return the one run that `text` means: `run:ID`, a path, a name, the beginning of one, or `@1` for the latest.

    Args:
        text: a name may have its group before it (`lr-0001/mom-3`); a beginning needs 4 characters.
        root: by default `default_root()`.

    Raises:
        NothingMatchedError: no run is meant; the message lists the nearest names.
        UsageError: several are; the message lists them.
    """
    root = absolute(root) if root is not None else default_root()
    wanted = text.removeprefix("run:")
    if not text.startswith("run:") and ("/" in wanted or os.sep in wanted or wanted.startswith(("~", "."))):
        path = Path(wanted).expanduser()
        if is_run(path):
            return RunDir(path)
    runs = find_runs(root)
    if wanted.startswith("@"):
        return _latest(wanted, runs, root)
    ids = {run.path.relative_to(root).as_posix(): run for run in runs}
    found = choose(text, ids, "runs")
    if found is None:
        raise NothingMatchedError(_nothing(wanted, list(ids), root))
    return ids[found]


def find_group(text: str) -> Path | None:
    """Return the comparison or sweep that `text` means: a path, a name, the beginning of one; None where it means none.

    A run of that name comes first, and `run:ID` never is a group.

    Raises:
        UsageError: the names of several begin so.
    """
    if text.startswith(("run:", "@")):
        return None
    path = Path(text).expanduser()
    if len(path.parts) > 1 or text.startswith(".") or path.is_absolute():
        path = absolute(path)
        folder = path.parent if path.name == FILE_NAME else path
        return folder if is_group(folder) else None
    root = default_root()
    if is_run(root / text):
        return None
    found = choose(text, [group.name for group in find_groups(root)], "comparisons")
    return None if found is None else root / found


def find_run_or_group(text: str) -> RunDir | Path:
    """Return the run that `text` means, or the path of the group.

    Raises:
        NothingMatchedError: it means neither; the message lists the nearest names, those of groups too.
        UsageError: it means several.
    """
    group = find_group(text)
    if group is not None:
        return group
    try:
        return find_run(text)
    except NothingMatchedError as error:
        guess = nearest(text, [path.name for path in find_groups(default_root())])
        if guess is None:
            raise
        raise NothingMatchedError(f"{error}. Nearest comparison: {guess}") from None


def group_name(run: RunDir) -> str | None:
    """Return the name of the folder that a run of a group lies in; None for a run that stands alone."""
    folder = run.path.parent
    return None if folder == default_root() else folder.name


def choose(text: str, names: Iterable[str], noun: str, min_prefix: int = _MIN_PREFIX) -> str | None:
    """Return the name that is `text`, or the only one that begins so, or None.

    Args:
        text: `run:` before it means nothing here.
        names: of one with a group before it (`lr-0001/mom-3`) the last part alone will do.
        noun: of several.
        min_prefix: how many characters a beginning must have.

    Raises:
        UsageError: it means several; the message lists them.
    """
    wanted, names = text.removeprefix("run:"), list(names)
    is_long = len(wanted) >= min_prefix
    for matches in (
        [name for name in names if name == wanted],
        [name for name in names if name.rpartition("/")[2] == wanted],
        [name for name in names if is_long and (name.startswith(wanted) or name.rpartition("/")[2].startswith(wanted))],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            more = f" and {len(matches) - 8} more" if len(matches) > 8 else ""
            listed = f"{', '.join(matches[:8])}{more}"
            raise UsageError(f"'{text}' means {len(matches)} {noun}: {listed}. Give more of the name")
    return None


def _folders(path: Path | str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except (FileNotFoundError, PermissionError):
        return []


def _natural_order(path: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", path)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]


def _latest(wanted: str, runs: list[RunDir], root: Path) -> RunDir:
    if not re.fullmatch(r"@[1-9]\d{0,8}", wanted, re.ASCII):
        raise UsageError(f"'{wanted}' is no run: `@1` is the latest, `@2` the one before it")
    number = int(wanted[1:])
    if number > len(runs):
        raise NothingMatchedError(f"'{wanted}': there are only {len(runs)} runs in {shown(root)}")
    return sorted(runs, key=lambda run: run._read_status().get("started", ""))[-number]


def _nothing(wanted: str, ids: list[str], root: Path) -> str:
    near = difflib.get_close_matches(wanted, ids, n=3, cutoff=0.4) or [id for id in ids if id.startswith(wanted)][:3]
    if not ids:
        return f"no run '{wanted}': there are no runs in {shown(root)}"
    short = f" (the beginning of a name needs {_MIN_PREFIX} characters)" if len(wanted) < _MIN_PREFIX else ""
    hint = f" Nearest: {', '.join(near)}" if near else f" `optrun runs` lists the {len(ids)} that there are"
    return f"no run '{wanted}' in {shown(root)}{short}.{hint}"
