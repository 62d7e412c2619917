"""The finished runs of a comparison, analysed: the endpoint, the times to target, the costs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..config.goal import recorded_goal
from ..errors import NothingMatchedError
from ..run_directory.comparison_file import Record
from ..system.places import shown
from .group import Group
from .statistics.analysis import Analysis, compare_entries
from .statistics.censored import RestrictedMean, TimeToTarget, kaplan_meier, restricted_mean
from .statistics.ratios import TimeRatio, time_ratio
from .statistics.student import Interval
from .statistics.verdicts import Pair


@dataclass(frozen=True)
class Against:
    """One entry seen from another: differences are entry - other.

    Args:
        entry, other: their names.
        pair: as analysed, in whichever order.
        difference: of the means; None when a run diverged.
        interval: of the difference.
        share, share_interval: P(entry better than other on a new seed).
        ratio: time of the other over time of the entry; None without a target, withheld inside where runs missed it.
        ratio_p: its p, adjusted together with those of the pairs.
    """

    entry: str
    other: str
    pair: Pair
    difference: float | None
    interval: Interval | None
    share: float
    share_interval: tuple[float, float]
    ratio: TimeRatio | None
    ratio_p: float | None

    @property
    def differences(self) -> list[tuple[int, float | None]]:
        """Return (seed, entry - other); None where a run diverged."""
        sign = 1 if self.pair.a == self.entry else -1
        items = zip(self.pair.result.seeds, self.pair.result.differences, strict=True)
        return [(seed, None if d is None else sign * d) for seed, d in items]


@dataclass(frozen=True)
class Times:
    """The times of an entry's runs to the target, in epochs.

    Args:
        epochs: per seed, until the target or the end of the run; of a run that diverged, the planned length.
        reached: per seed, whether it got there.
        median: by Kaplan and Meier.
        mean: restricted to the horizon; None where the runs were not watched that long.
    """

    epochs: dict[int, float]
    reached: dict[int, bool]
    median: TimeToTarget
    mean: RestrictedMean | None

    @property
    def num_reached(self) -> int:
        return sum(self.reached.values())


class Results:
    """The analysis of a group's evaluation runs.

    Args:
        group: a comparison with at least one finished evaluation run for each entry that is not lost.

    Attributes:
        names: the entries that have a result.
        lost: those that have none, since each of their runs failed or measured nothing, with what came of these; the
            others are judged without them, by the tests that were planned.

    Raises:
        NothingMatchedError: an entry has no finished run yet, or every entry is lost; the message names it.
    """

    def __init__(self, group: Group):
        self.group = group
        self.names = [name for name in group.names if group.judged(name)]
        lost = {name: group.lost(name) for name in group.names if name not in self.names}
        waiting = [name for name, records in lost.items() if not records]
        if waiting or not group.names:
            which = f"entry '{waiting[0]}' has" if waiting else "it has"
            raise NothingMatchedError(
                f"{shown(group.path)}: {which} no finished evaluation run yet; compare again to go on"
            )
        if not self.names:
            raise NothingMatchedError(
                f"{shown(group.path)}: no entry has a result; mend what failed, and compare again"
            )
        self.lost = lost

    @property
    def baseline(self) -> str | None:
        """Return the entry that the others were to be compared with, if the plan has one; it may be lost."""
        return self.group.protocol.get("baseline")

    @property
    def untested(self) -> str:
        """Return why nothing is tested, in words; empty where something is."""
        if not self.group.paired:
            return "the entries have different problems"
        if self.group.mismatch:
            return "runs of one seed did not start alike"
        return f"the baseline {self.baseline} has no result" if self.baseline in self.lost else ""

    @property
    def tested(self) -> bool:
        """Return False where nothing is tested, and each entry stands for itself."""
        return not self.untested

    @cached_property
    def times(self) -> dict[str, Times]:
        """Return the times to target by entry; empty without a target."""
        target = self.group.target
        if not target:
            return {}
        records = {name: self.group.finished(name) for name in self.names}
        planned = {name: _planned_epochs(runs) for name, runs in records.items()}
        horizon = min(planned.values())
        return {name: _times(runs, target, planned[name], horizon, self.group) for name, runs in records.items()}

    @cached_property
    def ratios(self) -> dict[tuple[str, str], TimeRatio]:
        """Return the ratios of the times to target, for the pairs that are compared; empty without a target."""
        if not self.tested:
            return {}
        names, baseline = self.names, self.baseline
        pairs = (
            [(name, baseline) for name in names if name != baseline] if baseline else itertools.combinations(names, 2)
        )
        return {(a, b): self._ratio(a, b) for a, b in pairs if self.times}

    def _ratio(self, a: str, b: str) -> TimeRatio:
        first, second = self.times[a], self.times[b]
        return time_ratio(first.epochs, second.epochs, first.reached, second.reached, alpha=self.group.alpha)

    @property
    def margin(self) -> float:
        """Return the smallest difference that matters, in the unit of the endpoint; 0 where none is known."""
        return float(self.group.endpoint.margin or 0.0)

    @cached_property
    def analysis(self) -> Analysis:
        """Return the analysis of the primary endpoint; the tests of the times to target are in the same family."""
        group = self.group
        return compare_entries(
            {name: {run.seed: run.value(group.metric) for run in group.judged(name)} for name in self.names},
            mode=group.endpoint.mode,
            margin=self.margin,
            alpha=group.alpha,
            baseline=self.baseline if self.tested else None,
            paired=self.tested,
            same=self._may_be_same,
            other_p=[ratio.p for ratio in self.ratios.values()],
            num_lost=self._num_lost(),
            num_lost_others=self._num_lost() if self.times else 0,
        )

    @cached_property
    def _finals(self) -> dict[str, dict[int, dict[str, Any]]]:
        return {
            name: {run.seed: run.summary.get("final") or {} for run in self.group.judged(name)} for name in self.names
        }

    def _may_be_same(self, a: str, b: str) -> bool:
        """Return True if all final values of two entries are equal, seed by seed: losses tell what a count may not."""
        first, second = self._finals[a], self._finals[b]
        return all(
            first[seed][metric] == second[seed][metric]
            for seed in first.keys() & second.keys()
            for metric in first[seed].keys() & second[seed].keys()
        )

    def _num_lost(self) -> int:
        """Return how many of the planned pairs cannot be tested, since an entry has no result."""
        if not self.tested:
            return 0
        if self.baseline:
            return len(self.lost)
        return math.comb(len(self.group.names), 2) - math.comb(len(self.names), 2)

    @cached_property
    def reference(self) -> str:
        """Return the entry that each row of a table is compared with: the baseline, or the first in order."""
        return self.analysis.baseline or self.analysis.entries[0].name

    @cached_property
    def others(self) -> list[Against]:
        """Return each other entry, best first, against the reference; none where runs are not paired."""
        if not self.tested:
            return []
        names = [entry.name for entry in self.analysis.entries]
        return [self.against(name) for name in names if name != self.reference]

    def against(self, entry: str, other: str | None = None) -> Against:
        """Return how an entry compares with another, by default with the reference.

        Raises:
            UsageError: the two were not compared.
        """
        other = self.reference if other is None else other
        pair = self.analysis.pair(entry, other)
        result, is_a = pair.result, pair.a == entry
        mean, interval, better = result.mean, result.interval, result.better
        low, high = better.interval.low, better.interval.high
        ratio, ratio_p = self._speed(entry, other)
        return Against(
            entry=entry,
            other=other,
            pair=pair,
            difference=mean if is_a or mean is None else -mean,
            interval=interval if is_a or interval is None else -interval,
            share=better.share if is_a else 1 - better.share,
            share_interval=(low, high) if is_a else (1 - high, 1 - low),
            ratio=ratio,
            ratio_p=ratio_p,
        )

    def _speed(self, entry: str, other: str) -> tuple[TimeRatio | None, float | None]:
        for (a, b), p in zip(self.ratios, self.analysis.other_p, strict=True):
            if {a, b} == {entry, other}:
                return (self.ratios[a, b] if a == entry else self._ratio(entry, other)), p
        return None, None

    def mean(self, entry: str, key: str) -> float | None:
        """Return the mean of a number in the summaries of an entry's finished runs; None where none has it."""
        values = [record.summary.get(key) for record in self.group.finished(entry)]
        numbers = [value for value in values if isinstance(value, int | float)]
        return math.fsum(numbers) / len(numbers) if numbers else None


