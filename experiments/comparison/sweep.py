"""`sweep`: one target, several values of one key, each on several seeds."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..config.goal import metric_facts
from ..errors import UsageError
from ..run_directory.run import Run
from ..run_directory.run_dir import default_root, trash
from .compare import FIRST_TUNING_SEED, describe_entry
from .entries import make_entries
from .ledger import Ledger
from .pool import OnEvent, Pool
from .result import Comparison
from .tasks import Task, TaskMaker
from .tuning import parse_spec


def sweep(
    target: str,
    key: str,
    spec: str,
    overrides: Sequence[str] = (),
    *,
    trials: int | None = None,
    seeds: int = 2,
    method: str = "grid",
    jobs: int | None = None,
    fresh: bool = False,
    root: Path | None = None,
    on_event: OnEvent | None = None,
) -> Comparison:
    """Try several values of one key, and see how much depends on it.

    Args:
        target: a preset, a file or an optimizer's name.
        key: what to sweep: `optimizer.lr`.
        spec: `log:1e-3:1`, `lin:0:1`, or the values: `a,b,c`.
        overrides: `key=value`.
        trials: how many values of a range; 9 by default.
        seeds: for each value.
        method: `grid` or `random`.
        jobs: runs at a time; by default one for each core.
        fresh: repeat runs that are there already.
        root: the folder of runs.
        on_event: is told of the plan and of progress.

    Raises:
        UsageError: the target or the range means nothing.
    """
    if method not in ("grid", "random"):
        raise UsageError(f"no method '{method}': use grid or random")
    root, tell = root or default_root(), on_event or (lambda event: None)
    values = parse_spec(key, spec, trials, method, FIRST_TUNING_SEED)
    (entry,) = make_entries([target], [*overrides, f"{key}={json.dumps(values[0])}"], root)
    select = entry.config.eval.metric
    mode, margin = metric_facts(entry.config, select)
    protocol = {
        "seeds": [],
        "tune_trials": len(values),
        "tune_seeds": [FIRST_TUNING_SEED + i for i in range(seeds)],
        "tuned": True,
        "method": method,
        "factor": None,
        "metric": select,
        "select": select,
        "mode": mode,
        "margin": margin,
        "margin_source": "registered with the metric" if margin is not None else "none registered",
        "alpha": 0.05,
        "target": None,
        "baseline": None,
        "jobs": jobs or os.cpu_count() or 1,
        "gates": [],
        "spec": f"{key}={spec}",
    }
    identity = json.dumps([entry.config.to_dict(), key, values, seeds], sort_keys=True)
    path = (
        root / f"sweep-{entry.name[:24]}-{key.rpartition('.')[2]}-{hashlib.sha256(identity.encode()).hexdigest()[:6]}"
    )
    maker = TaskMaker(root, path.name, use_cache=not fresh)
    ledger = Ledger(path, "sweep", protocol, [describe_entry(entry)])
    started = time.monotonic()
    tasks = [maker.make(entry, "tune", seed, {key: value}) for seed in protocol["tune_seeds"] for value in values]
    numbered = [(ledger.add(task), task) for task in tasks]
    tell({"kind": "plan", "plan": {
        "name": path.name, "path": str(path), "entries": [{"name": entry.name, "target": entry.target}],
        "protocol": protocol, "runs": len(tasks), "cached": sum(t.state != "planned" for t in tasks),
        "estimate_secs": None, "differences": [],
    }})  # fmt: skip
    if fresh and path.exists():  # only now: whoever hears the plan may still refuse it
        trash(path)
    maker.tidy()

    def tell_finished(task: Task) -> None:
        score = _score(root, task, select)
        where = {"entry": task.entry, "seed": task.seed, "role": task.role, "settings": task.settings}
        tell(
            {"kind": "finished", "run": ledger.tasks.index(task), **where, "state": task.state, "value": score}
            | {"cached": task.cached, "message": task.message}
        )

    def finished(task: Task) -> None:
        if task.state in ("done", "diverged"):
            maker.note(task)
        tell_finished(task)
        ledger.write()

    tell({"kind": "phase", "phase": "tune", "total": len(tasks), "todo": sum(t.state == "planned" for t in tasks)})
    ledger.write()
    for _, task in numbered:
        if task.state != "planned":
            tell_finished(task)
    with Pool(root, protocol["jobs"], tell, finished) as pool:
        pool.run(numbered)
    ledger.entry(entry.name)["tuning"] = _tuning(root, tasks, key, values, select, mode)
    ledger.data["complete"] = True
    ledger.data["wall_secs"] = round(time.monotonic() - started, 2)
    ledger.write()
    return Comparison(path)


def _tuning(root: Path, tasks: list[Task], key: str, values: list[Any], select: str, mode: str) -> dict[str, Any]:
    trials = []
    for value in values:
        of_value = [task for task in tasks if task.settings[key] == value]
        scores = [_score(root, task, select) for task in of_value]
        mean = None if not scores or None in scores else sum(s for s in scores if s is not None) / len(scores)
        trials.append({"value": value, "scores": scores, "mean": mean, "runs": [task.path for task in of_value]})
    scored = [trial for trial in trials if trial["mean"] is not None]
    best = (max if mode == "max" else min)(scored, key=lambda trial: trial["mean"], default=None)
    chosen = best["value"] if best else None
    inner = len(values) > 2 and chosen not in (None, values[0], values[-1])
    return {
        "key": key,
        "centre": None,
        "centre_source": "swept",
        "trials": trials,
        "chosen": chosen,
        "bracketed": inner,
        "extended": 0,
        "spent": len(tasks),
    }


def _score(root: Path, task: Task, metric: str) -> float | None:
    return Run(root / task.path).summary["final"].get(metric) if task.state == "done" else None
