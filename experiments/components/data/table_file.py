"""A table of a file as columns of cells, and where its rows stand; each kind of file has a reader of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ...errors import DataError, StorageError, nearest
from ...system import storage

if TYPE_CHECKING:
    import pyarrow as pa

DecimalMark = Literal[".", ","]
Missing = Literal["refuse", "mean", "category"]

LISTED = 8  # columns that a message lists
_LONGEST = 40  # characters of a cell that a message shows


@dataclass(frozen=True, eq=False)
class TableFile:
    """The cells of a table.

    Args:
        path: as messages have it.
        cells: by the name of the column, in the order of the rows.
        decimal: the mark before the decimals of numbers that are text.
        delimiter: one character between cells; empty where none stands there.
        index: columns that number or name the rows; inputs only where they are asked for.
        declared: of columns whose values the file lists: these, in its order.
    """

    path: str
    cells: Mapping[str, pa.ChunkedArray]
    decimal: DecimalMark = "."
    delimiter: str = ""
    index: tuple[str, ...] = ()
    declared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    has_types: ClassVar[bool] = False  # whether the file says what is a number and what is text
    named_by: ClassVar[str] = "Its first line names"

    @property
    def num_rows(self) -> int:
        return len(next(iter(self.cells.values())))

    def column(self, name: str) -> pa.ChunkedArray:
        """Return the cells of a column; a text that is missing is empty."""
        return self.cells[name]

    def lacking(self, names: Collection[str]) -> str | None:
        """Return what to say of columns that are not there, with guesses; None where all are."""
        lacks = [name for name in names if name not in self.cells]
        if not lacks:
            return None
        guesses = {name: nearest(name, self.cells) for name in lacks}
        said = [f"'{guess}'" + (f" for '{name}'" if len(lacks) > 1 else "") for name, guess in guesses.items() if guess]
        hint = f" Did you mean {', '.join(said)}?" if said else ""
        named = f"column{'s' * (len(lacks) > 1)} {', '.join(map(repr, lacks))}"
        return f" has no {named}.{hint} {self.named_by}: {', '.join(self.cells)}"

    def unusable(self, name: str) -> tuple[str, str] | None:
        """Return what is wrong with the type of a column, and the way out; None where it is number or text."""
        return None

    def texts(self, name: str) -> pa.ChunkedArray:
        """Return the cells of a column as text, the names of classes or categories; empty where one is missing."""
        return self.column(name)

    def stands(self, rows: Sequence[int]) -> tuple[str, list[int]]:
        """Return where rows stand: `row`, and their numbers from 1, or `line`, and those of lines.

        Args:
            rows: counted from 0.
        """
        return "row", [row + 1 for row in rows]

    def place(self, row: int) -> str:
        """Return where a row stands: `table.parquet, row 3`, or `table.csv:3`; rows are counted from 0."""
        word, (number,) = self.stands([row])
        return f"{self.path}:{number}" if word == "line" else f"{self.path}, {word} {number}"

    def place_of_column(self, name: str) -> str:
        """Return where a column is declared; the file, where it is not."""
        return self.path

    def cell(self, name: str, row: int) -> str:
        """Return a cell as a message shows it."""
        value = self.column(name)[row].as_py()
        return "nothing" if value in (None, "") else shown(str(value))


def shown(cell: str) -> str:
    """Return a cell in quotes, control characters as Python writes them, as much as a message has room for."""
    return f"'{repr(cell if len(cell) <= _LONGEST else f'{cell[: _LONGEST - 1]}…')[1:-1]}'"


def listed(names: Sequence[str], kind: str = "", total: int | None = None) -> str:
    """Return the first of some names, and how many more there are: `a, b and 3 more columns`."""
    total = len(names) if total is None else total
    shown = ", ".join(names[:LISTED])
    more = total - min(len(names), LISTED)
    return f"{shown} and {more} more{f' {kind}' if kind else ''}" if more else shown


def compute() -> Any:
    """Return pyarrow's functions of columns, which it makes at import, where no type checker sees them."""
    import pyarrow.compute

    return pyarrow.compute


def content_of(path: str) -> bytes:
    """Return the bytes of a file.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    file = Path(path).expanduser()
    if not file.is_file():  # a pipe would be waited for without end
        raise DataError(f"{path} is a folder or a device, no file" if file.exists() else f"no file {path}")
    try:
        return storage.read_bytes(file)
    except StorageError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
