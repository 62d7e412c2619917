"""Every verdict in words: on a pair in full, in a cell of a table, on all entries, and as the headline."""

from __future__ import annotations

from .. import style
from ..results import Results
from ..statistics import verdicts
from ..statistics.analysis import Analysis
from ..statistics.standings import Standing
from ..statistics.student import Interval
from ..statistics.verdicts import Pair

# ---- two entries -----------------------------------------------------------------------------------------------------


def pair_sentence(pair: Pair) -> str:
    """Return the verdict on two entries with its numbers, without a full stop."""
    return _SENTENCES[pair.verdict.kind](pair)


def _identical(pair: Pair) -> str:
    result = pair.result
    both = f" ({result.num_diverged_a} diverged in both)" if result.diverged else ""
    seeds = style.many(result.n, "seed")
    return f"{pair.a} and {pair.b} are identical: every difference over {seeds} is exactly 0{both}"


def _undecided(pair: Pair) -> str:
    won, lost = (pair.result.outcomes.count(outcome) for outcome in (1, -1))
    tested = "" if pair.adjusted.p is None else f", exact sign test {_p(pair, pair.adjusted.p)}"
    said = f"{pair.a} and {pair.b}: undecided, because runs diverged ({_diverged(pair)})"
    return f"{said}; pairs won {won} to {lost}{tested}"


def _equivalent(pair: Pair) -> str:
    shown = pair.adjusted.equivalence.interval
    interval = "" if shown is None else f", {interval_text(shown)}"
    numbers = f"mean difference {_mean(pair)}{interval}, n = {pair.result.n}"
    said = f"{pair.a} and {pair.b} are equivalent within {_margin(pair)} ({numbers})"
    if not pair.verdict.different:
        return said
    return f"{said}; the difference is not 0 ({_p(pair, pair.adjusted.p)}), but too small to matter"


def _no_difference(pair: Pair) -> str:
    result, needed, margin = pair.result, pair.verdict.seeds_needed, _margin(pair)
    if result.tied:
        return f"{pair.a} and {pair.b}: no difference shown: {_tied(pair)}"
    numbers = f"mean difference {_mean(pair)}, {_numbers(pair, signed=True)}"
    said = f"{pair.a} and {pair.b}: no difference shown ({numbers})"
    if result.sd is None:
        return f"{said}; one seed can show none"
    if needed is None:
        return said
    if needed <= result.n:
        return f"{said}; {style.many(result.n, 'seed')} show a true difference of {margin} four times out of five"
    return f"{said}; about {needed} seeds would be needed to show one of {margin}"


def _tied(pair: Pair) -> str:
    seeds = style.many(pair.result.n, "seed")
    return f"their runs differ, and yet the values of {seeds} are equal: the metric may be too coarse to tell"


def _within_margin(pair: Pair) -> str:
    size = _mean(pair).removeprefix("-")
    said = f"{pair.verdict.ahead} is ahead of {pair.verdict.behind} by {size} ({_numbers(pair)})"
    return f"{said}: different from 0, but not by more than the margin of {_margin(pair)}"


def _better(pair: Pair) -> str:
    result, tests, winner = pair.result, pair.adjusted, pair.verdict.winner
    said = f"{winner} is better than {pair.verdict.loser}: "
    if result.mean is None:
        won = f"{result.outcomes.count(1 if winner == pair.a else -1)} of {style.many(result.n, 'pair')}"
        return f"{said}it won {won} (diverged: {_diverged(pair)}; exact sign test {_p(pair, tests.p)})"
    said += f"{'higher' if result.mode == 'max' else 'lower'} by {_mean(pair).removeprefix('-')} ({_numbers(pair)})"
    if tests.flip_p is not None and tests.flip_p > tests.alpha:
        said += f". The sign-flip test does not confirm it ({_p(pair, tests.flip_p)})"
    return said


_SENTENCES = {
    verdicts.IDENTICAL: _identical,
    verdicts.DIVERGED: _undecided,
    verdicts.EQUIVALENT: _equivalent,
    verdicts.NO_DIFFERENCE: _no_difference,
    verdicts.WITHIN_MARGIN: _within_margin,
    verdicts.BETTER: _better,
}


