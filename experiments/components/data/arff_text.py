"""The text of an ARFF file: how attributes are declared, and the cells of a row."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "text", "nominal", "date"]

# A cell, quoted or not, and the comma after it. Nothing is tried twice: a long line takes no longer than its length.
_QUOTED = r"'((?:[^'\\]|\\.)*+)'|\"((?:[^\"\\]|\\.)*+)\""
_CELL = re.compile(rf"\s*+(?:{_QUOTED}|([^,'\"{{}}%]*+))\s*+(,|\Z)")
_NAME = re.compile(rf"\s*+(?:{_QUOTED}|([^\s{{}},%'\"][^\s{{}},%]*+))(?:\s++|(?={{))(.*)")
_WHOLE_QUOTED = re.compile(rf"(?:{_QUOTED})\s*+")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|[0-7]{1,3}|.)")
_ESCAPED = {"t": "\t", "n": "\n", "r": "\r", "b": "\b", "f": "\f", **{mark: mark for mark in "\\'\"%"}}
_MARKS = re.compile(r"['\"{}%]")  # without one of them a row is cut at its commas
_WEIGHT = re.compile(r"\{[^{}]*\}\s*\Z")
_SECOND_BRACES = re.compile(r"\}\s*\{[^{}'\"]*\}\s*\Z")
_KINDS: dict[str, Kind] = {"numeric": "number", "real": "number", "integer": "number", "string": "text", "date": "date"}


class ArffError(ValueError):
    """A line is no ARFF, or of a kind that is not read; the message says which, and the way out."""


@dataclass(frozen=True)
class Attribute:
    """One column as the file declares it.

    Args:
        name: without quotes.
        kind: what its cells hold.
        line: of the declaration, from 1.
        values: of a nominal one, in the order of the file.
    """

    name: str
    kind: Kind
    line: int
    values: tuple[str, ...] = ()


def attribute_of(text: str, line: int) -> Attribute:
    """Return what stands behind `@attribute`: a name, and `numeric`, `string` or `{the, values}`.

    Raises:
        ArffError: it is neither, or of a type that is not read.
    """
    match = _NAME.match(text)
    if match is None:
        raise ArffError("expected `@attribute`, a name (in quotes, if it has spaces or commas) and a type")
    name = _text_of(match)
    declared = (match[4] or "").strip()
    if declared.startswith("{"):
        return Attribute(name, "nominal", line, _values_of(name, declared))
    word = declared.split(maxsplit=1)[0].lower() if declared else ""
    if word == "relational":
        way_out = "write a table of numbers and categories, one row for each example"
        raise ArffError(f"attribute '{name}' is relational, which is not read: {way_out}")
    if word not in _KINDS or (word != "date" and len(declared) > len(word)):
        if _WEIGHT.search(declared):
            raise ArffError(f"attribute '{name}' has a weight, which is not read: take it away")
        known = "numeric, real, integer, string or {values, in, braces}"
        raise ArffError(f"attribute '{name}' is of type '{declared[:40]}', expected {known}")
    return Attribute(name, _KINDS[word], line)


def cells_of(row: str) -> list[str | None]:
    """Return the cells of a row, without quotes; None where nothing or a question mark stands.

    Raises:
        ArffError: a quote is not closed, or stands inside a cell; the row is sparse or has a weight.
    """
    if _MARKS.search(row) is None:
        return [None if cell in ("", "?") else cell for cell in map(str.strip, row.split(","))]
    cells: list[str | None] = []
    place, is_last = 0, False
    while not is_last:
        match = _CELL.match(row, place)
        if match is None:
            raise ArffError(_reason(row, place))
        cell = _text_of(match)
        is_bare = match[3] is not None
        cells.append(None if is_bare and cell in ("", "?") else cell)
        place, is_last = match.end(), match[4] == ""
    return cells


def _values_of(name: str, declared: str) -> tuple[str, ...]:
    if not declared.endswith("}"):
        raise ArffError(f"attribute '{name}': expected {{values, in, braces}} and nothing behind them")
    if _SECOND_BRACES.search(declared):
        raise ArffError(f"attribute '{name}' has a weight, which is not read: take it away")
    values = [cell for cell in cells_of(declared[1:-1]) if cell is not None]
    if twice := sorted({value for value in values if values.count(value) > 1}):
        raise ArffError(f"attribute '{name}' has a value twice: {', '.join(twice)}")
    return tuple(values)


def _text_of(match: re.Match[str]) -> str:
    """Return the first three groups of a match as text: in single quotes, in double ones, in none."""
    quoted = match[1] if match[1] is not None else match[2]
    if quoted is None:
        return match[3].strip()
    return _ESCAPE.sub(_unescaped, quoted) if "\\" in quoted else quoted


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if code in _ESCAPED:
        return _ESCAPED[code]
    number = int(code[1:], 16) if len(code) == 5 else int(code, 8) if code[0] in "01234567" else -1
    if number < 0 or 0xD800 <= number < 0xE000:
        raise ArffError(f"\\{code} in quotes stands for no character (a backslash is written \\\\)")
    return chr(number)


def _reason(row: str, place: int) -> str:
    """Return why no cell can be read from `place` on."""
    rest = row[place:].lstrip()
    if not row[:place].strip() and rest.startswith("{"):
        return "the row is sparse, which is not read: write each value (Weka's filter SparseToNonSparse does)"
    if rest.startswith("{") and _WEIGHT.match(rest):
        return f"the row ends with a weight, {rest}: make it an attribute, which `weights` names"
    if rest[0] in "'\"":
        closed = _WHOLE_QUOTED.match(rest)
        if closed is None:
            return f"a quote is not closed: {rest[:20]} (one inside a text is written \\{rest[0]})"
        return f"after {closed[0].strip()[:20]} expected a comma (a quote inside a text is written \\{rest[0]})"
    found = _MARKS.search(rest)
    assert found is not None
    if (mark := found[0]) == "%":
        return "% inside a row: put the cell in quotes, or the comment on a line of its own"
    return f"{mark} inside a cell: put the cell in quotes"
