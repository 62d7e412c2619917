"""The sentence that a person can repeat, and what must be said beside it; neither claims more than was shown."""

from __future__ import annotations

from dataclasses import dataclass

from .. import style
from ..group import Group
from ..results import Results
from ..sensitivity import good_range
from ..statistics import verdicts
from ..statistics.student import Interval
from ..statistics.text import p_text


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
    """Say what a comparison has shown, and what limits it."""
    parts = [part for part in (_speed(results), _endpoint(results)) if part]
    return Said("; ".join(parts), tuple(_notes(results)))


def say_sweep(group: Group) -> Said:
    """Say which setting a sweep chose for each entry, and how wide the good range is."""
    metric = str(group.protocol.get("select") or group.metric)
    parts = []
    for entry in group.entries:
        tuning = entry.get("tuning") or {}
        if tuning.get("chosen") is None:
            parts.append(
                f"{entry['name']}: every trial diverged" if tuning.get("trials") else f"{entry['name']}: no trials"
            )
            continue
        best = next(trial for trial in tuning["trials"] if trial["value"] == tuning["chosen"])
        said = f"{entry['name']}: {metric} was best at {tuning['key']} = {style.number(tuning['chosen'])}"
        said += f" ({style.number(best.get('mean'))}, mean of {style.many(len(best.get('scores') or []), 'run')})"
        span = good_range(entry, group.margin, group.mode)
        if span is not None and group.margin > 0:
            said += f"; within {style.number(group.margin)} of it: {span}"
        parts.append(said)
    return Said("; ".join(parts), tuple(_edge_notes(group)))


def verdict_sentences(results: Results) -> list[str]:
    """Return the sentence of each pair; with more than four entries, of those with the reference."""
    analysis = results.analysis
    pairs = analysis.pairs
    if len(analysis.entries) > 4:
        pairs = [pair for pair in pairs if results.reference in (pair.a, pair.b)]
    return [f"{pair.verdict.sentence}." for pair in pairs]


def _speed(results: Results) -> str:
    """Say who reached the target in fewer epochs, where that was shown; else how many got there, where not all did."""
    if not results.times:
        return ""
    target = style.number((results.group.target or {})["value"])
    analysis = results.analysis
    missed = [name for name, times in results.times.items() if times.num_reached < len(times.reached)]
    if missed:
        counts = [f"{name} {times.num_reached} of {len(times.reached)}" for name, times in results.times.items()]
        return f"Runs that reached {target}: {', '.join(counts)}"
    shown = []  # (ratio, entry, other, interval, p) where an entry was shown to be sooner
    for pair in analysis.pairs:
        for entry, other in ((pair.a, pair.b), (pair.b, pair.a)):
            against = results.against(entry, other)
            ratio, p = against.ratio, against.ratio_p
            if ratio and ratio.ratio is not None and ratio.ratio > 1 and p is not None and p <= analysis.alpha:
                shown.append((ratio.ratio, entry, other, ratio.interval, p))
    wins = {name: sum(entry == name for _, entry, *_ in shown) for name in results.group.names}
    if not shown:
        return ""
    first = max(wins, key=lambda name: wins[name])
    than = sorted(item for item in shown if item[1] == first)
    listed = style.listing([f"{_two(ratio)} times fewer than {b} ({_numbers(i, p)})" for ratio, _, b, i, p in than])
    if len(than) == 1:
        ratio, _, other, interval, p = than[0]
        return f"{first} reached {target} in {_two(ratio)} times fewer epochs than {other} ({_numbers(interval, p)})"
    return f"{first} reached {target} in fewer epochs: {listed}"


def _endpoint(results: Results) -> str:
    analysis, metric = results.analysis, results.group.metric
    kinds = {pair.verdict.kind for pair in analysis.pairs}
    names = [entry.name for entry in analysis.entries]
    if len(names) == 1:
        return f"{names[0]} stands alone: there is nothing to compare it with"
    if kinds == {verdicts.IDENTICAL}:
        runs = style.many(analysis.pairs[0].result.n, "seed")
        return f"{style.listing(names)} are identical: every difference in {metric} over {runs} is exactly 0"
    if len(analysis.pairs) == 1:
        return f"{metric}: {_pair(results)}"
    if analysis.winner is not None:
        return f"{metric}: {analysis.winner} is better than {_winner_numbers(results)}"
    if kinds == {verdicts.EQUIVALENT}:
        return f"{metric}: {style.listing(names)} are equivalent within {style.number(results.group.margin)}"
    if verdicts.BETTER not in kinds:
        needed = max((pair.verdict.seeds_needed or 0 for pair in analysis.pairs), default=0)
        size = style.number(results.group.margin)
        is_question = needed > analysis.entries[0].n
        more = f"; up to {style.many(needed, 'seed')} would be needed to show {size}" if is_question else ""
        if kinds == {verdicts.NO_DIFFERENCE}:
            return f"{metric}: no difference shown between {style.listing(names)}{more}"
        lost = [f"{entry.name} {entry.num_diverged} of {entry.n}" for entry in analysis.entries if entry.num_diverged]
        diverged = f"; runs that diverged: {', '.join(lost)}" if lost else ""
        return f"{metric}: none of {style.listing(names)} was shown to be better than another{diverged}"
    return f"{metric}: {_several(results)}"