def verdict_phrase(results: Results, name: str) -> str:
    """Return what was concluded about an entry and the reference, for a cell of a table."""
    if not results.group.paired:
        return "not compared: another problem"
    if not results.tested:
        return f"not compared: {results.untested}"
    if name == results.reference:
        return "baseline" if results.analysis.baseline else "reference"
    verdict = results.against(name).pair.verdict
    margin = style.number(results.margin)
    if verdict.kind == verdicts.BETTER:
        said = "better" if verdict.winner == name else "worse"
        return f"{said} (not confirmed by sign flips)" if verdict.agrees is False else said
    if verdict.kind == verdicts.EQUIVALENT:
        return f"equivalent within {margin}"
    if verdict.kind == verdicts.WITHIN_MARGIN:
        return f"different, but less than the margin of {margin}"
    if needed := _needed(verdict.seeds_needed, results.analysis.entry(name).n):
        return f"no difference shown; about {needed} would be needed to show {margin}"
    return verdict.kind


def interval_text(interval: Interval) -> str:
    """Write an interval: `95 % CI 0.0186 to 0.0214`."""
    level = style.significant(100 * interval.level)
    return f"{level} % CI {style.significant(interval.low)} to {style.significant(interval.high)}"


def short_numbers(interval: Interval | None, p: float | None) -> str:
    """Write an interval and a p-value with two significant digits: `95 % CI 1.3-2.0, p < .001`."""
    parts = [] if interval is None else [f"{interval.level * 100:g} % CI {two(interval.low)}-{two(interval.high)}"]
    return ", ".join([*parts, *([] if p is None else [style.p_text(p)])])


def two(value: float) -> str:
    """Write two significant digits: `1.0`, `0.012`, `35`."""
    return f"{value:#.2g}" if abs(value) < 9.95 else f"{value:.0f}"


def _diverged(pair: Pair) -> str:
    n = pair.result.n
    return f"{pair.a} {pair.result.num_diverged_a}/{n}, {pair.b} {pair.result.num_diverged_b}/{n}"


def _mean(pair: Pair) -> str:
    mean, interval = pair.result.mean or 0.0, pair.result.interval
    is_rounding = interval is not None and abs(mean) < 1e-3 * (interval.high - interval.low)
    return "0" if is_rounding else style.significant(mean)


def _margin(pair: Pair) -> str:
    return style.significant(pair.adjusted.equivalence.margin)


def _numbers(pair: Pair, signed: bool = False) -> str:
    """Return interval, p and n; the interval of the size of the difference, or with its sign."""
    result, parts = pair.result, []
    if result.interval is not None:
        flip = not signed and (result.mean or 0) < 0
        parts.append(interval_text(-result.interval if flip else result.interval))
    if pair.adjusted.p is not None:
        parts.append(_p(pair, pair.adjusted.p))
    return ", ".join([*parts, f"n = {result.n}"])


def _p(pair: Pair, p: float | None) -> str:
    return "no p" if p is None else style.p_text(p, "adjusted p" if pair.adjusted.num_tests > 1 else "p")


def _needed(seeds: int | None, n: int) -> str:
    """Write how many seeds would be needed; empty where there are as many, or where that is no question."""
    return style.many(seeds, "seed") if seeds is not None and seeds > n else ""


# ---- all entries -----------------------------------------------------------------------------------------------------


def overall_sentence(analysis: Analysis) -> str:
    """Return who is better, and who may be, without numbers."""
    names = [entry.name for entry in analysis.entries]
    if len(analysis.pairs) == 1:
        return pair_sentence(analysis.pairs[0])
    if len(names) == 1:
        return _alone(names[0])
    if analysis.winner is not None:
        return f"{analysis.winner} is better than each of the other {len(names) - 1}"
    first = [entry.name for entry in analysis.entries if entry.rank.best == 1]
    behind = [name for name in names if name not in first]
    said = f"no single winner: {style.entries(first)} may each be the best"
    return f"{said}; {style.entries(behind)} {'is' if len(behind) == 1 else 'are'} not" if behind else said


