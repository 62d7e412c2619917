"""Runs to be done, and those of them that need not be: what determines each is known by its key."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..config import Config
from ..config.changes import place_at
from ..errors import OptrunError, UserExitError
from ..registry.object_digest import UnhashableError
from ..run_directory.comparison_file import FINISHED, Record, outcome, users_of
from ..run_directory.contents import result_sha256
from ..run_directory.group_dir import runs_in
from ..run_directory.run import Run
from ..system import storage
from ..system.locks import Lock, NotHeld
from ..system.raised import message_of, refusing_exits, type_and_text
from ..training.record import RunRecord, data_files
from .entry import Entry
from .finished_runs import FinishedRuns
from .identity import PROCESSES, key_before_0_3, run_key
from .placing import LEARNING_RATE, set_rate

log = logging.getLogger("optrun")

Role = Literal["tune", "evaluate"]
_STALE_SECS = 60.0  # nobody takes as long to write one of the small files that comparisons share


@dataclass(eq=False)
class Task(Record):
    """A planned run, with what it takes to make it.

    Args:
        config: the whole configuration as plain data.
        key: SHA-256 of all that determines the result.
        number: of the run in its group; -1 until the group has taken it in.
        code: files of the user's that it reaches.
    """

    config: dict[str, Any] = field(default_factory=dict)
    key: str = ""
    number: int = -1
    code: frozenset[str] = frozenset()

    def stand_for(self, run: Run, root: Path) -> None:
        """Let a finished run be the result, which is then not made again."""
        self.run, self.path = run, os.path.relpath(run.path, root)
        self.state, self.cached = outcome(run) or self.state, True
        self.sha256 = result_sha256(run.path)


class TaskMaker:
    """Makes tasks, and finds those whose run exists already.

    Args:
        root: the folder of runs.
        group: the comparison's folder in it.
        hash_data: gives the SHA-256 of an entry's examples.
        use_cache: whether a run that is there may stand for a new one.

    Attributes:
        engine: that trains the runs; those that another one has trained are other runs.
        unkeyed: entries of which nobody can say that their runs are what they were.
        kept: names of runs in that folder that other comparisons use: they stay when all is made anew.
    """

    def __init__(self, root: Path, group: str, hash_data: Callable[[Entry], str], use_cache: bool = True):
        self._root, self._group, self._hash_data, self._use_cache = root, group, hash_data, use_cache
        self.engine = PROCESSES
        self._finished = FinishedRuns(root)
        self.kept = frozenset() if use_cache else _used_by_others(root, root / group)
        self._data: dict[str, str | Exception] = {}  # SHA-256 of data sets by name and arguments, or what they raised
        self.unkeyed: set[str] = set()
        self._files: dict[str, dict[str, str | None]] = {}  # SHA-256 of the files behind data sets, likewise
        self._claimed: set[str] = set()  # keys of runs that were begun here
        self._planned: dict[str, tuple[Entry, dict[str, str | None]]] = {}  # what the runs are planned with, by key

    def make(self, entry: Entry, role: Role, seed: int, settings: Mapping[str, Any]) -> Task:
        """Make the task of one run, done already if its run is found."""
        config = with_settings(entry.config, seed, settings)
        problem = ""
        try:
            with refusing_exits():
                key = self._key(entry, config)
        except UserExitError as error:
            key, problem = secrets.token_hex(32), message_of(error)
        except OptrunError:
            raise
        except Exception as error:  # noqa: BLE001 (of the user's own data: it must not end the other entries)
            key, problem = secrets.token_hex(32), type_and_text(error)
        short = "-".join(_short(name, value) for name, value in settings.items())
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", "-".join(part for part in (entry.name[:24], short[:16]) if part))
        task = Task(
            entry.name,
            role,
            seed,
            dict(settings),
            "",
            config=config,
            key=key,
            code=frozenset(entry.config.reached.files),
        )
        may_be_found = self._use_cache and not problem and entry.name not in self.unkeyed
        found = self._found(key, entry, config) if may_be_found else None
        if found is not None:
            task.stand_for(found, self._root)
        else:
            task.path = self._free(f"{self._group}/{stem}-s{seed}", key, entry.config, config)
        if problem:
            task.state, task.message = "failed", problem
        else:
            self._planned[key] = entry, self._files[_described(entry.config)]
        return task

    def made_before(self, entry: Entry) -> list[Task]:
        """Make the tasks of an entry that was made of finished runs."""
        tasks = []
        for seed, path in entry.runs.items():
            task = Task(entry.name, "evaluate", seed, {}, "")
            task.stand_for(Run(path), self._root)
            tasks.append(task)
        return tasks

    def claim(self, task: Task) -> Lock | None:
        """Hold a planned run against other comparisons that would make the same one, in folders of their own.

        One of them may have made it since this one was planned: then it is the task's run from now on. Two entries of
        this comparison that are the same are made both, so that they can be compared.

        Returns:
            what to give to `let_go`, once the run has ended; None where another comparison makes it at the moment.
        """
        if task.key not in self._planned or task.entry in self.unkeyed or task.key in self._claimed:
            return NotHeld()
        lock = self._finished.try_lock(task.key)
        if not self._use_cache:
            return lock or NotHeld()  # all is made anew, whoever else makes it
        if lock is not None:
            self._claimed.add(task.key)
            found = self._found(task.key, self._planned[task.key][0], task.config)
            if found is not None:
                task.stand_for(found, self._root)
        return lock

    def let_go(self, task: Task, lock: Lock) -> None:
        """Let other comparisons have what `claim` held: the run, or to make it themselves where it did not end."""
        if not isinstance(lock, NotHeld):
            if task.state in FINISHED:
                self._finished.remove_lock(task.key)
            else:
                self._claimed.discard(task.key)
        lock.release()

    def key_file(self, task: Task) -> Path:
        """Return the file that says where the run of a task is."""
        return self._finished.folder / task.key

    def tidy(self) -> None:
        """Delete what killed comparisons left half written."""
        for folder in (self._finished.folder, self._root / self._group):
            if folder.is_dir():
                storage.sweep_temporaries(folder, _STALE_SECS)

    def note(self, task: Task) -> None:
        """Take in that a run has ended, and remember where it is, for this and other comparisons.

        A run that read other files than were planned with, since they were changed meanwhile, is a failed one.
        """
        task.run = Run(self._root / task.path)
        entry, files = self._planned[task.key]
        if others := RunRecord(task.run.dir).differs_from(entry.config, files):
            task.state, task.message = "failed", f"{others[0]} was changed while the runs were made: repeat the command"
            return
        task.sha256 = result_sha256(task.run.path)
        if task.entry not in self.unkeyed:
            self._finished.remember(task.key, task.path, task.sha256)

    def _key(self, entry: Entry, config: dict[str, Any]) -> str:
        """Return the key of a run; where there is none, one that no other run will have."""
        try:
            return run_key(entry.config, config, self._data_sha256(entry), self.engine)
        except UnhashableError as error:
            if entry.name not in self.unkeyed:
                log.warning("%s: its runs are made anew each time: %s", entry.name, error)
                self.unkeyed.add(entry.name)
            return secrets.token_hex(32)

    def _data_sha256(self, entry: Entry) -> str:
        """Return the hash of an entry's examples; what cannot be made is not tried again for each of its runs."""
        described = _described(entry.config)
        if described not in self._data:
            self._files[described] = data_files(entry.config)
            try:
                self._data[described] = self._hash_data(entry)
            except Exception as error:
                self._data[described] = error
                raise
        found = self._data[described]
        if isinstance(found, Exception):
            raise found
        return found

    def _free(self, stem: str, key: str, config: Config, plain: Mapping[str, Any]) -> str:
        """Return a folder for a run.

        None that has a run of other code, which was imported late and has changed since, or one that was given other
        settings since; none that is to stay.
        """
        path = f"{stem}-{key[:8]}"
        while Path(path).name in self.kept or self._finished.is_another(path, config, plain):
            key = hashlib.sha256(key.encode()).hexdigest()
            path = f"{stem}-{key[:8]}"
        return path

    def _found(self, key: str, entry: Entry, plain: Mapping[str, Any]) -> Run | None:
        """Return the finished run of a key, or of the one that it had in earlier versions."""
        found = self._finished.find(key, entry.config, plain)
        if found is not None:
            return found
        if self.engine != PROCESSES:
            return None
        before = key_before_0_3(entry.config, plain, self._data_sha256(entry))
        return self._finished.find(before, entry.config, plain) if before is not None else None


def _used_by_others(root: Path, group: Path) -> frozenset[str]:
    if not group.is_dir():
        return frozenset()
    return frozenset(path.name for path in users_of(root, runs_in(group), [group]))


def _described(config: Config) -> str:
    """Return a data set's name and arguments, as one text."""
    return json.dumps([config.data.name, repr(sorted(config.data.args.items()))])


def with_settings(config: Config, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as plain data, with a seed and settings, and without checkpoints that nobody will read."""
    plain = copy.deepcopy(config.to_dict())
    plain["seed"] = seed
    plain["checkpoint"] = {**plain["checkpoint"], "best": False}
    if LEARNING_RATE in settings:  # first, since it moves those of groups along
        set_rate(plain, settings[LEARNING_RATE])
    for key, value in settings.items():
        if key != LEARNING_RATE:
            place_at(plain, key, value)
    return plain


def _short(name: str, value: Any) -> str:
    return f"{name.rpartition('.')[2]}{value:.4g}" if isinstance(value, float) else f"{name.rpartition('.')[2]}{value}"
