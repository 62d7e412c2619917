"""stdout and stderr made fit for long work: always there, able to write every character, and talk never fails.

stdout holds results, and nothing else: what the user's code prints, by whatever way, goes to stderr. So a script that
reads a result, or a JSON document, need not know whose code a configuration names.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, TextIO, cast

_ASCII = {"·": "-", "…": "...", "→": "->", "×": "x", "±": "+-", "√": "sqrt", "²": "^2", "³": "^3", "≤": "<=", "≥": ">="}
_ASCII |= {"‖": "|", "–": "-", "π": "pi", "∞": "inf"}
_FALLBACK = "optrun.ascii"
_results: TextIO | None = None  # where results go while `sys.stdout` is not theirs
_owner: int | None = None  # the process whose results they are


def prepare() -> None:
    """Prepare this process's standard streams; call it once, before anything is opened."""
    _open_closed_ones()
    codecs.register_error(_FALLBACK, _to_ascii)
    sys.stderr = _talk(2, getattr(sys.stderr, "encoding", None) or "utf-8")
    sys.stdout = _moved_aside(sys.stdout)


def _moved_aside(stdout: TextIO) -> TextIO:
    """Return a stream to what was stdout, and let its descriptor lead to stderr: for C libraries and other programs."""
    global _results, _owner
    stdout.flush()
    number = os.dup(1)  # which no other program inherits
    os.dup2(2, 1)
    _results = open(number, "w", encoding=stdout.encoding, errors=_FALLBACK, closefd=False)  # noqa: SIM115
    _owner = os.getpid()
    return _results


def results() -> TextIO:
    """Return the stream that results go to; in a process that the user's code has forked, stderr."""
    if _results is None:
        return sys.stdout
    return _results if _owner == os.getpid() else sys.stderr


@contextmanager
def apart() -> Iterator[None]:
    """Keep results apart from what is printed during the block, which goes to stderr."""
    global _results, _owner
    before, out = (_results, _owner), sys.stdout
    is_process = _results is not None  # and no test, whose streams have no descriptors of their own
    _results, _owner = results(), os.getpid()
    sys.stdout = _talk(1, "utf-8") if is_process else sys.stderr
    try:
        yield
    finally:
        _results, _owner = before
        sys.stdout = out


def give_up_results() -> None:
    """Let nothing follow the result, such as what the user's code prints when the process ends."""
    sys.stdout = sys.stderr


@contextmanager
def kept() -> Iterator[None]:
    """Have both streams back at the end of a block, whatever the user's code put in their place; closed ones, too."""
    out, err = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout = open(1, "w", encoding="utf-8", errors=_FALLBACK, closefd=False) if out.closed else out  # noqa: SIM115
        sys.stderr = _talk(2, "utf-8") if err.closed else err


def _talk(descriptor: int, encoding: str) -> io.TextIOWrapper:
    talk = io.BufferedWriter(cast(io.RawIOBase, _Talk(descriptor, "w", closefd=False)))
    return io.TextIOWrapper(talk, encoding, _FALLBACK, line_buffering=True)


def is_utf8(stream: IO[str] | None) -> bool:
    """Return True if `stream` can carry bars and sparklines."""
    encoding = getattr(stream, "encoding", None) or "ascii"
    return codecs.lookup(encoding).name.startswith("utf")


def silence_stdout() -> None:
    """Point stdout at nothing, so that Python's flush at exit does not fail a second time."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    if _results is not None:
        os.dup2(nothing, _results.fileno())


class _Talk(io.FileIO):
    """stderr, except that a reader who has gone, or a full disk behind it, is no reason to stop working."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def _open_closed_ones() -> None:
    """Put /dev/null where `>&-` left nothing; else the next file to be opened, a log perhaps, would be stdout."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (open until the end)


def _to_ascii(error: UnicodeError) -> tuple[str, int]:
    """Replace what a stream's encoding does not have: `…` by `...`, other things by `?`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_ASCII.get(char, "?") for char in error.object[error.start : error.end]), error.end
