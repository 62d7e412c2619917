"""Metric rows: `metrics.jsonl`, one JSON object a line, written once and only ever appended to."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, DataError
from ..system import storage
from ..system.append_file import AppendFile
from ..system.json_text import encode_json
from ..system.places import shown
from .json_shapes import read_int, row_misfit

Row = dict[str, Any]
_DECODER = json.JSONDecoder(parse_int=read_int)  # made once, since rows are many


class RowLog:
    """The metric rows of one run, as they are written.

    A torn last line, left by a process that was killed while it wrote, is no row; it is cut off by the next write.

    Args:
        path: `metrics.jsonl`, created by the first write when missing; None keeps the rows in memory.

    Raises:
        StorageError: the file cannot be opened.
    """

    def __init__(self, path: str | Path | None):
        self._path = None if path is None else Path(path)
        self._file: AppendFile | _Memory | None = _Memory() if path is None else None
        if self._path is not None and self._path.exists():
            self._file = AppendFile(self._path)
        self._waiting: list[bytes] | None = None  # rows since `hold`, which the file does not have yet
        content = self._read()
        self._whole = content.rfind(b"\n") + 1  # what is behind it in the file is cut off by the next write
        self._hash = hashlib.sha256(content[: self._whole])

    @property
    def offset(self) -> int:
        """Return the size of the log in bytes: where the next row begins."""
        return self._whole + sum(map(len, self._waiting or ()))

    def digest(self) -> str:
        """Return the SHA-256 of all rows so far, in hex."""
        return self._hash.hexdigest()

    def append(self, row: Row) -> None:
        """Write one row with one write.

        NaN and infinities are written as null, which JSON has in their place.

        Raises:
            TypeError: a value is neither number, text, list nor dict; the message names its key.
            ValueError: no reader would accept the row: a whole number is too large, a value nested too deeply, or
                a key of the position holds something else; the message names the key.
            StorageError: the row could not be written; the log is as it was.
        """
        line = _readable_line(row)
        if self._waiting is None:
            self._write(line)
        else:
            self._waiting.append(line)
        self._hash.update(line)

    def sync(self) -> None:
        """Return when all rows are on the disk: before a checkpoint that counts on them."""
        self._open().sync()

    def hold(self) -> None:
        """Leave the file as it is until `release`: what is cut off and appended from now on is kept in memory."""
        self._waiting = []

    def release(self) -> None:
        """Write what was held back, and go on writing at once.

        Raises:
            StorageError: it could not be written.
        """
        waiting, self._waiting = self._waiting or [], None
        self._cut()
        for line in waiting:
            self._write(line)

    def rewind(self, offset: int, sha256: str) -> None:
        """Go back to an earlier state of the log: what a checkpoint recorded as `offset` and `digest()`.

        Raises:
            CheckpointError: the rows before `offset` are not those that were written then.
            StorageError: the file cannot be read or cut.
        """
        kept = self._read()[:offset]
        if len(kept) < offset:
            raise CheckpointError(
                f"{shown(self._name)} has {len(kept)} bytes, but the checkpoint was saved when it had {offset}: rows "
                "were removed since. Put the file back, or start again with --fresh"
            )
        if hashlib.sha256(kept).hexdigest() != sha256:
            raise CheckpointError(
                f"{shown(self._name)} was changed: its first {offset} bytes are not the rows that were there when the "
                "checkpoint was saved. Put the file back, or start again with --fresh"
            )
        self._whole, self._hash = offset, hashlib.sha256(kept)
        if self._waiting is None:
            self._cut()
        else:
            self._waiting.clear()

    def rows(self) -> list[Row]:
        """Return all rows, read back."""
        return _parse(self._read()[: self._whole] + b"".join(self._waiting or ()), self._name)

    def close(self) -> None:
        """Close the file; the rows can still be read."""
        if self._file is not None:
            self._file.close()

    @property
    def _name(self) -> str | Path:
        return "<rows in memory>" if self._path is None else self._path

    def _open(self) -> AppendFile | _Memory:
        if self._file is None:
            assert self._path is not None
            self._file = AppendFile(self._path)
        return self._file

    def _read(self) -> bytes:
        return b"" if self._file is None else self._file.read()

    def _cut(self) -> None:
        file = self._open()
        if file.size > self._whole:
            file.truncate(self._whole)

    def _write(self, line: bytes) -> None:
        self._cut()
        self._open().append(line)
        self._whole += len(line)


def _readable_line(row: Row) -> bytes:
    """Return a row as the log has it, once those who read it would accept it."""
    for key in row:
        if not isinstance(key, str):
            raise TypeError(f"the key {key!r} of a row is no text")
    try:
        line = encode_json(row)
        wrong = row_misfit(_DECODER.decode(line.decode()))
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else f"it holds {error}"
        raise ValueError(f"'{_unreadable_key(row)}' of a row cannot be read back: {why}") from error
    if wrong:
        raise ValueError(f"a row's {wrong}, got {row.get(wrong.partition(':')[0])!r:.100}")
    return line


def _unreadable_key(row: Row) -> str:
    for key, value in row.items():
        try:
            json.loads(encode_json(value), parse_int=read_int)
        except (ValueError, RecursionError):
            return key
    return ", ".join(row)


def read_rows(path: str | Path) -> list[Row]:
    """Return the rows of a `metrics.jsonl`; none where there is no file yet.

    A last line without its newline is being written at this moment, or was torn by a kill: it is left out.

    Raises:
        DataError: another line is not a JSON object; the message names it.
        StorageError: the file cannot be read.
    """
    try:
        return _parse(storage.read_bytes(path), path)
    except storage.MissingFileError:
        return []


def _parse(content: bytes, path: str | Path) -> list[Row]:
    rows = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            row = json.loads(line, parse_int=read_int)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise DataError(f"{shown(path)}:{number}: this line is damaged: expected a JSON object, got {line[:40]!r}")
        if wrong := row_misfit(row):
            raise DataError(f"{shown(path)}:{number}: this line is damaged: {wrong}, got {line[:40]!r}")
        rows.append(row)
    return rows


class _Memory:
    """In memory, what an `AppendFile` is on a disk."""

    def __init__(self) -> None:
        self._content = bytearray()

    @property
    def size(self) -> int:
        return len(self._content)

    def append(self, row: bytes) -> None:
        self._content += row

    def truncate(self, offset: int) -> None:
        del self._content[offset:]

    def read(self) -> bytes:
        return bytes(self._content)

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass
