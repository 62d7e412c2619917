"""The trials of an entry in `comparison.json`: what was tried of one key or of several, what came of it, the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..run_directory.comparison_file import NO_RESULT
from . import style


def keys_of(entry: Mapping[str, Any]) -> list[str]:
    """Return the keys whose values were tried: one while tuning, and one or several in a sweep."""
    tuning = entry.get("tuning") or {}
    return tuning.get("keys") or [tuning.get("key", "optimizer.lr")]


def settings_of(entry: Mapping[str, Any], trial: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value that a trial had of each key."""
    return trial["settings"] if "settings" in trial else {keys_of(entry)[0]: trial["value"]}


def chosen_settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the best value of each key; none where nothing was chosen."""
    chosen = (entry.get("tuning") or {}).get("chosen")
    if chosen is None:
        return {}
    return chosen if isinstance(chosen, dict) else {keys_of(entry)[0]: chosen}


def chosen_trial(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the trial with the best setting; None where nothing was chosen."""
    chosen = chosen_settings(entry)
    trials = (entry.get("tuning") or {}).get("trials") or []
    return next((trial for trial in trials if chosen and settings_of(entry, trial) == chosen), None)


def edges_of(entry: Mapping[str, Any]) -> list[str]:
    """Return the keys whose best value lies at the edge of what was tried."""
    tuning = entry.get("tuning") or {}
    if tuning.get("chosen") is None or tuning.get("bracketed") is not False:
        return []
    return tuning.get("edges") or keys_of(entry)


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Return the last part of each key; the whole of those that end alike."""
    ends = [key.rpartition(".")[2] for key in keys]
    return {key: end if ends.count(end) == 1 else key for key, end in zip(keys, ends, strict=True)}


def label_of(settings: Mapping[str, Any]) -> str:
    """Write the values of several keys: `lr=0.1, momentum=0.8`."""
    short = short_keys(list(settings))
    return ", ".join(f"{short[key]}={style.cell(value)}" for key, value in settings.items())


def trials_of(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return an entry's trials by increasing value, the last key the fastest; none when it was not tuned."""
    trials = (entry.get("tuning") or {}).get("trials") or []
    places = {}
    for key in keys_of(entry):
        values = list(dict.fromkeys(settings_of(entry, trial)[key] for trial in trials))
        ordered = sorted(values) if all(map(style.is_number, values)) else values
        places[key] = {value: place for place, value in enumerate(ordered)}
    return sorted(trials, key=lambda trial: [places[key][v] for key, v in settings_of(entry, trial).items()])


def trial_states(entry: Mapping[str, Any]) -> list[str]:
    """Return what came of each trial run of an entry."""
    return [state for trial in trials_of(entry) for state in trial.get("states") or []]


def num_known(states: list[str]) -> int:
    """Return how many trial runs say something of the value that they tried; one that diverged says that it is bad."""
    return sum(state not in NO_RESULT for state in states)
