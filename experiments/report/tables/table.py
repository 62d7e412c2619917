"""Tables of raw numbers, and their text: the same rows become plain text, Markdown, CSV, JSON and HTML."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...system.visible import one_line, spreadsheet_text, visible
from ..style import shortened_apart

if TYPE_CHECKING:
    from ..group import Row

_MARKDOWN = str.maketrans({**{char: f"\\{char}" for char in "\\`*_[]|#~"}, "<": "&lt;", ">": "&gt;", "&": "&amp;"})


@dataclass(frozen=True)
class Column:
    """One column of a table that is read by people.

    Args:
        title: its heading.
        text: writes a row's cell.
        key: the number or name in the row that the column is sorted by.
        right: aligned to the right.
        shrinks: may be cut where the table is too wide.
        sub: a second, quieter line in the cell, on pages only.
        is_header: names the row.
        css: classes on pages.
    """

    title: str
    text: Callable[[Row], str]
    key: str
    right: bool = False
    shrinks: bool = False
    sub: Callable[[Row], str] | None = None
    is_header: bool = False
    css: str = ""

    def raw(self, row: Mapping[str, Any]) -> Any:
        """Return the raw value for sorting; an empty text where there is none."""
        value = row.get(self.key)
        return "" if value is None or (isinstance(value, float) and not math.isfinite(value)) else value


@dataclass(frozen=True)
class Table:
    """Columns over rows.

    Args:
        name: for files and pages.
        title: says what it is.
        columns: in order.
        rows: raw numbers.
        caption: a line about it.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: list[Row] = field(default_factory=list)
    caption: str = ""

    def cells(self) -> list[list[str]]:
        """Return the texts, row by row, without the headings."""
        return [[column.text(row) for column in self.columns] for row in self.rows]


def text_table(table: Table, width: int = 80) -> list[str]:
    """Lay a table out in columns two spaces apart, at most `width` wide as far as cutting names goes."""
    header = [column.title for column in table.columns]
    body = table.cells()
    gaps = 2 * (len(header) - 1)
    for index, column in enumerate(table.columns):
        if column.shrinks and (over := sum(_widths([header, *body])) + gaps - width) > 0:
            longest = max(len(row[index]) for row in [header, *body])
            room = max(8, len(header[index]), longest - over)
            names = shortened_apart([row[index] for row in body], room)
            body = [[*row[:index], name, *row[index + 1 :]] for row, name in zip(body, names, strict=True)]
    return aligned([header, *body], [index for index, column in enumerate(table.columns) if column.right])


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Lay rows out in columns two spaces apart, those of the indices in `right` aligned to the right."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = _widths(rows)

    def line(row: Sequence[str]) -> str:
        cells = [cell.rjust(widths[i]) if i in right else cell.ljust(widths[i]) for i, cell in enumerate(row)]
        return "  ".join(cells).rstrip()

    return [line(row) for row in rows]


def markdown_table(table: Table) -> list[str]:
    """Write a table as GitHub's Markdown; what Markdown or HTML would take for markup is escaped."""
    lines = [[column.title for column in table.columns], ["--:" if c.right else ":--" for c in table.columns]]
    body = [[markdown_text(cell) for cell in row] for row in table.cells()]
    return [f"| {' | '.join(row)} |" for row in [*lines, *body]]


def markdown_text(text: str) -> str:
    """Return text so that Markdown shows it as it is, on one line."""
    return visible(" ".join(text.split())).translate(_MARKDOWN)


def csv_text(rows: Sequence[Row]) -> str:
    """Write rows as CSV (RFC 4180) with every number at full precision; what is missing is empty.

    A text that a spreadsheet would take for a formula gets a `'` before it (see `spreadsheet_text`).
    """
    out = io.StringIO()
    keys = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(map(spreadsheet_text, keys))
    writer.writerows([[_csv_value(row.get(key)) for key in keys] for row in rows])
    return out.getvalue()


def _csv_value(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    return spreadsheet_text(value) if isinstance(value, str) else value


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]
