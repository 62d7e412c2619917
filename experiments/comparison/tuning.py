"""Tuning with an equal budget: the same number of trials for every entry, on a grid around its own centre."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..config.goal import Goal
from ..errors import UsageError
from ..report.style import is_number
from ..run_directory.comparison_file import Record, ResultState

FACTOR = math.sqrt(10.0)
MAX_EXTENSIONS = 3

Scores = dict[Any, list[float | None]]


@dataclass
class Tuning:
    """The search of one entry.

    Args:
        key: what is tuned; of a sweep over several keys, all of them.
        values: that were or will be tried, from the smallest to the largest; names as they were given. Of several keys
            each is a tuple with a value for each of them.
        goal: the metric that scores are values of.
        centre: the value that a grid is centred on; None in a sweep, which has no centre and is not extended.
        source: where the centre comes from.
        scores: by value, one for each tuning seed; None for a run without one.
        states: by value, what came of the same runs. Only a run that diverged says that a value is bad: one that failed
            or measured nothing says nothing of it.
    """

    key: str | tuple[str, ...]
    values: list[Any]
    goal: Goal
    centre: float | None = None
    source: str = "swept"
    scores: Scores = field(default_factory=dict)
    states: dict[Any, list[ResultState]] = field(default_factory=dict)

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key,) if isinstance(self.key, str) else self.key

    def settings(self, value: Any) -> dict[str, Any]:
        """Return what a run with a value has on top of its entry's configuration, by key."""
        return {self.key: value} if isinstance(self.key, str) else dict(zip(self.key, value, strict=True))

    def value_of(self, settings: Mapping[str, Any]) -> Any:
        """Return the value that a run had, by its settings."""
        return settings[self.key] if isinstance(self.key, str) else tuple(settings[key] for key in self.key)

    def mean(self, value: Any) -> float | None:
        """Return the mean score of a value; None when one of its runs has no score."""
        scores = self.scores.get(value, [])
        return None if not scores or None in scores else math.fsum(s for s in scores if s is not None) / len(scores)

    def best(self) -> Any:
        """Return the value with the best mean score, the first of equal ones; None if none has a mean."""
        known = [(value, mean) for value in self.values if (mean := self.mean(value)) is not None]
        best = self.goal.best(known, lambda pair: pair[1])
        return None if best is None else best[0]

    def known(self) -> list[Any]:
        """Return the values of which something is known: they have a mean score, or a run diverged with them."""
        return [v for v in self.values if self.mean(v) is not None or "diverged" in self.states.get(v, ())]

    def at_edge(self) -> int:
        """Return -1 or 1 if the best value is the first or last of those of which something is known, else 0."""
        best, known = self.best(), self.known()
        if best is None:
            return -1 if known else 0  # where runs diverged at every rate, the good ones are below
        return -1 if best == known[0] else 1 if best == known[-1] else 0

    def edges(self) -> list[str]:
        """Return the keys whose best value is the first or last of what is known of them, the others at their best.

        Names have no order, and therefore no edge.
        """
        best = self.best()
        if best is None:
            return []
        at, found = self.settings(best), []
        for key in self.keys:
            known = [self.settings(value) for value in self.known()]
            line = [each[key] for each in known if all(each[other] == at[other] for other in at if other != key)]
            if all(map(is_number, line)) and at[key] in (min(line), max(line)):
                found.append(key)
        return found

    @property
    def bracketed(self) -> bool:
        """Return True if there is a best value, with a worse one on either side."""
        return self.best() is not None and not self.edges()

    def extend(self) -> float | None:
        """Add one more value and return it; None where nothing is known, or the grid is as fine as three figures go."""
        if not self.known():
            return None
        value = self.next_value()
        if value in self.values:
            return None
        bisect.insort(self.values, value)
        return value

    def next_value(self) -> float:
        """Return one more rate to try: beyond the edge, or between the best and the better of its neighbours."""
        assert self.centre is not None
        edge = self.at_edge()
        if edge:
            outermost = self.values[0] if edge < 0 else self.values[-1]
            power = round(math.log(outermost / self.centre) / math.log(FACTOR)) + edge
            return tidy(self.centre * FACTOR**power)  # on the grid, without the rounding of its neighbour
        best = self.best()
        position = self.values.index(best)
        below, above = self.values[position - 1], self.values[position + 1]

        def score(value: float) -> float:
            mean = self.mean(value)
            return self.goal.worst if mean is None else mean

        return tidy(math.sqrt(best * self.goal.best((below, above), score)))

    def as_dict(self, trials: Sequence[Record], num_planned: int) -> dict[str, Any]:
        """Return what comparison.json keeps.

        Args:
            trials: the runs, extensions included.
            num_planned: values that were to be tried at first.
        """
        best, is_one = self.best(), isinstance(self.key, str)

        def written(value: Any) -> Any:
            return value if is_one or value is None else self.settings(value)

        return {
            **({"key": self.key} if is_one else {"keys": list(self.keys)}),
            "centre": self.centre,
            "centre_source": self.source,
            "trials": [
                {
                    "value" if is_one else "settings": written(value),
                    "scores": self.scores.get(value, []),
                    "states": self.states.get(value, []),
                    "mean": self.mean(value),
                    "runs": [trial.path for trial in trials if self.value_of(trial.settings) == value],
                }
                for value in self.values
            ],
            "chosen": written(best),
            "bracketed": self.bracketed,
            **({} if is_one else {"edges": self.edges()}),
            "extended": len(self.values) - num_planned,
            "spent": len(trials),
        }


def grid(centre: float, trials: int) -> list[float]:
    """Return rates on a log grid with factor √10 around a centre; an even number has one more above it.

    Raises:
        UsageError: fewer than 3 trials, which cannot bracket anything.
    """
    if trials < 3:
        raise UsageError(
            f"--tune {trials}: a rate is bracketed by at least 3 trials; use --no-tune (in Python `tune=None`) for none"
        )
    first = -(trials // 2) if trials % 2 else -(trials // 2) + 1
    return [tidy(centre * FACTOR**power) for power in range(first, first + trials)]


def tidy(value: float) -> float:
    """Round to three figures: rates are meant to be read and typed."""
    return float(f"{value:.3g}")