def endpoint_headline(results: Results) -> str:
    """Return what was shown on the primary endpoint, for the headline: short, with the numbers of what was shown."""
    analysis, metric, problem = results.analysis, results.group.metric, results.group.problem
    endpoint = f"{metric}: on {problem}, " if problem else f"{metric}: "
    kinds = {pair.verdict.kind for pair in analysis.pairs}
    names = [entry.name for entry in analysis.entries]
    listed, margin = style.entries(names), style.number(results.margin)
    means = [f"{entry.name} {_mean_text(entry)}" for entry in analysis.entries]
    if not results.tested and results.group.paired:
        return f"{endpoint}no verdict, since {results.untested}; {'; '.join(means)}"
    if len(names) == 1:
        return _alone(names[0])
    if not results.group.paired:
        return f"{metric}: on different problems, which no test compares: {'; '.join(means)}"
    if kinds == {verdicts.IDENTICAL}:
        seeds, on_it = style.many(analysis.pairs[0].result.n, "seed"), f", on {problem}" if problem else ""
        return f"{listed} are identical: every difference in {metric} over {seeds} is exactly 0{on_it}"
    if len(analysis.pairs) == 1:
        return f"{endpoint}{_pair_headline(results, margin)}"
    if analysis.winner is not None:
        return f"{endpoint}{analysis.winner} is better than {_beaten(results, analysis.winner)}"
    if kinds == {verdicts.EQUIVALENT}:
        return f"{endpoint}{listed} are equivalent within {margin}"
    if verdicts.BETTER in kinds:
        return f"{endpoint}{_several(results)}"
    if kinds == {verdicts.NO_DIFFERENCE}:
        most = max(pair.verdict.seeds_needed or 0 for pair in analysis.pairs)
        needed = _needed(most, analysis.entries[0].n)
        more = f"; up to {needed} would be needed to show {margin}" if needed else ""
        return f"{endpoint}no difference shown between {listed}{more}"
    if ahead := [pair.verdict for pair in analysis.pairs if pair.verdict.kind == verdicts.WITHIN_MARGIN]:
        said = style.listing([f"{verdict.ahead} is ahead of {verdict.behind}" for verdict in ahead])
        said = f"{said} by less" if len(ahead) <= style.FEW else f"in {len(ahead)} pairs one is ahead by less"
        return f"{endpoint}none of {listed} is better than another by more than the margin of {margin}; {said}"
    lost = [f"{entry.name} {entry.num_diverged} of {entry.n}" for entry in analysis.entries if entry.num_diverged]
    diverged = f"; runs that diverged: {', '.join(lost)}" if lost else ""
    return f"{endpoint}none of {listed} was shown to be better than another{diverged}"


def _mean_text(entry: Standing) -> str:
    return "diverged" if entry.mean is None else style.number(entry.mean, 3)


def _alone(name: str) -> str:
    return f"{name} stands alone: there is nothing to compare it with"


def _pair_headline(results: Results, margin: str) -> str:
    (pair,) = results.analysis.pairs
    winner = pair.verdict.winner
    if winner is not None and pair.result.mean is not None:
        against = results.against(winner, pair.verdict.loser)
        difference, interval = against.difference or 0, against.interval
        size = f"{style.number(abs(difference), 3)} {'higher' if difference > 0 else 'lower'}"
        if interval is not None and interval.high < 0:
            interval = -interval  # of the size of the difference
        numbers = f"{short_numbers(interval, pair.adjusted.p)}{_doubt(pair)}"
        return f"{winner} is {size} than {pair.verdict.loser} ({numbers})"
    if pair.result.tied:
        return f"no difference shown: {_tied(pair)}"
    if pair.verdict.kind == verdicts.NO_DIFFERENCE:
        needed = _needed(pair.verdict.seeds_needed, pair.result.n)
        return "no difference shown" + (f", about {needed} would be needed to show {margin}" if needed else "")
    return pair_sentence(pair)


def _beaten(results: Results, winner: str) -> str:
    others = []
    beaten = [entry for entry in results.analysis.entries if entry.name != winner]
    for entry in beaten[:1] if len(beaten) > style.FEW else beaten:
        against = results.against(winner, entry.name)
        size = "" if against.difference is None else f"by {style.number(abs(against.difference), 3)}, "
        p = against.pair.adjusted.p
        others.append(f"{entry.name} ({size}{'' if p is None else style.p_text(p)}{_doubt(against.pair)})")
    if len(beaten) > style.FEW:
        return f"each of the other {len(beaten)}; closest is {others[0]}"
    return style.listing(others)


def _doubt(pair: Pair) -> str:
    return ", not confirmed by sign flips" if pair.verdict.agrees is False else ""


def _several(results: Results) -> str:
    """Return, without a single winner, who may still be first and who was shown to be worse than whom."""
    analysis = results.analysis
    first = [entry.name for entry in analysis.entries if entry.rank.best == 1]
    behind = []
    for entry in analysis.entries:
        if entry.rank.best > 1:
            above = [p.verdict.winner for p in analysis.pairs if p.verdict.loser == entry.name and p.verdict.winner]
            behind.append(f"{entry.name} is worse than {style.listing(above)}")
    said = f"no single winner: {style.entries(first)} may each be the best" if len(first) > 1 else f"{first[0]} leads"
    if len(behind) > style.FEW:
        return f"{said}; each of the other {len(behind)} is worse than at least one entry"
    return ", and ".join([said, *behind])
