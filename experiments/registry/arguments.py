"""A component's arguments, read from its own signature: names, types, ranges and defaults.

Components state ranges in their signatures with the types below, so that the configuration can refuse a bad value
before anything is built, and `optrun describe` can print what is allowed.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import keyword
import os
import types
import typing
from collections import abc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Decay = Annotated[float, Ge(0), Lt(1)]  # how much of the past a running average keeps
Fraction = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]


@dataclass(frozen=True)
class Nested:
    """Marks an argument that is itself a component, given by name: `then: {name: cosine}`."""

    kind: str


@dataclass(frozen=True)
class InputFile:
    """Marks text that names a file or folder which is read: relative to the configuration that says so.

    Args:
        suffixes: of the texts that do; others, such as the name of a run, are left as they are. Empty for all.
        is_folder: of a folder on disk, whether it is meant too, whatever its name.
    """

    suffixes: tuple[str, ...] = ()
    is_folder: Callable[[Path], bool] | None = None

    def is_meant(self, value: Any, near: Path = Path()) -> typing.TypeGuard[str | os.PathLike[str]]:
        """Return True for a value that names a file, or a folder in the current one or near it."""
        if not isinstance(value, str):
            return isinstance(value, os.PathLike)
        if value == "" or value.endswith(self.suffixes or ("",)):
            return value != ""
        if self.is_folder is None or "\0" in value:
            return False
        path = os.path.expanduser(value)
        return any(map(self.is_folder, (Path(path), near / path)))


DataPath = Annotated[str, InputFile()]


@dataclass(frozen=True)
class EvaluatedMetric:
    """Marks text that names a metric which is evaluated while the run trains, such as `val/accuracy`.

    Args:
        mode: the argument beside it, if there is one, that says whether `max` or `min` of it is better; left out, it is
            filled from the metric's own direction.
    """

    mode: str = "mode"


MetricName = Annotated[str, EvaluatedMetric()]


@dataclass(frozen=True)
class Argument:
    """One argument of a component.

    Args:
        name: as written in YAML; a word that Python keeps for itself, such as `from`, is `from_` in the signature.
        annotation: the type, ranges included, as `typing` objects; Any where the author gave none.
        default: the value when left out; meaningless if `required`.
        required: whether it must be given.
        of_default: the type that the default suggests where the author gave no annotation; else Any.
    """

    name: str
    annotation: Any
    default: Any = None
    required: bool = False
    of_default: Any = field(default=Any, compare=False, repr=False)

    @property
    def accepted(self) -> Any:
        """Return the type that a value is held against: the annotation, or without one what the default says."""
        return self.of_default if self.annotation is Any else self.annotation

    @property
    def nested(self) -> tuple[str, bool] | None:
        """Return (kind, many) when the argument holds a component or a list of components."""
        return _nested(self.annotation)

    @property
    def input_file(self) -> InputFile | None:
        """Return the mark of an argument that names a file or folder which is read, or several; None for any other."""
        return _file_mark(self.annotation)

    @property
    def evaluated_metric(self) -> EvaluatedMetric | None:
        """Return the mark of an argument that names a metric which is evaluated, or several; None for any other."""
        return _metric_mark(self.annotation)


@dataclass(frozen=True)
class Signature:
    """The arguments that a component accepts.

    Args:
        arguments: in the order of the signature, without those that optrun gives.
        open: whether it takes any keyword (`**kwargs`), so that unknown names cannot be refused.
    """

    arguments: tuple[Argument, ...]
    open: bool = False

    def names(self) -> list[str]:
        return [argument.name for argument in self.arguments]


def signature_of(build: Callable[..., Any], given: int) -> Signature:
    """Read what `build` accepts, leaving out the first `given` positional parameters, which optrun supplies.

    Raises:
        TypeError: `build` has no signature that Python can read.
    """
    try:
        parameters = list(inspect.signature(build).parameters.values())
    except ValueError as error:
        raise TypeError(
            f"{build!r} has no readable signature: wrap it in a function that names its arguments"
        ) from error
    hints = _hints(build)
    arguments, is_open = [], False
    for position, parameter in enumerate(parameters):
        if parameter.kind is parameter.VAR_KEYWORD:
            is_open = True
        elif position < given or parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            continue
        else:
            required = parameter.default is parameter.empty
            arguments.append(
                Argument(
                    public_name(parameter.name),
                    hints.get(parameter.name, Any),
                    None if required else parameter.default,
                    required,
                    _type_of_default(parameter),
                )
            )
    return Signature(tuple(arguments), is_open)


def _type_of_default(parameter: inspect.Parameter) -> Any:
    """Return the type of an argument without an annotation: that of its default.

    A whole number stands for any number, as people write `eps=0`; so may a text, as `auto` does. None, and what no file
    can hold, says nothing.
    """
    default = parameter.default
    if parameter.annotation is not parameter.empty:
        return Any
    if isinstance(default, int) and not isinstance(default, bool):
        return int | float
    types_of = {bool: bool, float: float, str: str | int | float}
    types_of |= {list: list[Any], tuple: tuple[Any, ...], dict: dict[str, Any]}
    return types_of.get(type(default), Any)


@functools.cache
def fields_of(section: type[Any]) -> tuple[Argument, ...]:
    """Return what the constructor of a class accepts, read once: for classes of optrun, which stay as they are."""
    return signature_of(section, 0).arguments


def public_name(parameter: str) -> str:
    """Return a parameter's name as it is written in YAML: `from` for `from_`."""
    return parameter[:-1] if parameter.endswith("_") and keyword.iskeyword(parameter[:-1]) else parameter


