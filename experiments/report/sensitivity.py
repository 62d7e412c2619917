"""The scores of the values that were tried while tuning, and the range of the good ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..config.goal import Goal
from ..run_directory.comparison_file import NO_RESULT
from .group import Group, Row


@dataclass(frozen=True)
class GoodRange:
    """The neighbouring values around the best one whose mean score is within the margin of its score.

    Args:
        low, high: the lowest and highest of them.
        closed_low, closed_high: whether a worse value was tried beyond that end.
    """

    low: float
    high: float
    closed_low: bool
    closed_high: bool

    @property
    def factor(self) -> float:
        """Return high / low: 1 where only the best value is good."""
        return self.high / self.low if self.low > 0 else float("nan")

    def __str__(self) -> str:
        ends = (
            f"{'' if self.closed_low else 'at most '}{self.low:.3g}",
            f"{'' if self.closed_high else 'at least '}{self.high:.3g}",
        )
        return f"{ends[0]} to {ends[1]}"


def trials_of(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an entry's trials by increasing value; none when it was not tuned."""
    return sorted((entry.get("tuning") or {}).get("trials") or [], key=lambda trial: trial["value"])


def sensitivity_rows(group: Group) -> list[Row]:
    """Return one row for each value: its scores, what came of its runs, and whether it was chosen."""
    rows = []
    for entry in group.entries:
        tuning = entry.get("tuning") or {}
        for trial in trials_of(entry):
            scores = trial.get("scores") or []
            good, states = [score for score in scores if score is not None], trial.get("states") or []
            rows.append(
                {
                    "entry": entry["name"],
                    "key": tuning.get("key", "optimizer.lr"),
                    "value": trial["value"],
                    "metric": group.select,
                    "mean": trial.get("mean"),
                    "lowest": min(good, default=None),
                    "highest": max(good, default=None),
                    "n": len(scores),
                    **{state: states.count(state) for state in ("diverged", *NO_RESULT)},
                    "chosen": trial["value"] == tuning.get("chosen"),
                    "bracketed": tuning.get("bracketed"),
                    **{f"score_{index + 1}": score for index, score in enumerate(scores)},
                }
            )
    return rows


def trial_states(entry: dict[str, Any]) -> list[str]:
    """Return what came of each trial run of an entry."""
    return [state for trial in trials_of(entry) for state in trial.get("states") or []]


def num_known(states: list[str]) -> int:
    """Return how many trial runs say something of the value that they tried; one that diverged says that it is bad."""
    return sum(state not in NO_RESULT for state in states)


def good_range(entry: dict[str, Any], goal: Goal) -> GoodRange | None:
    """Return the range of values that are as good as the best one, to within the margin; None without trials or margin.

    Args:
        entry: of `comparison.json`.
        goal: the metric that the scores are values of, with the largest difference that does not matter.
    """
    trials, sign, margin = trials_of(entry), goal.sign, goal.margin
    scored = [(sign * trial["mean"], index) for index, trial in enumerate(trials) if trial.get("mean") is not None]
    if not scored or margin is None:
        return None
    top, place = max(scored)
    first = last = place
    while first > 0 and _is_good(trials[first - 1], top - margin, sign):
        first -= 1
    while last + 1 < len(trials) and _is_good(trials[last + 1], top - margin, sign):
        last += 1
    below, above = trials[:first][-1:], trials[last + 1 :][:1]
    ends = trials[first]["value"], trials[last]["value"]
    return GoodRange(*ends, any(map(_is_known, below)), any(map(_is_known, above)))


def _is_known(trial: dict[str, Any]) -> bool:
    """Return True if a value that is not good was found to be worse, and did not merely fail."""
    return trial.get("mean") is not None or "diverged" in (trial.get("states") or ())


def _is_good(trial: dict[str, Any], bound: float, sign: int) -> bool:
    return trial.get("mean") is not None and sign * trial["mean"] >= bound
