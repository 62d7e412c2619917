"""`compare`: plan, tune with equal budgets, run fresh seeds in pairs, and leave all that is needed for a verdict."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from .. import config as configuration
from ..config.goal import metric_facts
from ..errors import DivergedError, NothingMatchedError, UsageError, nearest, unknown_name
from ..run_directory.run import Run
from ..run_directory.run_dir import default_root, trash
from ..training.build import build
from ..training.step_timing import mean_secs, time_steps
from .entries import LEARNING_RATE, Entry, differences, entries_from_file, make_entries, read_comparison_file
from .fingerprints import WHAT, check_pairing, expected_equal
from .ledger import Ledger
from .pool import OnEvent, Pool
from .result import Comparison
from .tasks import Task, TaskMaker
from .tuning import MAX_EXTENSIONS, Tuning, grid

FIRST_TUNING_SEED = 1000  # far from those of the evaluation: a rate is never judged on the runs that chose it
NUM_TUNING_SEEDS = 2
_PROBE_SECS = 0.2  # that the plan spends on timing steps
_START_UP_SECS = 5.0  # of the worker processes
_UNKNOWN_STEPS = 1000  # of a run that a clock ends


def compare(
    targets: Sequence[str],
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    seeds: int | None = None,
    tune: int | Literal["default"] | None = "default",
    metric: str | None = None,
    target: float | None = None,
    baseline: str | None = None,
    margin: float | None = None,
    alpha: float | None = None,
    jobs: int | None = None,
    fresh: bool = False,
    train: bool = True,
    root: Path | None = None,
    on_event: OnEvent | None = None,
) -> Comparison:
    """Compare entries honestly: equal tuning budgets, fresh seeds, pairs that share everything but the entry.

    Args:
        targets: presets, files, optimizer names, `run:ID`; or one file with `entries:`.
        overrides: `key=value` for all entries, `NAME:key=value` for one.
        seeds: of the evaluation; 10 by default.
        tune: learning rates tried for each entry before that, on two seeds each: 5 by default; None compares as
            configured.
        metric: the primary endpoint, `test/accuracy` by default: the test counterpart of what the runs evaluate.
        target: a value of the validation metric; steps to it are compared as well.
        baseline: compare the others with this entry only.
        margin: the smallest difference that matters, in the metric's unit; by default as registered with it.
        alpha: of all tests together; 0.05 by default.
        jobs: runs at a time; by default one for each core.
        fresh: repeat runs that are there already.
        train: False reads what is there, and refuses if something is missing.
        root: the folder of runs.
        on_event: is told of the plan and of progress.

    Raises:
        UsageError: what is asked for cannot be compared.
        PairingError: runs that should have started alike did not.
        Interrupted: a signal came; repeated, the comparison goes on.
    """
    root = root or default_root()
    listed = (
        [f"{key}={value}" for key, value in overrides.items()] if isinstance(overrides, Mapping) else list(overrides)
    )
    file = read_comparison_file(Path(targets[0])) if len(targets) == 1 else None
    if file is not None:
        entries = entries_from_file(file, Path(targets[0]).parent, listed, root)
        seeds = seeds if seeds is not None else file.get("seeds")
        tune = (file.get("tune", 5) or None) if tune == "default" else tune
        metric, target = metric or file.get("metric"), target if target is not None else file.get("target")
        baseline, margin = baseline or file.get("baseline"), margin if margin is not None else file.get("margin")
        alpha = alpha if alpha is not None else file.get("alpha")
    else:
        entries = make_entries(targets, listed, root)
    tune = 5 if tune == "default" else tune
    if target is not None:
        entries = [_with_target(entry, target) for entry in entries]
    protocol = _protocol(entries, seeds or 10, tune, metric, baseline, margin, alpha or 0.05, jobs, file or {})
    study = _Study(entries, protocol, root, fresh, train, on_event or (lambda event: None))
    return study.run()


class _Study:
    """One comparison on its way."""

    def __init__(
        self, entries: list[Entry], protocol: dict[str, Any], root: Path, fresh: bool, train: bool, on_event: OnEvent
    ):
        self._entries, self._protocol, self._root, self._train, self._on_event = (
            entries,
            protocol,
            root,
            train,
            on_event,
        )
        path = root / _group_name(entries, protocol)
        self._fresh = fresh
        self._maker = TaskMaker(root, path.name, use_cache=not fresh)
        self._ledger = Ledger(path, "compare", protocol, [describe_entry(entry) for entry in entries])
        self._expected = expected_equal([entry.config.to_dict() for entry in entries])
        self._ledger.data["pairing"]["differences"] = differences(entries)
        self._ledger.data["pairing"]["same"] = [WHAT[what] for what in self._expected]
        self._tunings = {entry.name: Tuning(*entry.centre(), protocol["mode"]) for entry in self._tuned_entries()}

    def run(self) -> Comparison:
        started = time.monotonic()
        first = [task for tasks in zip(*map(self._trials, self._tuned_entries()), strict=True) for task in tasks]
        fixed = [entry for entry in self._entries if entry.name not in self._tunings]
        evaluation = [task for entry in fixed for task in self._evaluations(entry, {})]
        self._announce(first, evaluation)
        if self._fresh and self._ledger.path.exists():  # only now: whoever hears the plan may still refuse it
            trash(self._ledger.path)
            self._ledger.data["looks"] = []
        if self._train:
            self._maker.tidy()
        with Pool(self._root, self._protocol["jobs"], self._on_event, self._finished) as pool:
            if first:
                self._phase(pool, "tune", first)
                self._extend(pool)
                self._choose()
                for entry in self._tuned_entries():
                    chosen = self._tunings[entry.name].best()
                    settings = {} if chosen is None else {LEARNING_RATE: chosen}
                    evaluation += self._evaluations(entry, settings)
            self._phase(pool, "evaluate", sorted(evaluation, key=lambda task: task.seed))
        self._check_pairs()
        self._ledger.data["complete"] = all(task.state != "planned" for task in self._ledger.tasks)
        self._ledger.data["wall_secs"] = round(time.monotonic() - started, 2)
        self._ledger.look(len(self._protocol["seeds"]))
        self._ledger.write()
        return Comparison(self._ledger.path)

    # ---- the phases ----------------------------------------------------------------------------------------------

    def _trials(self, entry: Entry) -> list[Task]:
        tuning = self._tunings[entry.name]
        tuning.values = grid(tuning.centre, self._protocol["tune_trials"])
        return [self._trial(entry, value, seed) for seed in self._protocol["tune_seeds"] for value in tuning.values]

    def _trial(self, entry: Entry, value: float, seed: int) -> Task:
        return self._maker.make(entry, "tune", seed, {LEARNING_RATE: value})

    def _evaluations(self, entry: Entry, settings: dict[str, Any]) -> list[Task]:
        if not entry.runs:
            return [self._maker.make(entry, "evaluate", seed, settings) for seed in self._protocol["seeds"]]
        tasks = []
        for seed, path in entry.runs.items():
            task = self._maker.make(entry, "evaluate", seed, settings)
            state = Run(path).state
            task.path, task.cached = os.path.relpath(path, self._root), True
            task.state = "diverged" if state == "diverged" else "done"
            tasks.append(task)
        return tasks

    def _extend(self, pool: Pool) -> None:
        """While some entry's best rate is at the edge of what it tried, give every entry one more trial."""
        for _ in range(MAX_EXTENSIONS):
            self._score()
            if not any(tuning.at_edge() for tuning in self._tunings.values()):
                return
            tasks = []
            for entry in self._tuned_entries():
                tuning = self._tunings[entry.name]
                value = tuning.next_value()
                if value in tuning.values:  # the grid is as fine as three figures go
                    continue
                tuning.values.append(value)
                tasks += [self._trial(entry, value, seed) for seed in self._protocol["tune_seeds"]]
            self._phase(pool, "extend", tasks)
        self._score()

    def _choose(self) -> None:
        for name, tuning in self._tunings.items():
            entry = self._ledger.entry(name)
            trials = [task for task in self._ledger.tasks if task.role == "tune" and task.entry == name]
            entry["tuning"] = {
                "key": LEARNING_RATE,
                "centre": tuning.centre,
                "centre_source": tuning.source,
                "trials": [
                    {
                        "value": value,
                        "scores": tuning.scores.get(value, []),
                        "mean": tuning.mean(value),
                        "runs": [task.path for task in trials if task.settings[LEARNING_RATE] == value],
                    }
                    for value in sorted(tuning.values)
                ],
                "chosen": tuning.best(),
                "bracketed": tuning.at_edge() == 0,
                "extended": len(tuning.values) - self._protocol["tune_trials"],
                "spent": len(trials),
            }
            entry["settings"] = {} if tuning.best() is None else {LEARNING_RATE: tuning.best()}

    def _phase(self, pool: Pool, phase: str, tasks: list[Task]) -> None:
        numbered = [(self._ledger.add(task), task) for task in tasks]
        self._on_event(
            {"kind": "phase", "phase": phase, "total": len(tasks), "todo": sum(t.state == "planned" for t in tasks)}
        )
        missing = [task for task in tasks if task.state == "planned"]
        if missing and not self._train:
            raise NothingMatchedError(
                f"{len(missing)} of {len(tasks)} runs are missing, the first is {missing[0].path}: leave out --no-train"
            )
        self._ledger.write()
        for index, task in numbered:
            if task.state != "planned":
                self._tell(index, task)
        pool.run(numbered)

    # ---- what is known -------------------------------------------------------------------------------------------

    def _tuned_entries(self) -> list[Entry]:
        return [entry for entry in self._entries if self._protocol["tuned"] and not entry.runs]

    def _score(self) -> None:
        for tuning in self._tunings.values():
            tuning.scores = {}
        for task in self._ledger.tasks:
            if task.role == "tune" and task.state in ("done", "diverged"):
                scores = self._tunings[task.entry].scores.setdefault(task.settings[LEARNING_RATE], [])
                scores.append(self._value(task, self._protocol["select"]))

    def _value(self, task: Task, metric: str) -> float | None:
        if task.state != "done":
            return None
        return Run(self._root / task.path).summary["final"].get(metric)

    def _finished(self, task: Task) -> None:
        if task.state in ("done", "diverged"):
            self._maker.note(task)
        self._tell(self._ledger.tasks.index(task), task)
        self._ledger.write()

    def _tell(self, index: int, task: Task) -> None:
        summary = Run(self._root / task.path).summary if task.state in ("done", "diverged") else {}
        value = summary["final"].get(self._protocol["select"]) if task.state == "done" else None
        self._on_event(
            {
                "kind": "finished",
                "run": index,
                "entry": task.entry,
                "seed": task.seed,
                "role": task.role,
                "settings": task.settings,
                "state": task.state,
                "value": value,
                "cached": task.cached,
                "secs": summary.get("train_secs"),
                "message": task.message,
            }
        )

    def _check_pairs(self) -> None:
        """Hold the fingerprints of each seed's runs against each other."""
        seeds: dict[int, dict[str, Any]] = {}
        for task in self._ledger.tasks:
            if task.role == "evaluate" and task.state in ("done", "diverged"):
                found = Run(self._root / task.path).dir.read_json("pairing.json")
                if found is not None:  # a run that was not made by a comparison has none
                    seeds.setdefault(task.seed, {})[task.entry] = found
        pairing = self._ledger.data["pairing"]
        for seed, fingerprints in seeds.items():
            pairing["seeds"][str(seed)] = check_pairing(fingerprints, self._expected, seed)
        pairing["checked"] = bool(seeds) and not any(entry.runs for entry in self._entries)

    def _announce(self, first: list[Task], evaluation: list[Task]) -> None:
        """Say what will be done, and about how long it will take."""
        later = len(self._tuned_entries()) * len(self._protocol["seeds"])
        known = [*first, *evaluation]
        todo = [task for task in known if task.state == "planned"]
        num_todo = len(todo) + (later if todo or not first else 0)
        estimate = self._estimate(todo[0], num_todo) if todo and self._train else 0.0
        self._ledger.data["estimate_secs"] = estimate
        self._on_event(
            {
                "kind": "plan",
                "plan": {
                    "name": self._ledger.path.name,
                    "path": str(self._ledger.path),
                    "entries": [{"name": e["name"], "target": e["target"]} for e in self._ledger.data["entries"]],
                    "protocol": self._protocol,
                    "runs": len(known) + later,
                    "cached": sum(task.state != "planned" for task in known),
                    "metrics": measured(self._entries),
                    "estimate_secs": estimate,
                    "differences": self._ledger.data["pairing"]["differences"],
                },
            }
        )

    def _estimate(self, task: Task, num_runs: int) -> float:
        """Time a few steps of one run, and return the seconds that all will take."""
        from ..components.registries import REGISTRIES

        experiment = build(configuration.load(task.config, registries=REGISTRIES))
        op, num_steps = experiment.train_op, experiment.length.num_steps
        num_steps = _UNKNOWN_STEPS if num_steps is None else num_steps

        def take(size: int) -> int:
            for taken in range(size):
                try:
                    op.run()
                except DivergedError:
                    return taken
            return size

        take(1)  # which sets things up
        blocks = time_steps(take, experiment.device, _PROBE_SECS)
        per_run = mean_secs(blocks) * num_steps * 1.1 + 0.1 if blocks else 0.0
        return round(_START_UP_SECS + num_runs * per_run / min(self._protocol["jobs"], num_runs), 1)


