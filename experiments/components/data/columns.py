"""Columns of a table as numbers: which hold numbers and which categories, and what each bad cell is told."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...errors import nearest
from .faults import Faults
from .precision import LARGEST
from .table_file import Missing, TableFile, compute

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
# What was meant to be a number and is none: thousands marks, 1_0, currencies, per cent, hexadecimal, infinities.
_ALMOST = (
    r"^([+-]?\pS?[0-9][0-9_',. \x{a0}]*([eE][+-]?[0-9]+)?\s?[%\pS]?|[+-]?0[xXbBoO][0-9a-fA-F_]+|"
    r"[+-]?(?i:inf(inity)?))$"
)
_NONE = ("", "nan", "na", "n/a", "null", "none")  # in columns of numbers; in others only the empty cell lacks a value
# What decides about text where a number is needed, and the way out.
_OF_CLASSES = ("task", "(names of classes need `task: classes`)")
_OF_CATEGORIES = ("categorical", "(`inputs` names the columns to use, `categorical` those of categories)")
_OTHERWISE = {None: _OF_CLASSES, "weight": ("weights", "(a weight is a number of at least 0)")}
_NEEDED = {None: "target", "weight": "weights"}  # columns in which no cell may be missing, and who names them
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
    faults: Faults,
    names: Collection[str],
    categorical: Collection[str] | None,
    missing: Missing | Mapping[str, Missing],
) -> list[Column]:
    """Return the columns to predict from.

    Args:
        faults: of the table, which take in each cell that is not what the others are, or is missing.
        names: of the columns.
        categorical: those that hold categories; None for those without a number.
        missing: what becomes of a cell without a value, in every column, or by name.
    """
    _check_names(faults, "categorical", categorical or (), names)
    _check_names(faults, "missing", missing if isinstance(missing, Mapping) else (), names)
    columns = []
    for name in names:
        policy = missing.get(name, "refuse") if isinstance(missing, Mapping) else missing
        is_category = _holds_names(faults.table, name) if categorical is None else name in categorical
        columns.append(category_column(faults, name, policy) if is_category else number_column(faults, name, policy))
    return columns


def number_column(faults: Faults, name: str, missing: Missing | Literal["weight"] | None = None) -> Column:
    """Return a column of numbers, in double precision, NaN where there is none.

    Args:
        faults: of the table, which take in each cell that is no number, or none that single precision has.
        name: of the column.
        missing: what becomes of a cell without a value; None for a target and `weight` for a weight, which need one.
    """
    table = faults.table
    values, is_odd = _typed_doubles(faults, name, missing) if table.has_types else _read_doubles(faults, name, missing)
    absent = np.isnan(values) & ~is_odd
    if absent.all() and missing != "mean" and not faults.is_trained:
        key = _NEEDED.get(missing, "inputs")
        way_outs = {"target": ": there is nothing to predict", "weights": ": nothing would count"}
        faults.whole("no number", name, "has no number", way_outs.get(key, ": leave it out by `inputs`"), key)
    elif missing is None or missing == "weight":
        way_out = f"(every row needs a {'target' if missing is None else 'weight'})"
        faults.cells(f"gap in {missing}", name, absent, "needs numbers, got {}", way_out, _NEEDED[missing])
    else:
        faults.numbers_missing(name, absent, missing)
    is_infinite = np.isinf(values)
    if is_infinite.any():  # 1e400 is too large; inf is no number
        is_written = np.zeros_like(is_infinite) if table.has_types else _matches(_with_points(table, name), _NUMBER)
        faults.cells("infinite", name, is_infinite & ~is_written, "needs numbers, got {}")
        is_infinite &= ~is_written
    too_large = (np.abs(values) > LARGEST) & ~is_infinite
    way_out = "(divide it, or leave the column out)"
    faults.cells("too large", name, too_large, "has {}, too large for single precision", way_out)
    if (np.abs(values) > _WHOLE).any() and not too_large.any():
        _check_digits(faults, name, values)
    return Column(name, values)


def weight_column(faults: Faults, name: str) -> Column:
    """Return a column that says how much each row weighs, in double precision.

    Args:
        faults: of the table, which take in each cell that is no number, or is below 0.
        name: of the column.
    """
    found = number_column(faults, name, "weight")
    faults.cells("weight", name, found.values < 0, "holds weights, and has {}", "(a weight is at least 0)", "weights")
    return found


def _typed_doubles(
    faults: Faults, name: str, missing: Missing | Literal["weight"] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of a column of a file that says which columns hold numbers, and where there is none.

    Of a column of text no cell is a number, but one may be missing.
    """
    import pyarrow as pa

    cells = faults.table.column(name)
    if not pa.types.is_string(cells.type):
        values = compute().cast(cells, pa.float64(), safe=False).to_numpy()
        return values, np.zeros(len(values), bool)
    is_odd = ~_lower_in(cells, ("",))
    key, way_out = _OTHERWISE.get(missing, _OF_CATEGORIES)
    faults.cells("text", name, is_odd, "holds text and needs numbers, got {}", *_unless_trained(faults, way_out, key))
    return np.full(len(cells), np.nan), is_odd