def python_name(argument: str) -> str:
    """Return the parameter's name behind an argument: `from_` for `from`."""
    return f"{argument}_" if keyword.iskeyword(argument) else argument


def without_partials(build: Any) -> Any:
    """Return the function or class that a `functools.partial` is of; what is none is returned as it is."""
    while isinstance(build, functools.partial):
        build = build.func
    return build


def _hints(build: Callable[..., Any]) -> dict[str, Any]:
    target = _annotated(build)
    try:
        return typing.get_type_hints(target, include_extras=True)
    except Exception:  # noqa: BLE001 (annotations are code, and may raise anything)
        return _resolvable_hints(target)


def _annotated(build: Callable[..., Any]) -> Any:
    """Return what carries the annotations of the parameters of `build`."""
    build = inspect.unwrap(without_partials(build))
    if inspect.isclass(build):
        return build.__new__ if build.__init__ is object.__init__ else build.__init__
    return build if inspect.isroutine(build) else type(build).__call__


def _resolvable_hints(target: Any) -> dict[str, Any]:
    """Resolve each annotation by itself, so that one that only a type checker can read does not hide the others."""
    hints: dict[str, Any] = {}
    scope = getattr(inspect.unwrap(target), "__globals__", {})
    for name, annotation in getattr(target, "__annotations__", {}).items():
        alone = types.SimpleNamespace(__annotations__={name: annotation})
        with contextlib.suppress(Exception):
            hints.update(typing.get_type_hints(alone, scope, include_extras=True))
    return hints


def _nested(annotation: Any) -> tuple[str, bool] | None:
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        for mark in annotation.__metadata__:
            if isinstance(mark, Nested):
                return mark.kind, False
        return _nested(typing.get_args(annotation)[0])
    if origin in (list, tuple) and typing.get_args(annotation):
        inner = _nested(typing.get_args(annotation)[0])
        return (inner[0], True) if inner else None
    if origin in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            if found := _nested(member):
                return found
    return None


def _file_mark(annotation: Any) -> InputFile | None:
    if isinstance(annotation, InputFile):
        return annotation
    bare = typing.get_origin(annotation) or annotation
    if isinstance(bare, type) and (bare is os.PathLike or issubclass(bare, PurePath)):
        return InputFile()
    marks = getattr(annotation, "__metadata__", ())
    return next(filter(None, map(_file_mark, (*marks, *typing.get_args(annotation)))), None)


def _metric_mark(annotation: Any) -> EvaluatedMetric | None:
    if isinstance(annotation, EvaluatedMetric):
        return annotation
    marks = getattr(annotation, "__metadata__", ())
    return next(filter(None, map(_metric_mark, (*marks, *typing.get_args(annotation)))), None)


_NAMES = ((int, "int"), (float, "number"), (str, "text"), (bool, "true or false"), (type(None), "null"), (Any, "any"))
_LISTS = [list, tuple, set, frozenset, abc.Sequence, abc.Iterable, abc.Collection]  # lists, since an annotation
_MAPPINGS = [dict, abc.Mapping, abc.MutableMapping]  # need not be hashable
_LITERALS = {"True": "true", "False": "false", "None": "null"}


def type_text(annotation: Any) -> str:
    """Return in words what an annotation accepts, ranges included: `number > 0`, `list of int >= 1`, `relu or tanh`."""
    origin, members = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        bounds = [text for mark in annotation.__metadata__ if (text := _bound_text(mark))]
        nested = [
            f"{'an' if mark.kind[0] in 'aeiou' else 'a'} {mark.kind}"
            for mark in annotation.__metadata__
            if isinstance(mark, Nested)
        ]
        return nested[0] if nested else " ".join([type_text(members[0]), ", ".join(bounds)]).strip()
    if origin is Literal:
        return " or ".join(_LITERALS.get(str(member), str(member)) for member in members)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_text(member) for member in members)
    if origin is tuple and members and Ellipsis not in members:
        return f"[{', '.join(type_text(member) for member in members)}]"
    if origin in _LISTS or annotation in _LISTS:
        return f"list of {type_text(members[0])}" if members else "list"
    if origin in _MAPPINGS or annotation in _MAPPINGS:
        return "mapping"
    for known, name in _NAMES:
        if annotation is known:
            return name
    return getattr(annotation, "__name__", str(annotation)).lower()


def _bound_text(mark: Any) -> str:
    for kind, bound, sign in ((Gt, "gt", ">"), (Ge, "ge", ">="), (Lt, "lt", "<"), (Le, "le", "<=")):
        if isinstance(mark, kind):
            return f"{sign} {getattr(mark, bound):g}"
    return ""
