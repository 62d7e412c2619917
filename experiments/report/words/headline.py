"""The sentence that a person can repeat, and what must be said beside it; neither claims more than was shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...run_directory.comparison_file import Record
from ...run_directory.looks import why_exploratory
from .. import style
from ..group import Group
from ..results import Results
from ..sensitivity import good_range
from ..statistics import verdicts
from .limits import overall_limits
from .verdicts import endpoint_headline, pair_sentence, short_numbers, two


@dataclass(frozen=True)
class Said:
    """The result in words.

    Args:
        headline: one sentence, without its full stop.
        notes: what limits it: not tuned, exploratory, incomplete, not bracketed; each a sentence.
    """

    headline: str
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join([f"{self.headline}.", *self.notes])


def say(results: Results) -> Said:
    """Return what a comparison has shown, and what limits it."""
    parts = [part for part in (_speed(results), endpoint_headline(results)) if part]
    return Said("; ".join(parts), tuple(_notes(results)))


def say_sweep(group: Group) -> Said:
    """Return which setting a sweep chose for each entry, and how wide the good range is."""
    parts = []
    for entry in group.entries:
        tuning = entry.get("tuning") or {}
        if tuning.get("chosen") is None:
            parts.append(
                f"{entry['name']}: every trial diverged" if tuning.get("trials") else f"{entry['name']}: no trials"
            )
            continue
        best = next(trial for trial in tuning["trials"] if trial["value"] == tuning["chosen"])
        said = f"{entry['name']}: {group.select} was best at {tuning['key']} = {style.number(tuning['chosen'])}"
        said += f" ({style.number(best.get('mean'))}, mean of {style.many(len(best.get('scores') or []), 'run')})"
        span = good_range(entry, group.selector)
        if span is not None and group.selector.margin:
            said += f"; within {style.number(group.selector.margin)} of it: {span}"
        parts.append(said)
    return Said("; ".join(parts), tuple(_edge_notes(group)))


def range_notes(group: Group) -> list[str]:
    """Return how wide the good range of each entry of a sweep is."""
    notes = []
    for entry in group.entries:
        span = good_range(entry, group.selector)
        if span is None or not group.selector.margin:
            continue
        key = entry["tuning"]["key"]
        if isinstance(span.low, int | float) and span.low > 0 and span.high > span.low:
            least = "" if span.closed_low and span.closed_high else "at least "
            notes.append(f"The good range of {key} is {least}a factor of {style.number(span.factor, 3)} wide.")
        elif span.low == span.high:
            notes.append(f"No other value of {key} that was tried is as good.")
    return notes


def count_states(records: Sequence[Record]) -> str:
    """Count the runs of a group: `58 done, 2 failed`."""
    found = [record.state for record in records]
    return ", ".join(f"{found.count(state)} {state}" for state in dict.fromkeys(found))


def verdict_sentences(results: Results) -> list[str]:
    """Return the sentence of each pair; with more than four entries, of those with the reference."""
    analysis = results.analysis
    pairs = analysis.pairs
    if len(analysis.entries) > 4:
        pairs = [pair for pair in pairs if results.reference in (pair.a, pair.b)]
    return [f"{pair_sentence(pair)}." for pair in pairs]


def _speed(results: Results) -> str:
    """Return who reached the target in fewer epochs, where that was shown; else how many got there, if not all did."""
    if not results.times:
        return ""
    target = style.number((results.group.target or {})["value"])
    analysis = results.analysis
    missed = [name for name, times in results.times.items() if times.num_reached < len(times.reached)]
    if missed:
        counts = [f"{name} {times.num_reached} of {len(times.reached)}" for name, times in results.times.items()]
        if len(counts) > style.FEW:
            reached = [name for name in results.times if name not in missed]
            never = [name for name in missed if not results.times[name].num_reached]
            kinds = {"all": len(reached), "some": len(missed) - len(never), "none": len(never)}
            listed = [f"{which} of {style.many(n, 'entry', 'entries')}" for which, n in kinds.items() if n]
            return f"Runs that reached {target}: {', '.join(listed)}"
        return f"Runs that reached {target}: {', '.join(counts)}"
    shown = []  # (ratio, entry, other, interval, p) where an entry was shown to be sooner
    for pair in analysis.pairs:
        for entry, other in ((pair.a, pair.b), (pair.b, pair.a)):
            against = results.against(entry, other)
            ratio, p = against.ratio, against.ratio_p
            if ratio and ratio.ratio is not None and ratio.ratio > 1 and p is not None and p <= analysis.alpha:
                shown.append((ratio.ratio, entry, other, ratio.interval, p))
    wins = {name: sum(entry == name for _, entry, *_ in shown) for name in results.names}
    if not shown:
        return ""
    first = max(wins, key=lambda name: wins[name])
    than = sorted(item for item in shown if item[1] == first)
    listed = style.listing([f"{two(ratio)} times fewer than {b} ({short_numbers(i, p)})" for ratio, _, b, i, p in than])
    if len(than) > style.FEW:
        return f"{first} reached {target} in fewer epochs than each of {len(than)} others"
    if len(than) == 1:
        ratio, _, other, interval, p = than[0]
        return (
            f"{first} reached {target} in {two(ratio)} times fewer epochs than {other} ({short_numbers(interval, p)})"
        )
    return f"{first} reached {target} in fewer epochs: {listed}"


def _notes(results: Results) -> list[str]:
    group = results.group
    notes = []
    if why := why_exploratory(group.looks):
        notes.append(f"Exploratory: {why}, so the p-values are too small.")
    is_identical = group.paired and all(pair.verdict.kind == verdicts.IDENTICAL for pair in results.analysis.pairs)
    if not group.tuned and not is_identical:
        notes.append("Not tuned: each entry ran with its settings as given, and others may turn the result around.")
    notes += _edge_notes(group)
    for name in results.failed:
        records = group.of(name, "evaluate")
        why = next((record.message.partition("\n")[0] for record in records if record.message), "no reason is known")
        notes.append(
            f"Failed: {name} has no result, each of its {style.many(len(records), 'evaluation run')} failed ({why}). "
            "The others are judged by the tests that were planned with it."
        )
    if missing := [record for record in group.missing() if record.entry not in results.failed]:
        total = style.many(len(group.of(role="evaluate")), "evaluation run")
        notes.append(f"Incomplete: {len(missing)} of {total} take no part ({count_states(missing)}).")
    notes += [f"Note: {limit}." for limit in overall_limits(results.analysis)]
    if not group.paired:
        notes.append("Across problems: data, split or metric differ between the entries, so their runs are no pairs.")
    elif not (group.data.get("pairing") or {}).get("checked"):
        notes.append("The pairing of the runs was not checked.")
    return notes


def _edge_notes(group: Group) -> list[str]:
    edge = [entry["name"] for entry in group.entries if (entry.get("tuning") or {}).get("bracketed") is False]
    if not edge:
        return []
    key = next(e["tuning"]["key"] for e in group.entries if e["name"] == edge[0])
    whose = f"the {key} of {style.entries(edge)} lies at the edge of what was tried"
    return [f"Not bracketed: {whose}, and a better one may lie beyond."]
