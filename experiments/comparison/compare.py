"""`compare`: plan, tune with equal budgets, run fresh seeds in pairs, and leave all that is needed for a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ..run_directory.run_dir import default_root
from .entries import LEARNING_RATE, make_entries
from .entries_file import read_entries_file
from .events import OnEvent
from .protocol import compare_name, compare_protocol
from .result import Comparison
from .runner import Runner
from .tuning import Tuning, grid


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
    file = read_entries_file(Path(targets[0])) if len(targets) == 1 else None
    entries = make_entries(targets, listed, root) if file is None else file.make_entries(listed, root)
    given = {"seeds": seeds, "metric": metric, "target": target, "baseline": baseline, "margin": margin, "alpha": alpha}
    options = {} if file is None else dict(file.options)
    options |= {name: value for name, value in given.items() if value is not None}
    if tune != "default":
        options["tune"] = tune
    if (target := options.pop("target", None)) is not None:
        entries = [entry.with_target(target) for entry in entries]
    protocol = compare_protocol(entries, jobs=jobs, **options)
    tunings = {}
    for entry in entries:
        if protocol.tuned and not entry.runs:
            centre, source = entry.centre()
            values = grid(centre, protocol.tune_trials)
            tunings[entry.name] = Tuning(LEARNING_RATE, values, protocol.select, centre, source)
    path = root / compare_name(entries, protocol)
    runner = Runner("compare", path, entries, protocol, tunings, fresh=fresh, train=train, on_event=on_event)
    return runner.run()