def _times(records: list[Record], target: Mapping[str, Any], planned: float, horizon: float, group: Group) -> Times:
    epochs, reached = {}, {}
    for record in records:
        epoch = _reached_at(record, target, group)
        reached[record.seed] = epoch is not None
        if epoch is None:  # a run that diverged would never have got there, one that was stopped might have
            epoch = planned if record.state == "diverged" else _epochs(record)
        epochs[record.seed] = epoch
    spent, hits = list(epochs.values()), list(reached.values())
    longest = max(spent)
    is_watched = longest >= horizon or all(hit for time, hit in zip(spent, hits, strict=True) if time == longest)
    return Times(
        epochs=epochs,
        reached=reached,
        median=kaplan_meier(spent, hits, alpha=group.alpha),
        mean=restricted_mean(spent, hits, horizon, alpha=group.alpha) if horizon > 0 and is_watched else None,
    )


def _reached_at(record: Record, target: Mapping[str, Any], group: Group) -> float | None:
    """Return the epoch of the first evaluation at or past the target."""
    name, wanted = target["metric"], float(target["value"])
    metric = record.summary.get("metric") or {}
    if metric.get("name") == name and metric.get("target") == wanted:
        reached = record.summary.get("target_reached")
        return None if reached is None else reached.get("epoch")
    goal = recorded_goal(name, [record.summary]) or group.goal(name)
    end = {"epoch": _epochs(record), name: (record.summary.get("final") or {}).get(name)}  # which has no row
    for row in [*(record.run.rows if record.run else []), end]:
        value = row.get(name)
        if value is not None and goal is not None and goal.reaches(value, wanted):
            return row.get("epoch")
    return None


def _planned_epochs(records: list[Record]) -> float:
    """Return the length that an entry's runs were given, however early they stopped; without one, the longest run's."""
    longest = max(map(_epochs, records))
    known = (record.summary for record in records if record.summary.get("epochs") and record.summary.get("num_steps"))
    each = (kept["num_steps"] * kept["epochs"] / (kept.get("batches") or kept["steps"]) for kept in known)
    return next(each, longest)


def _epochs(record: Record) -> float:
    epochs = record.summary.get("epochs")
    return 0.0 if epochs is None else float(epochs)
