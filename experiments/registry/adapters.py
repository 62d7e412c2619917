"""Validators made by pydantic from annotations: strict where scalars are concerned, kept for the next time."""

from __future__ import annotations

import collections.abc
import functools
import types
import typing
from typing import Annotated, Any, Literal

SEQUENCES = (collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)


def adapter_of(annotation: Any) -> Any:
    """Return pydantic's validator of an annotation, or None where pydantic cannot make one: then anything goes."""
    try:
        return _cached_adapter(annotation)
    except TypeError:  # an annotation that cannot be hashed
        return _make_adapter(annotation)


def _make_adapter(annotation: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        strict = _strict(annotation)
    except TypeError:  # a type that Python itself cannot put together again
        return None
    for config in (ConfigDict(arbitrary_types_allowed=True), None):
        try:
            adapter = TypeAdapter(strict, config=config)
        except PydanticUserError:
            continue
        return adapter if adapter.pydantic_complete else None
    return None


_cached_adapter = functools.lru_cache(maxsize=4096)(_make_adapter)


def _of_same_type(choices: tuple[Any, ...], value: Any) -> Any:
    """Keep `false` from standing for a literal 0, and 1.0 for a literal 1, which are equal in Python."""
    return value if any(type(value) is type(choice) for choice in choices) else object()


def _strict(annotation: Any) -> Any:
    """Make the scalars inside an annotation strict, and nothing else: a list still makes a tuple."""
    from pydantic import BeforeValidator, Strict

    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (int, float, str, bool):
        return Annotated[annotation, Strict()]
    if origin is Literal:
        return Annotated[annotation, BeforeValidator(functools.partial(_of_same_type, inner))]
    if origin is Annotated:
        return Annotated[(_strict(inner[0]), *annotation.__metadata__)]
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(_strict(member) for member in inner)]  # noqa: UP007
    if origin in (set, frozenset):
        return types.GenericAlias(origin, (_strict(inner[0]),))
    if origin is list or origin in SEQUENCES:
        return list[_strict(inner[0])]
    if origin is tuple:
        return tuple[tuple(member if member is Ellipsis else _strict(member) for member in inner)]
    if origin is dict:
        return dict[inner[0], _strict(inner[1])]
    return annotation
