"""The user's files that code reaches: by the imports that stand in them, and by those that have happened.

Imports that are written out are found in the sources, executed or not yet; so what a run depends on is known before it
is made. Imports whose names are computed are known once they have happened. Code that is read and executed by other
means (`exec`, `runpy`, a loader of one's own) is out of reach.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from ..errors import UsageError
from ..system.user_files import is_installed, is_users
from . import recorded_imports
from .code_files import Import, exported, file_of, find_spec, imports_of, is_outside, package_of
from .code_files import sha256 as hash_of

_PROGRAM = ("__main__", "__mp_main__")


@dataclass(frozen=True)
class Root:
    """Where to begin: a module by name, or a file by itself, whose SHA-256 may be known from its execution."""

    module: str | None = None
    path: Path | None = None
    sha256: str | None = None


@dataclass
class Reached:
    """What was found.

    Args:
        files: SHA-256 by absolute path.
        written: those of the files that imports written out lead to; the others were imported by computed names.
        packages: versions of installed distributions by name.
        providers: those of the packages that components come from.
    """

    files: dict[str, str] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)
    packages: dict[str, str] = field(default_factory=dict)
    providers: set[str] = field(default_factory=set)


def reach(roots: Iterable[Root], *, happened: bool = True, strict: bool = True) -> Reached:
    """Follow all imports of the user's files from `roots`, and return them with the installed packages that they use.

    Args:
        roots: where to begin.
        happened: whether imports by computed names, which have happened in this process, are followed too.
        strict: refuse a file that has changed since this process imported it; otherwise its hash is that of what was
            executed.

    Raises:
        UsageError: such a file.
    """
    roots = list(roots)
    walk = _Walk(strict)
    walk.follow(roots)
    found, tops = walk.found, set(walk.tops)
    found.written = set(found.files)
    if happened:
        walk.follow(roots, happened=True)
    found.packages = {name: version for top in sorted(tops) for name, version in _distributions(top)}
    own = {root.module.partition(".")[0] for root in roots if root.module is not None} & tops
    found.providers = {name for top in own for name, _ in _distributions(top)}
    return found


class _Walk:
    def __init__(self, strict: bool):
        self.found = Reached()
        self.tops: set[str] = set()  # the first names of installed modules
        self._strict = strict
        self._seen: set[tuple[str | None, Path]] = set()
        self._sources: dict[Path, bytes] = {}
        self._specs = functools.cache(find_spec)
        # All names and files are asked for by many others; within one walk, the answers stay.
        self._file_of = functools.cache(lambda name: file_of(self._specs(name)))
        self._files = functools.cache(self._find_files)
        self._named_in = functools.cache(self._find_names)

    def follow(self, roots: Iterable[Root], happened: bool = False) -> None:
        self._seen.clear()
        waiting: list[tuple[str | None, Path, str | None]] = []
        for root in roots:
            if root.module in _PROGRAM:
                waiting += [(*each, None) for name in self._of_program(root.module) for each in self._files(name)]
            elif root.module is not None:
                waiting += [(*each, None) for each in self._files(root.module)]
            if root.path is not None:
                waiting.append((root.module, root.path, root.sha256))
        while waiting:
            module, path, known = waiting.pop()
            if (module, path) in self._seen:
                continue
            self._seen.add((module, path))
            source = self._take(module, path, known)
            if not is_users(path):  # installed, and named: its distribution stands for what it imports
                continue
            names = self._named_in(source, package_of(module, path)) if path.suffix in (".py", ".pyw") else []
            if happened:
                names = [*names, *recorded_imports.begun.get(str(path), ()), *_modules_in(module, path)]
            waiting += [(*each, None) for name in names for each in self._files(name)]

    def _of_program(self, module: str) -> list[str]:
        """Return what a script or a notebook imports, which is itself no file that others could import."""
        path = _program(module)
        written = self._named_in(path.read_bytes(), None) if path is not None and is_users(path) else ()
        return [*written, *_modules_in(module, path)]

    def _take(self, module: str | None, path: Path, known: str | None) -> bytes:
        """Note a file with its hash, and return its source."""
        if path in self._sources and known is None:
            return self._sources[path]
        try:
            source = path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from error
        digest = hash_of(source)
        ran = known or recorded_imports.executed.get(str(path))
        stale = digest != known if known else _is_loaded(module) and recorded_imports.is_stale(path, digest)
        if stale and self._strict:
            raise UsageError(f"{path} has changed since this process imported it: start a new process")
        if stale and ran is not None:
            digest, source = ran, recorded_imports.sources.get(ran, source)
        self.found.files[str(path)] = digest
        self._sources[path] = source
        return source

    def _find_names(self, source: bytes, package: str | None) -> list[str]:
        """Return the modules that the imports in a source may mean."""
        return list(dict.fromkeys(self._names(imports_of(source, package))))

    def _names(self, imports: Iterable[Import]) -> Iterator[str]:
        """Yield the names of modules that imports may mean: what is taken from a package may be one of its modules."""
        for module, names in imports:
            yield module
            if not names or is_outside(module) or (spec := self._specs(module)) is None:
                continue
            if spec.submodule_search_locations is None:
                continue
            path = self._file_of(module)
            if path is not None and not is_users(path):
                continue
            if "*" in names:
                names = exported(path.read_bytes()) if path is not None else ()
            yield from (f"{module}.{name}" for name in names)

    def _find_files(self, name: str) -> list[tuple[str, Path]]:
        """Return the user's file of a module, and those of the packages around it."""
        if is_outside(name):
            return []
        found: list[tuple[str, Path]] = []
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            whole = ".".join(parts[:length])
            if whole in _PROGRAM or (spec := self._specs(whole)) is None:
                break
            path = self._file_of(whole)
            if is_installed(path) if path is not None else _is_installed_namespace(spec):
                self.tops.add(parts[0])
                break
            if path is not None and is_users(path):
                found.append((whole, path))
        return found


