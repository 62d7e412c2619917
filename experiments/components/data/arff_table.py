"""An ARFF file as columns of numbers and text: the file says which is which."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ...errors import DataError
from .arff_text import ArffError, Attribute, attribute_of, cells_of
from .faults import tally
from .table_file import compute, content_of, listed, shown
from .typed_table import TypedTable

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 1 << 15  # rows that are lists of texts at a time, which take ten times their memory
_ROWS = 3  # of another length that a message lists


@dataclass(frozen=True, eq=False)
class ArffTable(TypedTable):
    """The cells of an ARFF file: numeric, real and integer attributes are numbers, others text.

    Args:
        attributes: by name.
        lines: at which rows stand, shape (rows,).
        odd: columns that hold what they are declared not to hold: where that is true, shape (rows,).
    """

    named_by: ClassVar[str] = "Its attributes are"

    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    lines: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    odd: Mapping[str, np.ndarray] = field(default_factory=dict)

    def unusable(self, name: str) -> tuple[str, str] | None:
        attribute = self.attributes[name]
        if attribute.kind == "date":
            kept = "what matters of it (the year, the weekday, days since a start)"
            return "holds dates, which are neither number nor category", f": leave it out by `inputs`, or write {kept}"
        if name not in self.odd:
            return None
        rows = np.flatnonzero(self.odd[name])
        found = f"{self.cell(name, int(rows[0]))} in line {self.lines[rows[0]]}{tally(self, {name: rows})}"
        if attribute.kind == "number":
            return f"is declared as one of numbers, and has {found}", " (where there is no number, write ?)"
        declared = listed([shown(value) for value in attribute.values])
        return f"is declared to hold {declared}, and has {found}", " (declare it, or write ? where there is none)"

    def stands(self, rows: Sequence[int]) -> tuple[str, list[int]]:
        """Return the lines of rows; see `TableFile`."""
        return "line", [int(self.lines[row]) for row in rows]

    def place_of_column(self, name: str) -> str:
        return f"{self.path}:{self.attributes[name].line}"


def read_arff(path: str, content: bytes | None = None) -> ArffTable:
    """Read an ARFF file with dense rows, compressed by gzip where its name ends with `.gz`.

    Args:
        path: of the file.
        content: what is in it, decompressed; left out, it is read.

    Raises:
        DataError: the file is missing, no ARFF in UTF-8, empty, has rows of another length than it has attributes, or
            is of a kind that is not read: sparse, relational, or with weights; the message has the line.
    """
    lines = _lines(path, arff_content(path) if content is None else content)
    attributes, start = _attributes(path, lines)
    columns, numbers = _columns(path, lines, start, len(attributes))
    cells: dict[str, pa.ChunkedArray] = {}
    odd = {}
    for attribute, texts in zip(attributes, columns, strict=True):
        cells[attribute.name], is_odd = _typed(attribute, texts)
        if is_odd is not None:
            odd[attribute.name] = is_odd
    declared = {each.name: each.values for each in attributes if each.kind == "nominal"}
    by_name = {each.name: each for each in attributes}
    return ArffTable(path, cells, declared=declared, attributes=by_name, lines=numbers, odd=odd)


def arff_content(path: str) -> bytes:
    """Return the bytes of a file, decompressed where its name ends with `.gz`.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    content = content_of(path)
    if not path.lower().endswith(".gz"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as a gzip file: {error}") from error


def _lines(path: str, content: bytes) -> list[str]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: cannot be read as ARFF in UTF-8: {error}") from error
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _attributes(path: str, lines: Sequence[str]) -> tuple[list[Attribute], int]:
    """Return what the header declares, and how many lines it has."""
    found: dict[str, Attribute] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("%"):
            continue
        word, *rest = text.split(maxsplit=1)
        behind = rest[0] if rest else ""
        try:
            if word.lower() == "@data" and (not behind or behind.startswith("%")):
                break
            if word.lower() == "@attribute":
                attribute = attribute_of(behind, number)
                if (first := found.get(attribute.name)) is not None:
                    raise ArffError(f"attribute '{attribute.name}' is there already, in line {first.line}")
                found[attribute.name] = attribute
            elif word.lower() != "@relation":
                raise ArffError(f"expected @relation, @attribute or @data, got {shown(text)}")
        except ArffError as error:
            raise DataError(f"{path}:{number}: {error}") from error
    else:
        raise DataError(f"{path} cannot be read as ARFF: no line says @data")
    if not found:
        raise DataError(f"{path}:{number}: the file has no attributes")
    return list(found.values()), number


def _columns(path: str, lines: Sequence[str], start: int, width: int) -> tuple[list[pa.ChunkedArray], np.ndarray]:
    """Return the cells of each column as text, null where one is missing, and the lines at which rows stand."""
    import pyarrow as pa

    blocks: list[list[pa.Array]] = [[] for _ in range(width)]
    rows: list[list[str | None]] = []
    numbers: list[int] = []
    lengths: dict[int, int] = {}

    def keep() -> None:
        for block, column in zip(blocks, zip(*rows, strict=True), strict=False):
            block.append(pa.array(column, pa.string()))
        rows.clear()

    for number, line in enumerate(lines[start:], start + 1):
        text = line.strip()
        if not text or text.startswith("%"):
            continue
        try:
            cells = cells_of(text)
        except ArffError as error:
            raise DataError(f"{path}:{number}: {error}") from error
        if len(cells) != width:
            lengths[number] = len(cells)
            continue
        rows.append(cells)
        numbers.append(number)
        if len(rows) == _BLOCK:
            keep()
    keep()
    _refuse_lengths(path, lengths, width)
    if not numbers:
        raise DataError(f"{path}: the file has no rows")
    return [pa.chunked_array(block, pa.string()) for block in blocks], np.array(numbers)


def _refuse_lengths(path: str, lengths: Mapping[int, int], width: int) -> None:
    if not lengths:
        return
    first = [f"{line} ({length} cells)" for line, length in list(lengths.items())[:_ROWS]]
    in_all = f"; in all {len(lengths)} rows: lines {listed(first, total=len(lengths))}" if len(lengths) > 1 else ""
    line, length = next(iter(lengths.items()))
    expected = f"expected {width} cells, one for each attribute, with commas between them"
    raise DataError(f"{path}:{line}: {expected}; got {length}{in_all}")


def _typed(attribute: Attribute, texts: pa.ChunkedArray) -> tuple[pa.ChunkedArray, np.ndarray | None]:
    """Return a column as its attribute declares it; as text, and where not, if some cells are not so."""
    import pyarrow as pa

    if attribute.kind == "nominal":
        is_known = compute().is_in(texts, pa.array([*attribute.values, None], pa.string()))
        is_odd = ~is_known.to_numpy(zero_copy_only=False)
        return texts, is_odd if is_odd.any() else None
    if attribute.kind != "number":
        return texts, None
    try:
        numbers = compute().cast(texts, pa.float64())
    except pa.ArrowInvalid:
        return texts, np.array([not _is_number(text) for text in texts.to_pylist()])
    try:
        return compute().cast(texts, pa.int64()), None  # which keeps digits that double precision does not
    except pa.ArrowInvalid:
        return numbers, None


def _is_number(text: str | None) -> bool:
    import pyarrow as pa

    try:
        compute().cast(pa.scalar(text, pa.string()), pa.float64())
    except pa.ArrowInvalid:
        return False
    return True
