"""What a code reference may name: a component of its kind, or an object that the user's own files define.

`pkg.mod:Class` can reach everything that is installed, `shutil:rmtree` and its like included, and a configuration gives
the arguments. So an object of an installed package must be a subclass of its kind's base class, or registered; and its
module is imported, which executes it, only if its source defines a class of that name, and its distribution builds on
torch or on optrun. An object that a file of the user's has taken from elsewhere is treated alike.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ..errors import UsageError
from ..system.user_files import is_users
from .code_files import PACKAGE, absolute_module, file_of, find_spec, is_outside, package_of

_DEPTH = 12  # of names that are handed on from module to module
_BUILDS_ON_TORCH = re.compile(r"(?:torch|optrun)(?![\w.-])", re.IGNORECASE)


#: Of an object, or of a name: what to name in its place, in words, where it is another tool's; None for any other.
Instead = Callable[[object], str | None]


def of_nothing(meant: object) -> str | None:
    """Return None: nothing is another tool's."""


@dataclass(frozen=True)
class Kind:
    """A kind of component, as far as an object can be told to be one.

    Args:
        name: `optimizer`, `schedule`, …
        base: `module:Class`, or several between spaces, of one of which classes of installed packages must be
            subclasses; empty where there is none.
        is_registered: returns True for an object that is registered as a component of the kind.
        instead: returns what to name in place of an object, or a name, of another tool's; see `Instead`.
    """

    name: str
    base: str = ""
    is_registered: Callable[[object], bool] = lambda value: False
    instead: Instead = of_nothing

    def base_classes(self) -> tuple[type, ...]:
        named = (base.partition(":") for base in self.base.split())
        return tuple(getattr(importlib.import_module(module), name) for module, _, name in named)


def check_installed(reference: str, module: str, attribute: str, kind: Kind) -> None:
    """Refuse what an installed module surely does not offer, before it is imported.

    Raises:
        UsageError: the module is one that is executed when it is imported, has nothing to do with torch, or defines no
            class of that name.
    """
    top = module.partition(".")[0]
    if module.rpartition(".")[2] == "__main__":
        raise UsageError(f"'{module}' is a program: {_way_out(kind)}")
    if module in sys.modules or top == PACKAGE:
        return
    offers = _offers_components(top)
    if not offers and not _builds_on_torch(top):
        raise UsageError(
            f"{reference} is installed, but '{top}' does not build on torch, so that it is not imported: "
            f"{_way_out(kind)}"
        )
    if not offers and not _defines_class(module, attribute):
        raise UsageError(
            f"{reference} is installed, and its source defines no class '{attribute}', so that it is not imported: "
            f"{_way_out(kind)}"
        )


def check_object(reference: str, value: object, attribute: str, path: Path, source: bytes, kind: Kind) -> None:
    """Refuse an object that is no component of its kind, and that the user's own files do not define.

    Args:
        reference: as the configuration names it.
        value: the object.
        attribute: its name in the module.
        path: the module's file.
        source: of the module.
        kind: what it is wanted as.

    Raises:
        UsageError: it is neither.
    """
    if not callable(value):
        raise UsageError(f"{reference} is a {type(value).__name__}, not a function or class")
    if (said := kind.instead(value)) is not None:
        raise UsageError(f"{reference}: {said}")
    if is_users(path) and (_is_own(value) or _is_defined(attribute, source)):
        return
    bases = kind.base_classes()
    if isinstance(value, bases) or (inspect.isclass(value) and issubclass(value, bases)):
        return
    if kind.is_registered(value):
        return
    names = [f"{base.__module__.partition('.')[0]}'s {base.__qualname__}" for base in bases]
    wanted = f"no subclass of {' or '.join(names)}" if names else "no component"
    home = getattr(value, "__module__", None) or type(value).__module__
    raise UsageError(f"{reference} is {wanted}, and comes from '{home}', no file of your own: {_way_out(kind)}")


def _way_out(kind: Kind) -> str:
    return f"write a class or function of your own around it, and name that as the {kind.name}"


def _is_own(value: object) -> bool:
    """Return True if an object is defined in a file of the user's: itself, its class, or what it wraps."""
    if isinstance(value, functools.partial):
        return _is_own(value.func)
    named = inspect.isclass(value) or inspect.isroutine(value) or hasattr(value, "__wrapped__")
    return _is_users_module(getattr(value, "__module__", None) if named else type(value).__module__)


def _is_users_module(name: object) -> bool:
    file = getattr(sys.modules.get(name), "__file__", None) if isinstance(name, str) else None
    if file is None:
        return name == "__main__"  # a notebook
    return is_users(Path(file).resolve())


def _is_defined(attribute: str, source: bytes) -> bool:
    """Return True if a source has a `def` or `class` of that name, whatever its decorators have made of it."""
    return any(isinstance(node, ast.ClassDef | ast.FunctionDef) for node in _bindings(attribute, source))


# ---- installed packages, without importing them ----------------------------------------------------------------------


def _defines_class(module: str, attribute: str, depth: int = 0) -> bool:
    """Return True if a module's source defines a class of that name, or takes one from a module that does."""
    path = file_of(find_spec(module)) if depth < _DEPTH and not is_outside(module) else None
    if path is None or path.suffix != ".py":
        return False
    source, package = path.read_bytes(), package_of(module, path)
    for node in _bindings(attribute, source):
        if isinstance(node, ast.ClassDef):
            return True
        if isinstance(node, ast.ImportFrom):
            target = absolute_module(node.module or "", node.level, package)
            known = next((each.name for each in node.names if (each.asname or each.name) == attribute), attribute)
            if target and _defines_class(target, known, depth + 1):
                return True
    return False


def _bindings(attribute: str, source: bytes) -> Iterator[ast.stmt]:
    """Yield the statements of a module, those in `if`, `try` and `with` too, that may bind a name."""
    for node in _statements(source):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name == attribute:
                yield node
        elif isinstance(node, ast.ImportFrom) and any((a.asname or a.name) in (attribute, "*") for a in node.names):
            yield node


@functools.lru_cache(maxsize=256)
def _statements(source: bytes) -> tuple[ast.stmt, ...]:
    try:
        waiting: list[ast.AST] = list(ast.parse(source).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    found: list[ast.stmt] = []
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.stmt):
            found.append(node)
        if isinstance(node, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            waiting = [*ast.iter_child_nodes(node), *waiting]
    return tuple(found)


def _distributions(top: str) -> list[metadata.Distribution]:
    return [metadata.distribution(name) for name in set(_by_top_level().get(top, ()))]


@functools.cache
def _by_top_level() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


def _builds_on_torch(top: str) -> bool:
    """Return True if a package is torch, or says that it needs torch or optrun, if only for an extra."""
    if top == "torch":
        return True
    return any(_BUILDS_ON_TORCH.match(need) for each in _distributions(top) for need in each.requires or ())


def _offers_components(top: str) -> bool:
    """Return True if a package has components of optrun among its entry points."""
    points = (point for each in _distributions(top) for point in each.entry_points)
    return any(point.group.startswith(f"{PACKAGE}.") for point in points)
