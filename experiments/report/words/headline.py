"""The sentence that a person can repeat, and what must be said beside it; neither claims more than was shown."""

from __future__ import annotations

from dataclasses import dataclass

from .. import style
from ..group import Group
from ..results import Results
from ..sensitivity import good_ranges
from ..trials import chosen_settings, chosen_trial, keys_of, trial_states
from .notes import (
    changed_notes,
    edge_notes,
    fewer_trials,
    lost_notes,
    not_finite_notes,
    nothing_chosen,
    result_notes,
    selection_notes,
    unmoved_notes,
)
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
    return Said("; ".join(parts), tuple(result_notes(results)))


def say_sweep(group: Group) -> Said:
    """Return which setting a sweep chose for each entry, and how wide the good range is."""
    parts = []
    for entry in group.entries:
        best = chosen_trial(entry)
        if best is None:
            parts.append(f"{entry['name']}: {nothing_chosen(trial_states(entry))}")
            continue
        at = style.listing([f"{key} = {style.cell(value)}" for key, value in chosen_settings(entry).items()])
        said = f"{entry['name']}: {group.select} was best at {at}"
        said += f" ({style.number(best.get('mean'))}, mean of {style.many(len(best.get('scores') or []), 'run')})"
        spans = good_ranges(entry, group.selector)
        if spans and group.selector.margin:
            named = [f"{key} {span}" if len(keys_of(entry)) > 1 else str(span) for key, span in spans.items()]
            said += f"; within {style.number(group.selector.margin)} of it: {', '.join(named)}"
        parts.append(said)
    notes = (*edge_notes(group), *selection_notes(group), *unmoved_notes(group))
    return Said("; ".join(parts), (*notes, *fewer_trials(group), *_on_records(group)))


def say_nothing(group: Group) -> Said:
    """Return that a comparison in which no entry has a result has none, and why."""
    lost = {name: group.lost(name) for name in group.names}
    return Said(
        f"{group.metric}: no verdict, since no entry has a result",
        (*lost_notes(group, lost, False), *_on_records(group)),
    )


def _on_records(group: Group) -> list[str]:
    return [*changed_notes(group), *not_finite_notes(group)]


def range_notes(group: Group) -> list[str]:
    """Return how wide the good range of each entry of a sweep is."""
    notes = []
    for entry in group.entries if group.selector.margin else ():
        rest = ", the rest as in the best setting" if len(keys_of(entry)) > 1 else ""
        for key, span in good_ranges(entry, group.selector).items():
            if span.low > 0 and span.high > span.low:
                least = "" if span.closed_low and span.closed_high else "at least "
                wide = f"{least}a factor of {style.number(span.factor, 3)} wide"
                notes.append(f"The good range of {key} is {wide}{rest}.")
            elif span.low == span.high:
                notes.append(f"No other value of {key} that was tried is as good{rest}.")
    return notes


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
