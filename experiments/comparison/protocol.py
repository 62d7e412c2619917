"""Decisions before the first run of a comparison, and the name that the same decisions always get."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..config import Config
from ..config.goal import Goal, eval_goal, goal_of, lacks_scale
from ..errors import UsageError, nearest, unknown_name
from ..report.conditions import Spellings
from .entry import Entry
from .identity import counted, counted_before_0_3, group_digest
from .problem import check_problems, problem_words

Counted = Callable[[Config], Any]

FIRST_TUNING_SEED = 1000  # far from those of the evaluation: a rate is never judged on the runs that chose it
NUM_TUNING_SEEDS = 2
NUM_SEEDS = 10
MOST_SEEDS = 100_000
IDENTIFYING = ("tune_trials", "tuned", "metric", "select", "method", "margin", "alpha")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Everything that a verdict depends on, fixed before the first run.

    Args:
        seeds: of the evaluation; none in a sweep.
        tune_trials: values tried for each entry at first.
        tune_seeds: with which each is tried.
        tuned: whether any are tried.
        method: `grid` or `random`.
        factor: between neighbours of the grid.
        endpoint: the primary endpoint, with the smallest difference that matters.
        select: the metric that trials are chosen by, with its own direction and margin.
        margin_source: where the endpoint's margin comes from.
        alpha: of all tests together.
        target: metric and value whose first reaching is timed.
        baseline: the entry that the others are compared with, by its name; None compares all pairs.
        jobs: runs at a time.
        gates: conditions on the result that the comparison's file has.
        problem: what all entries have to learn, in words.
        paired: whether runs of one seed are compared with each other; they cannot be across different problems.
        spec: what a sweep tries, as written; a list of several keys.
    """

    seeds: list[int] = field(default_factory=list)
    tune_trials: int
    tune_seeds: list[int]
    tuned: bool
    method: str = "grid"
    factor: float | None = None
    endpoint: Goal
    select: Goal
    margin_source: str
    alpha: float = 0.05
    target: dict[str, Any] | None = None
    baseline: str | None = None
    jobs: int
    gates: str | list[str] = field(default_factory=list)
    problem: str = ""
    paired: bool = True
    spec: str | list[str] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what comparison.json keeps."""
        endpoint, select = self.endpoint, self.select
        goals = {"metric": endpoint.metric, "select": select.metric, "mode": endpoint.mode, "margin": endpoint.margin}
        kept: dict[str, Any] = {}
        for name, value in dataclasses.asdict(self).items():
            kept |= goals if name == "endpoint" else {} if name == "select" else {name: value}
        kept |= {"select_mode": select.mode, "select_margin": select.margin}
        unsaid = {"problem": "", "paired": True, "spec": None}
        return {key: value for key, value in kept.items() if unsaid.get(key, ...) != value}


def compare_protocol(
    entries: Sequence[Entry],
    *,
    seeds: int | None = None,
    first_seed: int = 0,
    tune: int | None = 5,
    metric: str | None = None,
    baseline: str | None = None,
    margin: float | None = None,
    alpha: float = 0.05,
    gate: str | Sequence[str] = (),
    jobs: int | None = None,
    across_problems: bool = False,
    one_command: str = "",
) -> Protocol:
    """Fix the protocol of a comparison; the arguments are those of `compare`.

    Args:
        one_command: how to ask the question that was probably meant, for messages.

    Raises:
        UsageError: what is asked for cannot be compared.
        ConfigError: entries have other data, another split or another metric.
    """
    if len(entries) < 2:
        raise UsageError("a comparison needs at least two entries: name two presets, files or optimizers")
    if baseline is not None:
        known = Spellings((entry.name, entry.label) for entry in entries)
        if baseline not in known:
            raise UsageError(unknown_name("entry", baseline, known))
        baseline = known[baseline]
    config = entries[0].config
    select = eval_goal(config)
    metric = metric or f"{'test' if config.data.test else 'val'}/{select.label}"
    paired = check_problems(entries, [metric, select.metric], across_problems, one_command)
    for entry in entries:
        _check_measured(entry, metric)
    endpoint = goal_of(config, metric)
    if margin is None and endpoint.margin is None:
        raise UsageError(_without_margin(config, endpoint))
    endpoint = endpoint if margin is None else replace(endpoint, margin=margin)
    tuned = tune is not None and not all(entry.runs for entry in entries)
    for entry in entries if tuned else ():
        _check_tunable(entry, select.metric)
    return Protocol(
        seeds=_seeds(entries, seeds, first_seed),
        tune_trials=tune if tuned and tune is not None else 0,
        tune_seeds=tuning_seeds(NUM_TUNING_SEEDS) if tuned else [],
        tuned=tuned,
        factor=round(10**0.5, 4),
        endpoint=endpoint,
        select=endpoint.on(select.metric) or select,  # what matters in a measure matters on every split
        margin_source="given" if margin is not None else f"registered with metric {metric.partition('/')[2]}",
        alpha=alpha,
        target=_target(entries, select.metric),
        baseline=baseline,
        jobs=num_jobs(jobs, entries),
        gates=gate if isinstance(gate, str) else list(gate),
        problem=problem_words([entry.config.to_dict() for entry in entries]),
        paired=paired,
    )


def _without_margin(config: Config, endpoint: Goal) -> str:
    """Return why a difference that matters has to be given, and how."""
    part = next((part for part in config.metrics if part.label == endpoint.label), None)
    if part is None or not lacks_scale(config, part):
        way_out = "say with --margin (in Python `margin=`) what difference matters"
        return f"{endpoint.metric} has no registered margin: {way_out}"
    return (
        f"{endpoint.metric} is in the unit of the targets of data '{config.data.label}', so that no margin can be "
        "registered with it: say with --margin (`margin:` in a file, `margin=` in Python) what difference matters in "
        "that unit, or compare by r2, which has none (metrics: [r2])"
    )


def _seeds(entries: Sequence[Entry], number: int | None, first: int) -> list[int]:
    """Return the seeds of the evaluation: none of those that rates are chosen with.

    Raises:
        UsageError: some are, or the entries are finished runs, which have theirs.
    """
    if all(entry.runs for entry in entries):
        if number is not None or first:
            raise UsageError("these are finished runs, which have their seeds: leave out --seeds and --first-seed")
        return sorted({seed for entry in entries for seed in entry.runs})
    if number is not None and number > MOST_SEEDS:
        raise UsageError(f"at most {MOST_SEEDS:,} seeds, got {number}")
    seeds = range(first, first + (NUM_SEEDS if number is None else number))
    if taken := [seed for seed in tuning_seeds(NUM_TUNING_SEEDS) if seed in seeds]:
        raise UsageError(
            f"seeds {seeds[0]} to {seeds[-1]} include {taken[0]}, with which rates are chosen: a rate is never judged "
            f"on the runs that chose it. Begin with --first-seed {FIRST_TUNING_SEED + NUM_TUNING_SEEDS}, or take fewer"
        )
    return list(seeds)


def _target(entries: Sequence[Entry], select: str) -> dict[str, Any] | None:
    """Return the target that all entries have; those across problems may have none in common."""
    value = entries[0].config.eval.target
    if value is None or any(entry.config.eval.target != value for entry in entries):
        return None
    return {"metric": select, "value": value}


def sweep_protocol(
    entry: Entry, specs: Sequence[str], num_values: int, *, seeds: int, method: str, jobs: int | None
) -> Protocol:
    """Fix the protocol of a sweep; the arguments are those of `sweep`.

    Raises:
        UsageError: there is no seed, or no run at a time.
    """
    if seeds < 1:
        raise UsageError(f"seeds must be at least 1, got {seeds}")
    goal = eval_goal(entry.config)
    _check_tunable(entry, goal.metric)
    return Protocol(
        tune_trials=num_values,
        tune_seeds=tuning_seeds(seeds),
        tuned=True,
        method=method,
        endpoint=goal,
        select=goal,
        margin_source="registered with the metric" if goal.margin is not None else "none registered",
        jobs=num_jobs(jobs, [entry]),
        spec=specs[0] if len(specs) == 1 else list(specs),
    )


def compare_name(entries: Sequence[Entry], protocol: Protocol, root: Path | None = None) -> str:
    """Return a name that the same comparison always gets; more seeds do not make it another one.

    One that was begun by an earlier version, in this `root`, keeps the name that it got there.
    """
    decided = protocol.as_dict()
    stem = f"compare-{'-'.join(entry.name for entry in entries)[:40].strip('-.')}"

    def name(counted: Counted) -> str:
        configs = [[entry.name, counted(entry.config)] for entry in entries]
        return f"{stem}-{group_digest([configs, {key: decided[key] for key in IDENTIFYING}])}"

    return _given_before(name, root)


def sweep_name(entry: Entry, values: Mapping[str, Sequence[Any]], num_seeds: int, root: Path | None = None) -> str:
    """Return a name that the same sweep always gets; see `compare_name`.

    Args:
        entry: that is swept.
        values: by key.
        num_seeds: with each setting.
        root: the folder of runs.
    """
    stem = f"sweep-{entry.name[:24]}-{'-'.join(key.rpartition('.')[2] for key in values)[:40].strip('-.')}"
    (key, tried), *others = values.items()
    decided = [list(values), list(map(list, values.values()))] if others else [key, list(tried)]
    return _given_before(lambda counted: f"{stem}-{group_digest([counted(entry.config), *decided, num_seeds])}", root)


def _given_before(name: Callable[[Counted], str], root: Path | None) -> str:
    """Return a group's name, or the one that an earlier version gave it, if only that is there."""
    now, before = name(counted), name(counted_before_0_3)
    return before if root is not None and (root / before).is_dir() and not (root / now).is_dir() else now


