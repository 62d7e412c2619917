"""A parquet file as columns of numbers and text: the file says which is which."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...errors import DataError
from .table_file import content_of
from .typed_table import TypedTable, is_text

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class ParquetTable(TypedTable):
    """The cells of a parquet file, as it types them.

    Integers, floating point and decimal numbers and booleans are numbers; strings and dictionaries are text.
    """

    named_by: ClassVar[str] = "Its columns are"

    def unusable(self, name: str) -> tuple[str, str] | None:
        import pyarrow as pa

        found = self.cells[name].type
        held = found.value_type if pa.types.is_dictionary(found) else found
        if _is_number(held) or is_text(held):
            return None
        way_out = "leave it out by `inputs`, or write a column of numbers or text in its place"
        if pa.types.is_temporal(found):
            way_out = (
                "leave it out by `inputs`, or write what matters of it (the year, the weekday, days since a start)"
            )
        return f"holds {found}, which is neither number nor category", f": {way_out}"


def read_parquet(path: str) -> ParquetTable:
    """Read a parquet file.

    Raises:
        DataError: the file is missing, no parquet file, empty, or damaged.
    """
    import pyarrow as pa
    from pyarrow import parquet

    content = content_of(path)
    try:
        table = parquet.ParquetFile(io.BytesIO(content)).read(use_threads=False)
        table.validate(full=True)
        names = table.schema.names
        index = (table.schema.pandas_metadata or {}).get("index_columns", ())
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a parquet file: {error}") from error
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: several columns are called {', '.join(repeated)}")
    if not table.num_rows or not names:
        raise DataError(f"{path}: the file has no {'rows' if names else 'columns'}")
    cells = dict(zip(names, table.columns, strict=True))
    return ParquetTable(path, cells, index=tuple(name for name in index if isinstance(name, str)))


def _is_number(found: pa.DataType) -> bool:
    import pyarrow as pa

    types = pa.types
    is_number = types.is_integer(found) or types.is_floating(found) or types.is_decimal(found)
    return is_number or types.is_boolean(found) or types.is_null(found)
