"""Classes and functions that Python hands over where a file has a name: what they are called, and how they are found.

What a module of the user's defines is called as a file would call it (`/path/mine.py:Net`, `pkg.mod:Net`), and is
found there by every process. What only the program has that handed it over, a notebook's cell or a script, is called
`__main__:Net`: it is found in a program that defines or hands over the same again. A lambda, a partial or what a
function has made inside of itself is no name of its module's, so the beginning of its digest is part of its name.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..system.user_files import is_users
from .arguments import without_partials
from .code_files import is_outside, sha256
from .object_digest import UnhashableError, object_digest
from .recorded_imports import is_stale
from .user_code import CodeFile

PROGRAM = "__main__:"
_ROUTINES = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial)
_DIGITS = 8


class Reference(str):
    """The name of a class or function that was handed over; no text that the user has written is one."""

    __slots__ = ()


@dataclass(frozen=True)
class Handed:
    """A class or function that was handed over.

    Args:
        build: itself.
        code: the user's file that defines it, if other processes find it there.
        modules: outside of optrun and Python that it comes from, where they do not.
    """

    build: Any
    code: CodeFile | None = None
    modules: tuple[str, ...] = ()


_held: dict[str, Handed] = {}


def is_of_a_program(name: str) -> bool:
    """Return True for the name of what only the program has that handed it over."""
    return name.startswith(PROGRAM)


def can_be_handed(thing: Any) -> bool:
    """Return True for a class or a function, a method or a partial among them."""
    return inspect.isclass(thing) or isinstance(thing, _ROUTINES)


def hand_over(thing: Any) -> Reference:
    """Keep a class or function for as long as this process lives, and return its name.

    Raises:
        UsageError: its file has changed since it was imported, or it is a function made by another one or a partial,
            and holds something without a digest, so that it cannot be told from others.
    """
    module = _module_of(thing)
    outside = () if module is None or is_outside(module) else (module,)
    if not _is_found_by_its_name(thing):
        reference = Reference(f"{PROGRAM}{_last_name(thing)}@{_digest(thing)[:_DIGITS]}")
        _held[reference] = Handed(thing, modules=outside)
        return reference
    if module == "__main__":
        reference = Reference(f"{PROGRAM}{thing.__qualname__}")
        _held[reference] = Handed(thing, modules=outside)
        return reference
    path = _source_file(module)
    if path is None or (not is_users(path) and not inspect.isclass(thing)):  # no file may name it, see `kinds`
        reference = Reference(f"{module}:{thing.__qualname__}")
        _held[reference] = Handed(thing, modules=outside)
        return reference
    source = path.read_bytes()
    digest = sha256(source)
    if is_users(path) and (is_stale(path, digest) or not _is_as_written(thing, path, source)):
        raise UsageError(f"{path} has changed since this process imported it: import it again in a new process")
    is_alone = is_users(path) and "." not in str(module) and not hasattr(sys.modules[str(module)], "__path__")
    reference = Reference(f"{path if is_alone else module}:{thing.__qualname__}")
    _held[reference] = Handed(thing, CodeFile(str(path), digest))
    return reference


def hold(name: str, build: Any) -> None:
    """Keep what another process has handed over, under the name that it has there."""
    _held[name] = Handed(build)


def find(name: str) -> Handed | None:
    """Return what a name stands for if it was handed over; None for what is found by importing it.

    Raises:
        UsageError: it stands for what a program defined that is not this one.
    """
    if isinstance(name, Reference):
        return _held[name]
    if not is_of_a_program(name):
        found = _held.get(name)
        return found if found is not None and found.code is None else None
    defined = getattr(sys.modules["__main__"], name.removeprefix(PROGRAM), None)
    if can_be_handed(defined) and _module_of(defined) == "__main__":  # as the program defines it now
        return Handed(defined, modules=("__main__",))
    if name not in _held:
        own = name.removeprefix(PROGRAM)
        again = "hand it over" if "@" in own else "define it"
        raise UsageError(
            f"'{own}' is of a notebook or program, and no file: {again} there again, and go on from Python; for the "
            "command line, put it into a file and name it ./file.py:Name"
        )
    return _held[name]


def _is_found_by_its_name(thing: Any) -> bool:
    """Return True if a thing is a name of its module's, at the top."""
    name = getattr(thing, "__qualname__", "")
    module = sys.modules.get(_module_of(thing) or "")
    return not isinstance(thing, functools.partial) and name.isidentifier() and getattr(module, name, None) is thing


def _module_of(thing: Any) -> str | None:
    return getattr(without_partials(thing), "__module__", None)


def _last_name(thing: Any) -> str:
    name = getattr(without_partials(thing), "__qualname__", type(thing).__name__).rpartition(".")[2]
    return name.strip("<>")


def _source_file(module: str | None) -> Path | None:
    found = sys.modules.get(module or "")
    file = getattr(found, "__file__", None) if getattr(found, "__spec__", None) is not None else None
    path = Path(file).resolve() if isinstance(file, str) else None
    return path if path is not None and path.suffix == ".py" and path.is_file() else None


def _is_as_written(thing: Any, path: Path, source: bytes) -> bool:
    """Return True if the functions of a thing that come from a file are those that stand there.

    Python keeps no record of what it imported a module from, unless it has written a `.pyc` or been asked to.
    """
    loader = getattr(sys.modules[thing.__module__].__spec__, "loader", None)
    if not isinstance(loader, SourceFileLoader):  # one that rewrites what it reads, as pytest's does
        return True
    try:
        written = _codes(compile(source, str(path), "exec", dont_inherit=True))
    except (SyntaxError, ValueError):
        return False
    functions = vars(thing).values() if inspect.isclass(thing) else [thing]
    own = [code for each in functions if isinstance(code := getattr(each, "__code__", None), types.CodeType)]
    return all(code in written for code in own if Path(code.co_filename).resolve() == path)


def _codes(code: types.CodeType) -> set[types.CodeType]:
    found = {code}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _codes(constant)
    return found


def _digest(thing: Any) -> str:
    try:
        return object_digest(thing)
    except UnhashableError as error:
        raise UsageError(f"{error}: define it at the top of a file or cell, where its name says which it is") from error
