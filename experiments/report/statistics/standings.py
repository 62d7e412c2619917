"""The entries of a comparison one by one: mean, spread, place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .paired_result import median_of
from .proportions import Proportion, clopper_pearson
from .ranking import Rank, letters, ranks
from .samples import Mode
from .student import Interval, Spread, spread_of, t_interval


@dataclass(frozen=True)
class Standing:
    """Where one entry of a comparison stands.

    Args:
        name: of the entry.
        n: its runs, those that diverged included.
        spread: mean and sd over seeds; None when a run diverged.
        interval: Student's t interval of the mean; None when a run diverged, or for one run.
        median: with diverged runs as the worst; None when the median itself is one.
        success: the runs that did not diverge.
        rank: the places that the entry can have.
        letters: entries without a common letter were shown to differ; empty when only pairs with a baseline were made.
    """

    name: str
    n: int
    spread: Spread | None
    interval: Interval | None
    median: float | None
    success: Proportion
    rank: Rank
    letters: str

    @property
    def mean(self) -> float | None:
        return None if self.spread is None else self.spread.mean

    @property
    def sd(self) -> float | None:
        return None if self.spread is None else self.spread.sd

    @property
    def num_diverged(self) -> int:
        return self.n - int(self.success.count)


def standings_of(
    numbers: Mapping[str, Mapping[int, float | None]],
    mode: Mode,
    alpha: float,
    better: list[tuple[str, str]],
    with_letters: bool,
) -> tuple[Standing, ...]:
    """Return how each entry stands, in the order of the table, best first.

    Args:
        numbers: per entry, per seed; None for a run that diverged.
        mode: whether more (`max`) or less (`min`) is better.
        alpha: the intervals have level 1 - alpha.
        better: (winner, loser) for each pair in which one was shown to be better.
        with_letters: all pairs were made, so that a common letter means that no difference was shown.
    """
    ordered = sorted(numbers, key=lambda name: _order(list(numbers[name].values()), mode))
    places = ranks(ordered, better)
    marks = letters(ordered, better) if with_letters else dict.fromkeys(ordered, "")
    entries = []
    for name in ordered:
        runs = list(numbers[name].values())
        good = [value for value in runs if value is not None]
        spread = spread_of(good) if len(good) == len(runs) else None
        entries.append(
            Standing(
                name=name,
                n=len(runs),
                spread=spread,
                interval=None if spread is None else t_interval(spread, 1 - alpha),
                median=median_of(runs, mode),
                success=clopper_pearson(len(good), len(runs), alpha=alpha),
                rank=places[name],
                letters=marks[name],
            )
        )
    return tuple(entries)


def _order(runs: Sequence[float | None], mode: Mode) -> tuple[float, float]:
    """Return what entries are ordered by: the share of runs that diverged, then the mean of the others."""
    good = [value for value in runs if value is not None]
    mean = spread_of(good).mean if good else 0.0
    return 1 - len(good) / len(runs), -mean if mode == "max" else mean
