"""The user's own components: `pkg.mod:Class` and `./file.py:Class`, with a record of the code that was used."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import CodeNotAllowedError, UsageError, unknown_name


@dataclass(frozen=True)
class CodeFile:
    """A file of user code that a run depends on."""

    path: str
    sha256: str


def is_code_reference(name: str) -> bool:
    """Tell `pkg.mod:Class` and `./file.py:Class` from a registered name."""
    return ":" in name


def absolute_reference(name: str, base: Path) -> str:
    """Make `./file.py:Class` independent of where it is read from; `base` is the folder of the naming config."""
    location, _, attribute = name.rpartition(":")
    return f"{(base / location).resolve()}:{attribute}" if location.endswith(".py") else name


def load_object(name: str, base: Path, trusted: Mapping[str, str] | None = None) -> tuple[Any, CodeFile]:
    """Import the object that a code reference names.

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
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if trusted is not None and trusted.get(str(path)) != digest:
        change = "has changed since" if str(path) in trusted else "is not code that"
        raise CodeNotAllowedError(f"{path} {change} the run was made with: read it, then add --allow-code")
    module = _import(location, path, digest)
    try:
        return getattr(module, attribute), CodeFile(str(path), digest)
    except AttributeError:
        names = [known for known in vars(module) if not known.startswith("_")]
        raise UsageError(f"{path}: {unknown_name('object', attribute, names)}") from None


def _locate(location: str, base: Path) -> Path:
    if location.endswith(".py"):
        path = (base / location).resolve()
        if not path.is_file():
            raise UsageError(f"no file {path}")
        return path
    if location.split(".")[0] in sys.stdlib_module_names:  # nothing to train with there, much to do harm with
        raise UsageError(f"'{location}' is part of Python's standard library, which holds no components")
    try:
        spec = importlib.util.find_spec(location)
    except (ImportError, ValueError) as error:
        raise UsageError(f"no module '{location}': {error}") from error
    if spec is None or spec.origin is None or not spec.has_location:
        raise UsageError(
            f"no module '{location}' in this Python: is it installed, or is the folder missing in PYTHONPATH?"
        )
    return Path(spec.origin).resolve()


def _import(location: str, path: Path, digest: str) -> Any:
    try:
        if not location.endswith(".py"):
            return importlib.import_module(location)
        name = f"optrun_user_{digest[:16]}"  # by content, so that a changed file is never the old module
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[name]
                raise
        return sys.modules[name]
    except Exception as error:  # the user's code may raise anything; it must be reported as theirs
        raise UsageError(f"{path} fails when imported: {type(error).__name__}: {error}") from error
