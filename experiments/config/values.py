"""Checks one value against one annotation: pydantic decides, the message is ours."""

from __future__ import annotations

import math
import operator
import re
import types
import typing
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

from ..registry.adapters import SEQUENCES, adapter_of
from ..registry.arguments import type_text
from .limits import MAX_PROBLEMS
from .problems import shorten, suggestion

_ARTICLES = {"number": "a", "int": "an", "list": "a", "mapping": "a", "length": "a", "interval": "an"}
_PER_CENT = re.compile(r"(\d{1,9}(?:\.\d{0,9})?) ?%", re.ASCII)
_BOOLEAN_WORDS = {"yes", "no", "on", "off", "y", "n", "true", "false"}


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong with a value, and its place inside."""

    path: tuple[int | str, ...]
    message: str
    hint: str | None = None


def check(annotation: Any, value: Any) -> tuple[Any, list[Mistake]]:
    """Return the value as the annotation wants it (lists as tuples, texts as lengths), or what is wrong with it.

    Numbers are strict: `true` is none, nor is "0.1"; a whole number may stand for a float. NaN and infinity are
    refused.
    """
    if infinite := _infinite(value):
        path, bad = infinite
        return None, [Mistake(path, f"expected a finite number, got {value_text(bad)}")]
    adapter = adapter_of(annotation)
    if adapter is None:
        return value, []
    from pydantic import ValidationError

    try:
        result = adapter.validate_python(value)
    except ValidationError as error:
        return None, _mistakes(annotation, value, error.errors(include_url=False)[:MAX_PROBLEMS])
    except OverflowError:
        return None, [Mistake((), f"expected {expected_text(annotation)}, got a number that is too large")]
    if _infinite(result):
        return None, [Mistake((), f"expected a finite number, got {value_text(value)}")]
    return result, []


def value_text(value: Any) -> str:
    """Write a value as a message shows it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if isinstance(value, int | float):
        return shorten(repr(value), 30) if abs(value) < 1e30 else f"{value:.3g}" if _fits(value) else "a huge number"
    if isinstance(value, str):
        return shorten(repr(value), 40)
    if isinstance(value, dict):
        return "a mapping"
    text = f"[{', '.join(value_text(item) for item in value)}]"
    return text if len(text) <= 40 else f"a list of {len(value)}"


def expected_text(annotation: Any) -> str:
    """Return in words what an annotation accepts, with an article: `a number > 0`."""
    text = type_text(_readable(_without_none(annotation)))
    article = _ARTICLES.get(text.split(" ")[0])
    return f"{article} {text}" if article else text


def _readable(annotation: Any) -> Any:
    """Return the annotation with classes of keys, whose names mean nothing to users, as plain mappings."""
    members = _members(annotation)
    if not any(map(_keys, members)):
        return annotation
    return typing.Union[tuple(dict[str, Any] if _keys(member) else member for member in members)]  # noqa: UP007


def _keys(annotation: Any) -> dict[str, Any]:
    """Return the keys of a TypedDict and their annotations; nothing for other types."""
    bare = _bare(annotation)
    if not hasattr(bare, "__required_keys__"):  # typing_extensions has a TypedDict that typing does not know
        return {}
    return {key: _required(hint) for key, hint in typing.get_type_hints(bare, include_extras=True).items()}


def _mistakes(annotation: Any, value: Any, details: list[Any]) -> list[Mistake]:
    """Turn pydantic's errors, one or more for each member of a union, into one mistake for each place."""
    by_path: dict[tuple[int | str, ...], list[Any]] = {}
    for detail in details:
        by_path.setdefault(_path_in(value, detail["loc"]), []).append(detail)
    if len(by_path) > 1:
        by_path.pop((), None)  # a member of a union that does not take containers at all
        for path in [each for each, found in by_path.items() if all(d["type"].endswith("_type") for d in found)]:
            if any(other[: len(path)] == path and other != path for other in by_path):
                del by_path[path]  # likewise, further inside
    return [_mistake(annotation, value, path, found) for path, found in by_path.items()]


