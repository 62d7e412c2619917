"""Tuning with an equal budget: the same number of trials for every entry, on a grid around its own centre."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import UsageError

FACTOR = math.sqrt(10.0)
MAX_EXTENSIONS = 3

Scores = dict[float, list[float | None]]


@dataclass
class Tuning:
    """The search of one entry.

    Args:
        centre: the rate that the grid is centred on.
        source: where that comes from.
        mode: whether `max` or `min` of the score is better.
        values: the rates that were or will be tried, in the order of trial.
        scores: by rate, one for each tuning seed; None for a diverged run.
    """

    centre: float
    source: str
    mode: Literal["max", "min"]
    values: list[float] = field(default_factory=list)
    scores: Scores = field(default_factory=dict)

    def mean(self, value: float) -> float | None:
        """Return the mean score of a rate; None when a run with it diverged, or none has ended."""
        scores = self.scores.get(value, [])
        return None if not scores or None in scores else math.fsum(s for s in scores if s is not None) / len(scores)

    def best(self) -> float | None:
        """Return the rate with the best mean score, the smaller one of two equal; None if every one diverged."""
        known = [(value, mean) for value in sorted(self.values) if (mean := self.mean(value)) is not None]
        if not known:
            return None
        better = max if self.mode == "max" else min
        return better(known, key=lambda pair: pair[1])[0]

    def at_edge(self) -> int:
        """Return -1 or 1 if the best rate is the smallest or largest of those tried, else 0."""
        best = self.best()
        if best is None:
            return -1  # all diverged: the good rates are below
        return -1 if best == min(self.values) else 1 if best == max(self.values) else 0

    def next_value(self) -> float:
        """Return one more rate to try: beyond the edge, or between the best and the better of its neighbours."""
        edge = self.at_edge()
        ordered = sorted(self.values)
        if edge:
            outermost = ordered[0] if edge < 0 else ordered[-1]
            power = round(math.log(outermost / self.centre) / math.log(FACTOR)) + edge
            return tidy(self.centre * FACTOR**power)  # on the grid, without the rounding of its neighbour
        best = self.best()
        assert best is not None
        position = ordered.index(best)
        below, above = ordered[position - 1], ordered[position + 1]
        worst = -math.inf if self.mode == "max" else math.inf

        def rank(value: float) -> float:
            mean = self.mean(value)
            return worst if mean is None else mean

        better = rank(below) >= rank(above) if self.mode == "max" else rank(below) <= rank(above)
        return tidy(math.sqrt(best * (below if better else above)))


def grid(centre: float, trials: int) -> list[float]:
    """Return rates on a log grid with factor √10 around a centre; an even number has one more above it.

    Raises:
        UsageError: fewer than 3 trials, which cannot bracket anything.
    """
    if trials < 3:
        raise UsageError(f"--tune {trials}: a rate is bracketed by at least 3 trials; use --no-tune for none")
    first = -(trials // 2) if trials % 2 else -(trials // 2) + 1
    return [tidy(centre * FACTOR**power) for power in range(first, first + trials)]


def parse_spec(key: str, spec: str, trials: int | None, method: str, seed: int) -> list[Any]:
    """Turn `log:1e-3:1`, `lin:0:1` or `a,b,c` into the values of a sweep.

    Args:
        key: what is swept, for messages.
        spec: as written.
        trials: how many values of a range.
        method: `grid` spreads them evenly, `random` draws them.
        seed: of the draws.

    Raises:
        UsageError: it is none of the three.
    """
    kind, _, rest = spec.partition(":")
    if kind not in ("log", "lin"):
        values = [_scalar(part) for part in spec.split(",") if part]
        if len(values) < 2:
            raise UsageError(f"{key}={spec}: give a range (log:1e-3:1, lin:0:1) or at least two values (a,b,c)")
        return values
    try:
        low, high = (float(part) for part in rest.split(":"))
    except ValueError:
        raise UsageError(f"{key}={spec}: expected {kind}:LOW:HIGH, two numbers") from None
    if not low < high or (kind == "log" and low <= 0):
        raise UsageError(f"{key}={spec}: LOW must be below HIGH{', and above 0' if kind == 'log' else ''}")
    number = trials or 9
    if number < 2:
        raise UsageError(f"--trials {number}: a sweep has at least 2")
    draw = random.Random(seed)
    shares = (
        sorted(draw.random() for _ in range(number))
        if method == "random"
        else [i / (number - 1) for i in range(number)]
    )
    if kind == "log":
        return [tidy(low * (high / low) ** share) for share in shares]
    return [tidy(low + (high - low) * share) for share in shares]


def tidy(value: float) -> float:
    """Round to three figures: rates are meant to be read and typed."""
    return float(f"{value:.3g}")


def _scalar(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False, "null": None}.get(text, text)
