"""Where hooks write files: a configuration's hooks inside the run directory, and never over what is not theirs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from ...errors import UsageError
from ...system import storage
from ...system.places import absolute
from .hook import Hook
from .session_view import SessionView

_HEAD = 4096
_OF_THE_RUN = ("config.yaml", "origins.json", "env.json", "status.json", "summary.json", "fitted.json", "data.json",
               "log.txt", "metrics.jsonl", ".lock", "checkpoints", "diverged")  # fmt: skip


def output_path(
    hook: Hook, session: SessionView, given: str | None, default: str, needs: str, outside: bool = False
) -> Path:
    """Return where a hook writes: where it was told to, or under its own name in the session's folder.

    A hook of a configuration, which may have come from anywhere, writes inside the run directory, to which a relative
    path is relative; into a folder that is deleted at the end where the session keeps nothing. A hook that a program
    makes writes where the program says.

    Args:
        hook: that writes.
        session: that it is in.
        given: the path that it was told; None for `default`.
        default: its own name.
        needs: the beginning of an error, such as `CsvHook needs a path`.
        outside: whether `given` may lie outside of the run directory; it is then relative to the current folder.

    Raises:
        UsageError: there is no folder, the path leads out of it, or to a file of the run itself.
    """
    if not hook.configured_as or (outside and given is not None):
        if given is not None:
            return absolute(given)
        if session.summary_dir is None:
            raise UsageError(f"{needs} in a session with neither summary_dir nor checkpoint_dir")
        return session.summary_dir / default
    folder = session.summary_dir
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="optrun-"))
        session.on_close(lambda: shutil.rmtree(folder, ignore_errors=True))
    inside, path = folder.resolve(), folder / (default if given is None else given)
    if not path.resolve().is_relative_to(inside):
        raise UsageError(
            f"{hook.name}: {path} is outside of the run directory: give a path inside it, or `outside: true`"
        )
    first = path.resolve().relative_to(inside).parts[:1]
    if first and first[0] in _OF_THE_RUN:
        raise UsageError(f"{hook.name}: {path} is a place of the run itself: give another path")
    return path


def check_replaceable(path: Path, is_own: Callable[[bytes], bool]) -> None:
    """Refuse to write over a file that no hook of this kind has written.

    Args:
        path: of the file, which need not exist.
        is_own: returns True for the beginning of a file as the hook writes it.

    Raises:
        UsageError: there is another file, or a link.
        StorageError: it cannot be read.
    """
    if path.is_symlink():
        raise UsageError(f"{path} is a link: remove it, or give another path")
    if not path.exists():
        return
    head = storage.read_bytes(path)[:_HEAD]
    if head and not is_own(head):
        raise UsageError(f"{path} is there already, and no file of this hook: move it away, or give another path")
