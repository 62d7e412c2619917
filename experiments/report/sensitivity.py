"""The scores of the values that were tried while tuning, and the range of the good ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..config.goal import Goal
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
    """Return one row for each trial: its value, its scores, and whether it was chosen."""
    rows = []
    for entry in group.entries:
        tuning = entry.get("tuning") or {}
        for trial in trials_of(entry):
            scores = trial.get("scores") or []
            good = [score for score in scores if score is not None]
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
                    **without_score(group, entry, trial),
                    "chosen": trial["value"] == tuning.get("chosen"),
                    "bracketed": tuning.get("bracketed"),
                    **{f"score_{index + 1}": score for index, score in enumerate(scores)},
                }
            )
    return rows


def without_score(group: Group, entry: dict[str, Any], trial: dict[str, Any]) -> dict[str, int]:
    """Return how many runs of a trial have no score, by what became of them: diverged, failed, or another reason."""
    key = str((entry.get("tuning") or {}).get("key"))
    runs = [run for run in group.of(entry["name"], "tune") if run.settings.get(key) == trial["value"]]
    missing = sum(score is None for score in trial.get("scores") or [])
    found = {state: sum(run.state == state for run in runs) for state in ("diverged", "failed")}
    return {**found, "unmeasured": max(0, missing - sum(found.values()))}


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
    return GoodRange(trials[first]["value"], trials[last]["value"], first > 0, last + 1 < len(trials))


def _is_good(trial: dict[str, Any], bound: float, sign: int) -> bool:
    return trial.get("mean") is not None and sign * trial["mean"] >= bound
