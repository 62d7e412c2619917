"""Public files on this machine: found where they were put, else fetched; used only when their SHA-256 is right.

A download goes to a file NAME.part and on from where it broke off, and gets its name when it is whole and verified.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from ..errors import DataError, StorageError, UsageError
from . import storage
from .append_file import AppendFile
from .locks import locked
from .places import folder_of
from .public_files import PublicFile

State = Literal["present", "partial", "missing", "damaged"]
Reporter = Callable[[PublicFile, int], None]  # called with the bytes that are there, often

logger = logging.getLogger("optrun")
reporter: Reporter | None = None  # the command line shows progress; the library by itself says nothing

_refusals: list[str] = []  # why nothing may be downloaded now

_PIECE = 1 << 18  # bytes
_TIMEOUT_SECS = 30
_MAX_FAILURES = 5  # in a row without one byte
_FIRST_DELAY_SECS = 1.0  # doubled after each failure
_PASSING = (408, 425, 429)  # and all of 5xx: the server may answer differently later


class _BrokenOffError(Exception):
    """A failure that may pass: the next attempt goes on from there."""


def data_dir() -> Path:
    """Return the folder of downloaded data: OPTRUN_DATA_DIR, else `optrun/data` in the user's cache."""
    if (own := folder_of("OPTRUN_DATA_DIR")) is not None:
        return own
    cache = os.environ.get("XDG_CACHE_HOME", "")  # its specification has relative paths ignored
    return (Path(cache) if os.path.isabs(cache) else Path.home() / ".cache") / "optrun" / "data"


def is_offline() -> bool:
    """Return True if OPTRUN_OFFLINE forbids the network.

    Raises:
        UsageError: it is neither 1 nor 0.
    """
    value = os.environ.get("OPTRUN_OFFLINE", "")
    if value not in ("", "0", "1"):
        raise UsageError(f"OPTRUN_OFFLINE={value}: expected 1, which forbids the network, or 0")
    return value == "1"


@contextmanager
def refused(reason: str) -> Iterator[None]:
    """Let nothing be downloaded within a `with` block: what is not here is an error with this reason."""
    _refusals.append(reason)
    try:
        yield
    finally:
        _refusals.pop()


def path_of(file: PublicFile) -> Path:
    """Return where a file is, or has to be put."""
    return data_dir() / file.folder / file.name


def state_of(file: PublicFile) -> State:
    """Return the state of a file by its size alone: its content is for `check`."""
    path = path_of(file)
    if path.is_file():
        return "present" if path.stat().st_size == file.size else "damaged"
    return "partial" if _part_of(path).is_file() else "missing"


def check(file: PublicFile) -> Path:
    """Return the path of a file that is here and whole.

    Raises:
        DataError: it is missing, or is not the published one.
    """
    path = path_of(file)
    if not path.is_file():
        raise DataError(_by_hand(file, "it is not here"))
    found = f"{path.stat().st_size} bytes"
    if path.stat().st_size == file.size:
        found = _sha256(path)
        if found == file.sha256:
            return path
        found = f"SHA-256 {found}"
    expected = f"SHA-256 {file.sha256} and {file.size} bytes"
    raise DataError(f"{path} is not the published file: expected {expected}, found {found}. Delete it and try again")


def fetch(file: PublicFile) -> Path:
    """Return the path of a file, downloaded if it is not here, and verified in any case.

    Raises:
        DataError: it cannot be had, or is not the published one; the message says how to put it there by hand.
        StorageError: there is no room for it, or the folder cannot be written.
    """
    path = path_of(file)
    if not path.exists():
        if is_offline() or _refusals:
            raise DataError(_by_hand(file, _refusals[-1] if _refusals else "OPTRUN_OFFLINE forbids the network"))
        with _about_data():
            storage.make_dir(path.parent, exist_ok=True)
            with locked(path):
                if not path.exists():  # nobody else has fetched it meanwhile
                    _download(file, path)
    return check(file)


@contextmanager
def _about_data() -> Iterator[None]:
    """Let errors of the disk name the variable that moves this folder, not that of the runs."""
    try:
        yield
    except StorageError as error:
        raise StorageError(str(error).replace("OPTRUN_RUNS_DIR", "OPTRUN_DATA_DIR")) from error


