"""A digest of a function or class that this process made: of its code, and of all values that the code can reach.

Components that a notebook or a script registers have no file that could stand for them: the same cell may be run again
with other code, and the same code may see other values.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import PurePath
from typing import Any

from ..errors import OptrunError

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented), range, slice)
_METHODS = (staticmethod, classmethod)
_OF_THE_CLASS = {"__dict__", "__weakref__", "__module__", "__doc__", "__firstlineno__", "__static_attributes__"}


class UnhashableError(OptrunError):
    """A value has no digest: two of its kind may differ in what Python cannot see."""


def object_digest(thing: Any) -> str:
    """Return the SHA-256 of a function or class: of its code, defaults, closure, bases, and the globals that it uses.

    What lies in an importable module counts by that module's name, and by the version of the package that it came with;
    that module's own file is the business of whoever records files.

    Raises:
        UnhashableError: it reaches a value without a digest, such as an open file; the message names it.
    """
    digest = hashlib.sha256()
    for part in _Walk().parts(thing, getattr(thing, "__qualname__", repr(thing))):
        digest.update(f"{len(part)}:".encode() + part)  # with lengths, so that no two lists of parts read alike
    return digest.hexdigest()


class _Walk:
    """One walk over all that an object reaches; what is met again is named by its number, so that circles end."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._alive: list[Any] = []  # or an id could be given to a second object

    def parts(self, thing: Any, place: str) -> Iterator[bytes]:
        """Yield what an object consists of; `place` says in messages where it was met."""
        thing = _unhooked(thing)
        if isinstance(thing, _PLAIN) and type(thing) in _PLAIN:
            yield f"{type(thing).__name__} {thing!r}".encode()
            return
        if id(thing) in self._seen:
            yield f"again {self._seen[id(thing)]}".encode()
            return
        self._seen[id(thing)] = len(self._seen)
        self._alive.append(thing)
        yield type(thing).__qualname__.encode()
        yield from self._way_into(thing)(thing, place)

    def _way_into(self, thing: Any) -> Callable[[Any, str], Iterator[bytes]]:
        for kinds, way in (
            (types.ModuleType, self._module),
            (types.FunctionType, self._function),
            (types.CodeType, self._code),
            (type, self._class),
            (_METHODS, self._wrapped),
            (property, self._property),
            (functools.partial, self._partial),
            (types.MethodType, self._method),
            ((types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType), self._builtin),
            (enum.Enum, self._enum),
            ((list, tuple), self._sequence),
            ((set, frozenset), self._set),
            ((dict, types.MappingProxyType), self._mapping),
            (PurePath, self._text),
        ):
            if isinstance(thing, kinds):
                return way
        return self._array if hasattr(thing, "__array__") and hasattr(thing, "dtype") else self._instance

    def _each(self, named: Mapping[str, Any], place: str) -> Iterator[bytes]:
        for name, value in named.items():
            yield name.encode()
            yield from self.parts(value, f"{place}.{name}")

    def _module(self, module: types.ModuleType, place: str) -> Iterator[bytes]:
        yield module.__name__.encode()
        yield _version(module.__name__).encode()

    def _function(self, function: types.FunctionType, place: str) -> Iterator[bytes]:
        if _is_importable(function):
            yield from self._by_name(function)
            return
        yield from self.parts(function.__defaults__, f"{place}'s defaults")
        yield from self.parts(function.__kwdefaults__, f"{place}'s defaults")
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # of a name that has no value yet
                continue
            yield from self._each({name: value}, place)
        yield from self.parts(function.__code__, place)
        if not is_of_this_process(function):  # made in a module that can be imported, which stands for its globals
            yield from self._by_name(function)
            return
        used = {name: function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__}
        yield from self._each(used, place)

    def _code(self, code: types.CodeType, place: str) -> Iterator[bytes]:
        yield code.co_code
        yield f"{code.co_argcount} {code.co_kwonlyargcount} {code.co_posonlyargcount} {code.co_flags}".encode()
        yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)).encode()
        for constant in code.co_consts:
            yield from self.parts(constant, place)

    def _class(self, cls: type, place: str) -> Iterator[bytes]:
        if _is_importable(cls):
            yield from self._by_name(cls)
            return
        for base in cls.__bases__:
            yield from self.parts(base, f"{place}'s base {base.__qualname__}")
        own = {name: value for name, value in vars(cls).items() if name not in _OF_THE_CLASS}
        own = {name: value for name, value in own.items() if not _is_planted(cls, name, value)}
        # What describes slots holds no value, and what abc keeps are caches.
        kinds = (types.MemberDescriptorType, types.GetSetDescriptorType)
        kept = {key: value for key, value in own.items() if not isinstance(value, kinds) and key != "_abc_impl"}
        yield from self._each(dict(sorted(kept.items())), place)

    def _wrapped(self, method: Any, place: str) -> Iterator[bytes]:
        yield from self.parts(method.__func__, place)

    def _property(self, thing: property, place: str) -> Iterator[bytes]:
        yield from self.parts((thing.fget, thing.fset, thing.fdel), place)

    def _partial(self, thing: functools.partial[Any], place: str) -> Iterator[bytes]:
        yield from self.parts((thing.func, thing.args, thing.keywords), place)

    def _method(self, method: types.MethodType, place: str) -> Iterator[bytes]:
        yield from self.parts((method.__func__, method.__self__), place)

    def _builtin(self, function: Any, place: str) -> Iterator[bytes]:
        owner = getattr(function, "__self__", None)
        yield function.__qualname__.encode()
        if owner is not None and not isinstance(owner, types.ModuleType):
            yield from self.parts(owner, place)
        else:
            yield _version(function.__module__ or "builtins").encode()

    def _enum(self, member: enum.Enum, place: str) -> Iterator[bytes]:
        yield member.name.encode()
        yield from self.parts(type(member), place)

    def _sequence(self, values: list[Any] | tuple[Any, ...], place: str) -> Iterator[bytes]:
        yield str(len(values)).encode()
        for number, value in enumerate(values):
            yield from self.parts(value, f"{place}[{number}]")

    def _set(self, values: set[Any] | frozenset[Any], place: str) -> Iterator[bytes]:
        yield from self._sequence(sorted(values, key=repr), place)

    def _mapping(self, values: Mapping[Any, Any], place: str) -> Iterator[bytes]:
        for key, value in values.items():
            yield from self.parts(key, f"a key of {place}")
            yield from self.parts(value, f"{place}[{key!r}]")

    def _text(self, path: PurePath, place: str) -> Iterator[bytes]:
        yield str(path).encode()

    def _array(self, values: Any, place: str) -> Iterator[bytes]:
        import numpy as np

        whole = np.ascontiguousarray(values.detach().cpu() if hasattr(values, "detach") else values)
        if whole.dtype.hasobject:
            raise UnhashableError(f"{place} is an array of objects, which has no digest")
        yield f"{whole.dtype} {whole.shape}".encode()
        yield whole.tobytes()

    def _instance(self, thing: Any, place: str) -> Iterator[bytes]:
        """Take an object for what it would be copied from, if it can be."""
        if hasattr(thing, "__wrapped__"):  # a cache around a function, say, which would be copied by name
            yield from self.parts(thing.__wrapped__, place)
            return
        try:
            made_of = thing.__reduce_ex__(4)
        except Exception as error:
            raise UnhashableError(f"{place} is a {_kind(thing)}, which has no digest: {error}") from error
        if isinstance(made_of, str):
            if is_of_this_process(thing):
                raise UnhashableError(f"{place} is a {_kind(thing)}, which has no digest")
            yield f"{_kind(thing)} {made_of}".encode()
            return
        for part in made_of:
            yield from self.parts(list(part) if isinstance(part, Iterator) else part, place)

    def _by_name(self, thing: Any) -> Iterator[bytes]:
        yield f"{thing.__module__}.{thing.__qualname__}".encode()
        yield _version(thing.__module__).encode()


