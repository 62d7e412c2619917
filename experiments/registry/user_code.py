"""The user's own components: `pkg.mod:Class` and `./file.py:Class`, with a record of the code that was used."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from shlex import quote
from typing import Any

from ..errors import CodeNotAllowedError, UsageError, unknown_name
from ..system.imports import KEEP_IMPORTS, Imports
from ..system.raised import is_failure, message_of, type_and_text
from ..system.trusted_code import trust
from ..system.user_files import is_standard_library, is_users
from .code_files import find_spec, sha256
from .kinds import Kind, check_installed, check_object
from .permissions import KnownCode, Permission, RunCode, consent, permission_in
from .reachable import Root, reach
from .recorded_imports import RecordingLoader, expect, forget_checks, guarded, is_stale, record_imports

_ANYTHING = Kind("object")


@dataclass(frozen=True)
class CodeFile:
    """A file of user code that a run depends on."""

    path: str
    sha256: str


def is_code_reference(name: str) -> bool:
    """Return True for `pkg.mod:Class` and `./file.py:Class`, False for a registered name."""
    return ":" in name


def absolute_reference(name: str, base: Path) -> str:
    """Make `./file.py:Class` independent of where it is read from; `base` is the folder of the naming config."""
    location, _, attribute = name.rpartition(":")
    return f"{(base / location).resolve()}:{attribute}" if location.endswith(".py") else name


def root_of(name: str, code: CodeFile) -> Root:
    """Return where to begin to look for the files that a code reference reaches."""
    location = name.rpartition(":")[0]
    return Root(None if location.endswith(".py") else location, Path(code.path), code.sha256)


def load_object(
    name: str, base: Path, trusted: Mapping[str, str] | Permission | None = None, kind: Kind | None = None
) -> tuple[Any, CodeFile]:
    """Import the object that a code reference names.

    The file is read once: what is hashed, checked and recorded is what is executed; so is each file of the user's that
    it imports.

    Args:
        name: `pkg.mod:Class` or `./file.py:Class`.
        base: the folder that a relative file is relative to.
        trusted: None for what the user has consented to. For a config stored with a run: the code that the run was made
            with, or the SHA-256 of each file by absolute path; anything else is refused before it is executed.
        kind: what the object has to be; None for anything in the user's own files.

    Raises:
        UsageError: no such module, file or attribute, the code fails when it is imported, or the object is neither of
            its kind nor defined in the user's own files.
        CodeNotAllowedError: the file, or one that it imports, may not be executed without the user's word.
    """
    location, _, attribute = name.rpartition(":")
    if not location or not attribute.isidentifier():
        raise UsageError(f"'{name}' is not `pkg.mod:Class` or `./file.py:Class`")
    path = _locate(location, base)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if not is_users(path):
        check_installed(name, location, attribute, kind or _ANYTHING)
    code = CodeFile(str(path), sha256(source))
    permission = RunCode(trusted) if isinstance(trusted, Mapping) else trusted
    permission = permission or permission_in(base.absolute(), KnownCode())
    if permission is None:
        forget_checks()
    elif is_users(path) or isinstance(permission, RunCode):  # what is installed, the user has installed
        permission.check(path, code.sha256)
    guard = permission.check_import if permission is not None else None
    if guard is not None:
        for file, digest in reach([root_of(name, code)], strict=False).files.items():
            if is_users(Path(file)) or isinstance(permission, RunCode):
                guard(Path(file), digest)
                expect(Path(file), digest)
    record_imports()
    with guarded(guard):
        if location.endswith(".py"):
            module = _import_file(path, source, code.sha256)
        else:
            module = _import_module(location, path, source, code.sha256)
    try:
        found = getattr(module, attribute)
    except AttributeError:
        names = [known for known in vars(module) if not known.startswith("_")]
        raise UsageError(f"{path}: {unknown_name('object', attribute, names)}") from None
    if kind is not None or not is_users(path):
        check_object(name, found, attribute, path, source, kind or _ANYTHING)
    if consent() == "all":  # the user has just allowed it: once is enough
        trust(reach([root_of(name, code)], strict=False).files.values())
    return found, code


def _locate(location: str, base: Path) -> Path:
    """Find the file of a file or module name, without executing anything."""
    path = (base / location).resolve() if location.endswith(".py") else None
    standard = is_standard_library(path) if path else location.split(".")[0] in sys.stdlib_module_names
    if standard:  # nothing to train with there, much to do harm with
        raise UsageError(f"'{location}' is part of Python's standard library, which holds no components")
    if path is None:
        return _find_module(location)
    if not path.is_file():
        raise UsageError(f"no file {path}")
    if not is_users(path):
        raise UsageError(f"{path} belongs to an installed package: name it as `pkg.mod:Class`")
    return path


def _find_module(location: str) -> Path:
    """Return the source file of a module."""
    parts, spec = location.split("."), None
    for length, part in enumerate(parts, 1):
        if not part.isidentifier():
            raise UsageError(f"no module '{location}', and no file that ends in .py")
        name = ".".join(parts[:length])
        spec = find_spec(name)
        if spec is None:
            raise UsageError(
                f"no module '{name}' in this Python: is it installed, or is the folder missing in PYTHONPATH?"
            )
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise UsageError(f"'{location}' is no module with a source file")
    if not isinstance(spec.loader, SourceFileLoader):
        raise UsageError(f"'{location}' is compiled ({spec.origin}): name a Python file that imports it")
    return Path(spec.origin).resolve()


class _Pinned:
    """A finder that answers for one module, with source that was read already, however that module is imported."""

    def __init__(self, name: str, path: Path, source: bytes):
        folders = [str(path.parent)] if path.name == "__init__.py" else None
        loader = RecordingLoader(name, str(path), source)
        self.spec = spec_from_file_location(name, path, loader=loader, submodule_search_locations=folders)

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return self.spec if self.spec is not None and name == self.spec.name else None


def _import_file(path: Path, source: bytes, digest: str) -> Any:
    """Import a file as a module of its own, named by place and content: a changed file is never the old module."""
    place = sha256(str(path).encode())
    return _import_pinned(f"optrun_user_{place[:8]}_{digest[:16]}", path, source)


def _import_module(location: str, path: Path, source: bytes, digest: str) -> Any:
    """Import a module under its own name; Python keeps running the source that it was first imported from."""
    module = _import_pinned(location, path, source)
    if is_stale(path, digest):
        raise UsageError(f"{path} has changed since this process imported it: start a new process")
    return module


def _import_pinned(name: str, path: Path, source: bytes) -> Any:
    finder: Any = _Pinned(name, path, source)
    before = Imports.now()
    sys.meta_path.insert(0, finder)
    try:
        module = importlib.import_module(name)
    except CodeNotAllowedError:
        raise
    except BaseException as error:  # the user's code may raise anything; it must be reported as theirs
        if not is_failure(error):
            raise
        taken = before.taken()
        way_out = f"; it took {taken}: {KEEP_IMPORTS}" if taken else _way_out(error, path)
        message = f"{_line_of(error, path)} fails when imported: {type_and_text(error)}{way_out}"
        raise UsageError(message) from error
    finally:
        taken = before.taken()
        before.put_back()
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)
    if taken:
        raise UsageError(f"{path} took {taken} when imported: {KEEP_IMPORTS}")
    return module


def _line_of(error: BaseException, path: Path) -> str:
    """Return the place in the user's file where the error came up."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _way_out(error: BaseException, path: Path) -> str:
    if isinstance(error, ImportError) and "relative import" in message_of(error):
        return "; a file that is named by itself belongs to no package: name it as `pkg.mod:Class`"
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    first = path.with_name(error.name.partition(".")[0])
    if not first.with_name(f"{first.name}.py").is_file() and not first.is_dir():
        return ""
    folder = quote(str(path.parent))
    return (
        f"; it lies beside the file, where Python does not look: begin the command with PYTHONPATH={folder}, "
        "and it is recorded and hashed with the run as the file is"
    )
