"""Finished runs that may stand for planned ones: found by the key of what determines them, and held against it."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import config as configuration
from ..components.registries import REGISTRIES
from ..config import Config
from ..config.defaults import changes_since
from ..errors import DataError, StorageError
from ..run_directory.comparison_file import outcome
from ..run_directory.contents import changed_files
from ..run_directory.run import Run
from ..run_directory.run_dir import is_run
from ..system import storage
from ..system.devices import choose_device
from ..system.environment import changes_that_matter, circumstances
from ..system.json_text import encode_json
from ..system.locks import Lock, try_lock
from ..system.places import shown
from ..training.record import RunRecord
from .identity import IRRELEVANT

log = logging.getLogger("optrun")


class FinishedRuns:
    """The finished runs below a folder, whichever comparison has made them.

    Args:
        root: the folder of runs.

    Attributes:
        folder: where it is kept which run has which key, a file each.
    """

    def __init__(self, root: Path):
        self._root = root
        self.folder = root / ".cache"
        self._told: set[str] = set()  # of why runs are made anew
        self._changed: set[Path] = set()  # folders of runs that are others than those that were made there

    def remember(self, key: str, path: str, sha256: Mapping[str, str]) -> None:
        """Keep where the run of a key is, relative to the folder of runs, and what its files hold."""
        storage.make_dir(self.folder, exist_ok=True)
        storage.write_atomic(self.folder / key, encode_json({"path": path, "sha256": sha256}))

    def find(self, key: str, config: Config, plain: Mapping[str, Any]) -> Run | None:
        """Return the finished run of a key, if it is what the key says, as it was made, and as it would be made now."""
        try:
            kept = storage.read_bytes(self.folder / key)
        except storage.MissingFileError:
            return None
        name, sha256 = _cached(kept)
        path = self._root / name
        try:
            run = Run(path) if is_run(path) else None
            if run is None or not outcome(run) or self._was_changed(run, sha256) or _is_other_than(run, config, plain):
                return None
            return None if self._was_made_otherwise(run, config) else run
        except DataError:  # damaged: it is made anew, or whoever makes it says what is wrong
            return None

    def is_another(self, path: str, config: Config, plain: Mapping[str, Any]) -> bool:
        """Return True if a folder has a run that is not the one that is planned there."""
        if not is_run(self._root / path):
            return False
        if self._root / path in self._changed:
            return True
        run = Run(self._root / path)
        return _is_other_than(run, config, plain) or bool(outcome(run) and _other_circumstances(run, config))

    def try_lock(self, key: str) -> Lock | None:
        """Hold the making of a key's run; None where another process does."""
        storage.make_dir(self.folder, exist_ok=True)
        return try_lock(self._lock_file(key), self.folder, patience_secs=0.0)

    def remove_lock(self, key: str) -> None:
        """Remove what is held, since there is nothing left to make."""
        with contextlib.suppress(StorageError):  # a system that removes no open file
            storage.remove(self._lock_file(key))

    def _lock_file(self, key: str) -> Path:
        return self.folder / f"{key}.lock"

    def _was_made_otherwise(self, run: Run, config: Config) -> bool:
        """Return True if a run was made by other versions, kernels or switches than runs are now; tell it once."""
        others = _other_circumstances(run, config)
        if new := [each for each in others if each not in self._told]:
            log.warning("runs that are there are made anew, since they were made otherwise: %s", ", ".join(new))
            self._told.update(new)
        return bool(others)

    def _was_changed(self, run: Run, sha256: Mapping[str, str]) -> bool:
        """Return True if a run's files are others than when it ended; tell it."""
        changed = changed_files(run.path, sha256)
        if changed and run.path not in self._changed:
            self._changed.add(run.path)
            log.warning(
                "%s was changed since it was made (%s): it is left as it is, and made anew",
                shown(run.path),
                ", ".join(changed),
            )
        return bool(changed)


def _cached(entry: bytes) -> tuple[str, dict[str, str]]:
    """Return the path of a run, relative to the folder of runs, and what its files held; earlier versions kept no more.

    A damaged entry is as good as none.
    """
    if not entry.startswith(b"{"):
        return entry.decode(errors="replace"), {}
    try:
        kept = json.loads(entry)
        return str(kept["path"]), dict(kept["sha256"])
    except (ValueError, KeyError, TypeError):
        return "", {}


def _is_other_than(run: Run, config: Config, plain: Mapping[str, Any]) -> bool:
    """Return True if a run is not what its key says.

    Files that it imported late may be others now, and it may have been resumed with other settings (`--allow-change`).
    """
    record = RunRecord(run.dir)
    if record.outdated_code(config):
        return True
    planned = configuration.load(plain, registries=REGISTRIES)
    changes = changes_since(record.placed(run.config, planned), planned, REGISTRIES)
    return any(change.key.partition(".")[0] not in IRRELEVANT for change in changes)


def _other_circumstances(run: Run, config: Config) -> list[str]:
    device, _ = choose_device(config.train.device, config.train.soft_placement)
    return changes_that_matter(run.env, {**run.env, **circumstances(device)}, "given")