def _protocol(
    entries: Sequence[Entry],
    seeds: int,
    tune: int | None,
    metric: str | None,
    baseline: str | None,
    margin: float | None,
    alpha: float,
    jobs: int | None,
    file: Mapping[str, Any],
) -> dict[str, Any]:
    """Fix everything that a verdict depends on, before the first run."""
    if len(entries) < 2:
        raise UsageError("a comparison needs at least two entries: name two presets, files or optimizers")
    if seeds < 1 or not 0 < alpha < 1:
        raise UsageError(f"seeds must be at least 1 and alpha between 0 and 1, got {seeds} and {alpha}")
    names = [entry.name for entry in entries]
    if baseline is not None and baseline not in names:
        raise UsageError(unknown_name("entry", baseline, names))
    config = entries[0].config
    select = config.eval.metric
    metric = metric or f"{'test' if config.data.test else 'val'}/{select.partition('/')[2]}"
    for entry in entries:
        _check_measured(entry, metric)
    mode, own_margin = metric_facts(config, metric)
    if margin is None and own_margin is None:
        raise UsageError(f"{metric} has no registered margin: say with --margin what difference matters")
    tuned = tune is not None and not all(entry.runs for entry in entries)
    return {
        "seeds": list(range(seeds)),
        "tune_trials": tune if tuned else 0,
        "tune_seeds": [FIRST_TUNING_SEED + i for i in range(NUM_TUNING_SEEDS)] if tuned else [],
        "tuned": tuned,
        "method": "grid",
        "factor": round(10**0.5, 4),
        "metric": metric,
        "select": select,
        "mode": mode,
        "margin": margin if margin is not None else own_margin,
        "margin_source": "given" if margin is not None else f"registered with metric {metric.partition('/')[2]}",
        "alpha": alpha,
        "target": None if config.eval.target is None else {"metric": select, "value": config.eval.target},
        "baseline": baseline,
        "jobs": jobs or os.cpu_count() or 1,
        "gates": file.get("gate") or [],
    }


