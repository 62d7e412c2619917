"""A table whose file says which columns hold numbers and which text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .table_file import TableFile, compute

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class TypedTable(TableFile):
    """The cells of a file that types them; strings and dictionaries of strings are text."""

    has_types: ClassVar[bool] = True

    def column(self, name: str) -> pa.ChunkedArray:
        import pyarrow as pa

        cells = super().column(name)
        if pa.types.is_dictionary(cells.type):
            return _as_text(cells.cast(cells.type.value_type))
        return _as_text(cells) if is_text(cells.type) else cells

    def texts(self, name: str) -> pa.ChunkedArray:
        return _as_text(self.column(name))


def is_text(found: pa.DataType) -> bool:
    """Return True for a type of text."""
    import pyarrow as pa

    return pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found)


def _as_text(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    if pa.types.is_floating(cells.type):
        cells = compute().if_else(compute().is_nan(cells), None, cells)
    return compute().fill_null(cells.cast(pa.string()), "")
