"""Writes a configuration as plain data, and plain data as YAML that reads back equal."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from decimal import Decimal
from typing import Any

from .lengths import Length
from .problems import shorten
from .scalars import resolve
from .sections import ComponentConfig, Config, GroupConfig, arguments_of
from .values import check

_SECTIONS = ("data", "model", "init", "loss", "metrics", "optimizer", "schedule", "updates")
_SECTIONS += ("train", "eval", "stop", "checkpoint", "log", "hooks")
_SKIPPED = {"args", "path", "component", "given"}
_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./%+-]*([ :][A-Za-z0-9_./%+-]+)*")
_UNSAFE = re.compile(r"[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]")


class _Inexpressible(Exception):
    """A default that no config file can express, such as a function."""


def to_dict(config: Config) -> dict[str, Any]:
    """Return the whole configuration as JSON-able data; only defaults that no file can express are left out."""
    return {
        "name": config.name,
        "seed": config.seed,
        **{section: _plain(getattr(config, section)) for section in _SECTIONS},
    }


def _plain(value: Any) -> Any:
    if isinstance(value, ComponentConfig):
        common = {field.name: getattr(value, field.name) for field in fields(value) if field.name not in _SKIPPED}
        return {key: _plain(item) for key, item in common.items()} | _arguments(value)
    if isinstance(value, GroupConfig):
        return {"match": list(value.match), **{name: _plain(arg) for name, arg in value.args.items()}}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Length):
        return _length_text(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _Inexpressible
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "__dataclass_fields__") and type(value).__module__.startswith(__package__ or ""):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return _by_pydantic(value)


def _length_text(length: Length) -> str:
    """Write a length so that it reads back exactly; `str` rounds an amount of many digits."""
    text = str(length)
    try:
        is_exact = type(length).parse(text) == length
    except ValueError:
        is_exact = False
    return text if is_exact else f"{Decimal(repr(length.amount)):f} {length.unit}"


def _by_pydantic(value: Any) -> Any:
    """Write what only the user's own annotations produce: enumerations, paths, sets, data classes."""
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        return to_jsonable_python(value)
    except (PydanticSerializationError, ValueError) as error:
        raise _Inexpressible from error


def _arguments(config: ComponentConfig) -> dict[str, Any]:
    """Write the arguments; a default that would not pass as a value, such as an object, is left out."""
    annotations = {argument.name: argument.annotation for argument in arguments_of(config.component)}
    written = {}
    for name, value in config.args.items():
        try:
            plain = _plain(value)
        except _Inexpressible:
            continue
        is_default = name not in config.given and value is not None and not _holds_component(value)
        if not is_default or not check(annotations.get(name, Any), plain)[1]:
            written[name] = plain
    return written


def _holds_component(value: Any) -> bool:
    return any(isinstance(item, ComponentConfig) for item in (value if isinstance(value, tuple) else (value,)))


def to_yaml(values: Mapping[str, Any]) -> str:
    """Write plain data as YAML: blocks for sections, one line for short lists and what is inside them."""
    return "\n".join(_block(values, "")) + "\n"


def _block(values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in values.items():
        head = f"{indent}{_text(key)}:"
        if isinstance(value, dict) and value:
            yield head
            yield from _block(value, indent + "  ")
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            yield head
            yield from (f"{indent}  - {flow(item)}" for item in value)
        else:
            yield f"{head} {flow(value)}"


def flow(value: Any) -> str:
    """Write plain data in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(str(key))}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, str):
        return _text(value)
    return "null" if value is None else json.dumps(value)


def _text(value: str) -> str:
    if len(value) < 200 and _PLAIN.fullmatch(value) and isinstance(resolve(value), str):
        return value
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))


def origins_text(config: Config) -> str:
    """Return one line for each value: `optimizer.lr: 0.2   # command line (was 0.1, configs/mom.yaml:2)`."""
    return "\n".join(_origin_lines(config, config.to_dict(), "")) + "\n"


def _origin_lines(config: Config, values: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, value in values.items():
        here = f"{path}.{key}" if path else key
        if isinstance(value, dict) and value:
            yield from _origin_lines(config, value, here)
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            yield from _origin_lines(config, {str(position): item for position, item in enumerate(value)}, here)
        else:
            yield f"{here}: {flow(value)}   # {_place_text(config, here)}"


def _place_text(config: Config, path: str) -> str:
    origin = config.origins.get(path)
    while origin is None and path:
        path = path.rpartition(".")[0]
        origin = config.origins.get(path)
    if origin is None:
        return "default"
    via = f" (via extends of {origin.via})" if origin.via else ""
    was = f" (was {shorten(origin.was.text)}, {origin.was.place})" if origin.was and origin.was.text else ""
    return f"{origin.place}{via}{was}"