def _read_doubles(
    faults: Faults, name: str, missing: Missing | Literal["weight"] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of a column of text, NaN where there is none, and where something else stands."""
    import pyarrow as pa

    table = faults.table
    cells = _with_points(table, name)
    try:
        values = _doubles(cells)
        return values, np.zeros(len(values), bool)
    except pa.ArrowInvalid:
        absent = _lower_in(cells, _NONE)
    is_number = _matches(cells, _NUMBER)
    if table.delimiter != "," and (_matches(_swapped_marks(cells), _NUMBER) | absent).all():
        mark, other = (",", "comma") if table.decimal == "." else (".", "point")
        key, way_out = "decimal", f'(`decimal: "{mark}"`, if the {other} is the decimal mark)'
    else:
        key, way_out = _OTHERWISE.get(missing, _OF_CATEGORIES)
    is_odd = ~(is_number | absent)
    faults.cells(f"text {key}", name, is_odd, "needs numbers, got {}", *_unless_trained(faults, way_out, key))
    return _doubles(compute().if_else(pa.array(is_number), cells, "nan")), is_odd


def _unless_trained(faults: Faults, way_out: str, key: str) -> tuple[str, str]:
    """Return what to say of a cell that is no number."""
    return ("(the model was trained on numbers there)" if faults.is_trained else way_out), key


def category_column(faults: Faults, name: str, missing: Missing) -> Column:
    """Return a column of categories, which are in order: numbers by value, anything else as text.

    Args:
        faults: of the table, which take in each empty cell, unless that is a category of its own.
        name: of the column.
        missing: what becomes of a cell without a value.
    """
    cells = faults.table.texts(name)
    faults.categories_missing(name, _lower_in(cells, ("",)), missing)
    encoded = cells.combine_chunks().dictionary_encode()
    found = encoded.dictionary.to_pylist()
    names = in_order(found, faults.table, name)
    position = {each: number for number, each in enumerate(names)}
    places = np.array([position[each] for each in found], np.float64)
    return Column(name, places[encoded.indices.to_numpy()], names)


def in_order(names: Collection[str], table: TableFile, column: str) -> tuple[str, ...]:
    """Sort the names of categories or classes in a column.

    In the order of the file, where it lists them, nothing first; else numbers by value, anything else as text.
    """
    declared = {name: place for place, name in enumerate(table.declared.get(column, ()))}
    if declared and all(name in declared for name in names if name):
        return tuple(sorted(names, key=lambda name: declared.get(name, -1)))
    points = {name: name.translate(_SWAPPED) if table.decimal == "," else name for name in names}
    if all(re.match(_NUMBER, number) for number in points.values()):
        return tuple(sorted(names, key=lambda name: (Decimal(points[name]), name)))
    return tuple(sorted(names))


def _check_names(faults: Faults, option: str, given: Collection[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            guess = nearest(name, known)
            hint = f" Did you mean '{guess}'?" if guess else f" The inputs are: {', '.join(known)}"
            faults.other(option, f": `{option}` names '{name}', which is no input column.{hint}")


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


def _check_digits(faults: Faults, name: str, values: np.ndarray) -> None:
    """Take in numbers so long that more than half of them become equal: nanoseconds since 1970, keys of a database."""
    if 2 * len(np.unique(values)) < compute().count_distinct(faults.table.column(name)).as_py():
        said = "has numbers with more digits than double precision keeps apart"
        faults.whole("digits", name, said, ": subtract an offset, or leave the column out", "inputs")


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