def _program(name: str) -> Path | None:
    """Return the file of the program itself, which has no spec."""
    file = getattr(sys.modules.get(name), "__file__", None)
    path = Path(file).resolve() if file else None
    return path if path is not None and path.is_file() else None


def _is_loaded(module: str | None) -> bool:
    return module is not None and module in sys.modules


def _is_installed_namespace(spec: object) -> bool:
    folders = list(getattr(spec, "submodule_search_locations", None) or [])
    return bool(folders) and all(is_installed(Path(folder)) for folder in folders)


def _modules_in(module: str | None, path: Path | None) -> set[str]:
    """Return the modules that the objects in a loaded module come from."""
    loaded = sys.modules.get(module) if module is not None else _module_of(path) if path is not None else None
    if loaded is None:
        return set()
    names = set()
    for value in list(vars(loaded).values()):
        if isinstance(value, types.ModuleType):
            names.add(value.__name__)
        elif isinstance(value, type):
            names |= {base.__module__ for base in value.__mro__}
        elif isinstance(value, types.FunctionType):
            names.add(value.__module__)
    names.discard(module)
    return {name for name in names if isinstance(name, str) and name in sys.modules and not is_outside(name)}


def _module_of(path: Path) -> types.ModuleType | None:
    """Return the module of a file that was named by itself."""
    known = recorded_imports.executed.get(str(path))
    if known is None:
        return None
    return next(
        (each for name, each in list(sys.modules.items()) if name.startswith("optrun_user_") and _has_file(each, path)),
        None,
    )


def _has_file(module: types.ModuleType, path: Path) -> bool:
    return getattr(module, "__file__", None) == str(path)


@functools.cache
def _by_top_level() -> dict[str, list[str]]:
    return {top: sorted(set(names)) for top, names in metadata.packages_distributions().items()}


def _distributions(top: str) -> Iterator[tuple[str, str]]:
    for name in _by_top_level().get(top, ()):
        if name.lower() != "optrun":
            yield name, metadata.version(name)
