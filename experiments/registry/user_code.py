"""The user's own components: `pkg.mod:Class` and `./file.py:Class`, with a record of the code that was used."""

from __future__ import annotations

import hashlib
import importlib
import sys
import sysconfig
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

from ..errors import CodeNotAllowedError, UsageError, unknown_name


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


def load_object(name: str, base: Path, trusted: Mapping[str, str] | None = None) -> tuple[Any, CodeFile]:
    """Import the object that a code reference names.

    The file is read once: what is hashed, checked and recorded is what is executed. Modules that it imports in turn
    are not part of the record.

    Args:
        name: `pkg.mod:Class` or `./file.py:Class`.
        base: the folder that a relative file is relative to.
        trusted: None for a local config. For a config stored with a run: the SHA-256 of each code file that the
            run was made with, by absolute path; anything else is refused.

    Raises:
        UsageError: no such module, file or attribute, or the code fails when it is imported.
        CodeNotAllowedError: the file is not the one that the run was made with.
    """
    location, _, attribute = name.rpartition(":")
    if not location or not attribute.isidentifier():
        raise UsageError(f"'{name}' is not `pkg.mod:Class` or `./file.py:Class`")
    path = _locate(location, base)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    digest = hashlib.sha256(source).hexdigest()
    if trusted is not None and trusted.get(str(path)) != digest:
        change = "has changed since" if str(path) in trusted else "is not code that"
        raise CodeNotAllowedError(f"{path} {change} the run was made with: read it, then add --allow-code")
    if location.endswith(".py"):
        module = _import_file(path, source, digest)
    else:
        module = _import_module(location, path, source, digest)
    try:
        return getattr(module, attribute), CodeFile(str(path), digest)
    except AttributeError:
        names = [known for known in vars(module) if not known.startswith("_")]
        raise UsageError(f"{path}: {unknown_name('object', attribute, names)}") from None


def _locate(location: str, base: Path) -> Path:
    """Find the file of a file or module name, without executing anything."""
    path = (base / location).resolve() if location.endswith(".py") else None
    standard = _is_standard_library(path) if path else location.split(".")[0] in sys.stdlib_module_names
    if standard:  # nothing to train with there, much to do harm with
        raise UsageError(f"'{location}' is part of Python's standard library, which holds no components")
    if path is None:
        return _find_module(location)
    if not path.is_file():
        raise UsageError(f"no file {path}")
    return path


def _find_module(location: str) -> Path:
    """Return the source file of a module; unlike `importlib.util.find_spec`, this imports no parent package."""
    spec, folders, name = None, None, ""
    for part in location.split("."):
        if not part.isidentifier():
            raise UsageError(f"no module '{location}', and no file that ends in .py")
        name = f"{name}.{part}" if name else part
        # By its full name, the path finder would want the packages around a namespace package to be imported.
        found = (finder.find_spec(part if finder is PathFinder else name, folders) for finder in sys.meta_path)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is None:
            raise UsageError(
                f"no module '{name}' in this Python: is it installed, or is the folder missing in PYTHONPATH?"
            )
        folders = list(spec.submodule_search_locations or [])
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise UsageError(f"'{location}' is no module with a source file")
    if not isinstance(spec.loader, SourceFileLoader):
        raise UsageError(f"'{location}' is compiled ({spec.origin}): name a Python file that imports it")
    return Path(spec.origin).resolve()


def _is_standard_library(path: Path) -> bool:
    folders = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}
    installed = {"site-packages", "dist-packages"}.intersection(path.parts)
    return not installed and any(path.is_relative_to(folder) for folder in folders)


class _Loader(SourceFileLoader):
    """Executes the source that was read and checked; neither the file nor a cached .pyc is read again."""

    def __init__(self, name: str, path: str, source: bytes):
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self._source, self.path)


class _Pinned:
    """A finder that answers for one module, with source that was read already, however that module is imported."""

    def __init__(self, name: str, path: Path, source: bytes):
        folders = [str(path.parent)] if path.name == "__init__.py" else None
        loader = _Loader(name, str(path), source)
        self.spec = spec_from_file_location(name, path, loader=loader, submodule_search_locations=folders)

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return self.spec if self.spec is not None and name == self.spec.name else None


def _import_file(path: Path, source: bytes, digest: str) -> Any:
    """Import a file as a module of its own, named by place and content: a changed file is never the old module."""
    place = hashlib.sha256(str(path).encode()).hexdigest()
    return _import_pinned(f"optrun_user_{place[:8]}_{digest[:16]}", path, source)


def _import_module(location: str, path: Path, source: bytes, digest: str) -> Any:
    """Import a module under its own name; Python keeps running the source that it was first imported from."""
    module = _import_pinned(location, path, source)
    if vars(module.__spec__).setdefault("optrun_sha256", digest) != digest:
        raise UsageError(f"{path} has changed since this process imported it: start a new process")
    return module


def _import_pinned(name: str, path: Path, source: bytes) -> Any:
    finder: Any = _Pinned(name, path, source)
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # the user's code may raise anything; it must be reported as theirs
        message = f"{_line_of(error, path)} fails when imported: {type(error).__name__}: {error}{_way_out(error, path)}"
        raise UsageError(message) from error
    finally:
        sys.meta_path.remove(finder)


def _line_of(error: BaseException, path: Path) -> str:
    """Return the place in the user's file where the error came up."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _way_out(error: BaseException, path: Path) -> str:
    if isinstance(error, ImportError) and "relative import" in str(error):
        return "; a file that is named by itself belongs to no package: name it as `pkg.mod:Class`"
    neighbour = isinstance(error, ModuleNotFoundError) and error.name and path.with_name(f"{error.name}.py").is_file()
    return f"; it lies beside the file: add {path.parent} to PYTHONPATH" if neighbour else ""