def _download(file: PublicFile, path: Path) -> None:
    part = _part_of(path)
    free = shutil.disk_usage(path.parent).free
    if free < file.size - _size(part):
        needs = f"{file.name} needs {file.size - _size(part)} bytes, {free} bytes are free in {path.parent}"
        raise StorageError(f"{needs}: free some space, or set OPTRUN_DATA_DIR to a folder on another disk")
    resumed = _receive_whole(file, part)
    if resumed and _sha256(part) != file.sha256:  # its beginning may have been of another time or place
        storage.remove(part)
        _receive_whole(file, part)
    if (found := _sha256(part)) != file.sha256:
        storage.remove(part)
        raise DataError(_by_hand(file, f"{file.urls[0]} gives another file, SHA-256 {found}"))
    storage.rename(part, path)


def _receive_whole(file: PublicFile, part: Path) -> bool:
    """Download until all bytes are there; return whether they came in several pieces."""
    failures, attempts = 0, 0
    began_with = _size(part)
    while True:
        before = _size(part)
        try:
            _receive(file, file.urls[attempts % len(file.urls)], part)
            return bool(began_with or attempts)
        except (_BrokenOffError, OSError, http.client.HTTPException) as error:
            attempts += 1
            failures = failures + 1 if _size(part) <= before else 1
            if failures == _MAX_FAILURES or (_has_no_address(error) and attempts >= len(file.urls)):
                problem = f"{failures} attempt{'s' * (failures > 1)} failed, the last with: {_reason(error)}"
                raise DataError(_by_hand(file, problem)) from error
            delay = _FIRST_DELAY_SECS * 2 ** (failures - 1)
            logger.info("download of %s: %s; trying again in %g s", file.name, _reason(error), delay)
            time.sleep(delay)


def _receive(file: PublicFile, url: str, part: Path) -> None:
    """Add to `part` what is missing.

    Raises:
        _BrokenOffError, OSError, HTTPException: not all came; the rest may come later.
        DataError: this will not get better: there is no such file, or one of another size.
    """
    if (offset := _size(part)) == file.size:
        return
    if offset > file.size:
        storage.remove(part)
        offset = 0
    with _open(file, url, offset) as response:
        if offset and not _continues(response, offset):
            storage.remove(part)
            offset = 0
        announced = response.headers.get("Content-Length")
        if announced is not None and offset + int(announced) != file.size:
            raise DataError(_by_hand(file, f"{url} has {offset + int(announced)} bytes, expected {file.size}"))
        with _appending(part) as out:
            while piece := response.read(_PIECE):
                if out.size + len(piece) > file.size:
                    raise DataError(_by_hand(file, f"{url} has more than the expected {file.size} bytes"))
                out.append(piece)
                if reporter is not None:
                    reporter(file, out.size)
    if (size := _size(part)) < file.size:
        raise _BrokenOffError(f"the connection ended after {size} of {file.size} bytes")


def _open(file: PublicFile, url: str, offset: int) -> Any:
    headers = {"User-Agent": "optrun", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_SECS)
    except urllib.error.HTTPError as error:
        with error:
            answer = f"{url} answers {error.code} {error.reason}"
            if error.code in _PASSING or error.code >= 500:
                raise _BrokenOffError(answer) from error
            raise DataError(_by_hand(file, answer)) from error


def _continues(response: Any, offset: int) -> bool:
    """Return True if the answer is the rest that was asked for; a server may send the whole instead."""
    given = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return response.status == http.client.PARTIAL_CONTENT and given is not None and int(given[1]) == offset


@contextmanager
def _appending(part: Path) -> Iterator[AppendFile]:
    out = AppendFile(part)
    try:
        yield out
        out.sync()
    finally:
        out.close()


def _part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _sha256(path: Path) -> str:
    with storage.explain("read", path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _has_no_address(error: BaseException) -> bool:
    """Return True if nothing here knows the name of the server: there is no network, and waiting will not bring it."""
    reason = getattr(error, "reason", None)
    return isinstance(reason, socket.gaierror) and reason.errno == socket.EAI_NONAME


def _reason(error: BaseException) -> str:
    return str(getattr(error, "reason", None) or error) or type(error).__name__


def _by_hand(file: PublicFile, problem: str) -> str:
    return (
        f"no {file.name}: {problem}. To put it there by hand, download\n  {file.urls[0]}\n"
        f"({file.size} bytes, SHA-256 {file.sha256})\nand save it as\n  {path_of(file)}"
    )
