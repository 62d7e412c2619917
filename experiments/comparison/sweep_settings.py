"""The settings that a sweep tries, a value for each key, all checked before the first run."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import ConfigError
from ..config.goal import Goal
from ..errors import UsageError
from ..report.style import is_number
from .entries import Target, make_entries
from .entry import Entry
from .identity import IRRELEVANT, counted
from .placing import LEARNING_RATE, with_rates_of
from .problem import differing
from .sweep_values import spec_of
from .tuning import Tuning

MOST_RUNS = 100  # of a sweep over several keys, unless more are asked for: combinations are soon many
_OF_TRAINING = "data.subset"  # of the training part alone: all values are judged on the same examples

Spec = str | Sequence[Any]


def specs_by_key(key: str | Mapping[str, Spec], spec: Spec | None, overrides: Sequence[str]) -> dict[str, str]:
    """Return what is tried of each key as it is written on a command line.

    Args:
        key: what is swept; or what is tried of each of several keys.
        spec: what is tried of a single key.
        overrides: of everything else.

    Raises:
        UsageError: something is tried of no key, or of one that is part of another or given as well; or of the seed.
    """
    if not isinstance(key, str) and spec is not None:
        raise UsageError("a mapping says what is tried of each key: give nothing beside it (overrides=… has the rest)")
    if isinstance(key, str) and spec is None:
        raise UsageError(f"{key}: give the values to try, as in sweep(target, {key!r}, [0.1, 0.3])")
    given = {key: spec} if isinstance(key, str) else key
    if not given:
        raise UsageError("sweep what? Give at least one key with the values to try")
    specs = {name: tried if isinstance(tried, str) else spec_of(name, tried or ()) for name, tried in given.items()}
    set_keys = [override.partition("=")[0] for override in overrides]
    if "seed" in set_keys or "seed" in specs:
        raise UsageError("seed: each value runs with the same seeds, those of tuning; --seeds says with how many")
    for name in specs:
        if name in set_keys:
            raise UsageError(f"{name} is swept, and given as well: leave one of them out")
        if inner := next((other for other in specs if other.startswith(f"{name}.")), None):
            raise UsageError(f"{inner} is a part of {name}: sweep one of them")
    return specs


def tuning_of(values: Mapping[str, Sequence[Any]], goal: Goal) -> Tuning:
    """Return the search over all combinations of the values of each key: numbers ascending, the last key the fastest.

    Args:
        values: by key, as they were given.
        goal: by which they are judged.
    """
    ordered = [sorted(each) if all(map(is_number, each)) else list(each) for each in values.values()]
    (key, *others), (first, *_) = values, ordered
    return Tuning((key, *others), list(itertools.product(*ordered)), goal) if others else Tuning(key, first, goal)


def check_number(num_settings: int, num_seeds: int, most: int) -> None:
    """Refuse more runs than are allowed, before anything is built.

    Raises:
        UsageError: there are more.
    """
    if num_settings * num_seeds > most:
        raise UsageError(
            f"{num_settings:,} settings on {num_seeds} seeds are {num_settings * num_seeds:,} runs, and more than "
            f"{most:,} are not begun unasked: try fewer values (--trials says how many of a range), or allow them with "
            f"--most-runs {num_settings * num_seeds}"
        )


def entries_of_settings(
    target: Target,
    specs: Mapping[str, str],
    settings: Sequence[Mapping[str, Any]],
    overrides: Sequence[str],
    root: Path,
) -> list[Entry]:
    """Return an entry for each of a sweep's settings; the arguments are those of `checked_entry`.

    Raises:
        ConfigError: a value is refused, located at it.
        UsageError: a range is of other numbers than the key takes.
    """
    return [_entry(target, specs, each, overrides, root) for each in settings]


def checked_entry(
    entries: Sequence[Entry],
    target: Target,
    specs: Mapping[str, str],
    settings: Sequence[Mapping[str, Any]],
    overrides: Sequence[str],
    root: Path,
    try_it: Callable[[Entry], None],
) -> Entry:
    """Return the one entry of a sweep, after everything has been built with each of its settings.

    Args:
        entries: one for each of the settings.
        target: what is swept.
        specs: what is tried of each key, as written.
        settings: the combinations, each with a value for each key.
        overrides: for all of them.
        root: the folder of runs.
        try_it: builds an entry.

    Raises:
        ConfigError: a value is refused, located at it.
        UsageError: each setting would be judged otherwise, or a key has no effect.
    """
    for entry in entries:
        try_it(entry)
    _check_judged_alike(specs, entries)
    _check_effects(settings, entries)
    first = replace(entries[0], overrides=tuple(overrides))  # the first values are none that were given for all
    if LEARNING_RATE not in specs or not any("lr" in group.args for group in first.config.optimizer.groups):
        return first
    (own,) = make_entries([target], overrides, root)
    return replace(first, config=with_rates_of(first.config, own.config))


def _check_judged_alike(specs: Mapping[str, str], entries: Sequence[Entry]) -> None:
    for difference in differing(entries, [entries[0].config.eval.metric]):
        if not difference.pairable and difference.key != _OF_TRAINING:
            raise UsageError(
                f"{_written(specs)}: with {difference.key}, what judges the values would differ from one to the next, "
                "and their scores would not compare: sweep what training does, and leave data, split and metric alone"
            )


def _check_effects(settings: Sequence[Mapping[str, Any]], entries: Sequence[Entry]) -> None:
    """Refuse a key of which two values make the same run: its scores would be equal, and that would look like a result.

    Raises:
        UsageError: there is one.
    """
    decisive = [
        {name: value for name, value in counted(entry.config).items() if name not in IRRELEVANT} for entry in entries
    ]
    for one, other in itertools.combinations(range(len(settings)), 2):
        apart = [key for key in settings[one] if settings[one][key] != settings[other][key]]
        if len(apart) == 1 and decisive[one] == decisive[other]:
            values = f"{settings[one][apart[0]]} and {settings[other][apart[0]]}"
            raise UsageError(f"{apart[0]} has no effect: with {values} the very same would be trained. Leave it out")


def _entry(
    target: Target, specs: Mapping[str, str], settings: Mapping[str, Any], overrides: Sequence[str], root: Path
) -> Entry:
    """Make the entry with one setting; where one is refused for being no whole number, name the range that is meant."""

    def made(texts: Mapping[str, str]) -> Entry:
        return make_entries([target], [*overrides, *(f"{key}={text}" for key, text in texts.items())], root)[0]

    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in settings.items()}
    try:
        return made(texts)
    except ConfigError:
        for key, spec in specs.items():
            kind, _, rest = spec.partition(":")
            if kind not in ("log", "lin"):
                continue
            try:
                made({**texts, key: str(round(float(settings[key])))})
            except ConfigError:
                continue
            ends = ":".join(str(round(float(end))) for end in rest.split(":"))
            raise UsageError(f"{key}={spec}: {key} takes whole numbers: give int:{ends}") from None
        raise


def _written(specs: Mapping[str, str]) -> str:
    return " ".join(f"{key}={spec}" for key, spec in specs.items())
