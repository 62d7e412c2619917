"""The notes below a headline: what limits a result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ...run_directory.comparison_file import NO_RESULT, Record
from ...run_directory.final_values import not_finite
from ...run_directory.looks import why_exploratory
from .. import style
from ..group import Group
from ..results import Results
from ..sensitivity import unmoved_keys
from ..statistics import verdicts
from ..trials import chosen_trial, edges_of, keys_of, num_known, trial_states, trials_of
from .limits import overall_limits
from .states import count_states, every_one


def result_notes(results: Results) -> list[str]:
    """Return what limits the result of a comparison."""
    group = results.group
    notes = []
    if why := why_exploratory(group.looks):
        notes.append(f"Exploratory: {why}, so the p-values are too small.")
    pairs = results.analysis.pairs
    is_identical = bool(pairs) and all(pair.verdict.kind == verdicts.IDENTICAL for pair in pairs)
    if not group.tuned and not is_identical:
        notes.append("Not tuned: each entry ran with its settings as given, and others may turn the result around.")
    notes += [*edge_notes(group), *fewer_trials(group)]
    notes += lost_notes(group, results.lost, are_others_tested=bool(pairs))
    if missing := [record for record in group.missing() if record.entry not in results.lost]:
        total = style.many(len(group.of(role="evaluate")), "evaluation run")
        counts = count_states([group.result_state(record) for record in missing])
        notes.append(f"Incomplete: {len(missing)} of {total} take no part ({counts}).")
    notes += [*changed_notes(group), *not_finite_notes(group)]
    notes += [f"Note: {limit}." for limit in overall_limits(results.analysis)]
    if not group.paired:
        notes.append("Across problems: data, split or metric differ between the entries, so their runs are no pairs.")
    elif group.mismatch:
        notes.append(f"Not paired: {group.mismatch}")
    elif not (group.data.get("pairing") or {}).get("checked"):
        notes.append("The pairing of the runs was not checked.")
    return notes


def lost_notes(group: Group, lost: Mapping[str, Sequence[Record]], are_others_tested: bool) -> list[str]:
    """Return which entries have no result, and why."""
    notes = []
    for name, records in lost.items():
        states = [group.result_state(record) for record in records]
        what = every_one(states, "trial" if records[0].role == "tune" else "evaluation run")
        why = next((record.message.partition("\n")[0] for record in records if record.message), "no reason is known")
        if not {"failed", "changed"} & set(states):
            why = f"there is no finite {group.select if records[0].role == 'tune' else group.metric}"
        others = " The others are judged by the tests that were planned with it." if are_others_tested else ""
        kind = "Failed" if "failed" in states else "Changed" if "changed" in states else "Unmeasured"
        notes.append(f"{kind}: {name} has no result, {what} ({why}).{others}")
    return notes


def changed_notes(group: Group) -> list[str]:
    """Return which runs are others than the comparison made."""
    changed = [record.path.rpartition("/")[2] for record in group.records if record.state == "changed"]
    if not changed:
        return []
    named = style.listing(changed[: style.FEW])
    more = f" and {len(changed) - style.FEW} more" if len(changed) > style.FEW else ""
    verb, they = ("was", "it takes") if len(changed) == 1 else ("were", "they take")
    what = f"{named}{more} {verb} changed since the comparison was made, so {they} no part"
    return [f"Changed: {what}. Compare again, which makes anew what is missing."]


def not_finite_notes(group: Group) -> list[str]:
    """Return which runs ended with values that are not finite, besides what they are judged by: that is counted."""
    role, judged = ("evaluate", group.metric) if group.kind == "compare" else ("tune", group.select)
    found: dict[str, Counter[str]] = {}
    for record in group.of(role=role):
        for metric in not_finite(record.summary) if record.state == "done" else ():
            if metric != judged:
                found.setdefault(metric, Counter())[record.entry] += 1
    notes = []
    for metric, entries in found.items():
        few = [f"{name} in {style.many(count, 'run')}" for name, count in entries.items()]
        total = style.many(sum(entries.values()), "run")
        named = style.listing(few) if len(few) <= style.FEW else f"{total} of {len(few)} entries"
        notes.append(f"Not finite: the final {metric} of {named}.")
    return notes


def nothing_chosen(states: list[str]) -> str:
    """Return why no value is the best: `every trial diverged`."""
    if not states:
        return "no trials"
    if len(set(states)) == 1:
        return f"every trial {'is ' if states[0] in ('unmeasured', 'unfinished') else ''}{states[0]}"
    return f"no value has a score for each seed ({style.many(len(states), 'trial')}: {count_states(states)})"


def fewer_trials(group: Group) -> list[str]:
    """Return which entries were tuned on fewer trials than were run, and which on none that tells a best value."""
    notes = []
    for entry in group.entries:
        states, tuning = trial_states(entry), entry.get("tuning") or {}
        if num_known(states) and (lost := [state for state in states if state in NO_RESULT]):
            trials = f"{num_known(states)} of {style.many(len(states), 'trial')}"
            notes.append(f"Fewer trials: {entry['name']}: tuned on {trials} ({count_states(lost)}).")
        if tuning and tuning.get("chosen") is None and group.kind == "compare" and "diverged" in states:
            setting = style.number(_given(entry, tuning["key"]))
            notes.append(
                f"Not tuned: {entry['name']}: {nothing_chosen(states)}; it ran with its {tuning['key']} as given, "
                f"{setting}."
            )
    return notes


def _given(entry: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key in the configuration of an entry."""
    value: Any = entry.get("config") or {}
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def edge_notes(group: Group) -> list[str]:
    """Return which entries have their best value at the edge of what was tried."""
    edge = {entry["name"]: edges for entry in group.entries if (edges := edges_of(entry))}
    if not edge:
        return []
    keys = next(iter(edge.values()))  # one while tuning, and a sweep has one entry
    lies, better = ("lies", "a better one") if len(keys) == 1 else ("lie", "better ones")
    whose = f"the {style.listing(keys)} of {style.entries(list(edge))} {lies} at the edge of what was tried"
    return [f"Not bracketed: {whose}, and {better} may lie beyond."]


def selection_notes(group: Group) -> list[str]:
    """Return that the score of the best of many combinations flatters it, since the same runs chose it."""
    notes = []
    for entry in group.entries:
        number = len(trials_of(entry))
        if chosen_trial(entry) is not None and len(keys_of(entry)) > 1:
            notes.append(
                f"Selected: the best of {number} settings, chosen by the very score that is given, so expect less of "
                "it on other seeds; optrun compare measures on fresh ones."
            )
    return notes


def unmoved_notes(group: Group) -> list[str]:
    """Return which of several keys made no difference to any score."""
    keys = [key for entry in group.entries if len(keys_of(entry)) > 1 for key in unmoved_keys(entry)]
    return [f"No difference: every value of {key} that was tried gave the same scores." for key in keys]