def _mistake(annotation: Any, value: Any, path: tuple[int | str, ...], details: list[Any]) -> Mistake:
    around = annotation
    for step in path:
        around = annotation
        annotation, value = _item_annotation(annotation, step), operator.getitem(value, step)
    if details[0]["type"] == "extra_forbidden":
        known = [key for member in _members(around) for key in _keys(member)]
        hint = suggestion(str(path[-1]), known, f"known: {', '.join(known)}")
        return Mistake(path, f"there is no key '{shorten(str(path[-1]))}' here", hint)
    missing = [detail["loc"][-1] for detail in details if detail["type"] == "missing"]
    if missing and isinstance(value, dict):
        return Mistake(path, f"the key '{missing[0]}' is missing")
    own = details[0].get("ctx", {}).get("error") if len(details) == 1 else None
    if own is not None:  # a message from one of our own types, such as Length
        return Mistake(path, str(own))
    return Mistake(path, f"expected {expected_text(annotation)}, got {value_text(value)}", _hint(annotation, value))


def _hint(annotation: Any, value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    annotation = _without_none(annotation)
    choices = [choice for member in _members(annotation) for choice in _choices(member)]
    if hint := suggestion(value, [choice for choice in choices if isinstance(choice, str)]):
        return hint
    if bool in _members(annotation) and value.lower() in _BOOLEAN_WORDS:
        return "write true or false, without quotes"
    if "," in value and typing.get_origin(_bare(annotation)) in (list, tuple):
        return f"write [{shorten(value)}]"
    if (share := _PER_CENT.fullmatch(value)) and not check(annotation, fraction := float(Decimal(share[1]) / 100))[1]:
        return f"write {fraction:.12g}"
    try:
        float(value)
    except ValueError:
        return None
    return "remove the quotes" if _bare(annotation) in (int, float) else None


def _path_in(value: Any, loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Keep the parts of pydantic's location that lead into `value`; the others name members of unions."""
    path: list[int | str] = []
    inner: Any = value
    for step in loc:
        inside = step in inner if isinstance(inner, dict) else _is_index(step, inner)
        if inside:
            path.append(step)
            inner = inner[step]
    return tuple(path)


def _is_index(step: int | str, value: Any) -> bool:
    return isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value)


def _item_annotation(annotation: Any, step: int | str) -> Any:
    """Return the annotation of one item of a container."""
    for member in _members(_without_none(annotation)):
        bare = _bare(member)
        origin, inner = typing.get_origin(bare), typing.get_args(bare)
        if origin is tuple and Ellipsis not in inner and isinstance(step, int) and step < len(inner):
            return inner[step]
        if origin is dict and isinstance(step, str):
            return inner[1]
        if keys := _keys(member):
            return keys.get(str(step), Any)
        if (origin in (list, tuple, set, frozenset) or origin in SEQUENCES) and isinstance(step, int):
            return inner[0]
    return Any


def _required(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) in (typing.Required, typing.NotRequired) else hint


def _bare(annotation: Any) -> Any:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation


def _members(annotation: Any) -> tuple[Any, ...]:
    bare = _bare(annotation)
    return typing.get_args(bare) if typing.get_origin(bare) in (typing.Union, types.UnionType) else (annotation,)


def _choices(annotation: Any) -> tuple[Any, ...]:
    bare = _bare(annotation)
    return typing.get_args(bare) if typing.get_origin(bare) is Literal else ()


def _without_none(annotation: Any) -> Any:
    """Return the annotation without None: null never arrives as a value, since it stands for the default."""
    members = _members(annotation)
    kept = tuple(member for member in members if member is not type(None))
    return typing.Union[kept] if kept and len(kept) < len(members) else annotation  # noqa: UP007


def _infinite(value: Any) -> tuple[tuple[int | str, ...], float] | None:
    """Return the first NaN or infinity inside a value, and its place."""
    if isinstance(value, float):
        return None if math.isfinite(value) else ((), value)
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for step, item in items:
        if found := _infinite(item):
            return (step, *found[0]), found[1]
    return None


def _fits(value: int | float) -> bool:
    return isinstance(value, float) or value.bit_length() < 1024
