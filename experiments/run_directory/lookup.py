"""How a run is found by what a user types; a thousand runs are looked through in some milliseconds."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

from ..errors import NothingMatchedError, UsageError
from .run_dir import RunDir, default_root, is_run

_MIN_PREFIX = 4


def find_runs(root: str | Path | None = None) -> list[RunDir]:
    """Return all runs below `root`, those in groups (`root/group/run`) included, in order of their names.

    Args:
        root: by default `default_root()`.
    """
    found = []
    for folder in _folders(Path(root) if root is not None else default_root()):
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
    root = Path(root) if root is not None else default_root()
    wanted = text.removeprefix("run:")
    if not text.startswith("run:") and ("/" in wanted or os.sep in wanted or wanted.startswith(("~", "."))):
        path = Path(wanted).expanduser()
        if is_run(path):
            return RunDir(path)
    runs = find_runs(root)
    if wanted.startswith("@"):
        return _latest(wanted, runs, root)
    ids = {run.path.relative_to(root).as_posix(): run for run in runs}
    for matches in (
        [run for id, run in ids.items() if id == wanted],
        [run for run in runs if run.path.name == wanted],
        [run for id, run in ids.items() if len(wanted) >= _MIN_PREFIX and _begins(id, wanted)],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            names = ", ".join(run.path.relative_to(root).as_posix() for run in matches[:8])
            more = f" and {len(matches) - 8} more" if len(matches) > 8 else ""
            raise UsageError(f"'{text}' means {len(matches)} runs: {names}{more}. Give more of the name")
    raise NothingMatchedError(_nothing(wanted, list(ids), root))


def _folders(path: Path | str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except (FileNotFoundError, PermissionError):
        return []


def _natural_order(path: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", path)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]


def _begins(id: str, wanted: str) -> bool:
    return id.startswith(wanted) or id.rpartition("/")[2].startswith(wanted)


def _latest(wanted: str, runs: list[RunDir], root: Path) -> RunDir:
    if not re.fullmatch(r"@[1-9]\d{0,8}", wanted, re.ASCII):
        raise UsageError(f"'{wanted}' is no run: `@1` is the latest, `@2` the one before it")
    number = int(wanted[1:])
    if number > len(runs):
        raise NothingMatchedError(f"'{wanted}': there are only {len(runs)} runs in {root}")
    return sorted(runs, key=lambda run: run._read_status().get("started", ""))[-number]


def _nothing(wanted: str, ids: list[str], root: Path) -> str:
    near = difflib.get_close_matches(wanted, ids, n=3, cutoff=0.4) or [id for id in ids if id.startswith(wanted)][:3]
    if not ids:
        return f"no run '{wanted}': there are no runs in {root}"
    short = f" (the beginning of a name needs {_MIN_PREFIX} characters)" if len(wanted) < _MIN_PREFIX else ""
    hint = f" Nearest: {', '.join(near)}" if near else f" `optrun runs` lists the {len(ids)} that there are"
    return f"no run '{wanted}' in {root}{short}.{hint}"
