"""The contenders of a comparison: from what a user names to configurations that differ where they were meant to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..components.registries import REGISTRIES
from ..config import Config
from ..config.changes import changed_keys
from ..config.plain import read_plain
from ..errors import UsageError, nearest
from ..run_directory.comparison_file import is_group, read_group
from ..run_directory.lookup import find_run
from ..run_directory.run import Run
from ..run_directory.run_dir import is_run
from ..training.load import load_config

LEARNING_RATE = "optimizer.lr"
_BASE_OF_OPTIMIZERS = "mom"  # an optimizer that is named alone takes model, data and schedule from this preset


@dataclass(frozen=True)
class Entry:
    """One contender.

    Args:
        name: unique in the comparison.
        target: where its configuration comes from, in words.
        config: with the overrides in it; its seed is replaced in each run.
        overrides: `key=value` as the user gave them for this entry and for all.
        runs: for an entry that was made of finished runs: their folders by seed.
    """

    name: str
    target: str
    config: Config
    overrides: tuple[str, ...] = ()
    runs: Mapping[int, Path] = field(default_factory=dict)

    def centre(self) -> tuple[float, str]:
        """Return the learning rate that a grid is centred on, and where it comes from.

        Raises:
            UsageError: neither the optimizer nor the user names one.
        """
        for override in self.overrides:
            if override.startswith(f"{LEARNING_RATE}="):
                return float(self.config.optimizer.args["lr"]), "given on the command line"
        facts = self.config.optimizer.component.facts
        if "centre_lr" in facts:
            return float(facts["centre_lr"]), str(facts.get("centre_source", "registered with the optimizer"))
        if "lr" in self.config.optimizer.given:
            return float(self.config.optimizer.args["lr"]), f"the configuration of {self.name}"
        raise UsageError(
            f"{self.name}: optimizer '{self.config.optimizer.name}' has no registered centre for a grid of rates: give "
            f"{self.name}:{LEARNING_RATE}=…, or use --no-tune"
        )


def make_entries(targets: Sequence[str], overrides: Sequence[str], root: Path) -> list[Entry]:
    """Turn targets and overrides into entries.

    Args:
        targets: presets, files, optimizer names, `run:ID`; one that is named twice gets a number.
        overrides: `key=value` for all entries, `NAME:key=value` for one; a NAME that is no target becomes one.
        root: where runs are looked up.

    Raises:
        UsageError: nothing to compare, or a target means nothing.
        ConfigError: what an entry names is not a valid configuration.
    """
    shared, own = _split_overrides(overrides)
    wanted = [*targets, *(name for name in own if name not in _names(targets))]
    names = _names(wanted)
    for name in own:
        if name not in names:
            guess = nearest(name, names)
            raise UsageError(
                f"no entry '{name}'.{f' Did you mean {guess}?' if guess else ''} Entries: {', '.join(names)}"
            )
    return [
        _make_entry(name, target, (*shared, *own.get(name, ())), root)
        for name, target in zip(names, wanted, strict=True)
    ]


def entries_from_file(values: Mapping[str, Any], folder: Path, overrides: Sequence[str], root: Path) -> list[Entry]:
    """Make the entries of a comparison file: `entries: {NAME: target or values}`, over an optional `base`."""
    base, listed = values.get("base"), values.get("entries")
    if not isinstance(listed, Mapping) or not listed:
        raise UsageError("a comparison file needs `entries:`, a mapping of names to targets or values")
    shared, own = _split_overrides(overrides)
    made = []
    for name, wanted in listed.items():
        extra = (*shared, *own.get(name, ()))
        if wanted is None or isinstance(wanted, str):
            target = str(folder / wanted) if wanted and wanted.endswith((".yaml", ".yml")) else wanted or name
            made.append(_make_entry(str(name), target, extra, root))
            continue
        if not isinstance(wanted, Mapping):
            raise UsageError(f"entry '{name}': expected a target or a mapping of values, got {wanted!r}")
        extends = wanted.get("extends", base)
        mapping = {
            **({"extends": _beside(extends, folder)} if extends is not None else {}),
            **wanted,
            "name": str(name),
        }
        if extends is not None:
            mapping["extends"] = _beside(extends, folder)
        made.append(Entry(str(name), f"entry of {folder.name or '.'}", load_config(mapping, list(extra)), extra))
    return made


def differences(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """List the keys in which the entries' configurations differ, with each entry's value."""
    plain = {entry.name: entry.config.to_dict() for entry in entries}
    first = entries[0].name
    keys: dict[str, None] = {}
    for entry in entries[1:]:
        keys |= dict.fromkeys(change.key for change in changed_keys(plain[first], plain[entry.name]))
    return [{"key": key, "values": {name: _lookup(values, key) for name, values in plain.items()}} for key in keys]


def read_comparison_file(path: Path) -> dict[str, Any] | None:
    """Return a comparison file's content, or None when it is an ordinary configuration."""
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return None
    values = read_plain(path)
    if "entries" not in values:
        return None
    known = ["base", "entries", "seeds", "tune", "metric", "target", "baseline", "margin", "alpha", "gate"]
    for key in values:
        if key not in known:
            guess = nearest(key, known)
            hint = f" Did you mean '{guess}'?" if guess else ""
            raise UsageError(f"{path}: a comparison has no key '{key}'.{hint} Keys: {', '.join(known)}")
    return values


