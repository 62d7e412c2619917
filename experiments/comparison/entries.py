"""The contenders of a comparison: from what a user names to configurations that differ where they were meant to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..components.registries import REGISTRIES
from ..config import Config
from ..config.changes import changed_keys, look_up
from ..config.defaults import changes_since
from ..config.overrides import numbered, split_by_name
from ..errors import UsageError, nearest
from ..run_directory.comparison_file import is_group, outcome, read_group
from ..run_directory.lookup import find_run
from ..run_directory.run import Run
from ..run_directory.run_dir import is_run
from ..training.load import load_config

LEARNING_RATE = "optimizer.lr"
_IRRELEVANT = ("name", "seed", "checkpoint", "log")  # sections in which the runs of one entry may differ
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

    def with_target(self, target: float) -> Entry:
        """Return the same entry, its runs timed to a value of their validation metric."""
        changed = replace(self.config, eval=replace(self.config.eval, target=target))
        return replace(self, config=changed)


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
    shared, own = split_by_name(overrides)
    wanted = [*targets, *(name for name in own if name not in _names(targets))]
    names = _names(wanted)
    for name in own:
        if name not in names:
            guess = nearest(name, names)
            raise UsageError(
                f"no entry '{name}'.{f' Did you mean {guess}?' if guess else ''} Entries: {', '.join(names)}"
            )
    return [
        make_entry(name, target, (*shared, *own.get(name, ())), root)
        for name, target in zip(names, wanted, strict=True)
    ]


def differences(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """List the keys in which the entries' configurations differ, with each entry's value."""
    plain = {entry.name: entry.config.to_dict() for entry in entries}
    first = entries[0].name
    keys: dict[str, None] = {}
    for entry in entries[1:]:
        keys |= dict.fromkeys(change.key for change in changed_keys(plain[first], plain[entry.name]))
    return [{"key": key, "values": {name: look_up(values, key) for name, values in plain.items()}} for key in keys]


def make_entry(name: str, target: str, overrides: tuple[str, ...], root: Path) -> Entry:
    """Turn one target into an entry; the arguments are those of `make_entries`."""
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
    group = run.path.parent
    planned = read_group(group)["runs"] if is_group(group) else []
    tuned = {record["path"] for record in planned if record["role"] == "tune"}
    runs: dict[int, Path] = {}
    for path in sorted(group.iterdir()):
        if not is_run(path) or f"{group.name}/{path.name}" in tuned:  # these chose the rate, and must not judge it
            continue
        other = Run(path)
        changes = changes_since(other.config, config, REGISTRIES)
        if outcome(other) and all(change.key.partition(".")[0] in _IRRELEVANT for change in changes):
            runs.setdefault(int(other.config["seed"]), path)
    return Entry(name.removeprefix("run:"), f"{len(runs)} finished runs like {run.name}", config, (), runs)


def _names(targets: Sequence[str]) -> list[str]:
    return numbered(map(_name, targets))


def _name(target: str) -> str:
    bare = target.removeprefix("preset:")
    return Path(bare).stem if bare.endswith((".yaml", ".yml")) else bare.rstrip("/").rpartition("/")[2]


def _where(config: Config) -> str:
    target = config.target
    return f"preset {target.name}" if target.kind == "preset" else str(target.path or target.name)
