"""How a comparison or sweep is found by what a user types; a folder with `comparison.json` below the runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_MIN_PREFIX = 4  # as for runs


def find_group(text: str) -> Path | None:
    """Return the group that `text` means: a path, a name, the beginning of one; None where it means none.

    A run of that name comes first, and `run:ID` never is a group.

    Raises:
        UsageError: the names of several begin so.
    """
    from ...experiments.errors import UsageError
    from ...experiments.run_directory.comparison_file import FILE_NAME, find_groups, is_group
    from ...experiments.run_directory.run_dir import default_root, is_run

    if text.startswith(("run:", "@")):
        return None
    path = Path(text).expanduser()
    if len(path.parts) > 1 or text.startswith(".") or path.is_absolute():
        folder = path.parent if path.name == FILE_NAME else path
        return folder if is_group(folder) else None
    root = default_root()
    if is_run(root / text):
        return None
    groups = find_groups(root)
    exact = [group for group in groups if group.name == text]
    begun = [group for group in groups if len(text) >= _MIN_PREFIX and group.name.startswith(text)]
    if len(exact or begun) > 1:
        names = ", ".join(group.name for group in begun)
        raise UsageError(f"'{text}' means {len(begun)} comparisons: {names}. Give more of the name")
    return next(iter(exact or begun), None)


def find_run_or_group(text: str) -> Any:
    """Return the `RunDir` that `text` means, or the path of the group.

    Raises:
        NothingMatchedError: it means neither; the message lists the nearest names, those of groups too.
        UsageError: it means several.
    """
    from ...experiments.errors import NothingMatchedError, nearest
    from ...experiments.run_directory.comparison_file import find_groups
    from ...experiments.run_directory.lookup import find_run
    from ...experiments.run_directory.run_dir import default_root

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


def group_name(run_dir: Any) -> str | None:
    """Return the name of the folder that a run of a group lies in; None for a run that stands alone."""
    from ...experiments.run_directory.run_dir import default_root

    folder = run_dir.path.parent
    return None if folder == default_root() else folder.name
