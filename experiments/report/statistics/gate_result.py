"""Whether a gate holds, does not, or cannot be decided with the seeds that there are."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass

from ...errors import UsageError, unknown_name
from .analysis import Analysis, Pair
from .equivalence import equivalence_of
from .gate import BOUND, Gate
from .power import seeds_needed
from .samples import Values, by_seed
from .sign_flips import too_few_seeds
from .student import Spread, spread_of, t_above, t_interval
from .text import count_text, number_text, p_text

_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True)
class GateResult:
    """What became of a gate.

    Args:
        gate: the condition.
        holds: True, False, or None where the seeds cannot decide; only True lets a gate pass.
        message: why, with the numbers.
    """

    gate: Gate
    holds: bool | None
    message: str

    def __str__(self) -> str:
        word = {True: "holds", False: "does not hold", None: "undecided"}[self.holds]
        return f"{self.gate.text}: {word}. {self.message}"


def evaluate_gate(
    gate: Gate, analysis: Analysis, values: Mapping[str, Mapping[str, Values]] | None = None
) -> GateResult:
    """Decide about a gate.

    - A bound: by the mean over seeds; the message tells when the interval of the mean holds the bound. An entry with a
      run that diverged has no mean, and no bound holds for it.
    - better than: by the verdict, which is corrected over all pairs.
    - not worse than: when the one-sided interval of level 1 - alpha of the difference, taken so that more is better,
      lies above -margin (non-inferiority); not, when the other one lies below.
    - equivalent to: by TOST; not, when the interval of level 1 - 2 alpha lies outside the margin.

    A gate is one question, asked before the runs: the last two are not corrected for others.

    Args:
        gate: of `parse_gate`.
        analysis: of the primary endpoint, which all relations between entries are about.
        values: per metric, per entry, per seed, for bounds.

    Raises:
        UsageError: a bound on a metric or entry without values; a pair that was not compared.
    """
    if gate.relation == BOUND:
        return _bound(gate, values or {}, analysis.alpha)
    if gate.b is None:
        raise UsageError(f"gate '{gate.text}' names no second entry")
    pair = analysis.pair(gate.a, gate.b)
    if gate.relation == "better than":
        return _better(gate, pair, analysis)
    margin = analysis.margin if gate.number is None else gate.number
    if pair.result.identical:
        return GateResult(gate, True, pair.verdict.sentence)
    if pair.result.spread is None:
        return _after_divergence(gate, pair)
    if pair.result.n == 1:
        return GateResult(gate, None, "one seed shows no spread: at least two are needed")
    spread = _oriented(pair, gate.a)
    if gate.relation == "not worse than":
        return _not_worse(gate, spread, margin, analysis.alpha)
    return _equivalent(gate, spread, margin, analysis.alpha)


def _bound(gate: Gate, values: Mapping[str, Mapping[str, Values]], alpha: float) -> GateResult:
    if gate.metric is None or gate.operator is None or gate.number is None:
        raise UsageError(f"gate '{gate.text}' is no complete bound")
    if gate.metric not in values:
        raise UsageError(f"gate '{gate.text}': {unknown_name('metric', gate.metric, values)}")
    if gate.a not in values[gate.metric]:
        raise UsageError(f"gate '{gate.text}': {unknown_name('entry', gate.a, values[gate.metric])}")
    runs = list(by_seed(values[gate.metric][gate.a], gate.a).values())
    good = [value for value in runs if value is not None]
    if len(good) < len(runs) or not runs:
        return GateResult(gate, False, f"{len(runs) - len(good)} of {count_text(len(runs), 'run')} diverged: no mean")
    spread = spread_of(good)
    holds = bool(_COMPARE[gate.operator](spread.mean, gate.number))
    interval = t_interval(spread, 1 - alpha)
    told = "" if interval is None else f", {interval}"
    message = f"The mean is {number_text(spread.mean, 4)} (n = {spread.n}{told})"
    if spread.n == 1:
        message += "; one seed tells nothing about others"
    elif interval is not None and gate.number in interval and not spread.constant:
        message += f"; {number_text(gate.number, 4)} is inside the interval, so that other seeds may decide otherwise"
    return GateResult(gate, holds, message)


def _better(gate: Gate, pair: Pair, analysis: Analysis) -> GateResult:
    said = pair.verdict
    if said.winner is not None:
        return GateResult(gate, said.winner == gate.a, said.sentence)
    interval = pair.adjusted.interval
    if interval is not None and (gate.a == pair.a) != (analysis.mode == "max"):
        interval = -interval
    # Taken so that more is better for a: it is not better by more than the margin.
    if said.equivalent or (interval is not None and interval.high <= analysis.margin):
        return GateResult(gate, False, said.sentence)
    few = too_few_seeds(pair.result.n, analysis.alpha, pair.adjusted.num_tests)
    return GateResult(gate, None, f"{said.sentence}; {few}" if few else said.sentence)


def _after_divergence(gate: Gate, pair: Pair) -> GateResult:
    winner = pair.verdict.winner
    if winner is None:
        return GateResult(gate, None, pair.verdict.sentence)
    return GateResult(gate, winner == gate.a and gate.relation == "not worse than", pair.verdict.sentence)


def _not_worse(gate: Gate, spread: Spread, margin: float, alpha: float) -> GateResult:
    above, below = t_above(spread, -margin), t_above(_mirrored(spread), margin)
    interval = t_interval(spread, 1 - 2 * alpha)
    end = "" if interval is None else f", at least {number_text(interval.low)} with {100 * (1 - alpha):g} % confidence"
    message = f"The mean lead of {gate.a} over {gate.b} is {number_text(spread.mean)}{end} (n = {spread.n})"
    if above is not None and above <= alpha:
        return GateResult(gate, True, f"{message}, above -{number_text(margin)} ({p_text(above)})")
    if below is not None and below <= alpha:
        return GateResult(gate, False, f"{message}: worse by more than {number_text(margin)} ({p_text(below)})")
    return GateResult(gate, None, message + _cannot_decide(spread, margin, alpha, power=0.8))


def _equivalent(gate: Gate, spread: Spread, margin: float, alpha: float) -> GateResult:
    found = equivalence_of(spread, margin, alpha)
    interval = "" if found.interval is None else f", {found.interval}"
    message = f"The mean difference is {number_text(spread.mean)} (n = {spread.n}{interval})"
    if found.holds:
        return GateResult(gate, True, f"{message}, within {number_text(margin)}")
    if found.interval is not None and (found.interval.low >= margin or found.interval.high <= -margin):
        return GateResult(gate, False, f"{message}, outside of {number_text(margin)}")
    # Both one-sided tests have to succeed: each with 0.9 gives 0.8 together.
    return GateResult(gate, None, message + _cannot_decide(spread, margin, alpha, power=0.9))


def _cannot_decide(spread: Spread, margin: float, alpha: float, power: float) -> str:
    cannot = f"; {count_text(spread.n, 'seed')} cannot decide"
    if margin == 0 or not spread.sd or alpha >= 0.25:
        return cannot
    needed = seeds_needed(spread.sd, margin, power=power, alpha=2 * alpha)
    return f"{cannot}, about {needed} would if there is no true difference" if needed > spread.n else cannot


def _oriented(pair: Pair, a: str) -> Spread:
    """Return mean and spread of the difference so that more is better for a."""
    spread = pair.result.spread
    if spread is None:
        raise UsageError("runs diverged: there is no mean difference")
    return spread if (a == pair.a) == (pair.result.mode == "max") else _mirrored(spread)


def _mirrored(spread: Spread) -> Spread:
    return Spread(spread.n, -spread.mean, spread.sd, spread.constant)