def _pair(results: Results) -> str:
    pair = results.analysis.pairs[0]
    verdict, result = pair.verdict, pair.result
    if verdict.kind == verdicts.BETTER and result.mean is not None and verdict.winner and verdict.loser:
        against = results.against(verdict.winner, verdict.loser)
        more = "higher" if (against.difference or 0) > 0 else "lower"
        size = style.number(abs(against.difference or 0), 3)
        doubt = ", not confirmed by sign flips" if verdict.agrees is False else ""
        numbers = _numbers(_size(against.interval), pair.adjusted.p)
        return f"{verdict.winner} is {size} {more} than {verdict.loser} ({numbers}{doubt})"
    if verdict.kind == verdicts.NO_DIFFERENCE:
        needed = verdict.seeds_needed
        size = style.number(results.group.margin)
        more = (
            f", about {style.many(needed, 'seed')} would be needed to show {size}"
            if needed and needed > result.n
            else ""
        )
        return f"no difference shown{more}"
    return verdict.sentence


def _winner_numbers(results: Results) -> str:
    analysis = results.analysis
    others = []
    for entry in analysis.entries:
        if entry.name == analysis.winner:
            continue
        against = results.against(str(analysis.winner), entry.name)
        size = "" if against.difference is None else f"by {style.number(abs(against.difference), 3)}, "
        p = against.pair.adjusted.p
        doubt = ", not confirmed by sign flips" if against.pair.verdict.agrees is False else ""
        others.append(f"{entry.name} ({size}{'' if p is None else p_text(p)}{doubt})")
    return style.listing(others)


def _several(results: Results) -> str:
    """Say, without a single winner, who may still be first and who was shown to be worse than whom."""
    analysis = results.analysis
    first = [entry.name for entry in analysis.entries if entry.rank.best == 1]
    behind = []
    for entry in analysis.entries:
        if entry.rank.best > 1:
            above = [p.verdict.winner for p in analysis.pairs if p.verdict.loser == entry.name and p.verdict.winner]
            behind.append(f"{entry.name} is worse than {style.listing(above)}")
    said = f"no single winner: {style.listing(first)} may each be the best" if len(first) > 1 else f"{first[0]} leads"
    return ", and ".join([said, *behind])


def _notes(results: Results) -> list[str]:
    group = results.group
    notes = []
    if group.exploratory:
        notes.append("Exploratory: seeds were added after a result had been seen, so the p-values are too small.")
    is_identical = all(pair.verdict.kind == verdicts.IDENTICAL for pair in results.analysis.pairs)
    if not group.tuned and not is_identical:
        notes.append("Not tuned: each entry ran with its settings as given, and others may turn the result around.")
    notes += _edge_notes(group)
    if missing := group.missing():
        states = [
            f"{sum(r.state == state for r in missing)} {state}" for state in dict.fromkeys(r.state for r in missing)
        ]
        total = len(group.of(role="evaluate"))
        notes.append(
            f"Incomplete: {len(missing)} of {style.many(total, 'evaluation run')} take no part ({', '.join(states)})."
        )
    notes += [f"Note: {limit}." for limit in results.analysis.limits]
    if not (group.data.get("pairing") or {}).get("checked"):
        notes.append("The pairing of the runs was not checked.")
    return notes


def _edge_notes(group: Group) -> list[str]:
    edge = [entry["name"] for entry in group.entries if (entry.get("tuning") or {}).get("bracketed") is False]
    if not edge:
        return []
    key = next(e["tuning"]["key"] for e in group.entries if e["name"] == edge[0])
    whose = f"the {key} of {style.listing(edge)} lies at the edge of what was tried"
    return [f"Not bracketed: {whose}, and a better one may lie beyond."]


def _two(value: float) -> str:
    """Write two significant digits: `1.0`, `0.012`, `35`."""
    return f"{value:#.2g}" if abs(value) < 9.95 else f"{value:.0f}"


def _numbers(interval: Interval | None, p: float | None) -> str:
    parts = [] if interval is None else [f"{interval.level * 100:g} % CI {_two(interval.low)}-{_two(interval.high)}"]
    return ", ".join([*parts, *([] if p is None else [p_text(p)])])


def _size(interval: Interval | None) -> Interval | None:
    """Turn an interval of a difference into one of its size, which a winner's interval allows."""
    return -interval if interval is not None and interval.high < 0 else interval