def _make_entry(name: str, target: str, overrides: tuple[str, ...], root: Path) -> Entry:
    if target.startswith("run:") or is_run(target):
        return _entry_of_run(name, Run(find_run(target, root)), overrides)
    try:
        config = load_config(target, list(overrides))
        return Entry(name, _where(config), config, overrides)
    except UsageError as error:
        if hasattr(error, "problems") or target not in REGISTRIES["optimizer"].names():
            raise
    centre = REGISTRIES["optimizer"].get(target).facts.get("centre_lr")
    rate = f", lr: {centre!r}" if centre is not None else ""
    config = load_config(_BASE_OF_OPTIMIZERS, [f"optimizer={{name: {target}{rate}}}", *overrides])
    return Entry(name, f"optimizer {target}, the rest as in preset {_BASE_OF_OPTIMIZERS}", config, overrides)


def _entry_of_run(name: str, run: Run, overrides: tuple[str, ...]) -> Entry:
    """Make an entry of a finished run, and of its neighbours that differ from it in the seed alone."""
    if overrides:
        raise UsageError(f"{name} is made of finished runs: overrides ({', '.join(overrides)}) cannot change them")
    config = load_config(run.dir.config_path)
    wanted = _without_seed(config.to_dict())
    group = run.path.parent
    planned = read_group(group)["runs"] if is_group(group) else []
    tuned = {record["path"] for record in planned if record["role"] == "tune"}
    runs: dict[int, Path] = {}
    for path in sorted(group.iterdir()):
        if (
            not is_run(path) or f"{path.parent.name}/{path.name}" in tuned
        ):  # these chose the rate, and must not judge it
            continue
        other = Run(path)
        if other.state in ("done", "stopped", "diverged") and _without_seed(other.config) == wanted:
            runs.setdefault(int(other.config["seed"]), path)
    return Entry(name.removeprefix("run:"), f"{len(runs)} finished runs like {run.name}", config, (), runs)


def _without_seed(config: Mapping[str, Any]) -> str:
    ignored = ("name", "seed", "checkpoint", "log")
    return json.dumps({key: value for key, value in config.items() if key not in ignored}, sort_keys=True)


def _split_overrides(overrides: Sequence[str]) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    shared, own = [], {}
    for override in overrides:
        key = override.partition("=")[0]
        name, colon, rest = key.rpartition(":")
        if colon:
            own.setdefault(name, []).append(f"{rest}={override.partition('=')[2]}")
        else:
            shared.append(override)
    return tuple(shared), own


def _names(targets: Sequence[str]) -> list[str]:
    names: list[str] = []
    for target in targets:
        stem = target.removeprefix("preset:")
        stem = Path(stem).stem if stem.endswith((".yaml", ".yml")) else stem.rstrip("/").rpartition("/")[2]
        name, number = stem, 1
        while name in names:
            number += 1
            name = f"{stem}-{number}"
        names.append(name)
    return names


def _beside(extends: Any, folder: Path) -> Any:
    if isinstance(extends, list):
        return [_beside(one, folder) for one in extends]
    beside = folder / str(extends)
    return str(beside.resolve()) if beside.is_file() else extends


def _where(config: Config) -> str:
    target = config.target
    return f"preset {target.name}" if target.kind == "preset" else str(target.path or target.name)


def _lookup(values: Any, key: str) -> Any:
    for part in key.split("."):
        if isinstance(values, Mapping):
            values = values.get(part)
        elif isinstance(values, list) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        else:
            return None
    return values
