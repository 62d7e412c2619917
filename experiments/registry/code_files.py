"""Files of code: how a module is found without executing anything, and what a file imports."""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import NamedTuple

PACKAGE = __name__.partition(".")[0]
_IMPORTERS = {"import_module", "__import__"}  # functions whose first argument names a module


class Import(NamedTuple):
    """One import as it is written: the module's whole name, and what is taken from it (`*` for all)."""

    module: str
    names: tuple[str, ...] = ()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def is_outside(name: str) -> bool:
    """Return True for the name of a module of Python's, or of optrun's."""
    top = name.partition(".")[0]
    return top in sys.stdlib_module_names or top == PACKAGE


def find_spec(name: str) -> ModuleSpec | None:
    """Return where a module is; unlike `importlib.util.find_spec`, this imports no parent package."""
    folders: Sequence[str] | None = None
    spec, whole = None, ""
    for part in name.split("."):
        whole = f"{whole}.{part}" if whole else part
        loaded = getattr(sys.modules.get(whole), "__spec__", None)
        # By its full name, the path finder would want the packages around a namespace package to be imported.
        spec = loaded or next(
            (
                found
                for finder in sys.meta_path
                if hasattr(finder, "find_spec")
                and not hasattr(finder, "asks_the_others")
                and (found := finder.find_spec(part if finder is PathFinder else whole, folders)) is not None
            ),
            None,
        )
        if spec is None:
            return None
        folders = list(spec.submodule_search_locations or [])
    return spec


def file_of(spec: ModuleSpec | None) -> Path | None:
    """Return the file that a module is read from: source, compiled, or the archive that has it; None for none."""
    archive = getattr(getattr(spec, "loader", None), "archive", None)
    origin = archive or (spec.origin if spec is not None and spec.has_location else None)
    try:
        found = os.stat(origin) if origin else None
    except (OSError, ValueError):
        return None
    return _resolved(origin, found.st_dev, found.st_ino) if found and stat.S_ISREG(found.st_mode) else None


@functools.lru_cache(maxsize=8192)
def _resolved(origin: str, device: int, inode: int) -> Path:
    """Return where links lead to, which is looked up again once another file is found there."""
    return Path(origin).resolve()


def package_of(module: str | None, path: Path) -> str | None:
    """Return the package that relative imports in a module start from; None for a file by itself."""
    if module is None:
        return None
    return module if path.stem == "__init__" else module.rpartition(".")[0]


@functools.lru_cache(maxsize=4096)
def imports_of(source: bytes, package: str | None) -> tuple[Import, ...]:
    """Return all imports in a file, wherever they stand; nothing for what is no Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    return tuple(dict.fromkeys(found for node in ast.walk(tree) for found in _imports(node, package)))


def _imports(node: ast.AST, package: str | None) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        module = absolute_module(node.module or "", node.level, package)
        if module:
            yield Import(module, tuple(alias.name for alias in node.names))
    elif isinstance(node, ast.Call) and node.args:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        first = node.args[0]
        if called in _IMPORTERS and isinstance(first, ast.Constant) and isinstance(first.value, str):
            bare = first.value.lstrip(".")
            module = absolute_module(bare, len(first.value) - len(bare), package)
            if module and all(part.isidentifier() for part in module.split(".")):
                yield Import(module)


def absolute_module(module: str, level: int, package: str | None) -> str:
    """Return the whole name that a relative import means; empty where it leads out of the package."""
    if not level:
        return module
    parts = package.split(".") if package else []
    if len(parts) < level:
        return ""
    return ".".join([*parts[: len(parts) - level + 1], *([module] if module else [])])


@functools.lru_cache(maxsize=1024)
def exported(source: bytes) -> tuple[str, ...]:
    """Return the texts in a module's `__all__`, as far as they are written out."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    found: list[str] = []
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if any(isinstance(each, ast.Name) and each.id == "__all__" for each in targets) and value is not None:
            texts = (item.value for item in ast.walk(value) if isinstance(item, ast.Constant))
            found += [text for text in texts if isinstance(text, str)]
    return tuple(found)
