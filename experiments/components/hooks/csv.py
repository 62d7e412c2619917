"""Metric rows as a table for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from ...run_directory.rows import RowLog
from ...system import storage
from ...system.append_file import AppendFile
from ...system.json_text import encode_json
from ...system.visible import spreadsheet_text
from . import register_hook
from .hook import Hook
from .output import check_replaceable, output_path
from .session_view import BoundSession, SessionView


@register_hook("csv", source="RFC 4180")
class CsvHook(Hook):
    """Write every metrics row into a CSV file as well.

    The first line has the names. A row that brings a new one gives all others an empty cell there, for which the file
    is written anew; a value that is not finite is an empty cell too. A text that a spreadsheet would take for a formula
    has a `'` before it. The file is derived from the metrics log: a
    resumed run writes it anew, so that it holds neither more nor less.

    Args:
        path: the file, relative to the run directory; null for `metrics.csv` in the session's summary_dir.
        outside: let it lie outside of the run directory.

    Raises:
        UsageError: there is nowhere to write, the path leads out of the run directory, or another file is there.
    """

    only_reads = only_values = True
    chief_only = True
    log_to = "csv"

    def __init__(self, path: str | None = None, outside: bool = False):
        self.path, self.outside = path, outside
        self._columns: list[str] = []
        self._out: AppendFile | None = None

    def begin(self, session: SessionView) -> None:
        self._path = output_path(self, session, self.path, "metrics.csv", "CsvHook needs a path", self.outside)
        if self.path is not None:
            check_replaceable(self._path, _is_own)
        session.on_close(self._close)

    def after_create_session(self, session: BoundSession) -> None:
        self._write_all(session.rows)

    def after_row(self, session: SessionView, row: dict[str, Any]) -> None:
        plain = json.loads(encode_json(row))  # what the log has, so that a row written now and one read back are alike
        if self._out is None or any(name not in self._columns for name in plain):
            self._write_all(session.rows)
        else:
            self._out.append(_text([self._cells(plain)]))

    def _write_all(self, log: RowLog) -> None:
        self._close()
        rows = log.rows()
        self._columns = list(dict.fromkeys(name for row in rows for name in row))
        storage.make_dir(self._path.parent, exist_ok=True)
        header = [map(spreadsheet_text, self._columns)] if self._columns else []
        storage.write_derived(self._path, _text([*header, *(self._cells(row) for row in rows)]))
        self._out = AppendFile(self._path)

    def _cells(self, row: dict[str, Any]) -> list[Any]:
        return [_cell(row.get(name)) for name in self._columns]

    def _close(self) -> None:
        if self._out is not None:
            self._out.close()
            self._out = None


def _cell(value: Any) -> str | None:
    if isinstance(value, str):
        return spreadsheet_text(value)
    return None if value is None else json.dumps(value)


def _is_own(head: bytes) -> bool:
    """Return True for a file whose first line names the columns of metric rows."""
    return head.split(b"\n")[0].split(b",")[0].strip() == b"step"


def _text(lines: Iterable[Iterable[Any]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue().encode()
