"""stdout and stderr made fit for long work: always there, able to write every character, and talk never fails."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

_ASCII = {"·": "-", "…": "...", "→": "->", "×": "x", "±": "+-", "√": "sqrt", "²": "^2", "³": "^3", "≤": "<=", "≥": ">="}
_ASCII |= {"‖": "|", "–": "-", "π": "pi", "∞": "inf"}
_FALLBACK = "optrun.ascii"


def prepare() -> None:
    """Prepare this process's standard streams; call it once, before anything is opened."""
    _open_closed_ones()
    codecs.register_error(_FALLBACK, _to_ascii)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_FALLBACK)
    sys.stderr = _stderr(getattr(sys.stderr, "encoding", None) or "utf-8")


@contextmanager
def kept() -> Iterator[None]:
    """Have both streams back at the end of a block, whatever the user's code put in their place; closed ones, too."""
    out, err = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout = open(1, "w", encoding="utf-8", errors=_FALLBACK, closefd=False) if out.closed else out  # noqa: SIM115
        sys.stderr = _stderr("utf-8") if err.closed else err


def _stderr(encoding: str) -> io.TextIOWrapper:
    talk = io.BufferedWriter(cast(io.RawIOBase, _Talk(2, "w", closefd=False)))
    return io.TextIOWrapper(talk, encoding, _FALLBACK, line_buffering=True)


def is_utf8(stream: IO[str] | None) -> bool:
    """Return True if `stream` can carry bars and sparklines."""
    encoding = getattr(stream, "encoding", None) or "ascii"
    return codecs.lookup(encoding).name.startswith("utf")


def silence_stdout() -> None:
    """Point stdout at nothing, so that Python's flush at exit does not fail a second time."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


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
