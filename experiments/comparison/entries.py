"""The contenders of a comparison: from what a user names to configurations that differ where they were meant to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..components.registries import REGISTRIES
from ..config import Config
from ..config.defaults import changes_since
from ..config.overrides import numbered, split_by_name
from ..config.targets import NAME
from ..errors import UsageError, nearest
from ..report.style import listing
from ..run_directory.comparison_file import is_group, outcome, read_group
from ..run_directory.group_dir import runs_in
from ..run_directory.lookup import find_run
from ..run_directory.run import Run
from ..run_directory.run_dir import is_run
from ..training.load import load_config, stored_config
from .entry import Entry, of_config
from .labels import OF_A_RUN, labels_of
from .placing import at_its_centre, own_optimizer

_BASE_OF_OPTIMIZERS = "mom"  # an optimizer that is named alone takes model, data and schedule from this preset


Target = str | Mapping[str, Any]  # a preset, a file, an optimizer, a run; or a configuration
Make = Callable[[str, tuple[str, ...]], Entry]  # from an entry's name and its overrides


def make_entries(
    targets: Sequence[Target],
    overrides: Sequence[str],
    root: Path,
    *,
    names: Sequence[str] | None = None,
    ignored: Sequence[str] = (),
) -> list[Entry]:
    """Turn targets and overrides into entries.

    Args:
        targets: presets, files, optimizer names, `run:ID`, configurations; one that is named twice gets a number.
        overrides: `key=value` for all entries, `NAME:key=value` for one, by its name or its label; a NAME that is
            neither becomes a target.
        root: where runs are looked up.
        names: of the entries, if the user has chosen them.
        ignored: keys that labels do not speak of.

    Raises:
        UsageError: nothing to compare, or a target means nothing.
        ConfigError: what an entry names is not a valid configuration.
    """
    refuse_seeds(overrides)
    if names is not None:
        by_name = dict(zip(names, targets, strict=True))
        return make_each(names, overrides, lambda name, own: _named(name, by_name[name], own, root), ignored=ignored)
    names = _names(targets)
    strangers = [name for name in split_by_name(overrides)[1] if name not in names]
    if strangers:
        known = [each for each in overrides if each.partition("=")[0].rpartition(":")[0] not in strangers]
        labels = [entry.label for entry in _made(names, targets, known, root, ignored)] if targets else []
        strangers = [name for name in strangers if labels.count(name) != 1]
        _check_strangers(strangers, names)
    wanted = [*targets, *strangers]
    return _made(_names(wanted), wanted, overrides, root, ignored)


def make_each(
    names: Sequence[str], overrides: Sequence[str], make: Make, *, ignored: Sequence[str] = ()
) -> list[Entry]:
    """Make each entry with its overrides, and label it.

    Args:
        names: of the entries.
        overrides: `key=value` for all, `NAME:key=value` for one, by its name or by a label that is its alone.
        make: makes one.
        ignored: keys that labels do not speak of.

    Raises:
        UsageError: an override is for an entry that is not there, or sets the seed.
    """
    refuse_seeds(overrides)
    shared, own = split_by_name(overrides)
    entries = [make(name, (*shared, *own.get(name, ()))) for name in names]
    if strangers := [name for name in own if name not in names]:
        labels = labels_of(entries, ignored)
        for label in strangers:
            if labels.count(label) != 1:
                raise no_entry(label, dict.fromkeys([*names, *labels]))
            place = labels.index(label)
            entries[place] = make(names[place], (*shared, *own.get(names[place], ()), *own[label]))
    return [replace(entry, label=label) for entry, label in zip(entries, labels_of(entries, ignored), strict=True)]


def refuse_seeds(overrides: Sequence[str]) -> None:
    """Refuse an override of the seed, which each run of a comparison has from the plan.

    Raises:
        UsageError: there is one.
    """
    for override in overrides:
        key, _, value = override.partition("=")
        if key.rpartition(":")[2] == "seed":
            raise UsageError(
                f"{override}: each run has its seed from the plan, the same for all entries; "
                f"--first-seed {value if value.isdecimal() else 'N'} begins with another one"
            )


def no_entry(name: str, known: Sequence[str] | Mapping[str, Any]) -> UsageError:
    """Return the error that an override is for an entry that is not there."""
    guess = nearest(name, known)
    hint = f" Did you mean '{guess}'?" if guess else ""
    return UsageError(f"no entry '{name}' for {name}:KEY=VALUE.{hint} Entries: {', '.join(known)}")


def check_entry_names(targets: Mapping[str, Any]) -> list[str]:
    """Return the names that a mapping gives to entries.

    Raises:
        UsageError: one cannot be a name, or the mapping is a configuration.
    """
    names = list(targets)
    if "optimizer" in names or ("extends" in names and isinstance(targets["extends"], str | list)):
        raise UsageError("this is one configuration: give a list of them, or a mapping of names to them")
    for name in names:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot name an entry: use 1 to 64 letters, digits, '.', '_' and '-'")
    return names


def make_entry(name: str, target: Target, overrides: tuple[str, ...], root: Path) -> Entry:
    """Turn one target into an entry; the arguments are those of `make_entries`."""
    if isinstance(target, Mapping):
        config = load_config(target, list(overrides))
        return of_config(name, "a configuration given in Python", config, overrides, named="name" in target)
    if names_a_run(target):
        return _entry_of_run(name, Run(find_run(target, root)), overrides)
    try:
        config = load_config(target, list(overrides))
    except UsageError as error:
        if hasattr(error, "problems") or not is_optimizer(target):
            raise
    else:
        is_shipped, is_file = config.target.kind == "preset", config.target.kind == "path"
        return of_config(name, _where(config), config, overrides, shipped=is_shipped, named=not is_file)
    base = own_optimizer(lambda more: load_config(_BASE_OF_OPTIMIZERS, list(more)))
    config = at_its_centre(
        lambda more: load_config(_BASE_OF_OPTIMIZERS, [f"optimizer={json.dumps(target)}", *more]), base, overrides
    )
    where = f"optimizer {target}, the rest as in preset {_BASE_OF_OPTIMIZERS}"
    return of_config(name, where, config, overrides, shipped=True)


def names_a_run(target: Target) -> bool:
    """Return True for `run:ID`, and for the path of a run."""
    return isinstance(target, str) and (target.startswith("run:") or is_run(target))


def is_optimizer(name: str) -> bool:
    """Return True if a text names an optimizer: a registered one, or code of the user's."""
    return name in REGISTRIES["optimizer"].names() or (":" in name and not name.startswith(("run:", "preset:")))


