"""Configurations for training: read by target, or from a run directory, with the registries of this program."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .. import config as configuration
from ..components.data import BEFORE, DataFacts, Dataset, Fitted, make_data
from ..components.registries import REGISTRIES
from ..config import Config
from ..config.nodes import Part
from ..config.targets import find_target, preset_folder
from ..errors import CheckpointError, UsageError
from ..registry.permissions import consent, consenting
from ..run_directory.checkpoint_files import list_checkpoints
from ..run_directory.checkpoints import load
from ..run_directory.lookup import find_run
from ..run_directory.run import Run
from ..run_directory.run_dir import RunDir, is_run
from ..system import switches
from ..system.places import absolute, held_places
from ..system.raised import refusing_exits
from ..system.trusted_code import trust
from .record import RunRecord

FITTED, FACTS = "fitted.json", "data.json"
Overrides = Mapping[str, Any] | Sequence[str]


@held_places()
@refusing_exits()
def load_config(
    target: Config | str | Path | Mapping[str, Any] | Part, overrides: Overrides = (), *, allow_code: bool = False
) -> Config:
    """Read and check a configuration.

    Args:
        target: a path, the name of a file in ./configs or of a preset, or the configuration itself, which may also be a
            part of a file, or have been loaded before.
        overrides: values to change: {"optimizer.lr": 0.2} or ["optimizer.lr=0.2"].
        allow_code: execute code that a configuration in a run directory names though it was never trained with here.

    $OPTRUN_CONFIG_PATH names more folders to look in, $OPTRUN_DEVICE overrides `train.device`.

    Raises:
        ConfigError: all that is wrong with it, each at its place.
        UsageError: overrides of one that was loaded before.
    """
    if isinstance(target, Config):
        if overrides:
            raise UsageError(
                f"the configuration {target.name} was loaded before: give overrides to the load_config that loads it"
            )
        return target
    REGISTRIES["hook"].names()  # a plug-in that cannot be imported is no mistake of the configuration
    stored = _stored_record(target)
    moved = {} if stored is None else {"project": stored.project, "move": stored.place}
    overrides = _with_device(overrides, os.environ.get("OPTRUN_DEVICE"))
    with _allowing(allow_code):
        return _remembered(read(target, overrides, config_path=_config_path(), **moved))


def _allowing(allow_code: bool) -> AbstractContextManager[None]:
    return consenting("all" if allow_code else consent())


def _remembered(config: Config) -> Config:
    """Remember the code of a configuration, if the user has just allowed it: once is enough."""
    if consent() == "all":
        trust(config.code_files.values())
    return config


def find_file(target: str) -> Path | None:
    """Return the file that a target names, a preset's apart; None where it names none."""
    try:
        info, _ = find_target(target, preset_folder(), _config_path())
    except UsageError:
        return None
    return None if info.kind == "preset" or info.path is None else absolute(info.path)


def _config_path() -> list[Path]:
    return [Path(folder) for folder in os.environ.get("OPTRUN_CONFIG_PATH", "").split(os.pathsep) if folder]


def _with_device(overrides: Overrides, device: str | None) -> Overrides:
    """Put the environment's device before the overrides, which win."""
    if not device:
        return overrides
    if isinstance(overrides, Mapping):
        return {"train.device": device, **overrides}
    given = any(override.startswith("train.device=") for override in overrides)
    return overrides if given else [f"train.device={device}", *overrides]


@held_places()
@refusing_exits()
def stored_config(
    run_dir: RunDir, overrides: Overrides = (), allow_code: bool = False, *, to_read: bool = False
) -> Config:
    """Read the configuration of a run, whose files may have moved with it; `to_read`: see `RunRecord.allowed_code`.

    Raises:
        ConfigError: it names code that is not what the run was made with, or that was never trained with on this
            machine, and `allow_code` is not given.
    """
    record = RunRecord(run_dir)
    trusted = None if allow_code or consent() == "all" else record.allowed_code(to_read=to_read)
    where = {"project": record.project, "move": record.place}
    with _allowing(allow_code):
        return _remembered(read(run_dir.config_path, overrides, trusted=trusted, **where))


def read(target: str | Path | Mapping[str, Any] | Part, overrides: Overrides = (), **options: Any) -> Config:
    """Return a configuration, and remember what the import of code that it names has turned in this process.

    Args:
        target: see `load_config`.
        overrides: see `load_config`.
        options: more of `config.load`.

    Raises:
        ConfigError: all that is wrong with it.
    """
    before = switches.snapshot()
    config = configuration.load(target, overrides, registries=REGISTRIES, **options)
    switches.note_imports(before, config.reached.files)
    return config


def _stored_record(target: object) -> RunRecord | None:
    """Return the record beside a configuration that lies in a run directory; None for any other."""
    if not isinstance(target, str | Path) or "\0" in str(target):
        return None
    folder = absolute(target).parent
    return RunRecord(RunDir(folder)) if Path(target).name == "config.yaml" and is_run(folder) else None


def run_dir_of(run: Run | RunDir | str | Path, root: Path | None) -> RunDir:
    if isinstance(run, RunDir):
        return run
    return RunDir(run.path) if isinstance(run, Run) else find_run(str(run), root)


def stored_fitted(run_dir: RunDir) -> Fitted:
    """Return what a run took from its training rows.

    It is in `fitted.json`, and in each checkpoint. Versions up to 0.2.0 kept no record, and standardised over all rows.

    Raises:
        DataError: the record is damaged.
        CheckpointError: the record is gone, and no checkpoint can be read.
    """
    stored = run_dir.read_json(FITTED)
    damage: CheckpointError | None = None
    for file in reversed(list_checkpoints(run_dir.checkpoints_path)) if stored is None else ():
        try:
            stored, damage = load(file)[1].get("fitted"), None
            break
        except CheckpointError as error:  # whoever restores the state says so, and takes the one before it
            damage = error
    if damage is not None:
        raise damage
    return BEFORE if stored is None else Fitted.from_dict(stored)


def stored_facts(run_dir: RunDir) -> DataFacts | None:
    """Return what a run's data is like; None of a run of a version that kept no record of it.

    Raises:
        DataError: the record is damaged.
    """
    stored = run_dir.read_json(FACTS)
    return None if stored is None else DataFacts.from_dict(stored)


def fitted_before_changes(config: Config, fitted: Fitted) -> Fitted:
    """Return what a run without a record took from its rows, for data that is no longer the run's own.

    Args:
        config: that the run was made with.
        fitted: as `stored_fitted` returns it.
    """
    if fitted is not BEFORE:
        return fitted
    dataset = make_data(config.data.component, fitted=fitted, **config.data.args)
    if not isinstance(dataset, Dataset):
        return fitted
    return replace(fitted.completed(dataset, torch.arange(len(dataset))), rows="train")
