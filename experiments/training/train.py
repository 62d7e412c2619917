"""Runs: trained from the beginning, gone on with from a checkpoint, or tried for one step."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..components.registries import REGISTRIES
from ..config import Config
from ..config.changes import Change
from ..config.defaults import changes_since
from ..config.plain import read_plain
from ..errors import DataError, UsageError, in_python
from ..run_directory.checkpoint_files import list_checkpoints
from ..run_directory.group_dir import trash
from ..run_directory.run import Run
from ..run_directory.run_dir import RunDir, default_root
from ..system import ranks, switches
from ..system.places import absolute, held_places, shown
from ..system.raised import refusing_exits
from ..system.trusted_code import trust
from .attempt import Attempt, OnStart, attempt, finished, watched
from .build import build, make_splits
from .continuation import changes_batches_alone, what_differs
from .divergence import choose_start
from .load import Overrides, fitted_before_changes, load_config, run_dir_of, stored_config, stored_fitted
from .record import RecordChange, RunRecord
from .together import Together

log = logging.getLogger("optrun")

_OTHER = {"code": "other code", "data": "other data", "init": "other initial weights"}


@held_places()
@switches.held_switches()
@refusing_exits()
def train(
    target: Config | str | Path | Mapping[str, Any] = "mom",
    overrides: Overrides = (),
    *,
    name: str | None = None,
    fresh: bool = False,
    allow_change: bool = False,
    allow_code: bool = False,
    root: Path | None = None,
    on_start: OnStart | None = None,
    progress: bool = False,
    profile: bool = False,
) -> Run:
    """Train one model, and return its run.

    Args:
        target: see `load_config`.
        overrides: see `load_config`.
        name: the run directory's name. It makes the call repeatable: a finished run is returned as it is, an
            unfinished one resumed. Without it, each call makes a new directory.
        fresh: with a name, move what is there into the trash and start anew.
        allow_change: with a name, go on although the configuration, the user's own code or data files are not those
            that the run began with.
        allow_code: execute code that came with a run directory, though it was never trained with here; with a name, go
            on although the user's own code has changed since.
        root: the folder of the run directories; by default $OPTRUN_RUNS_DIR or `runs`.
        on_start: called with the experiment and its run directory before the first step; returns hooks to add.
        progress: show how far the run is: in a notebook in the cell's output, on a terminal by a bar, else by lines.
        profile: measure where the time of a step goes, for `run.result["profile"]`; see `profile_text`.

    Raises:
        ConfigError: the configuration is wrong.
        DivergedError: the loss or a gradient was not finite, and `stop.on_nan` is `raise`.
        RunInUseError: another process works in the run directory.
        Interrupted: a signal came; all is saved.
        UserExitError: the user's code raised what would end the process, such as SystemExit.
    """
    ranks.refuse_several("train")
    on_start = watched(on_start) if progress else on_start
    root = default_root() if root is None else absolute(root)  # the user's code is imported next
    config = load_config(target, overrides, allow_code=allow_code)
    return finished(training(config, root, name, fresh, allow_change, allow_code, on_start, profile))


def training(
    config: Config,
    root: Path,
    name: str | None,
    fresh: bool = False,
    allow_change: bool = False,
    allow_code: bool = False,
    on_start: OnStart | None = None,
    profile: bool = False,
    *,
    together: Together | None = None,
) -> Attempt:
    """Train one model; see `train` and, for `together`, `attempt`."""
    run_dir = RunDir.named(root, name) if name is not None else None
    if run_dir is not None and run_dir.exists() and not fresh:
        return (yield from _go_on(config, run_dir, allow_change, allow_code, on_start, profile, is_local=True))
    if run_dir is not None and not (fresh and run_dir.is_leftover()):
        run_dir.check_is_free()
    experiment = build(config)  # before any folder is made or moved: what cannot be built changes nothing
    experiment.initial()  # and what cannot be initialised neither
    if run_dir is None:
        run_dir = RunDir.create(root, config.name)
    elif fresh and (run_dir.exists() or run_dir.is_leftover()):
        place = trash(run_dir.path)
        log.warning("moved %s to %s", shown(run_dir.path), shown(place))
    with run_dir.lock():
        if not run_dir.exists():  # no run has begun here: the folder may have been made a line ago
            return (yield from attempt(experiment, run_dir, on_start, profile, together=together))
    # Another process has begun a run of this name since we looked.
    return (yield from _go_on(config, run_dir, allow_change, allow_code, on_start, profile, is_local=True))


@held_places()
@switches.held_switches()
@refusing_exits()
def resume(
    run: Run | RunDir | str | Path,
    overrides: Overrides = (),
    *,
    allow_change: bool = False,
    allow_code: bool = False,
    root: Path | None = None,
    on_start: OnStart | None = None,
    progress: bool = False,
    profile: bool = False,
) -> Run:
    """Go on with a run from its latest checkpoint; a finished one is returned as it is.

    Args:
        run: a run, or what names one: a name, the beginning of one, `@1` for the latest, a path.
        overrides: values to change; they need `allow_change`.
        allow_change: accept the changes, and data files that are not those that the run was made with.
        allow_code: load the user's own code although it is not what the run was made with.
        root: the folder of the run directories.
        on_start: see `train`.
        progress: see `train`.
        profile: see `train`; of the steps that this call takes.

    Raises:
        UsageError: overrides change the configuration, or code or data has changed, without the permission for it.
    """
    ranks.refuse_several("resume")
    on_start = watched(on_start) if progress else on_start
    run_dir = run_dir_of(run, root)
    config = stored_config(run_dir, overrides, allow_code)
    return finished(_go_on(config, run_dir, allow_change, allow_code, on_start, profile))


@held_places()
@switches.held_switches()
@refusing_exits()
def dry_run(config: Config, on_start: OnStart | None = None) -> dict[str, float]:
    """Build everything and take one step, leaving nothing behind; return its loss and what train and val measure."""
    ranks.refuse_several("train")
    experiment = build(config)
    hooks = list(on_start(experiment, None)) if on_start else []
    train_op = experiment.train_op
    with experiment.located(), experiment.session(None, hooks) as session:
        session.run(train_op)
        values = train_op.fetch(["loss", "lr"])
        for split, evaluator in experiment.evaluators.items():
            if split != "test":  # read when the choices are made
                values |= evaluator() or {}
    trust(config.code_files.values())
    return values


def _go_on(
    config: Config,
    run_dir: RunDir,
    allow_change: bool,
    allow_code: bool,
    on_start: OnStart | None,
    profile: bool,
    *,
    is_local: bool = False,
) -> Attempt:
    """Resume a run that exists, or hand it back when nothing is left to do."""
    with run_dir.lock():
        record = RunRecord(run_dir)
        changes = changes_since(record.placed(read_plain(run_dir.config_path), config), config, REGISTRIES)
        found = record.changes(config)
        if record.examples is not None and not any(change.key.startswith("data.") for change in changes):
            found += record.example_changes(config, make_splits(config, stored_fitted(run_dir)).dataset)
        if is_local:
            found += record.init_changes(config)
        code_may_change = allow_code or (is_local and allow_change)  # the user's own command names the code
        refused = [each for each in found if not (code_may_change if each.kind == "code" else allow_change)]
        if refused or (changes and not allow_change):
            raise UsageError(_refusal(run_dir.name, changes, found, is_local))
        saved = list_checkpoints(run_dir.checkpoints_path)
        of_data = any(change.key.startswith("data.") for change in changes)
        if of_data and saved and not changes_batches_alone(changes):
            log.warning(
                "the data has changed: the run goes on at batch N of the new order, which it has not seen in full"
            )
        state = run_dir.status().get("state")
        if not changes and not found and state in ("done", "stopped"):
            if run_dir.has("summary.json"):
                return _finished(run_dir, state)
            if state == "stopped":
                raise DataError(
                    f"{run_dir.name} has stopped, but its summary.json is gone: put it back, or go on with "
                    "train.epochs=N --allow-change, or start again with --fresh"
                )
            log.warning("summary.json is gone: the result is worked out again from the last checkpoint")
        fitted = stored_fitted(run_dir)
        if any(change.key.startswith("data.") for change in changes):
            fitted = fitted_before_changes(stored_config(run_dir, (), allow_code), fitted)
        experiment = build(config, fitted)
        if changes and saved and state != "diverged":
            before = stored_config(run_dir, (), allow_code)
            for sentence in what_differs(before, record.batches, experiment, changes, saved[-1]):
                log.warning("%s", sentence)
        if changes and state == "diverged":
            what_was_done = choose_start(run_dir, [change.key for change in changes])  # moves checkpoints aside
            log.warning(what_was_done)
        return (yield from attempt(experiment, run_dir, on_start, profile))


def _finished(run_dir: RunDir, state: str) -> Run:
    """Return a run that has ended, whose result says so too.

    Raises:
        DataError: it says something else; one of the two files is not this run's.
    """
    run = Run(run_dir.path)
    if (outcome := run.result["outcome"]) != state:
        raise DataError(
            f"{shown(run_dir.path / 'summary.json')} is damaged: outcome: expected {state}, as status.json says, "
            f"got {outcome}: start again with --fresh"
        )
    return run


def _refusal(name: str, changes: Sequence[Change], found: Sequence[RecordChange], is_local: bool) -> str:
    """Return what is not as it was, and the way out that the command has."""
    what = "another configuration" if changes else " and ".join(sorted({_OTHER[change.kind] for change in found}))
    lines = [*(change.text for change in changes), *(change.text for change in found)]
    flags = ["--allow-code"] if not is_local and any(change.kind == "code" for change in found) else []
    flags += ["--allow-change"] if changes or is_local or any(change.kind != "code" for change in found) else []
    fresh = ", or --fresh to start again" if is_local else ""
    python = in_python(*flags, *(["--fresh"] if is_local else []))
    listed = "\n".join(f"  {line}" for line in lines)
    return f"{name} was begun with {what}:\n{listed}\nAdd {' '.join(flags)} to go on with the new one{fresh}{python}"
