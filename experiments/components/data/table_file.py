"""A table of a file as columns of cells, and where its rows stand; each kind of file has a reader of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ...errors import DataError, StorageError, nearest
from ...system import storage

if TYPE_CHECKING:
    import pyarrow as pa

DecimalMark = Literal[".", ","]

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
    """

    path: str
    cells: Mapping[str, pa.ChunkedArray]
    decimal: DecimalMark = "."
    delimiter: str = ""
    index: tuple[str, ...] = ()

    has_types: ClassVar[bool] = False  # whether the file says what is a number and what is text
    named_by: ClassVar[str] = "Its first line names"

    @property
    def num_rows(self) -> int:
        return len(next(iter(self.cells.values())))

    def column(self, name: str) -> pa.ChunkedArray:
        """Return the cells of a column; a text that is missing is empty.

        Raises:
            DataError: there is none of this name, or its cells are of a type that is neither number nor text.
        """
        if name not in self.cells:
            guess = nearest(name, self.cells)
            hint = f" Did you mean '{guess}'?" if guess else ""
            raise DataError(f"{self.path} has no column '{name}'.{hint} {self.named_by}: {', '.join(self.cells)}")
        return self.cells[name]

    def texts(self, name: str) -> pa.ChunkedArray:
        """Return the cells of a column as text, the names of classes or categories; empty where one is missing."""
        return self.column(name)

    def place(self, row: int) -> str:
        """Return where a row stands: `table.parquet, row 3`; rows are counted from 0, and said from 1."""
        return f"{self.path}, row {row + 1}"

    def cell(self, name: str, row: int) -> str:
        """Return a cell as a message shows it."""
        value = self.column(name)[row].as_py()
        return "nothing" if value in (None, "") else shown(str(value))


def shown(cell: str) -> str:
    """Return a cell in quotes, control characters as Python writes them, as much as a message has room for."""
    return f"'{repr(cell if len(cell) <= _LONGEST else f'{cell[: _LONGEST - 1]}…')[1:-1]}'"


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
