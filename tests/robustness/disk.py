"""A disk without its cache: which files a power cut may leave, worked out from the log of a run's calls.

Written data is safe after fsync of its file; a name is safe after fsync of its folder. Anything else may be there, in
part, as zeros, or not at all, each independently of what was written before it.
"""

from __future__ import annotations

import base64
import json
import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .faulty import FaultySystem

SECTOR = 512


class RecordingSystem(FaultySystem):
    """Makes the real calls, one at a time, and keeps what they did, with paths relative to `root`."""

    def __init__(self, root: Path):
        super().__init__()
        self.log: list[list[Any]] = []
        self._root = root.resolve()
        self._recording = threading.Lock()

    def _do(self, name: str, args: tuple[Any, ...], real: Callable[..., Any]) -> Any:
        with self._recording:
            return self._note(name, args, real(*args))

    def note_save(self, step: int) -> None:
        """Note that the checkpoint of a step is said to be there."""
        with self._recording:
            self.log.append(["saved", step])

    def _note(self, name: str, args: tuple[Any, ...], result: Any) -> Any:
        match name:
            case "open":
                self.log.append(["open", result, self._relative(args[0]), bool(args[1] & os.O_TRUNC)])
            case "write":
                self.log.append(["write", args[0], base64.b64encode(bytes(args[1])[:result]).decode()])
            case "replace":
                self.log.append(["replace", self._relative(args[0]), self._relative(args[1])])
            case "unlink" | "mkdir":
                self.log.append([name, self._relative(args[0])])
            case "truncate":
                self.log.append(["truncate", args[0], args[1]])
            case _:
                self.log.append([name, args[0]])
        return result

    def _relative(self, path: Any) -> str:
        return os.path.relpath(os.path.abspath(path), self._root)

    def dump(self, path: Path) -> None:
        path.write_text(json.dumps(self.log))


@dataclass(eq=False)
class _File:
    """Data that is safe, and what was done to it since."""

    safe: bytes = b""
    now: bytes = b""

    def after_cut(self, numbers: random.Random) -> bytes:
        """Return one of the contents that a power cut may leave."""
        if self.safe == self.now:
            return self.now
        new, length = self.now[len(self.safe) :], len(self.now)
        if not self.now.startswith(self.safe):  # it was cut
            return numbers.choice([self.safe, self.now])
        match numbers.choice(["dropped", "written", "torn", "zeroed", "holes", "zeroed tail"]):
            case "dropped":
                return self.safe
            case "written":
                return self.now
            case "torn":
                return self.safe + new[: numbers.randrange(len(new) + 1)]
            case "zeroed":
                return self.safe + bytes(len(new))
            case "zeroed tail":
                kept = numbers.randrange(len(self.safe), length + 1)
                return self.now[:kept] + bytes(length - kept)
        content = bytearray(self.now)  # sectors that did not make it, in any order
        for start in range(len(self.safe) // SECTOR * SECTOR, length, SECTOR):
            begin, end = max(start, len(self.safe)), min(start + SECTOR, length)
            if numbers.random() < 0.5:
                content[begin:end] = bytes(end - begin)
        return bytes(content)


@dataclass(eq=False)
class _Folder:
    """Names that are safe, and the changes since, each of which may be lost."""

    safe: dict[str, Any] = field(default_factory=dict)
    now: dict[str, Any] = field(default_factory=dict)
    pending: list[tuple[str, str, Any]] = field(default_factory=list)

    def change(self, kind: str, name: str, what: Any) -> None:
        self.pending.append((kind, name, what))
        _apply(self.now, kind, name, what)

    def after_cut(self, numbers: random.Random) -> dict[str, Any]:
        names = dict(self.safe)
        match numbers.choice(["none", "all", "first", "any"]):
            case "none":
                kept = []
            case "all":
                kept = self.pending
            case "first":
                kept = self.pending[: numbers.randrange(len(self.pending) + 1)]
            case _:
                kept = [change for change in self.pending if numbers.random() < 0.5]
        for kind, name, what in kept:
            _apply(names, kind, name, what)
        return names


def _apply(names: dict[str, Any], kind: str, name: str, what: Any) -> None:
    if kind == "add":
        names[name] = what
    elif kind == "remove":
        names.pop(name, None)
    else:  # a rename to `name` of the file `what`, known by the old name
        old, inode = what
        names.pop(old, None)
        names[name] = inode


class Disk:
    """Goes through a log, and tells at each point what a power cut may leave."""

    def __init__(self, log: list[list[Any]]):
        self.log, self.position = log, 0
        self.root = _Folder()
        self.saved: list[int] = []  # the steps whose checkpoints were reported as written
        self._descriptors: dict[int, Any] = {}

    def advance(self) -> bool:
        """Do the next call; False at the end."""
        if self.position == len(self.log):
            return False
        name, *args = self.log[self.position]
        self.position += 1
        getattr(self, f"_do_{name}")(*args)
        return True

    def cut(self, numbers: random.Random, folder: Path) -> None:
        """Leave in `folder`, which is empty, one of the states that a power cut may leave now."""
        self._lay_out(self.root, folder, numbers)

    def _lay_out(self, inode: _Folder, folder: Path, numbers: random.Random) -> None:
        for name, what in inode.after_cut(numbers).items():
            if isinstance(what, _Folder):
                (folder / name).mkdir()
                self._lay_out(what, folder / name, numbers)
            else:
                (folder / name).write_bytes(what.after_cut(numbers))

    def _find(self, path: str) -> tuple[_Folder, str]:
        *parents, name = Path(path).parts
        if parents and parents[0] == "..":  # the user's own folders: no power cut is tried on these
            return _Folder(), name
        folder = self.root
        for part in parents:
            folder = folder.now[part]
        return folder, name

    def _do_open(self, descriptor: int, path: str, truncates: bool) -> None:
        if path in (".", ".."):
            self._descriptors[descriptor] = self.root if path == "." else _Folder()
            return
        folder, name = self._find(path)
        if name not in folder.now:
            folder.change("add", name, _File())
        self._descriptors[descriptor] = inode = folder.now[name]
        if truncates:
            inode.now = b""

    def _do_write(self, descriptor: int, data: str) -> None:
        self._descriptors[descriptor].now += base64.b64decode(data)

    def _do_truncate(self, descriptor: int, size: int) -> None:
        self._descriptors[descriptor].now = self._descriptors[descriptor].now[:size]

    def _do_fsync(self, descriptor: int) -> None:
        inode = self._descriptors[descriptor]
        if isinstance(inode, _File):
            inode.safe = inode.now
        else:
            inode.safe, inode.pending = dict(inode.now), []

    def _do_close(self, descriptor: int) -> None:
        del self._descriptors[descriptor]

    def _do_replace(self, old: str, new: str) -> None:
        folder, name = self._find(old)
        target, new_name = self._find(new)
        assert folder is target, "no rename from one folder into another in a run"
        folder.change("rename", new_name, (name, folder.now[name]))

    def _do_unlink(self, path: str) -> None:
        folder, name = self._find(path)
        folder.change("remove", name, None)

    def _do_mkdir(self, path: str) -> None:
        folder, name = self._find(path)
        folder.change("add", name, _Folder())

    def _do_saved(self, step: int) -> None:
        self.saved.append(step)
