"""A CSV file as columns of text, and the line that each of its rows stands on."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ArgumentsError, DataError
from ...system import storage
from .table_file import DecimalMark, TableFile, compute, content_of, listed, shown

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 1 << 26  # bytes that are parsed at a time; a row must fit in

_ROWS = 3  # of another length that a message lists
_DELIMITERS = ",;\t|"  # what stands between cells in tables that people have


@dataclass(frozen=True, eq=False)
class CsvTable(TableFile):
    """The cells of a CSV file, all of them text, without spaces around it."""

    def stands(self, rows: Sequence[int]) -> tuple[str, list[int]]:
        """Return the lines at which rows end; see `TableFile`."""
        wanted = dict.fromkeys(rows, 0)
        for number, (line, _) in enumerate(
            _records(storage.read_bytes(Path(self.path).expanduser()), self.delimiter), -1
        ):
            if number in wanted:
                wanted[number] = line
        return ("line", [wanted[row] for row in rows]) if all(wanted.values()) else super().stands(rows)


def read_csv(path: str, delimiter: str, decimal: DecimalMark = ".") -> CsvTable:
    """Read a CSV file whose first line names the columns; blank lines are passed over.

    Raises:
        ArgumentsError: one mark stands for both the ends of cells and decimals.
        DataError: the file is missing, no CSV in UTF-8, empty, or has rows of another length than its first line.
    """
    import pyarrow as pa

    if len(delimiter) != 1 or delimiter in '"\r\n' or not delimiter.isascii():
        expected = "one character" if len(delimiter) != 1 else "an ASCII character, no quote and no end of a line"
        raise DataError(f"delimiter must be {expected}, got {delimiter!r}")
    if decimal == delimiter:
        raise ArgumentsError(
            f"{decimal!r} cannot stand between cells and before decimals: say which `delimiter` the file has",
            "decimal",
            "delimiter",
        )
    content = content_of(path)
    names = _names(path, content, delimiter)
    if b'"' in content:
        _check(path, content, delimiter, len(names))  # pyarrow takes "a"b for ab
    try:
        table = _parsed(content, delimiter, len(names))
    except pa.ArrowInvalid as error:
        _check(path, content, delimiter, len(names))
        raise DataError(f"{path} cannot be read as CSV in UTF-8: {error}") from error
    if table.num_rows < 2:
        raise DataError(f"{path}: expected a line of names, then rows; the file has no rows")
    columns = [compute().utf8_trim_whitespace(column.slice(1)) for column in table.columns]
    return CsvTable(path, dict(zip(names, columns, strict=True)), decimal, delimiter)


def _names(path: str, content: bytes, delimiter: str) -> list[str]:
    """Return the cells of the first line."""
    if (first := _first(path, content, delimiter)) is None:
        raise DataError(f"{path}: expected a line of names, then rows; the file has no rows")
    line, names = first[0], [name.strip() for name in first[1]]
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{path}:{line}: several columns are called {', '.join(sorted(repeated))}")
    between = next((mark for mark in _DELIMITERS if mark != delimiter and mark in names[0]), None)
    if len(names) == 1 and between is not None:
        way_out = f"(`delimiter: {json.dumps(between)}`, if that stands between cells)"
        raise DataError(f"{path}:{line}: the first line names one column, {shown(names[0])} {way_out}")
    return names


def _first(path: str, content: bytes, delimiter: str) -> tuple[int, list[str]] | None:
    try:
        return next(_records(content, delimiter), None)
    except (UnicodeDecodeError, csv.Error):
        _check(path, content, delimiter, 0)
        raise


def _parsed(content: bytes, delimiter: str, num_columns: int) -> pa.Table:
    """Return all cells as text, the first line among them."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    names = [str(number) for number in range(num_columns)]
    return arrow_csv.read_csv(
        pa.BufferReader(content),
        read_options=arrow_csv.ReadOptions(
            use_threads=False, block_size=min(len(content) + 1, _BLOCK), column_names=names
        ),
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=b'"' in content),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        ),
    )


def _records(content: bytes, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line and the cells of each row that is not blank, as Python's reader has them, which knows lines."""
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    yield from ((reader.line_num, row) for row in reader if row)


def _check(path: str, content: bytes, delimiter: str, num_columns: int) -> None:
    """Find the line of what is wrong with a file.

    Raises:
        DataError: with the line.
    """
    line, first, count = 0, [], 0
    try:
        content.decode()
        for line, row in _records(content, delimiter):
            if len(row) != num_columns:
                count += 1
                first += [(line, len(row))] if count <= _ROWS else []
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: cannot be read as CSV in UTF-8: {error}") from error
    except csv.Error as error:
        if not first:
            raise DataError(f"{path}: cannot be read as CSV in UTF-8, after line {line}: {error}") from error
    if first:
        lines = [f"{number} ({length} cells)" for number, length in first]
        in_all = f"; in all {count} rows: lines {listed(lines, total=count)}" if count > 1 else ""
        problem = f"expected {num_columns} cells as in the first line, got {first[0][1]}"
        raise DataError(f"{path}:{first[0][0]}: {problem}{in_all}")
