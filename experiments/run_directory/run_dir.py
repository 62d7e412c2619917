"""Run directories: their layout, their lock, and their status.

config.yaml     the resolved configuration, trainable as it is     origins.json   where each value came from
env.json        versions, commit, device, threads                  metrics.jsonl  metric rows
summary.json    the result, with the configuration                 status.json    what became of the run
log.txt         what was said                                      checkpoints/   step-<step>-<SHA-256>.safetensors
diverged/       batches that the gate refused, and states that no run goes on from
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import DataError, RunInUseError, StorageError, UsageError
from ..system import forks, storage
from ..system.json_text import encode_json
from ..system.liveness import host_name, is_alive
from ..system.locks import Lock, are_off, try_lock, warn_if_off
from ..system.observed import looked_for
from ..system.places import absolute, folder_of, shown
from .json_shapes import State, misfit, read_int

LOCK = ".lock"  # the file that whoever holds a folder has locked
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_NUMBERED = re.compile(r"-(\d{4,9})", re.ASCII)
_OF_A_START = {
    *("config.yaml", "origins.json", "env.json", "fitted.json", "data.json"),
    *("log.txt", "metrics.jsonl", "checkpoints"),
}


class RunDir:
    """One run's folder; making the object touches nothing on the disk.

    Args:
        path: the folder.
    """

    def __init__(self, path: str | Path):
        self.path = absolute(path)
        self._started = _now()
        self._lock: Lock | None = None
        self._holder: int | None = None  # the process that holds it, and not one that was forked from it

    @classmethod
    def create(cls, root: str | Path, stem: str) -> RunDir:
        """Make `<root>/<stem>-<0001>` with the next free number; processes that do so at once get different ones.

        Raises:
            UsageError: `stem` is no valid name.
            StorageError: the folder cannot be made.
        """
        root = absolute(root)
        check_name(stem)
        check_name(f"{stem}-0001")
        storage.make_dir(root, exist_ok=True)
        with storage.explain("read the folder", root):
            names = os.listdir(root)
        numbers = [int(match[1]) for name in names if (match := _number_after(stem, name))]
        number = max(numbers, default=0) + 1
        while not storage.make_dir(root / f"{stem}-{number:04d}", exist_ok=True):
            number += 1
        return cls(root / f"{stem}-{number:04d}")

    @classmethod
    def named(cls, root: str | Path, name: str) -> RunDir:
        """Return `<root>/<name>`, which need not exist yet; `lock` makes it.

        Raises:
            UsageError: `name` is no valid name, or leads out of `root`.
        """
        root = absolute(root)
        path = root / check_name(name)
        if path.resolve().parent != root.resolve():
            raise UsageError(f"{shown(path)} is a link that leads out of {shown(root)}: choose another name")
        return cls(path)

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def config_path(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def log_path(self) -> Path:
        return self.path / "log.txt"

    @property
    def checkpoints_path(self) -> Path:
        return self.path / "checkpoints"

    @property
    def diverged_path(self) -> Path:
        return self.path / "diverged"

    def exists(self) -> bool:
        """Return True if a run was ever started here."""
        return is_run(self.path)

    def check_is_free(self) -> None:
        """Refuse a folder without `status.json` that holds more than the beginnings of a run.

        Raises:
            UsageError: what is there was trained before, or is no run at all; the message has the way out.
        """
        if self.exists() or not os.path.lexists(self.path):
            return
        if not self.path.is_dir():
            raise UsageError(f"{shown(self.path)} is there, and is no folder: choose another name")
        with storage.explain("read the folder", self.path):
            names = {name for name in os.listdir(self.path) if not name.startswith(".")}
        if names and ("comparison.json" in names or not names & _OF_A_START):
            raise UsageError(f"{shown(self.path)} is there, and is no run: choose another name")
        if found := self._trained():
            raise UsageError(
                f"{shown(self.path)} has {found}, but no status.json, so nobody can say what became of it: put that "
                "file back, or add --fresh, which moves the folder into the trash, or choose another name"
            )

    def is_leftover(self) -> bool:
        """Return True for the folder of a run that lost its `status.json`."""
        is_folder = self.path.is_dir() and not self.path.is_symlink() and not self.exists()
        return is_folder and not self.has("comparison.json") and self._trained() is not None

    def has(self, name: str) -> bool:
        """Return True if the run has a file of this name."""
        return (self.path / name).is_file()

    def _trained(self) -> str | None:
        """Return what there is of a run that has trained."""
        for name in ("checkpoints", "diverged"):
            if (self.path / name).is_dir() and os.listdir(self.path / name):
                return f"files in {name}/"
        if (self.path / "summary.json").exists():
            return "a summary.json"
        metrics = self.path / "metrics.jsonl"
        return "metric rows" if metrics.exists() and metrics.stat().st_size else None

    @contextlib.contextmanager
    def lock(self) -> Iterator[RunDir]:
        """Hold the folder, made if missing, against other processes; the system frees it when this process dies.

        What processes that died here left half written is deleted.

        Raises:
            RunInUseError: another process holds it; the message has its number, machine and start time.
            StorageError: the folder cannot be written.
        """
        self.acquire()
        try:
            yield self
        finally:
            self.release()

    def acquire(self) -> None:
        """Do what entering `lock()` does; the folder is held until `release()` or the end of the process."""
        storage.make_dir(self.path, exist_ok=True)
        self._refuse_what_is_no_file()
        lock = _try_lock(self.path, patience_secs=0.3)  # `status` of another process may hold it for an instant
        if lock is None or (are_off() and self._works_here()):
            raise RunInUseError(self._in_use())
        warn_if_off(self.path)
        storage.warn_if_not_flushed(self.path)
        self._lock, self._holder = lock, os.getpid()
        forks.hold(self.path)
        self._started = _now()
        for folder in (self.path, self.checkpoints_path, self.diverged_path):
            if folder.is_dir():
                storage.sweep_temporaries(folder)

    def _works_here(self) -> bool:
        """Return True if another process of this machine says that it works here: all that is known without locks."""
        status = self._read_status()
        pid, is_here = int(status.get("pid") or 0), status.get("host") == host_name()
        return status.get("state") == "running" and is_here and pid != os.getpid() and is_alive(pid)

    def _refuse_what_is_no_file(self) -> None:
        """Refuse links that lead away, where whoever made them would have us write, and pipes, which never end."""
        with storage.explain("read the folder", self.path):
            entries = list(os.scandir(self.path))
        inside = self.path.resolve()
        for entry in entries:
            if not Path(os.path.realpath(entry.path)).is_relative_to(inside):
                raise DataError(
                    f"{shown(entry.path)} is a link that leads out of the run directory: put what it means there"
                )
            if not (entry.is_file() or entry.is_dir()):
                raise DataError(f"{shown(entry.path)} is no plain file: remove it")

    def release(self) -> None:
        """Let others have the folder; without a lock, and in a process that was forked meanwhile, do nothing."""
        if self._lock is not None and self._holder == os.getpid():
            forks.let_go(self.path)
            self._lock.release()
            self._lock = None

    def _in_use(self) -> str:
        status = self._read_status()
        pid, host = status.get("pid"), status.get("host")
        if status.get("state") != "running" or (host == host_name() and not is_alive(int(pid or 0))):
            holder = "a comparison that is going on, or a run that has only just started"
            return f"{shown(self.path)} is in use by another process ({holder}): wait for it, or use another --name"
        return (
            f"{shown(self.path)} is in use by process {pid} on {host} since {status.get('started')}: wait for it, "
            "stop it "
            f"with `kill {pid}`, or use another --name"
        )

    def set_status(self, state: State, **facts: Any) -> None:
        """Write `status.json`: the state, this process, and `facts` (step, signal, message), in place of what it said.

        Raises:
            StorageError: it cannot be written.
        """
        identity = {
            "state": state,
            "pid": os.getpid(),
            "host": host_name(),
            "started": self._started,
            "updated": _now(),
        }
        self.write_json("status.json", {**identity, **facts})

    def status(self) -> dict[str, Any]:
        """Return what `status.json` says; `running` becomes `interrupted` when no process holds the folder.

        Empty where no run was ever started.

        Raises:
            DataError: it is damaged.
        """
        status = self._read_status()
        if status.get("state") == "running" and not self._is_held(status):
            status = self._read_status()  # the holder may have finished between the two looks
            if status.get("state") == "running":
                return {**status, "state": "interrupted", "message": "the process ended without a word (killed?)"}
        return status

    def _is_held(self, status: dict[str, Any]) -> bool:
        if not (self.path / LOCK).is_file() or (self.path / LOCK).is_symlink():
            return False
        by_number = status.get("host") != host_name() or is_alive(int(status.get("pid") or 0))
        if are_off():
            return by_number
        try:
            lock = _try_lock(self.path, patience_secs=0)
        except StorageError:  # a folder that this user may only read, or a file system without locks
            return by_number
        if lock is not None:
            lock.release()
        return lock is None

    def _read_status(self) -> dict[str, Any]:
        return self.read_json("status.json") or {}

    def write_json(self, name: str, data: Any) -> None:
        """Write `env.json`, `summary.json` and their like, durably; NaN and infinities become null.

        Raises:
            StorageError: it cannot be written.
        """
        storage.write_atomic(self.path / name, encode_json(data, indent=2))

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Return the content of a JSON file of this run, or None when it is not there.

        Raises:
            DataError: it is damaged.
            StorageError: it cannot be read.
        """
        path = self.path / name
        try:
            content = json.loads(storage.read_bytes(path), parse_int=read_int)
        except storage.MissingFileError:
            return None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{shown(path)} is damaged: {error}") from error
        if not isinstance(content, dict):
            raise DataError(f"{shown(path)} is damaged: expected a JSON object, got a {type(content).__name__}")
        if wrong := misfit(name, content):
            raise DataError(f"{shown(path)} is damaged: {wrong}")
        return content

    def write_config(self, text: str) -> None:
        """Write `config.yaml`, durably.

        Raises:
            StorageError: it cannot be written.
        """
        storage.write_atomic(self.config_path, text.encode())

    def __repr__(self) -> str:
        return f"RunDir({str(self.path)!r})"


def default_root() -> Path:
    """Return where runs live: $OPTRUN_RUNS_DIR, or `runs`; absolute, and nothing moves it while something runs.

    Raises:
        StorageError: the variable names a file.
    """
    return folder_of("OPTRUN_RUNS_DIR") or absolute("runs")


def is_run(path: str | Path) -> bool:
    """Return True if a folder is a run: it has a `status.json`."""
    file = os.path.join(path, "status.json")
    looked_for(file)
    return os.path.isfile(file)


def check_name(name: str) -> str:
    """Return `name` if it can name a run.

    Raises:
        UsageError: it cannot.
    """
    if not _NAME.fullmatch(name) or name.endswith("."):
        raise UsageError(
            f"{name!r} cannot name a run: use 1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or "
            "digit and not ending with '.'"
        )
    return name


def _try_lock(path: Path, patience_secs: float) -> Lock | None:
    return try_lock(path / LOCK, path, patience_secs)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _number_after(stem: str, name: str) -> re.Match[str] | None:
    return _NUMBERED.fullmatch(name[len(stem) :]) if name.startswith(stem) else None
