"""All entries of a comparison: every pair, corrected together, and the order that follows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...errors import UsageError, unknown_name
from .adjusted import adjust
from .paired import paired as paired_result
from .paired_result import PairedResult
from .ranking import Rank
from .samples import Mode, Values, by_seed, check_alpha, check_margin, check_mode
from .standings import Standing, standings_of
from .verdicts import Pair, judge


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
        num_lost: pairs that were planned, and could not be tested.
    """

    mode: Mode
    margin: float
    alpha: float
    baseline: str | None
    entries: tuple[Standing, ...]
    pairs: tuple[Pair, ...]
    other_p: tuple[float | None, ...]
    num_lost: int = 0

    def entry(self, name: str) -> Standing:
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
        if self.baseline is None:
            raise UsageError(f"'{a}' and '{b}' were not compared: they have different problems")
        raise UsageError(f"'{a}' and '{b}' were not compared: each entry was compared with '{self.baseline}' alone")

    @property
    def winner(self) -> str | None:
        """Return the entry that was shown to be better than each of the others, if there is one."""
        first = self.entries[0]
        return first.name if len(self.entries) > 1 and first.rank == Rank(1, 1) else None


def compare_entries(
    values: Mapping[str, Mapping[int, float | None]],
    *,
    mode: Mode,
    margin: float,
    alpha: float = 0.05,
    baseline: str | None = None,
    paired: bool = True,
    same: Callable[[str, str], bool] = lambda a, b: True,
    other_p: Sequence[float | None] = (),
    num_lost: int = 0,
    num_lost_others: int = 0,
) -> Analysis:
    """Compare entries on one endpoint: all pairs, or each with the baseline, corrected together by Holm's procedure.

    Args:
        values: per entry, per seed; None or NaN for a run that diverged.
        mode: whether more (`max`) or less (`min`) is better.
        margin: the largest difference that does not matter, in the metric's unit, fixed before the runs.
        alpha: probability of any false difference among all pairs.
        baseline: the one entry that all others are compared with.
        paired: False describes each entry alone, in the order given: runs that are not pairs are not held against each
            other.
        same: tells of two entries whether their runs may be the same; False if they are known to differ.
        other_p: p-values of other questions that will be printed beside, which join the family.
        num_lost: pairs that were planned, and cannot be tested because an entry has no result; see `adjust`.
        num_lost_others: likewise, of the other questions.

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
    chosen = _pairs_of(names, baseline) if paired else []
    results = [_compared(a, b, numbers, alpha, mode, same(a, b)) for a, b in chosen]
    lost = {"num_lost": num_lost, "num_lost_others": num_lost_others}
    adjusted, others = adjust(results, margin=margin, alpha=alpha, other_p=other_p, **lost)
    pairs = tuple(
        judge(a, b, result, margin=margin, alpha=alpha, adjusted=tests)
        for (a, b), result, tests in zip(chosen, results, adjusted, strict=True)
    )
    shown = [(pair.verdict.winner, pair.verdict.loser) for pair in pairs]
    better = [(winner, loser) for winner, loser in shown if winner is not None and loser is not None]
    with_letters = paired and baseline is None
    standings = standings_of(numbers, mode, alpha, better, with_letters=with_letters)
    return Analysis(
        mode=mode,
        margin=margin,
        alpha=alpha,
        baseline=baseline,
        entries=standings if paired else tuple(sorted(standings, key=lambda entry: names.index(entry.name))),
        pairs=pairs,
        other_p=others,
        num_lost=num_lost,
    )


def _pairs_of(names: Sequence[str], baseline: str | None) -> list[tuple[str, str]]:
    if baseline is None:
        return list(itertools.combinations(names, 2))
    if baseline not in names:
        raise UsageError(f"baseline: {unknown_name('entry', baseline, names)}")
    return [(name, baseline) for name in names if name != baseline]


def _compared(a: str, b: str, numbers: Mapping[str, Values], alpha: float, mode: Mode, same: bool) -> PairedResult:
    try:
        return paired_result(numbers[a], numbers[b], alpha=alpha, mode=mode, same=same)
    except UsageError as error:
        raise UsageError(f"'{a}' (a) against '{b}' (b): {error}") from None
