"""A complete, valid configuration, and how it is written as plain data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from ..registry.reachable import Reached, Root
from .lengths import Length
from .places import deciding, elsewhere, place
from .problems import ConfigError, Origin, Problem
from .sections import (
    CheckpointConfig,
    ComponentConfig,
    DataConfig,
    EvalConfig,
    GroupConfig,
    LogConfig,
    LossConfig,
    MeasureConfig,
    MetricConfig,
    OptimizerConfig,
    ScheduleConfig,
    StopConfig,
    TrainConfig,
    arguments_of,
)
from .values import check
from .yaml_text import to_yaml

SECTIONS = ("data", "model", "init", "loss", "metrics", "optimizer", "schedule", "updates")
SECTIONS += ("train", "eval", "stop", "checkpoint", "log", "hooks")
_SKIPPED = {"args", "path", "component", "given"}


@dataclass(frozen=True)
class TargetInfo:
    """The place of a configuration that a target named.

    Args:
        kind: `path`, `config`, `preset` or `python`.
        name: the name of the preset or the stem of the file.
        path: the file, if there is one.
    """

    kind: Literal["path", "config", "preset", "python"]
    name: str
    path: Path | None = None


@dataclass(frozen=True)
class Config:
    """A complete, valid configuration.

    `origins` has the place of every value by key path, `place` that of the file; `reached` is the user's own code
    behind it, as this process imported it; in `project` files have the same names wherever it lies.
    """

    name: str
    seed: int
    data: DataConfig
    model: ComponentConfig
    init: ComponentConfig | None
    loss: LossConfig
    metrics: tuple[MetricConfig, ...]
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    updates: tuple[ComponentConfig, ...]
    train: TrainConfig
    eval: EvalConfig
    stop: StopConfig
    checkpoint: CheckpointConfig
    log: LogConfig
    hooks: tuple[ComponentConfig, ...]
    target: TargetInfo
    place: Origin = field(repr=False)
    origins: Mapping[str, Origin] = field(repr=False)
    project: Path = field(default=Path(), repr=False)
    reached: Reached = field(default_factory=Reached, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole configuration as JSON-able data; only defaults that no file can express are left out."""
        return {
            "name": self.name,
            "seed": self.seed,
            **{section: _plain(getattr(self, section)) for section in SECTIONS},
        }

    def to_yaml(self) -> str:
        """Return the whole configuration as YAML that reads back equal."""
        return to_yaml(self.to_dict())

    def origin(self, path: str) -> Origin:
        """Return the place of a key, or of the nearest key around it that has one."""
        return place(self._origins_of(path), path, self.place)

    def problem(
        self,
        path: str,
        message: str,
        hint: str | None = None,
        code: str = "invalid-value",
        also: Sequence[str] = (),
    ) -> ConfigError:
        """Return a located error for something found out after loading, by a constructor for example.

        Args:
            path: the key.
            message: what is wrong.
            hint: one thing to try.
            code: a short name for the sort of problem.
            also: other keys that take part. The one that was written nearest to the user's hand is pointed at; where
                that is not `path`, the place of this one is mentioned.
        """
        keys = [path, *also]
        key = deciding(self.origins, keys, self.place) if also else path
        first = elsewhere(self.origins, [path], but=key)
        return ConfigError([Problem(self.origin(key), key, code, message + first, hint)])

    def _origins_of(self, path: str) -> Mapping[str, Origin]:
        """Return the places of all values, inside of a component those of its name and arguments alone."""
        part = next((part for part in self.components() if part.path == path), None)
        if part is None:
            return self.origins
        own = {f"{path}.{name}" for name in ("name", *part.given)}
        return {key: each for key, each in self.origins.items() if key in own or not key.startswith(f"{path}.")}

    def components(self) -> Iterator[ComponentConfig]:
        """Yield every component, nested ones included."""
        for top in (self.data, *self.data.augment, self.model, self.loss, *self.metrics, self.optimizer, self.schedule):
            yield from top.nested()
        for top in filter(None, (self.data.collate, self.init)):
            yield from top.nested()
        for top in (*self.updates, *self.hooks):
            yield from top.nested()

    def components_at(self, path: str) -> Iterator[ComponentConfig]:
        """Yield the components at a key and below it, and the one that the key is an argument of."""
        for part in self.components():
            if f"{part.path}.".startswith(f"{path}.") or path.startswith(f"{part.path}."):
                yield part

    @property
    def code_files(self) -> dict[str, str]:
        """Return the SHA-256 of each file of user code that the configuration reaches, by absolute path."""
        return dict(self.reached.files)

    def roots(self) -> list[Root]:
        """Return where the user's code begins: the files and modules that components come from."""
        return [root for component in self.components() for root in component.component.roots()]


class _Inexpressible(Exception):
    """A default that no config file can express, such as a function."""


def _plain(value: Any) -> Any:
    if isinstance(value, ComponentConfig):
        common = {field.name: getattr(value, field.name) for field in fields(value) if field.name not in _SKIPPED}
        if isinstance(value, MeasureConfig):  # most are of all there is
            common = {name: each for name, each in common.items() if each is not None}
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
        may_be_object = name not in config.given or name in config.component.fixed
        is_default = may_be_object and value is not None and not _holds_component(value)
        if not is_default or not check(annotations.get(name, Any), plain)[1]:
            written[name] = plain
    return written


def _holds_component(value: Any) -> bool:
    return any(isinstance(item, ComponentConfig) for item in (value if isinstance(value, tuple) else (value,)))