def is_of_this_process(thing: Any) -> bool:
    """Return True if no other process could import a function or class: a notebook or a script made it."""
    module = sys.modules.get(getattr(thing, "__module__", None) or "")
    return module is None or module.__name__ == "__main__" or getattr(module, "__spec__", None) is None


def _is_planted(cls: type, name: str, value: Any) -> bool:
    """Return True for an inherited `step` that torch has wrapped, and left in the class, when it made an optimizer."""
    return _unhooked(value) is not value and _unhooked(value) is _unhooked(getattr(super(cls, cls), name, None))


def _unhooked(thing: Any) -> Any:
    """Return a `step` as it was before torch wrapped it, when it first made an optimizer; other things as they are."""
    return getattr(thing, "__wrapped__", thing) if getattr(thing, "hooked", False) is True else thing


def _is_importable(thing: Any) -> bool:
    if is_of_this_process(thing) or "<locals>" in thing.__qualname__:
        return False
    found: Any = sys.modules[thing.__module__]
    for name in thing.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is thing


def _kind(thing: Any) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _names(code: types.CodeType) -> list[str]:
    """Return the names that a function and those inside it look up, attributes among them, each once."""
    names = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= dict.fromkeys(_names(constant))
    return list(names)


@functools.cache
def _version(module: str) -> str:
    """Return the version of the package that a module was installed with; empty for what was not."""
    packages = _packages().get(module.partition(".")[0], ())
    return " ".join(f"{package} {metadata.version(package)}" for package in packages)


@functools.cache
def _packages() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()
