"""Which values of a configuration are the defaults, so that what an older version stored is read as it was meant."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from ..registry import Registry
from ..registry.arguments import Argument, fields_of
from .changes import Change, changed_keys, look_up
from .configuration import SECTIONS, Config
from .resolving import Resolver
from .sections import ComponentConfig, arguments_of

_COMMON = {field.name for field in fields(ComponentConfig)}


@dataclass(frozen=True)
class Owner:
    """A section or a component, with its arguments.

    Args:
        path: the key path.
        arguments: what it takes.
        values: of the arguments, by name.
        part: the component; None for a section's own keys.
    """

    path: str
    arguments: tuple[Argument, ...]
    values: Mapping[str, Any]
    part: ComponentConfig | None = None

    def defaults(self, registries: Mapping[str, Registry]) -> Iterator[str]:
        """Yield the names of the arguments that have their defaults, whether these were written out or not."""
        resolver = Resolver(registries, None, [])
        for each in self.arguments:
            has_default = each.name in self.values and not each.required
            if has_default and _same(self.values[each.name], resolver.default(each, self.path)):
                yield each.name


def owners(config: Config) -> Iterator[Owner]:
    """Yield all sections and components of a configuration, those inside others after them."""
    for section in SECTIONS:
        holder = getattr(config, section)
        if is_dataclass(holder):
            arguments = fields_of(type(holder))
            yield Owner(section, tuple(each for each in arguments if each.name not in _COMMON), vars(holder))
    for part in config.components():
        yield Owner(part.path, arguments_of(part.component), part.args, part)


def changes_since(stored: Mapping[str, Any], config: Config, registries: Mapping[str, Registry]) -> list[Change]:
    """List the keys in which a configuration differs from a stored one, which may be of an older version.

    An option that the stored one does not have is no change where it has its default.

    Args:
        stored: the whole configuration of a run, as plain data.
        config: as it is now.
        registries: the components by kind.
    """
    now = config.to_dict()
    if not changed_keys(stored, now):
        return []
    filled = copy.deepcopy(dict(stored))
    for key, value in now.items():
        if key not in filled and value in (None, []):
            filled[key] = value
    for owner in owners(config):
        said = look_up(now, owner.path)
        known = filled.setdefault(owner.path, {}) if owner.path in SECTIONS else look_up(filled, owner.path)
        if isinstance(known, dict):
            known |= {name: said[name] for name in owner.defaults(registries) if name in said and name not in known}
    return changed_keys(filled, now)


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, ComponentConfig) and isinstance(default, ComponentConfig):
        return value.name == default.name and _same(dict(value.args), dict(default.args))
    if isinstance(value, dict) and isinstance(default, dict):
        return value.keys() == default.keys() and all(_same(value[key], default[key]) for key in value)
    if isinstance(value, tuple) and isinstance(default, tuple):
        return len(value) == len(default) and all(map(_same, value, default))
    if value is default:  # such as a tensor, which has no single answer to `==`
        return True
    return bool(value == default)
