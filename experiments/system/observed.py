"""What this process reads while it answers a question: whoever keeps the answer then knows what it depends on.

Files are seen by Python's audit events, whoever opens them: this program, a library, the user's code. What a library
opens by means of its own is not seen. Names that are looked for and not opened are noted by `looked_for`.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from .content import file_sha256
from .stamps import Times

Kind = Literal["file", "folder", "other", ""]  # what is at a path; nothing for nothing
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_NO_FILES = ("/proc/", "/sys/", "/dev/")
_observed: Observed | None = None
_is_heard = False  # an audit hook stays for the life of the process
_here = threading.local()


class Observed:
    """What was read in a block.

    Attributes:
        files: times of each file when it was first opened to be read, and its SHA-256 where it was young then.
        names: what was at each path that was looked for.
        folders: that were listed.
        doubts: why more may have been read than is known here.
    """

    def __init__(self) -> None:
        self.files: dict[str, tuple[Times, str | None]] = {}
        self.names: dict[str, Kind] = {}
        self.folders: set[str] = set()
        self.doubts: set[str] = set()
        self._written: set[str] = set()  # by this process: what it reads of them it has from elsewhere

    def note_name(self, path: str) -> None:
        self.names.setdefault(path, kind_of(path))

    def note_opened(self, name: Any, mode: Any, flags: Any) -> None:
        """Note that a file is about to be opened; the arguments are those of the audit event `open`."""
        if not isinstance(name, str | bytes | os.PathLike):
            return  # a number: it was opened before
        path = os.path.abspath(os.fsdecode(name))
        writes = any(letter in mode for letter in "wax+") if isinstance(mode, str) else bool(flags & _WRITES)
        if writes:
            self._written.add(path)
        if path in self.files or path in self._written or path.startswith(_NO_FILES):
            return
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            self.note_name(path)
            return
        if stat.S_ISREG(found.st_mode):
            times = Times(found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            self.files[path] = times, None if times.is_settled(time.time_ns()) else file_sha256(path)
        elif not stat.S_ISDIR(found.st_mode):
            self.doubts.add(f"{path} is no plain file")


def kind_of(path: str) -> Kind:
    """Return what is at a path now."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return ""
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


def looked_for(path: str | os.PathLike[str]) -> None:
    """Note that what is at a path, or that nothing is there, has a part in the answer; outside of a block, do nothing.

    Args:
        path: an absolute one, or one relative to the folder of the process.
    """
    if _observed is not None:
        _observed.note_name(os.path.abspath(path))


@contextmanager
def observing() -> Iterator[Observed]:
    """Observe what is read during a block, which no other one may surround."""
    global _observed, _is_heard
    if not _is_heard:
        sys.addaudithook(_hear)
        _is_heard = True
    _observed = Observed()
    try:
        yield _observed
    finally:
        _observed = None


def _hear(event: str, args: tuple[Any, ...]) -> None:
    """Take in one audit event; what it raised would be raised where the event came up."""
    observed = _observed
    if observed is None or getattr(_here, "is_noting", False):
        return
    _here.is_noting = True
    try:
        if event == "open":
            observed.note_opened(*args)
        elif event in ("os.listdir", "os.scandir"):
            if isinstance(args[0], str | os.PathLike):
                observed.folders.add(os.path.abspath(args[0]))
        elif event == "socket.getaddrinfo" or (event == "socket.connect" and isinstance(args[1], tuple)):
            observed.doubts.add("something was read from the network")
    except (OSError, ValueError) as error:
        observed.doubts.add(str(error))
    finally:
        _here.is_noting = False
