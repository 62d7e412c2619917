"""Runs to be done: what determines each, so that none is done twice."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch

from ..components.data import make_data
from ..config import Config
from ..run_directory.run import Run
from ..run_directory.run_dir import is_run
from ..system import storage
from .entries import LEARNING_RATE, Entry

Role = Literal["tune", "evaluate"]
FINISHED = ("done", "stopped", "diverged")
_STALE_SECS = 60.0  # nobody takes as long to write one of the small files that comparisons share


@dataclass
class Task:
    """One run of a comparison.

    Args:
        entry: the contender's name.
        role: `tune` or `evaluate`.
        seed: of the run.
        settings: values on top of the entry's configuration, by key.
        config: the whole configuration as plain data.
        key: SHA-256 of all that determines the result.
        path: the run directory, relative to the folder of runs.
        state: `planned`, `running`, `done`, `diverged` or `failed`.
        cached: whether it had been there before.
        message: why it failed.
    """

    entry: str
    role: Role
    seed: int
    settings: dict[str, Any]
    config: dict[str, Any]
    key: str
    path: str
    state: str = "planned"
    cached: bool = False
    message: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return what comparison.json keeps."""
        names = ("entry", "role", "seed", "settings", "path", "state", "cached", "message")
        return {name: getattr(self, name) for name in names}


@dataclass
class TaskMaker:
    """Makes tasks, and finds those whose run exists already.

    Args:
        root: the folder of runs.
        group: the comparison's folder in it.
        use_cache: whether a run that is there may stand for a new one.
    """

    root: Path
    group: str
    use_cache: bool = True
    _data: dict[str, str] = field(default_factory=dict)

    def make(self, entry: Entry, role: Role, seed: int, settings: Mapping[str, Any]) -> Task:
        """Make the task of one run, done already if its run is found."""
        config = with_settings(entry.config, seed, settings)
        key = self._key(entry.config, config)
        short = "-".join(_short(name, value) for name, value in settings.items())
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", "-".join(part for part in (entry.name[:24], short[:16]) if part))
        task = Task(entry.name, role, seed, dict(settings), config, key, f"{self.group}/{stem}-s{seed}-{key[:8]}")
        found = self._find(key) if self.use_cache else None
        if found is not None:
            task.path, task.state, task.cached = found[0], found[1], True
        return task

    def tidy(self) -> None:
        """Delete what killed comparisons left half written."""
        for folder in (self.root / ".cache", self.root / self.group):
            if folder.is_dir():
                storage.sweep_temporaries(folder, _STALE_SECS)

    def note(self, task: Task) -> None:
        """Remember where a finished run is, for this and other comparisons."""
        folder = self.root / ".cache"
        storage.make_dir(folder, exist_ok=True)
        storage.write_atomic(folder / task.key, task.path.encode())

    def _find(self, key: str) -> tuple[str, str] | None:
        try:
            path = storage.read_bytes(self.root / ".cache" / key).decode()
        except storage.MissingFileError:
            return None
        if not is_run(self.root / path):
            return None
        state = Run(self.root / path).state
        return (path, "done" if state == "stopped" else state) if state in FINISHED else None

    def _key(self, config: Config, plain: Mapping[str, Any]) -> str:
        determines = {name: value for name, value in plain.items() if name not in ("name", "checkpoint")}
        facts = {
            "config": determines,
            "code": config.code_files,
            "data": self._data_hash(config),
            "init": _init_hash(config),
            "optrun": metadata.version("optrun"),
            "torch": torch.__version__,
            "threads": [os.environ.get("OPTRUN_THREADS"), os.cpu_count()],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _data_hash(self, config: Config) -> str:
        """Return a hash of the examples themselves: a file of the user's may change under the same name."""
        described = json.dumps([config.data.name, repr(sorted(config.data.args.items()))])
        if described not in self._data:
            dataset = make_data(config.data.component, **config.data.args)
            self._data[described] = dataset.sha256()
        return self._data[described]


def _init_hash(config: Config) -> str | None:
    """Return a hash of what initial weights are read from, where they are."""
    if config.init is None or "fingerprint" not in config.init.component.facts:
        return None
    return config.init.component.facts["fingerprint"](config.init.args)


def with_settings(config: Config, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as plain data, with a seed and settings, and without checkpoints that nobody will read."""
    plain = copy.deepcopy(config.to_dict())
    plain["seed"] = seed
    plain["checkpoint"] = {**plain["checkpoint"], "best": False}
    for key, value in settings.items():
        values = plain["schedule"].get("values")
        if key == LEARNING_RATE and values:  # absolute rates: the largest becomes `value`, the others keep their ratio
            plain["schedule"]["values"] = [rate * value / max(values) for rate in values]
            continue
        *path, last = key.split(".")
        place: Any = plain
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place[part]
        place[last] = value
    return plain


def _short(name: str, value: Any) -> str:
    return f"{name.rpartition('.')[2]}{value:.4g}" if isinstance(value, float) else f"{name.rpartition('.')[2]}{value}"
