"""Columns of a table as numbers: which hold numbers and which categories, and what each bad cell is told."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...errors import DataError, nearest
from .precision import LARGEST
from .table_file import DecimalMark, TableFile, compute

if TYPE_CHECKING:
    import pyarrow as pa

Missing = Literal["refuse", "mean", "category"]

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
# What was meant to be a number and is none: thousands marks, 1_0, currencies, per cent, hexadecimal, infinities.
_ALMOST = (
    r"^([+-]?\pS?[0-9][0-9_',. \x{a0}]*([eE][+-]?[0-9]+)?\s?[%\pS]?|[+-]?0[xXbBoO][0-9a-fA-F_]+|"
    r"[+-]?(?i:inf(inity)?))$"
)
_NONE = ("", "nan", "na", "n/a", "null", "none")  # in columns of numbers; in others only the empty cell lacks a value
_OF_CLASSES = "(names of classes need `task: classes`)"
_OF_CATEGORIES = "(`inputs` names the columns to use, `categorical` those of categories)"
_SWAPPED = str.maketrans(",.", ".,")
_WHOLE = 2.0**53  # above it double precision leaves out whole numbers


@dataclass(frozen=True, eq=False)
class Column:
    """One column of a table.

    Args:
        name: from the first line.
        values: shape (rows,): numbers in double precision, NaN where one is missing; of categories, the positions of
            their names.
        categories: their names in order; None for a column of numbers.
    """

    name: str
    values: np.ndarray
    categories: tuple[str, ...] | None = None


def input_columns(
    table: TableFile,
    names: Collection[str],
    categorical: Collection[str] | None,
    missing: Missing | Mapping[str, Missing],
) -> list[Column]:
    """Return the columns to predict from.

    Args:
        table: that has them.
        names: of the columns.
        categorical: those that hold categories; None for those without a number.
        missing: what becomes of a cell without a value, in every column, or by name.

    Raises:
        DataError: at the line and column of the first cell that is not what the others are, or is missing.
    """
    _check_names(table, "categorical", categorical or (), names)
    _check_names(table, "missing", missing if isinstance(missing, Mapping) else (), names)
    columns = []
    for name in names:
        policy = missing.get(name, "refuse") if isinstance(missing, Mapping) else missing
        is_category = _holds_names(table, name) if categorical is None else name in categorical
        columns.append(category_column(table, name, policy) if is_category else number_column(table, name, policy))
    return columns


def number_column(table: TableFile, name: str, missing: Missing | None = None) -> Column:
    """Return a column of numbers, in double precision, NaN where `missing` is `mean` and there is none.

    Args:
        table: that has it.
        name: of the column.
        missing: what becomes of a cell without a value; None for a target, which needs one.

    Raises:
        DataError: at the line of the first cell that is no number, or none that single precision has.
    """
    values = _typed_doubles(table, name, missing) if table.has_types else _read_doubles(table, name, missing)
    absent = np.isnan(values)
    if absent.all():
        raise DataError(f"{table.path}: column '{name}' has no number: leave it out by `inputs`")
    if missing == "category":
        way_out = f"(`missing: category` is for columns of categories: say `missing: {{{name}: mean}}`)"
        _refuse_first(table, name, absent, "holds numbers, and has {}", way_out)
    elif missing != "mean":
        way_out = "(every row needs a target)" if missing is None else "(`missing: mean` puts the mean there)"
        _refuse_first(table, name, absent, "needs numbers, got {}", way_out)
    is_infinite = np.isinf(values)
    if is_infinite.any():  # 1e400 is too large; inf is no number
        is_written = np.zeros_like(is_infinite) if table.has_types else _matches(_with_points(table, name), _NUMBER)
        _refuse_first(table, name, is_infinite & ~is_written, "needs numbers, got {}")
    too_large = np.abs(values) > LARGEST
    _refuse_first(
        table, name, too_large, "has {}, too large for single precision", "(divide it, or leave the column out)"
    )
    if (np.abs(values) > _WHOLE).any():
        _refuse_lost_digits(table, name, values)
    return Column(name, values)


def _typed_doubles(table: TableFile, name: str, missing: Missing | None) -> np.ndarray:
    """Return the numbers of a column of a file that says which columns hold numbers, NaN where there is none."""
    import pyarrow as pa

    cells = table.column(name)
    if pa.types.is_string(cells.type):
        odd = _OF_CLASSES if missing is None else _OF_CATEGORIES
        _refuse_first(table, name, np.ones(len(cells), bool), "holds text and needs numbers, got {}", odd)
    return compute().cast(cells, pa.float64(), safe=False).to_numpy()


def _read_doubles(table: TableFile, name: str, missing: Missing | None) -> np.ndarray:
    """Return the numbers of a column of text, NaN where there is none."""
    import pyarrow as pa

    cells = _with_points(table, name)
    try:
        return _doubles(cells)
    except pa.ArrowInvalid:
        absent = _lower_in(cells, _NONE)
        if table.delimiter != "," and (_matches(_swapped_marks(cells), _NUMBER) | absent).all():
            odd = """(`decimal: ","`, if the comma""" if table.decimal == "." else """(`decimal: "."`, if the point"""
            odd += " is the decimal mark)"
        elif missing is None:
            odd = _OF_CLASSES
        else:
            odd = _OF_CATEGORIES
        _refuse_first(table, name, ~(_matches(cells, _NUMBER) | absent), "needs numbers, got {}", odd)
        return _doubles(compute().if_else(pa.array(absent), "nan", cells))


def category_column(table: TableFile, name: str, missing: Missing | None) -> Column:
    """Return a column of categories, which are in order: numbers by value, anything else as text.

    Raises:
        DataError: at the line of the first empty cell, unless it is a category of its own.
    """
    cells = table.texts(name)
    if missing != "category":
        way_out = f"(`missing: {{{name}: category}}` makes it one of the categories)"
        problem = "holds categories, and has {}" + (", which have no mean" if missing == "mean" else "")
        _refuse_first(table, name, _lower_in(cells, ("",)), problem, way_out)
    encoded = cells.combine_chunks().dictionary_encode()
    found = encoded.dictionary.to_pylist()
    names = in_order(found, table.decimal)
    position = {each: number for number, each in enumerate(names)}
    places = np.array([position[each] for each in found], np.float64)
    return Column(name, places[encoded.indices.to_numpy()], names)


def in_order(names: Collection[str], decimal: DecimalMark = ".") -> tuple[str, ...]:
    """Sort names of categories or classes: by value where all are numbers, else as text."""
    points = {name: name.translate(_SWAPPED) if decimal == "," else name for name in names}
    if all(re.match(_NUMBER, number) for number in points.values()):
        return tuple(sorted(names, key=lambda name: (Decimal(points[name]), name)))
    return tuple(sorted(names))


def _check_names(table: TableFile, option: str, given: Collection[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            guess = nearest(name, known)
            hint = f" Did you mean '{guess}'?" if guess else f" The inputs are: {', '.join(known)}"
            raise DataError(f"{table.path}: `{option}` names '{name}', which is no input column.{hint}")


def _holds_names(table: TableFile, name: str) -> bool:
    """Return True for a column of text, and none of numbers.

    Where the file has no types: in which no cell is a number, nor was meant to be one, and some are text.
    """
    import pyarrow as pa

    if table.has_types:
        return pa.types.is_string(table.column(name).type)
    cells = _with_points(table, name)
    try:
        _doubles(cells)
    except pa.ArrowInvalid:
        different = compute().unique(cells)
        is_number = _matches(different, _NUMBER) | _matches(different, _ALMOST)
        return not is_number.any() and not _lower_in(different, _NONE).all()
    return False


def _refuse_first(table: TableFile, name: str, wrong: np.ndarray, problem: str, way_out: str = "") -> None:
    """Refuse a column at its first cell that is wrong; `{}` in the problem stands for that cell."""
    if wrong.any():
        row = int(wrong.argmax())
        said = problem.format(table.cell(name, row))
        raise DataError(" ".join([f"{table.place(row)}: column '{name}' {said}", *([way_out] if way_out else [])]))


def _refuse_lost_digits(table: TableFile, name: str, values: np.ndarray) -> None:
    """Refuse numbers so long that more than half of them become equal: nanoseconds since 1970, keys of a database."""
    if 2 * len(np.unique(values)) < compute().count_distinct(table.column(name)).as_py():
        problem = f"column '{name}' has numbers with more digits than double precision keeps apart"
        raise DataError(f"{table.path}: {problem}: subtract an offset, or leave the column out")


def _with_points(table: TableFile, name: str) -> pa.ChunkedArray:
    """Return the cells of a column with a point as the decimal mark; a point, which then is none, becomes a comma."""
    cells = table.column(name)
    return _swapped_marks(cells) if table.decimal == "," else cells


def _swapped_marks(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    for mark, other in ((",", "\0"), (".", ","), ("\0", ".")):
        cells = compute().replace_substring(cells, mark, other)
    return cells


def _doubles(cells: pa.ChunkedArray) -> np.ndarray:
    import pyarrow as pa

    return compute().cast(cells, pa.float64()).to_numpy()


def _matches(cells: pa.ChunkedArray, pattern: str) -> np.ndarray:
    return compute().match_substring_regex(cells, pattern).to_numpy(zero_copy_only=False)


def _lower_in(cells: pa.ChunkedArray, texts: Collection[str]) -> np.ndarray:
    import pyarrow as pa

    return compute().is_in(compute().utf8_lower(cells), pa.array(texts)).to_numpy(zero_copy_only=False)
