"""What the `make_…` functions share: a component is looked up, and its arguments are checked, before it is called."""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt

from ..errors import UsageError, nearest
from . import Component, Registry
from .arguments import type_text

_HOLDS = {
    Gt: lambda mark, value: value > mark.gt,
    Ge: lambda mark, value: value >= mark.ge,
    Lt: lambda mark, value: value < mark.lt,
    Le: lambda mark, value: value <= mark.le,
}


def component_of(registry: Registry, name: str | Component, base: Path = Path()) -> Component:
    """Return the component called `name`; one that has been looked up already is handed back."""
    return name if isinstance(name, Component) else registry.get(name, base)


def check_arguments(component: Component, args: Mapping[str, Any], also: Collection[str] = ()) -> None:
    """Refuse unknown names, missing arguments and numbers outside their range.

    Args:
        component: what is about to be called.
        args: its arguments by name.
        also: names that the caller takes itself, listed among the known ones.

    Raises:
        UsageError: the first thing that is wrong.
    """
    label = f"{component.kind} '{component.name}'"
    signature = component.signature
    by_name = {argument.name: argument for argument in signature.arguments}
    for name, value in args.items():
        if name in by_name:
            if not _in_range(by_name[name].annotation, value):
                raise UsageError(f"{label}: {name} must be {type_text(by_name[name].annotation)}, got {value!r}")
        elif not signature.open:
            known = [*by_name, *also]
            guess = nearest(name, known)
            hint = f" Did you mean '{guess}'?" if guess else ""
            raise UsageError(f"{label} has no argument '{name}'.{hint} It takes: {', '.join(known) or 'none'}")
    missing = [argument.name for argument in signature.arguments if argument.required and argument.name not in args]
    if missing:
        raise UsageError(f"{label} needs {' and '.join(missing)}")


def bound_component(registry: Registry, name: str | Component, base: Path, args: Mapping[str, Any]) -> Any:
    """Return a loss, metric or augmentation with its arguments checked and in place.

    Raises:
        UsageError: an unknown name, or an unknown or impossible argument.
    """
    component = component_of(registry, name, base)
    check_arguments(component, args)
    return component.bind(**args)


def _in_range(annotation: Any, value: Any) -> bool:
    """Check the ranges that an annotation states for a number, a tuple of numbers, or one of several kinds."""
    origin, members = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        if _is_number(value):
            return all(_HOLDS[type(mark)](mark, value) for mark in annotation.__metadata__ if type(mark) in _HOLDS)
        return _in_range(members[0], value)
    if origin in (tuple, list) and isinstance(value, tuple | list):
        kinds = members if origin is tuple and Ellipsis not in members else (members[0],) * len(value)
        return len(kinds) == len(value) and all(map(_in_range, kinds, value))
    if annotation is type(None):
        return value is None
    if origin is typing.Literal:
        return value in members
    if origin in (typing.Union, types.UnionType):
        # A number is for the members that numbers can be: next to these, a mapping's own ranges do not apply to it.
        fitting = [member for member in members if _is_numeric(member)] if _is_number(value) else members
        return any(_in_range(member, value) for member in fitting or members)
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_numeric(annotation: Any) -> bool:
    return annotation in (int, float) or (
        typing.get_origin(annotation) is Annotated and typing.get_args(annotation)[0] in (int, float)
    )