def tuning_seeds(number: int) -> list[int]:
    """Return the seeds that trials are run with."""
    return [FIRST_TUNING_SEED + index for index in range(number)]


def num_jobs(jobs: int | None, entries: Sequence[Entry]) -> int:
    """Return how many runs are done at a time: by default as many as there are cores for them and their workers."""
    if jobs is None:
        workers = max(entry.config.data.workers for entry in entries)
        return max(1, (os.cpu_count() or 1) // (1 + workers))
    if jobs < 1:
        raise UsageError(f"jobs must be at least 1, got {jobs}")
    return jobs


def measured(entries: Sequence[Entry]) -> list[str]:
    """Return the final values that every entry's runs will have, such as `test/accuracy`."""
    return [name for name in _measured(entries[0]) if all(name in _measured(entry) for entry in entries)]


def describe_entry(entry: Entry) -> dict[str, Any]:
    """Return what comparison.json keeps of an entry, before it is tuned."""
    return {
        "name": entry.name,
        **({"label": entry.label} if entry.label not in ("", entry.name) else {}),
        "target": entry.target,
        "optimizer": entry.config.optimizer.label,
        "config": entry.config.to_dict(),
        "overrides": {key: value for key, _, value in (override.partition("=") for override in entry.overrides)},
        "tuning": None,
        "settings": {},
    }


def _measured(entry: Entry) -> list[str]:
    known = ["loss", *(part.label for part in entry.config.metrics)]
    splits = ["val"] * bool(entry.config.data.val) + ["test"] * bool(entry.config.data.test)
    return [f"{split}/{name}" for split in splits for name in known]


def _check_tunable(entry: Entry, select: str) -> None:
    """Refuse to choose by what the trials of an entry will not measure."""
    if entry.runs or select in _measured(entry):
        return
    if not entry.config.data.val:
        raise UsageError(
            f"{entry.name} has no validation data (data.val is 0), and values are chosen by {select}: give data.val a "
            "part of the examples, as in data.val=0.2, or choose nothing (of a comparison: --no-tune; in Python "
            "`tune=None`)"
        )
    raise UsageError(
        f"{entry.name} does not measure {select}, by which values are chosen; it measures "
        f"{', '.join(_measured(entry))}. Add the metric to its `metrics`, set eval.metric for all entries, or choose "
        "nothing (of a comparison: --no-tune; in Python `tune=None`)"
    )


def _check_measured(entry: Entry, metric: str) -> None:
    every = _measured(entry)
    if metric not in every:
        guess = nearest(metric, every)
        hint = f" Did you mean '{guess}'?" if guess else ""
        raise UsageError(f"{entry.name} does not measure '{metric}'.{hint} It measures {', '.join(every)}")
