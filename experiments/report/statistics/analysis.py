"""All entries of a comparison: every pair, corrected together, and the order that follows."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import UsageError, unknown_name
from .adjusted import Adjusted, adjust
from .paired_result import PairedResult
from .pairing import left_out, paired
from .ranking import Rank
from .records import entry_record, pair_record
from .samples import Mode, Values, by_seed, check_alpha, check_margin, check_mode
from .sign_flips import too_few_seeds
from .standings import Entry, entries_of
from .verdicts import Verdict, verdict


@dataclass(frozen=True)
class Pair:
    """Two entries: the paired result (differences are a - b), its tests after correction, and the verdict."""

    a: str
    b: str
    result: PairedResult
    adjusted: Adjusted
    verdict: Verdict


@dataclass(frozen=True)
class Analysis:
    """A comparison, analysed.

    Args:
        mode: whether more (`max`) or less (`min`) is better.
        margin: the largest difference that does not matter, in the metric's unit.
        alpha: error rate of the family of all pairs.
        baseline: the entry that the others were compared with, or None when all pairs were made.
        entries: best first; those with runs that diverged last.
        pairs: in the order in which the entries were given.
        other_p: the p-values of other questions, adjusted in the same family.
        limits: what the number of seeds cannot show, in words.
    """

    mode: Mode
    margin: float
    alpha: float
    baseline: str | None
    entries: tuple[Entry, ...]
    pairs: tuple[Pair, ...]
    other_p: tuple[float | None, ...]
    limits: tuple[str, ...]

    def entry(self, name: str) -> Entry:
        """Return the entry called `name`.

        Raises:
            UsageError: there is none.
        """
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise UsageError(unknown_name("entry", name, [entry.name for entry in self.entries]))

    def pair(self, a: str, b: str) -> Pair:
        """Return the pair of two entries; its own `a` and `b` tell in which order its differences are.

        Raises:
            UsageError: an unknown entry, or a pair that was not made because neither is the baseline.
        """
        names = {self.entry(a).name, self.entry(b).name}
        for pair in self.pairs:
            if {pair.a, pair.b} == names:
                return pair
        if a == b:
            raise UsageError(f"'{a}' cannot be compared with itself")
        raise UsageError(f"'{a}' and '{b}' were not compared: each entry was compared with '{self.baseline}' alone")

    @property
    def winner(self) -> str | None:
        """Return the entry that was shown to be better than each of the others, if there is one."""
        first = self.entries[0]
        return first.name if len(self.entries) > 1 and first.rank == Rank(1, 1) else None

    @property
    def sentence(self) -> str:
        """Return the result in one sentence."""
        if len(self.pairs) == 1:
            return self.pairs[0].verdict.sentence
        if len(self.entries) == 1:
            return f"{self.entries[0].name} stands alone: there is nothing to compare it with"
        if self.winner is not None:
            return f"{self.winner} is better than each of the other {len(self.entries) - 1}"
        first = [entry.name for entry in self.entries if entry.rank.best == 1]
        said = f"no single winner: {_listed(first)} may each be the best"
        behind = [entry.name for entry in self.entries if entry.rank.best > 1]
        return f"{said}; {_listed(behind)} {'is' if len(behind) == 1 else 'are'} not" if behind else said

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain dicts, lists, numbers, texts and None, as JSON takes them."""
        return {
            "mode": self.mode,
            "margin": self.margin,
            "alpha": self.alpha,
            "baseline": self.baseline,
            "winner": self.winner,
            "sentence": self.sentence,
            "entries": [entry_record(entry) for entry in self.entries],
            "pairs": [pair_record(pair) for pair in self.pairs],
            "other_p": list(self.other_p),
            "limits": list(self.limits),
        }


def compare_entries(
    values: Mapping[str, Mapping[int, float | None]],
    *,
    mode: Mode,
    margin: float,
    alpha: float = 0.05,
    baseline: str | None = None,
    other_p: Sequence[float | None] = (),
) -> Analysis:
    """Compare entries on one endpoint: all pairs, or each with the baseline, corrected together by Holm's procedure.

    Args:
        values: per entry, per seed; None or NaN for a run that diverged.
        mode: whether more (`max`) or less (`min`) is better.
        margin: the largest difference that does not matter, in the metric's unit, fixed before the runs.
        alpha: probability of any false difference among all pairs.
        baseline: the one entry that all others are compared with.
        other_p: p-values of other questions that will be printed beside, which join the family.

    Raises:
        UsageError: no entries, an entry without runs, two without a common seed, an unknown baseline, a bad value.
    """
    check_mode(mode)
    check_margin(margin)
    check_alpha(alpha)
    if not values:
        raise UsageError("there are no entries to compare")
    names, numbers = list(values), {name: by_seed(runs, name) for name, runs in values.items()}
    for name, runs in numbers.items():
        if not runs:
            raise UsageError(f"entry '{name}' has no runs")
    chosen = _pairs_of(names, baseline)
    results = [_paired(a, b, numbers, alpha, mode) for a, b in chosen]
    adjusted, others = adjust(results, margin=margin, alpha=alpha, other_p=other_p)
    pairs = tuple(
        Pair(a, b, result, tests, verdict(a, b, result, margin=margin, alpha=alpha, adjusted=tests))
        for (a, b), result, tests in zip(chosen, results, adjusted, strict=True)
    )
    shown = [(pair.verdict.winner, pair.verdict.loser) for pair in pairs]
    better = [(winner, loser) for winner, loser in shown if winner is not None and loser is not None]
    return Analysis(
        mode=mode,
        margin=margin,
        alpha=alpha,
        baseline=baseline,
        entries=entries_of(numbers, mode, alpha, better, with_letters=baseline is None),
        pairs=pairs,
        other_p=others,
        limits=tuple(_limits(pairs, alpha)),
    )


def _pairs_of(names: Sequence[str], baseline: str | None) -> list[tuple[str, str]]:
    if baseline is None:
        return list(itertools.combinations(names, 2))
    if baseline not in names:
        raise UsageError(f"baseline: {unknown_name('entry', baseline, names)}")
    return [(name, baseline) for name in names if name != baseline]


def _paired(a: str, b: str, numbers: Mapping[str, Values], alpha: float, mode: Mode) -> PairedResult:
    try:
        return paired(numbers[a], numbers[b], alpha=alpha, mode=mode)
    except UsageError as error:
        raise UsageError(f"'{a}' (a) against '{b}' (b): {error}") from None


def _limits(pairs: Sequence[Pair], alpha: float) -> list[str]:
    limits = [f"{pair.a} and {pair.b}: {left_out(pair.result.unmatched)}" for pair in pairs if pair.result.unmatched]
    tested = [pair.result for pair in pairs if pair.result.sign_flip is not None]
    few = too_few_seeds(min(result.n for result in tested), alpha, len(tested)) if tested else None
    return [*limits, few] if few else limits


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
