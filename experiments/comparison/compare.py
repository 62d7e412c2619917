"""`compare`: plan, tune with equal budgets, run fresh seeds in pairs, and leave all that is needed for a verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ..errors import UsageError
from ..registry.handed import can_be_handed, hand_over
from ..run_directory.run_dir import default_root
from ..system import ranks
from ..system.places import absolute, held_places
from ..system.raised import refusing_exits
from ..system.switches import held_switches
from ..training.load import find_file
from .entries import Target, check_entry_names, make_entries
from .entries_file import EntriesFile, read_entries_file
from .events import OnEvent, watched
from .optimizers import command_for_optimizers, entries_of_optimizers
from .options import check_options, check_verifying
from .placing import LEARNING_RATE
from .protocol import compare_name, compare_protocol, measured
from .question import named_path
from .result import Comparison
from .runner import Runner
from .tuning import Tuning, grid


@held_places()
@held_switches()
@refusing_exits()
def compare(
    targets: str | Path | Sequence[str | Path | Mapping[str, Any]] | Mapping[str, str | Path | Mapping[str, Any]],
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    optimizers: Sequence[str] | None = None,
    name: str | None = None,
    seeds: int | None = None,
    first_seed: int | None = None,
    tune: int | Literal["default"] | None = "default",
    metric: str | None = None,
    target: float | None = None,
    baseline: str | None = None,
    margin: float | None = None,
    alpha: float | None = None,
    jobs: int | None = None,
    engine: Literal["auto", "processes", "batched"] = "auto",
    verify_batched: int | None = None,
    across_problems: bool = False,
    fresh: bool = False,
    train: bool = True,
    root: Path | None = None,
    on_event: OnEvent | None = None,
    progress: bool = False,
) -> Comparison:
    """Compare entries honestly: equal tuning budgets, fresh seeds, pairs that share everything but the entry.

    Args:
        targets: presets, files, optimizer names, `run:ID`, or configurations as mappings; or one file with `entries:`.
            A mapping of these gives each entry its name.
        overrides: `key=value` for all entries, `NAME:key=value` for one.
        optimizers: names of optimizers, each to run on the problem of the one target, at its registered centre; the
            target's own optimizer is an entry too.
        name: of the comparison's folder. Repeated with the same question, the comparison goes on or reports; another
            question under the name is refused. By default a name that the same question always gets.
        seeds: how many, of the evaluation; 10 by default.
        first_seed: the first of them; 0 by default.
        tune: learning rates tried for each entry before that, on two seeds each: 5 by default; None or 0 compares as
            configured.
        metric: the primary endpoint, `test/accuracy` by default: the test counterpart of what the runs evaluate.
        target: a value of the validation metric; steps to it are compared as well.
        baseline: compare the others with this entry only, called by its name or its label.
        margin: the smallest difference that matters, in the metric's unit; by default as registered with it.
        alpha: of all tests together; 0.05 by default, below 0.5.
        jobs: runs at a time; by default one for each core.
        engine: `processes` trains each run in a process of its own, `batched` many in one batch, where each has the
            bits that it would have alone there; `auto` takes the faster one. A comparison keeps the one that it has.
        verify_batched: so many runs of a batch are made again, each by itself: their first steps and final values are
            held against each other. None verifies none.
        across_problems: entries are meant to have different problems. Where data, split or metric differ, runs are not
            paired, and nothing is tested.
        fresh: repeat runs that are there already.
        train: False reads what is there, and refuses if something is missing.
        root: the folder of runs.
        on_event: is told of the plan and of progress.
        progress: show how far it is, as `train` does.

    Raises:
        UsageError: what is asked for cannot be compared, or answers another question.
        PairingError: runs that should have started alike did not.
        NotVerifiedError: a run is not in a batch what it is by itself; the comparison is kept.
        Interrupted: a signal came; repeated, the comparison goes on.
    """
    ranks.refuse_several("compare")
    on_event = watched(on_event, progress)
    root = default_root() if root is None else absolute(root)
    given = {
        "seeds": seeds,
        "first_seed": first_seed,
        "metric": metric,
        "target": target,
        "baseline": baseline,
        "margin": margin,
        "alpha": alpha,
        "across_problems": across_problems or None,
    }
    check_verifying(engine, verify_batched)
    check_options({**given, "jobs": jobs, "tune": None if tune == "default" else tune})
    listed = listed_overrides(overrides)
    names = check_entry_names(targets) if isinstance(targets, Mapping) else None
    each_target = [targets] if isinstance(targets, str | Path) else targets
    each_target = each_target.values() if isinstance(each_target, Mapping) else each_target
    contenders: list[Target] = [each if isinstance(each, Mapping) else str(each) for each in each_target]
    file = _entries_file(contenders)
    options: dict[str, Any] = {} if file is None else dict(file.options)
    options |= {key: value for key, value in given.items() if value is not None}
    if tune != "default":
        options["tune"] = tune or None
    ignored = [LEARNING_RATE] if options.get("tune", True) else []
    if optimizers is not None:
        entries = entries_of_optimizers(contenders, optimizers, listed, file is not None, ignored=ignored)
    elif file is not None:
        entries = file.make_entries(listed, root, ignored=ignored)
    else:
        entries = make_entries(contenders, listed, root, names=names, ignored=ignored)
    if (wanted := options.pop("target", None)) is not None:
        entries = [entry.with_target(wanted) for entry in entries]
    if file is not None and metric is None:
        file.check_metric(measured(entries))
    command = "" if file is not None else command_for_optimizers(contenders, entries, listed)
    protocol = compare_protocol(entries, jobs=jobs, one_command=command, **options)
    if file is not None:
        file.check_gates(entries, measured(entries), protocol.baseline)
    tunings = {}
    for entry in entries:
        if protocol.tuned and not entry.runs:
            centre, source = entry.centre()
            values = grid(centre, protocol.tune_trials)
            tunings[entry.name] = Tuning(LEARNING_RATE, values, protocol.select, centre, source)
    path = root / compare_name(entries, protocol, root)
    if name is not None:
        path = named_path(root, name, entries, protocol, fresh)
    runner = Runner(
        "compare",
        path,
        entries,
        protocol,
        tunings,
        engine=engine,
        verify_batched=verify_batched,
        fresh=fresh,
        train=train,
        on_event=on_event,
    )
    return runner.run()


def listed_overrides(overrides: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """Return overrides as they stand on a command line."""
    if not isinstance(overrides, Mapping):
        return list(overrides)
    return [f"{key}={json.dumps(value, default=_as_text)}" for key, value in overrides.items()]


def _as_text(value: Any) -> str:
    return hand_over(value) if can_be_handed(value) else str(value)


def _entries_file(targets: Sequence[Target]) -> EntriesFile | None:
    """Return the file with `entries:` that is the only target; None where the targets are none.

    Raises:
        UsageError: one stands beside other targets.
    """
    for target in targets:
        if isinstance(target, Mapping):
            continue
        file = read_entries_file(find_file(target))
        if file is not None and len(targets) > 1:
            raise UsageError(f"{target} is a whole comparison: it cannot be an entry of another one")
        if file is not None:
            return file
    return None