def _named(name: str, target: Target, overrides: tuple[str, ...], root: Path) -> Entry:
    return replace(make_entry(name, target, overrides, root), name=name, named=True)


def _made(
    names: Sequence[str], targets: Sequence[Target], overrides: Sequence[str], root: Path, ignored: Sequence[str]
) -> list[Entry]:
    stems = [_name(target) for target in targets]
    by_name = dict(zip(names, targets, strict=True))

    def make(name: str, own: tuple[str, ...]) -> Entry:
        entry = make_entry(name, by_name[name], own, root)
        return replace(entry, named=False) if stems.count(_name(by_name[name])) > 1 else entry

    return make_each(names, overrides, make, ignored=ignored)


def _check_strangers(strangers: Sequence[str], names: Sequence[str]) -> None:
    """Refuse a NAME before `:key=value` that is no entry, and no target either."""
    for name in strangers:
        try:
            load_config(name)
        except UsageError as error:
            if not hasattr(error, "problems") and not is_optimizer(name):
                raise no_entry(name, names) from None


def _entry_of_run(name: str, run: Run, overrides: tuple[str, ...]) -> Entry:
    """Make an entry of a finished run, and of its neighbours that differ from it in the seed alone."""
    if overrides:
        raise UsageError(f"{name} is made of finished runs: overrides ({', '.join(overrides)}) cannot change them")
    config = stored_config(run.dir, to_read=True)
    group = run.path.parent
    planned = read_group(group)["runs"] if is_group(group) else []
    tuned = {record["path"] for record in planned if record["role"] == "tune"}
    runs: dict[int, Path] = {}
    for path in runs_in(group):
        if f"{group.name}/{path.name}" in tuned:  # these chose the rate, and must not judge it
            continue
        other = Run(path)
        changes = changes_since(other.config, config, REGISTRIES)
        if not all(change.key.partition(".")[0] in OF_A_RUN for change in changes):
            if path.resolve() == run.path.resolve():
                raise UsageError(
                    f"{run.name} was changed by hand: its config.yaml and its summary.json differ in "
                    f"{listing([change.key for change in changes])}. Put back the one that is wrong"
                )
            continue
        if outcome(other) and other.dir.has("summary.json"):
            runs.setdefault(int(other.config["seed"]), path)
    if not runs:
        what = "has no summary.json" if outcome(run) else f"is {run.state}"
        raise UsageError(f"{run.name} {what}, so it has no result to compare: `optrun resume {run.name}` makes it")
    return Entry(name.removeprefix("run:"), f"{len(runs)} finished runs like {run.name}", config, (), runs)


def _names(targets: Sequence[Target]) -> list[str]:
    return numbered(map(_name, targets))


def _name(target: Target) -> str:
    if isinstance(target, Mapping):
        return str(target.get("name", "config"))
    bare = target.removeprefix("preset:")
    return Path(bare).stem if bare.endswith((".yaml", ".yml")) else bare.rstrip("/").rpartition("/")[2]


def _where(config: Config) -> str:
    target = config.target
    return f"preset {target.name}" if target.kind == "preset" else str(target.path or target.name)
