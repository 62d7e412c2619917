"""The scores of the values that were tried while tuning, and the range of the good ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..config.goal import Goal
from ..run_directory.comparison_file import NO_RESULT
from . import style
from .group import Group, Row
from .trials import chosen_settings, chosen_trial, keys_of, label_of, settings_of, trials_of


@dataclass(frozen=True)
class GoodRange:
    """The neighbouring values around the best one whose mean score is within the margin of its score.

    Args:
        low, high: the lowest and highest of them.
        closed_low, closed_high: whether a worse value was tried beyond that end.
    """

    low: float
    high: float
    closed_low: bool
    closed_high: bool

    @property
    def factor(self) -> float:
        """Return high / low: 1 where only the best value is good."""
        return self.high / self.low if self.low > 0 else float("nan")

    def __str__(self) -> str:
        ends = (
            f"{'' if self.closed_low else 'at most '}{self.low:.3g}",
            f"{'' if self.closed_high else 'at least '}{self.high:.3g}",
        )
        return f"{ends[0]} to {ends[1]}"


@dataclass(frozen=True)
class Line:
    """The trials that differ in the value of one key alone, as a figure joins them.

    Args:
        label: of the entry; where several keys were swept, the values of the others.
        chosen: the value of that key in the best setting, where it is among these.
        points: the values of that key with their trials.
    """

    label: str
    chosen: float | None
    points: list[tuple[float, Mapping[str, Any]]]


def lines_of(entry: Mapping[str, Any]) -> list[Line]:
    """Return the lines of a figure: over the first key that has numbers, one for each combination of the others."""
    across = key_across(entry)
    if across is None:
        return []
    chosen = chosen_settings(entry)
    lines: dict[str, Line] = {}
    for trial in trials_of(entry):
        settings = settings_of(entry, trial)
        others = {key: value for key, value in settings.items() if key != across}
        best = chosen.get(across) if others == {key: v for key, v in chosen.items() if key != across} else None
        label = label_of(others) if others else str(entry["name"])
        lines.setdefault(label, Line(label, best, [])).points.append((settings[across], trial))
    return list(lines.values())


def group_lines(group: Group) -> list[tuple[int, Line]]:
    """Return all lines of a figure, each with the number of its colour: that of its entry, if it is its only one."""
    lines = [(index, line) for index, entry in enumerate(group.entries) for line in lines_of(entry)]
    return list(enumerate(line for _, line in lines)) if len(group.entries) == 1 else lines


def key_across(entry: Mapping[str, Any]) -> str | None:
    """Return the key that the lines of a figure run along; None without trials, and where every key has names."""
    every = [settings_of(entry, trial) for trial in trials_of(entry)]
    return next((key for key in keys_of(entry) if every and all(style.is_number(each[key]) for each in every)), None)


def sensitivity_rows(group: Group) -> list[Row]:
    """Return one row for each setting: its scores, what came of its runs, and whether it was chosen.

    The value of a single key is `value`, and `key` names it; those of several have the names of the keys.
    """
    rows = []
    for entry in group.entries:
        tuning = entry.get("tuning") or {}
        for trial in trials_of(entry):
            scores = trial.get("scores") or []
            good, states = [score for score in scores if score is not None], trial.get("states") or []
            settings = settings_of(entry, trial)
            one = {"key": next(iter(settings)), "value": next(iter(settings.values()))}
            rows.append(
                {
                    "entry": entry["name"],
                    **(one if len(settings) == 1 else settings),
                    "metric": group.select,
                    "mean": trial.get("mean"),
                    "lowest": min(good, default=None),
                    "highest": max(good, default=None),
                    "n": len(scores),
                    **{state: states.count(state) for state in ("diverged", *NO_RESULT)},
                    "chosen": settings == chosen_settings(entry),
                    "bracketed": tuning.get("bracketed"),
                    **{f"score_{index + 1}": score for index, score in enumerate(scores)},
                }
            )
    return rows


def good_ranges(entry: Mapping[str, Any], goal: Goal) -> dict[str, GoodRange]:
    """Return the `good_range` of each key for which there is one, the others at their best."""
    found = {key: good_range(entry, goal, key) for key in keys_of(entry)}
    return {key: span for key, span in found.items() if span is not None}


def is_as_good(entry: Mapping[str, Any], trial: Mapping[str, Any], goal: Goal) -> bool:
    """Return True if a setting is as good as the best, to within the margin: of a single key, one in the good range."""
    if not goal.margin or (best := chosen_trial(entry)) is None:
        return False
    settings = settings_of(entry, trial)
    if len(settings) > 1:
        return _is_good(trial, goal.sign * best["mean"] - goal.margin, goal.sign)
    span, (value,) = good_range(entry, goal), settings.values()
    return span is not None and span.low <= value <= span.high


def unmoved_keys(entry: Mapping[str, Any]) -> list[str]:
    """Return the keys that changed no score: each of their values gave the very same as any other, run by run."""
    trials = trials_of(entry)
    found = []
    for key in keys_of(entry):
        scores: dict[str, list[Any]] = {}
        for trial in trials:
            others = {name: value for name, value in settings_of(entry, trial).items() if name != key}
            scores.setdefault(label_of(others), []).append(trial.get("scores"))
        if all(None not in each[0] and each.count(each[0]) == len(each) > 1 for each in scores.values() if each[0]):
            found.append(key)
    return found if any(trial.get("scores") for trial in trials) else []


def good_range(entry: Mapping[str, Any], goal: Goal, key: str | None = None) -> GoodRange | None:
    """Return the range of values that are as good as the best one, to within the margin.

    It is None without trials or margin, and of names, which have no range.

    Args:
        entry: of `comparison.json`.
        goal: the metric that the scores are values of, with the largest difference that does not matter.
        key: whose values; needed only where several were swept, and then the others are as in the best setting.
    """
    key, best = keys_of(entry)[0] if key is None else key, chosen_settings(entry)
    along = [(settings_of(entry, trial), trial) for trial in trials_of(entry)]
    others = [name for name in keys_of(entry) if name != key]
    trials = [trial for settings, trial in along if all(settings[name] == best.get(name) for name in others)]
    values = [settings_of(entry, trial)[key] for trial in trials]
    sign, margin = goal.sign, goal.margin
    if not all(map(style.is_number, values)):
        return None
    scored = [(sign * trial["mean"], index) for index, trial in enumerate(trials) if trial.get("mean") is not None]
    if not scored or margin is None:
        return None
    top, place = max(scored, key=lambda pair: pair[0])  # the first of equal ones, as it was chosen
    first = last = place
    while first > 0 and _is_good(trials[first - 1], top - margin, sign):
        first -= 1
    while last + 1 < len(trials) and _is_good(trials[last + 1], top - margin, sign):
        last += 1
    below, above = trials[:first][-1:], trials[last + 1 :][:1]
    return GoodRange(values[first], values[last], any(map(_is_known, below)), any(map(_is_known, above)))


def _is_known(trial: Mapping[str, Any]) -> bool:
    """Return True if a value that is not good was found to be worse, and did not merely fail."""
    return trial.get("mean") is not None or "diverged" in (trial.get("states") or ())


def _is_good(trial: Mapping[str, Any], bound: float, sign: int) -> bool:
    return trial.get("mean") is not None and sign * trial["mean"] >= bound