def measured(entries: Sequence[Entry]) -> list[str]:
    """Return the final values that every entry's runs will have, such as `test/accuracy`."""
    return [name for name in _measured(entries[0]) if all(name in _measured(entry) for entry in entries)]


def _measured(entry: Entry) -> list[str]:
    known = ["loss", *(part.label for part in entry.config.metrics)]
    splits = ["val"] * bool(entry.config.data.val) + ["test"] * bool(entry.config.data.test)
    return [f"{split}/{name}" for split in splits for name in known]


def _check_measured(entry: Entry, metric: str) -> None:
    every = _measured(entry)
    if metric not in every:
        guess = nearest(metric, every)
        hint = f" Did you mean '{guess}'?" if guess else ""
        raise UsageError(f"{entry.name} does not measure '{metric}'.{hint} It measures {', '.join(every)}")


def _with_target(entry: Entry, target: float) -> Entry:
    import dataclasses

    changed = dataclasses.replace(entry.config.eval, target=target)
    return dataclasses.replace(entry, config=dataclasses.replace(entry.config, eval=changed))


def describe_entry(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "target": entry.target,
        "optimizer": entry.config.optimizer.label,
        "config": entry.config.to_dict(),
        "overrides": {key: value for key, _, value in (override.partition("=") for override in entry.overrides)},
        "tuning": None,
        "settings": {},
    }


def _group_name(entries: Sequence[Entry], protocol: Mapping[str, Any]) -> str:
    """Return a name that the same comparison always gets; more seeds do not make it another one."""
    identity = [
        [[entry.name, entry.config.to_dict()] for entry in entries],
        {key: protocol[key] for key in ("tune_trials", "tuned", "metric", "select", "method", "margin", "alpha")},
    ]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"compare-{'-'.join(entry.name for entry in entries)[:40].strip('-.')}-{digest[:6]}"
