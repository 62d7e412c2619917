"""A comparison as a file: `entries:`, what they have in common, and how they are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt, Lt

from ..config import ConfigError, Problem
from ..config.overrides import split_by_name
from ..config.plain import read_nodes
from ..config.values import check
from ..errors import UsageError, nearest
from ..registry.arguments import Count, NonNegative
from ..training.load import load_config
from .entries import Entry, make_entry

_OPTIONS: dict[str, Any] = {
    "seeds": Count,
    "tune": Literal[False] | Count,
    "metric": str,
    "target": float,
    "baseline": str,
    "margin": NonNegative,
    "alpha": Annotated[float, Gt(0), Lt(1)],
    "gate": str | list[str],
}
_KEYS = ["base", "entries", *_OPTIONS]


@dataclass(frozen=True)
class EntriesFile:
    """The content of such a file.

    Args:
        folder: of the file, which its targets are relative to.
        base: what entries extend that do not say what they extend.
        entries: a target, or values, by name.
        options: those of `compare` that it sets, `gate` among them; `tune` is None for none.
    """

    folder: Path
    base: Any
    entries: Mapping[str, Any]
    options: Mapping[str, Any]

    def make_entries(self, overrides: Sequence[str], root: Path) -> list[Entry]:
        """Return the entries.

        Args:
            overrides: as in `compare`.
            root: where runs are looked up.

        Raises:
            UsageError: an entry is neither a target nor values.
            ConfigError: what an entry says is not a valid configuration.
        """
        shared, own = split_by_name(overrides)
        named = ((str(name), said) for name, said in self.entries.items())
        return [self._entry(name, said, (*shared, *own.get(name, ())), root) for name, said in named]

    def _entry(self, name: str, said: Any, overrides: tuple[str, ...], root: Path) -> Entry:
        if said is None or isinstance(said, str):
            target = str(self.folder / said) if said and said.endswith((".yaml", ".yml")) else said or name
            return make_entry(name, target, overrides, root)
        if not isinstance(said, Mapping):
            raise UsageError(f"entry '{name}': expected a target or a mapping of values, got {said!r}")
        extends = said.get("extends", self.base)
        mapping = {**said, "name": name} | ({} if extends is None else {"extends": self._beside(extends)})
        return Entry(name, f"entry of {self.folder.name or '.'}", load_config(mapping, list(overrides)), overrides)

    def _beside(self, extends: Any) -> Any:
        if isinstance(extends, list):
            return [self._beside(one) for one in extends]
        beside = self.folder / str(extends)
        return str(beside.resolve()) if beside.is_file() else extends


def read_entries_file(path: Path) -> EntriesFile | None:
    """Read a file of entries; None when it is an ordinary configuration, or no file.

    Raises:
        UsageError: it has a key that a comparison does not have, or no entries.
        ConfigError: a value is not what its key takes.
    """
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return None
    nodes = read_nodes(path).value
    if "entries" not in nodes:
        return None
    problems, options = [], {}
    for key, node in nodes.items():
        if key not in _KEYS:
            guess = nearest(key, _KEYS)
            hint = f" Did you mean '{guess}'?" if guess else ""
            raise UsageError(f"{path}: a comparison has no key '{key}'.{hint} Keys: {', '.join(_KEYS)}")
        if key in _OPTIONS and node.value is not None:
            options[key] = node.plain  # as written: 1 and 1.0 give different digests
            _, mistakes = check(_OPTIONS[key], node.plain)
            problems += [Problem(node.origin, key, "invalid-value", each.message, each.hint) for each in mistakes]
    if problems:
        raise ConfigError(problems)
    if "tune" in nodes and options.get("tune", False) is False:
        options["tune"] = None
    entries = nodes["entries"].plain
    if not isinstance(entries, Mapping) or not entries:
        raise UsageError("a comparison file needs `entries:`, a mapping of names to targets or values")
    return EntriesFile(path.parent, nodes["base"].plain if "base" in nodes else None, entries, options)
