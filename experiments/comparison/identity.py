"""What makes two runs, or two groups, the same: the digests that name them, so that nothing is done twice.

A digest is taken over what decides the bits of a result: the configuration, user code, data, torch's version, threads,
and `NUMERICS`, which stands for this program's own part in them. This program's version has no part: a new one finds
the runs, groups and looks of the ones before it.

Of a configuration all values count that version 0.1.0 had; of those that came later, whose names
`known_to_0_1.json` does not list, only what differs from the defaults. So a new option changes no digest of those who
do not use it, and a default of 0.1.0's that changes does change them, as it should, since the bits change with it. A
later option's default that changes needs a new `NUMERICS` instead.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib import resources
from typing import Any

import torch

from ..components.data import make_data
from ..components.registries import REGISTRIES
from ..config import ComponentConfig, Config
from ..config.configuration import SECTIONS
from ..config.resolving import Resolver
from ..config.sections import arguments_of
from ..registry.arguments import Argument, signature_of

#: Raised by one when, and only when, the same configuration gives other bits than before, for whatever reason: another
#: order of operations, another draw, a changed default of an option that is younger than 0.1.0. All runs are then done
#: anew, in new groups. With the first raise, what is said here of 0.1.0 and `known_to_0_1.json` can go: no digest of
#: its time will be met again, and whatever has its default may be left out.
NUMERICS = 1

_PACKAGE = __name__.partition(".")[0]
_IRRELEVANT = ("name", "checkpoint")  # keys that change no bit of a result
_COMMON = {field.name for field in fields(ComponentConfig)}


def group_digest(facts: list[Any]) -> str:
    """Return the six hexadecimal digits at the end of a group's name."""
    return _digest(facts if NUMERICS == 1 else [*facts, NUMERICS])[:6]


class RunKeys:
    """Makes the keys of runs, and remembers what it read of data for that."""

    def __init__(self) -> None:
        self._data: dict[str, str] = {}

    def key(self, config: Config, plain: Mapping[str, Any]) -> str:
        """Return the SHA-256 of all that determines the result of a run.

        Args:
            config: of the entry.
            plain: the run's own configuration, which differs from it in seed and settings.
        """
        facts = {
            "config": {name: value for name, value in counted(config, plain).items() if name not in _IRRELEVANT},
            "code": config.code_files,
            "data": self._data_hash(config),
            "init": _init_hash(config),
            "optrun": "0.1.0" if NUMERICS == 1 else NUMERICS,  # which hashed its version there
            "torch": torch.__version__,
            "threads": [os.environ.get("OPTRUN_THREADS"), os.cpu_count()],
        }
        return _digest(facts)

    def _data_hash(self, config: Config) -> str:
        """Return a hash of the examples themselves: a file of the user's may change under the same name."""
        described = json.dumps([config.data.name, repr(sorted(config.data.args.items()))])
        if described not in self._data:
            self._data[described] = make_data(config.data.component, **config.data.args).sha256()
        return self._data[described]


def counted(config: Config, plain: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the part of a configuration that digests are taken over.

    Args:
        config: whose values are compared with the defaults.
        plain: a variant of it as plain data, by default itself; what it sets otherwise counts.
    """
    whole = config.to_dict()
    kept = copy.deepcopy(whole if plain is None else dict(plain))
    for path in later_defaults(config):
        owner, _, name = path.rpartition(".")
        place = look_up(kept, owner)
        if isinstance(place, dict) and look_up(kept, path) == look_up(whole, path):
            place.pop(name, None)
    known = _known_to_0_1()["keys"]
    return {key: value for key, value in kept.items() if key in known or value not in (None, [], {})}


def later_defaults(config: Config) -> list[str]:
    """List the key paths of values that no configuration of version 0.1.0 had, and that are the defaults."""
    default = Resolver(REGISTRIES, None, []).default
    return [
        f"{path}.{each.name}"
        for path, arguments, values, known in _owners(config)
        for each in arguments
        if each.name in values and each.name not in known and not each.required
        if _same(values[each.name], default(each, path))
    ]


def _owners(config: Config) -> Iterator[tuple[str, Iterable[Argument], Mapping[str, Any], Collection[str]]]:
    """Yield each section and component: its path, its arguments, their values, and the names that 0.1.0 had."""
    known = _known_to_0_1()
    for section in SECTIONS:
        holder = getattr(config, section)
        if is_dataclass(holder):
            arguments = [each for each in signature_of(type(holder), 0).arguments if each.name not in _COMMON]
            yield section, arguments, vars(holder), known["sections"].get(section, ())
    for part in config.components():
        listed = known.get(part.component.kind, {}).get(part.name)
        if listed is None:  # a later one of ours has no older digests; one from elsewhere always counted whole
            listed = () if _is_ours(part) else part.args
        yield part.path, arguments_of(part.component), part.args, listed


def _is_ours(part: ComponentConfig) -> bool:
    module, registry = getattr(part.component.build, "__module__", None) or "", REGISTRIES.get(part.component.kind)
    if registry is None or part.name.startswith(tuple(registry.extras)):
        return False
    return module.startswith(f"{_PACKAGE}.")


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, ComponentConfig) and isinstance(default, ComponentConfig):
        return value.name == default.name and _same(dict(value.args), dict(default.args))
    if isinstance(value, dict) and isinstance(default, dict):
        return value.keys() == default.keys() and all(_same(value[key], default[key]) for key in value)
    if isinstance(value, tuple) and isinstance(default, tuple):
        return len(value) == len(default) and all(map(_same, value, default))
    return value == default


@functools.cache
def _known_to_0_1() -> dict[str, Any]:
    """Return the names that a configuration of 0.1.0 could have: `keys`, those in `sections`, arguments by kind."""
    return json.loads(resources.files(__name__.rpartition(".")[0]).joinpath("known_to_0_1.json").read_text())


def _init_hash(config: Config) -> str | None:
    """Return a hash of what initial weights are read from, where they are."""
    if config.init is None or "fingerprint" not in config.init.component.facts:
        return None
    return config.init.component.facts["fingerprint"](config.init.args)


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def look_up(values: Any, key: str) -> Any:
    """Return what stands at a key path in plain data; None where nothing does."""
    for part in filter(None, key.split(".")):
        if isinstance(values, Mapping):
            values = values.get(part)
        elif isinstance(values, list) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        else:
            return None
    return values
