"""What an answer depends on: of what was read while it was worked out, what is neither installed nor a result."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..run_directory.contents import RESULT_FILES
from ..system.observed import Observed, kind_of
from ..system.stamps import Stamp, Times, names_sha256, stamp_of
from ..system.user_files import is_users

_OF_A_RUN = (*RESULT_FILES, "status.json", "env.json", "pairing.json")  # what decides whether a run stands for itself


@dataclass
class Facts:
    """What the runner knows of an answer, by which it can be found again.

    Args:
        path: the group's folder.
        events: that a repeat would tell.
        code: SHA-256 of the user's files that take part, by path; None for that of now.
        data: the files and folders that configurations name.
        runs: SHA-256 of result files, by run folder.
        keys: files that say which run has which key.
        has_own_code: some component is the user's own.
        doubt: why the same question may have another answer though nothing that is known has changed; empty for none.
    """

    path: Path
    events: list[dict[str, Any]] = field(default_factory=list)
    code: Mapping[str, str | None] = field(default_factory=dict)
    data: frozenset[str] = frozenset()
    runs: Mapping[Path, Mapping[str, str]] = field(default_factory=dict)
    keys: frozenset[Path] = frozenset()
    has_own_code: bool = False
    doubt: str = ""


def with_imports(facts: Facts, before: Collection[str]) -> Facts:
    """Return the same facts with the user's code that was imported on the way, for whatever reason: as plug-ins are.

    Args:
        facts: of an answer.
        before: names of modules that had been imported before.
    """
    modules = [module for name, module in list(sys.modules.items()) if name not in before]
    files = {file for module in modules if isinstance(file := getattr(module, "__file__", None), str)}
    new = {file: None for file in sorted(files - facts.code.keys()) if os.path.isabs(file) and is_users(Path(file))}
    return replace(facts, code={**facts.code, **new}, has_own_code=True) if new else facts


class Dependencies:
    """The files, names and folders that an answer depends on, as they are now.

    Args:
        root: the folder of runs, of which only those of the answer count.
        facts: of the answer.
        observed: what was read on the way to it.

    Attributes:
        files, names, folders, modules: see `answer_file.Answer`.
        doubt: why they may be others than those that were read; empty where they are the same.

    Raises:
        OSError: one cannot be read.
    """

    def __init__(self, root: Path, facts: Facts, observed: Observed):
        self._root, self._data = root, facts.data
        self.files: dict[str, list[Any]] = {}
        self.names: dict[str, str] = {path: kind for path, kind in observed.names.items() if self._counts(path)}
        self.doubt = ""
        for path, (times, sha256) in observed.files.items():
            if self._counts(path):
                self._take(path, times, sha256)
        for path, sha256 in facts.code.items():
            self._take(path, None, sha256)
        for path in facts.data:
            if path not in self.files:
                self.names[path] = kind_of(path)
                if self.names[path] not in ("", "folder"):
                    self.doubt = f"{path} was read by other means"
        for folder, sha256 in facts.runs.items():
            for name in _OF_A_RUN:
                self._take_or_miss(folder / name, sha256.get(name))
        for path in facts.keys:
            self._take(str(path), None, None)
        listed = {path for path in observed.folders if self._counts(path)} - set(sys.path)
        self.folders = {path: names_sha256(path) for path in sorted(listed)}
        searched = {os.path.dirname(path) for path in facts.code} | set(sys.path) if facts.has_own_code else set()
        mine = sorted(path for path in searched if is_users(Path(path)))
        self.modules = {path: names_sha256(path, importable=True) for path in mine}

    def _counts(self, path: str) -> bool:
        """Return False for what is installed, which has its version, and for results: those of the answer are named."""
        place = Path(path)
        if any(place.is_relative_to(each) for each in self._data):
            return True
        return is_users(place) and not place.is_relative_to(self._root) and "__pycache__" not in place.parts

    def _take_or_miss(self, path: Path, sha256: str | None) -> None:
        """Take a file in; one that is not there must not come."""
        if kind_of(str(path)) == "":
            self.names[str(path)] = ""
        else:
            self._take(str(path), None, sha256)

    def _take(self, path: str, times: Times | None, sha256: str | None) -> None:
        """Take a file in, which must be what was read.

        Args:
            path: of the file.
            times: that it had then, if that is known.
            sha256: likewise; without it, the times must be the same.
        """
        stamp = stamp_of(path)
        if stamp is None:
            self.doubt = f"{path} is gone, or is being changed"
        elif _is_other(stamp, times, sha256):
            self.doubt = f"{path} was changed meanwhile"
        else:
            self.files[path] = stamp.as_list()


def _is_other(stamp: Stamp, times: Times | None, sha256: str | None) -> bool:
    return stamp.sha256 != sha256 if sha256 is not None else times is not None and stamp.times != times
