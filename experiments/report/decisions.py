"""Decisions about conditions: one holds, does not, or cannot be decided with the seeds that there are."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ..errors import UsageError, unknown_name
from .conditions import BOUND, Condition, Spellings, parse_condition
from .results import Results
from .rows import final_metrics
from .statistics.analysis import Analysis
from .statistics.equivalence import equivalence
from .statistics.power import seeds_needed
from .statistics.samples import Values, by_seed
from .statistics.student import Spread, spread_of, t_above, t_interval
from .statistics.verdicts import Pair
from .style import many, p_text, significant
from .words.limits import too_few_seeds
from .words.states import every_one
from .words.verdicts import interval_text, pair_sentence

_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True)
class Decision:
    """The answer to a condition.

    Args:
        condition: that was asked.
        holds: True, False, or None where the seeds cannot decide; only True lets a gate pass.
        message: why, with the numbers.
    """

    condition: Condition
    holds: bool | None
    message: str

    def __str__(self) -> str:
        word = {True: "holds", False: "does not hold", None: "undecided"}[self.holds]
        return f"{self.condition.text}: {word}. {self.message}"


def decide_all(conditions: Sequence[Condition], results: Results) -> list[Decision]:
    """Decide each condition by the finished runs; every p is the one that is printed.

    Raises:
        UsageError: a bound on something that the runs do not measure.
    """
    group = results.group
    measured = final_metrics(group)
    known = Spellings((name, group.label(name)) for name in group.names)
    for condition in conditions:
        parse_condition(condition.text, known, measured)
    values = {asked.metric: group.values(asked.metric) for asked in conditions if asked.metric is not None}
    lost = {name: [group.result_state(run) for run in runs] for name, runs in results.lost.items()}
    unmeasured = {
        (metric, name): [run.result_state(metric) for run in group.finished(name)].count("unmeasured")
        for metric in values
        for name in group.names
    }
    return [decide(condition, results.analysis, values, lost, unmeasured) for condition in conditions]


def decide(
    condition: Condition,
    analysis: Analysis,
    values: Mapping[str, Mapping[str, Values]] | None = None,
    lost: Mapping[str, Sequence[str]] = MappingProxyType({}),
    unmeasured: Mapping[tuple[str, str], int] = MappingProxyType({}),
) -> Decision:
    """Decide about a condition.

    - A bound: by the mean over seeds; the message tells when the interval of the mean holds the bound. An entry with a
      run that diverged has no mean, and no bound holds for it.
    - better than: by the verdict, which is corrected over all pairs.
    - not worse than: when the one-sided interval of level 1 - alpha of the difference, taken so that more is better,
      lies above -margin (non-inferiority); not, when the other one lies below.
    - equivalent to: by TOST; not, when the interval of level 1 - 2 alpha lies outside the margin.

    A condition is one question, asked before the runs: the last two are not corrected for others.

    Args:
        condition: of `parse_condition`.
        analysis: of the primary endpoint, which all relations between entries are about.
        values: per metric, per entry, per seed, for bounds.
        lost: entries without a result, with what came of each of their runs.
        unmeasured: by metric and entry, how many of the runs without a value did not diverge.

    Raises:
        UsageError: a bound on a metric or entry without values; a pair that was not compared.
    """
    if condition.relation == BOUND:
        return _bound(condition, values or {}, analysis.alpha, unmeasured)
    known = [entry.name for entry in analysis.entries]
    if condition.b is None:
        raise UsageError(f"gate '{condition.text}' names no second entry")
    if failed := [name for name in (condition.a, condition.b) if name in lost and name not in known]:
        return Decision(condition, None, f"{failed[0]} has no result: {every_one(lost[failed[0]], 'run')}")
    pair = analysis.pair(condition.a, condition.b)
    if condition.relation == "better than":
        return _better(condition, pair, analysis)
    spread, winner = pair.result.spread, pair.verdict.winner
    if pair.result.identical:
        return Decision(condition, True, pair_sentence(pair))
    if pair.result.tied:
        return Decision(condition, None, pair_sentence(pair))
    if spread is None:
        is_ahead = winner == condition.a and condition.relation == "not worse than"
        return Decision(condition, None if winner is None else is_ahead, pair_sentence(pair))
    if pair.result.n == 1:
        return Decision(condition, None, "one seed shows no spread: at least two are needed")
    lead = spread if (condition.a == pair.a) == (pair.result.mode == "max") else -spread  # more is better for a
    margin = analysis.margin if condition.number is None else condition.number
    if condition.relation == "not worse than":
        return _not_worse(condition, lead, margin, analysis.alpha)
    return _equivalent(condition, lead, margin, analysis.alpha)


def _bound(
    condition: Condition,
    values: Mapping[str, Mapping[str, Values]],
    alpha: float,
    unmeasured: Mapping[tuple[str, str], int],
) -> Decision:
    if condition.metric is None or condition.operator is None or condition.number is None:
        raise UsageError(f"gate '{condition.text}' is no complete bound")
    if condition.metric not in values:
        raise UsageError(f"gate '{condition.text}': {unknown_name('metric', condition.metric, values)}")
    if condition.a not in values[condition.metric]:
        raise UsageError(f"gate '{condition.text}': {unknown_name('entry', condition.a, values[condition.metric])}")
    runs = list(by_seed(values[condition.metric][condition.a], condition.a).values())
    if not runs:
        return Decision(condition, False, f"{condition.a} has no result: no mean")
    good = [value for value in runs if value is not None]
    if len(good) < len(runs):
        number = unmeasured.get((condition.metric, condition.a), 0)
        counts = {"diverged": len(runs) - len(good) - number, "unmeasured": number}
        lost = ", ".join(f"{count} of {many(len(runs), 'run')} {state}" for state, count in counts.items() if count)
        why = f" (no finite {condition.metric})" if number else ""
        return Decision(condition, False, f"{lost}{why}: no mean")
    spread, bound = spread_of(good), condition.number
    interval = t_interval(spread, 1 - alpha)
    told = "" if interval is None else f", {interval_text(interval)}"
    message = f"The mean is {significant(spread.mean, 4)} (n = {spread.n}{told})"
    if spread.n == 1:
        message += "; one seed tells nothing about others"
    elif interval is not None and bound in interval and not spread.constant:
        message += f"; {significant(bound, 4)} is inside the interval, so that other seeds may decide otherwise"
    return Decision(condition, bool(_COMPARE[condition.operator](spread.mean, bound)), message)


def _better(condition: Condition, pair: Pair, analysis: Analysis) -> Decision:
    verdict, sentence = pair.verdict, pair_sentence(pair)
    if verdict.winner is not None:
        return Decision(condition, verdict.winner == condition.a, sentence)
    interval = pair.adjusted.interval
    if interval is not None and (condition.a == pair.a) != (analysis.mode == "max"):
        interval = -interval
    # Taken so that more is better for a: it is not better by more than the margin.
    if verdict.equivalent or (interval is not None and interval.high <= analysis.margin):
        return Decision(condition, False, sentence)
    few = too_few_seeds(pair.result.n, analysis.alpha, pair.adjusted.num_tests)
    return Decision(condition, None, f"{sentence}; {few}" if few else sentence)


def _not_worse(condition: Condition, lead: Spread, margin: float, alpha: float) -> Decision:
    above, below = t_above(lead, -margin), t_above(-lead, margin)
    interval = t_interval(lead, 1 - 2 * alpha)
    end = "" if interval is None else f", at least {significant(interval.low)} with {100 * (1 - alpha):g} % confidence"
    who = f"{condition.a} over {condition.b}"
    message = f"The mean lead of {who} is {significant(lead.mean)}{end} (n = {lead.n})"
    if above is not None and above <= alpha:
        return Decision(condition, True, f"{message}, above -{significant(margin)} ({p_text(above)})")
    if below is not None and below <= alpha:
        return Decision(condition, False, f"{message}: worse by more than {significant(margin)} ({p_text(below)})")
    return Decision(condition, None, message + _cannot_decide(lead, margin, alpha, power=0.8))


def _equivalent(condition: Condition, lead: Spread, margin: float, alpha: float) -> Decision:
    found = equivalence(lead, margin, alpha)
    interval = "" if found.interval is None else f", {interval_text(found.interval)}"
    message = f"The mean difference is {significant(lead.mean)} (n = {lead.n}{interval})"
    if found.holds:
        return Decision(condition, True, f"{message}, within {significant(margin)}")
    if found.interval is not None and (found.interval.low >= margin or found.interval.high <= -margin):
        return Decision(condition, False, f"{message}, outside of {significant(margin)}")
    # Both one-sided tests have to succeed: each with 0.9 gives 0.8 together.
    return Decision(condition, None, message + _cannot_decide(lead, margin, alpha, power=0.9))


def _cannot_decide(lead: Spread, margin: float, alpha: float, power: float) -> str:
    cannot = f"; {many(lead.n, 'seed')} cannot decide"
    if margin == 0 or not lead.sd or alpha >= 0.25:
        return cannot
    needed = seeds_needed(lead.sd, margin, power=power, alpha=2 * alpha)
    return f"{cannot}, about {needed} would if there is no true difference" if needed > lead.n else cannot
