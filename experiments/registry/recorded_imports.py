"""Imports of the user's modules as they happen: each is executed from bytes that were read once, and hashed.

A module that Python would take from a `.pyc` file, or that was imported before this was set up, could be another one
than the file that stands on the disk now: a record of that file would then be of code that never ran.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

from ..errors import CodeNotAllowedError
from ..system.user_files import is_users
from .code_files import file_of, is_outside, sha256

Guard = Callable[[Path, str], None]  # is told of file and SHA-256 before it is executed, and raises to refuse it

#: The SHA-256 of what was executed, by file, and the source itself.
executed: dict[str, str] = {}
sources: dict[str, bytes] = {}
#: By file: the modules whose first import it began, late ones included.
begun: dict[str, set[str]] = {}

_guards: list[Guard] = []
_expected: dict[str, str] = {}  # by file: what was checked, and is all that a later import of it may execute


class RecordingLoader(SourceFileLoader):
    """Executes the source that was read and hashed; no cached .pyc is read.

    Args:
        name: of the module.
        path: its file.
        source: where it was read already.
    """

    def __init__(self, name: str, path: str, source: bytes | None = None):
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> Any:
        source, self._source = self._source, None  # a reload reads the file again
        path = Path(self.path).resolve()
        if source is None:
            source = path.read_bytes()
            for guard in _guards:
                guard(path, sha256(source))
            if _expected.get(str(path), sha256(source)) != sha256(source):
                raise CodeNotAllowedError(f"{path} has changed since it was checked, while this process ran")
        note(path, source)
        return self.source_to_code(source, self.path)


class _Recorder:
    """A finder before all others that finds what they find, and has the user's sources executed from hashed bytes."""

    asks_the_others = True

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if is_outside(name):
            return None
        self._note_importer(name)
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                return self._recorded(spec)
        return None

    def _recorded(self, spec: ModuleSpec) -> ModuleSpec:
        file = file_of(spec)
        if type(spec.loader) is SourceFileLoader and file is not None and is_users(file):
            spec.loader = RecordingLoader(spec.loader.name, spec.loader.path)
        return spec

    def _note_importer(self, name: str) -> None:
        frame = sys._getframe(2)
        while frame is not None and frame.f_globals.get("__name__", "").startswith("importlib"):
            frame = frame.f_back
        if frame is not None:
            file = frame.f_globals.get("__file__")
            if isinstance(file, str):
                begun.setdefault(str(Path(file).resolve()), set()).add(name)


_RECORDER: Any = _Recorder()


def record_imports() -> None:
    """Record imports from now on; a finder that others put in front later is overtaken again."""
    if _RECORDER not in sys.meta_path[:1]:
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(_RECORDER)
        sys.meta_path.insert(0, _RECORDER)


def note(path: Path, source: bytes) -> None:
    """Take in that a file is executed."""
    executed[str(path)] = sha256(source)
    sources[executed[str(path)]] = source


@contextlib.contextmanager
def guarded(guard: Guard | None) -> Iterator[None]:
    """Let a guard look at each of the user's files before it is executed, within a `with` block."""
    if guard is None:
        yield
        return
    _guards.append(guard)
    try:
        yield
    finally:
        _guards.remove(guard)


def expect(path: Path, digest: str) -> None:
    """Refuse other content than that with this SHA-256, should the file be imported later, in a function perhaps."""
    _expected[str(path)] = digest


def forget_checks() -> None:
    """Expect nothing any more: the user's own command names the code from here on."""
    _expected.clear()


def is_stale(path: Path, digest: str) -> bool:
    """Return True if what this process imported from a file is not what stands there now.

    Args:
        path: a file whose module is loaded.
        digest: of what stands there.
    """
    known = executed.get(str(path))
    return known != digest if known is not None else _changed_since_compiled(path)


def _changed_since_compiled(path: Path) -> bool:
    """Return True if a file was written after Python had compiled it, and nobody compiled it since."""
    try:
        cache = Path(cache_from_source(str(path)))
        header, compiled, now = cache.read_bytes()[:16], cache.stat(), path.stat()
    except (OSError, NotImplementedError, ValueError):
        return False  # nothing says so
    if len(header) < 16 or int.from_bytes(header[4:8], "little"):  # checked by hash, not by time
        return False
    compiled_from = int.from_bytes(header[8:12], "little"), int.from_bytes(header[12:16], "little")
    is_newer = now.st_mtime > compiled.st_mtime
    return is_newer and compiled_from != (int(now.st_mtime) & 0xFFFFFFFF, now.st_size & 0xFFFFFFFF)
