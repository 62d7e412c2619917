"""The user's own table, from a CSV file."""

from __future__ import annotations

import csv as csv_format
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from ...errors import DataError, nearest
from . import register_data
from .dataset import Dataset
from .tables import Scaling, scaled


@register_data("csv", source="RFC 4180", example={"path": "table.csv", "target": "price", "task": "values"})
def csv(
    path: str,
    target: str | tuple[str, ...],
    task: Literal["classes", "values"],
    inputs: tuple[str, ...] | None = None,
    scaling: Scaling = "standard",
    delimiter: str = ",",
) -> Dataset:
    """A table from a CSV file whose first line names the columns.

        standard: (x - mean) / std, of each input column over the whole table; none: x

    Inputs are numbers. A target of classes may be any text: classes are numbered in the order of their names, whole
    numbers by value. Targets of values are used as they are.

    Args:
        path: the file, in UTF-8.
        target: the column to predict; for values, also a list of columns.
        task: `classes` or `values`.
        inputs: the columns to predict from; left out, all others.
        scaling: of the inputs.
        delimiter: one character between cells; "\\t" for tabs.

    Raises:
        DataError: the file is missing, or a column or number in it; the message has the line.

    Source: RFC 4180, "Common format and MIME type for comma-separated values (CSV) files", 2005.
    """
    header, rows = _read(Path(path).expanduser(), delimiter)
    targets = [target] if isinstance(target, str) else list(target)
    names = [name for name in header if name not in targets] if inputs is None else list(inputs)
    for name in (*targets, *names):
        _place(path, header, name)
    if both := set(targets) & set(names):
        raise DataError(f"{path}: {', '.join(sorted(both))} cannot be input and target")
    if not names or (task == "classes" and len(targets) != 1):
        raise DataError(f"{path}: expected {'one target for classes' if names else 'at least one input column'}")
    numbers = _numbers(path, header, rows, names)
    description = f"{len(rows)} rows of {path}"
    if scaling == "standard":
        _refuse_constant(path, names, numbers)
    columns, _, _ = scaled(numbers, scaling)
    if task == "values":
        values = torch.from_numpy(_numbers(path, header, rows, targets).astype(np.float32))
        return Dataset(columns, values, "values", len(targets), description=description)
    at = header.index(targets[0])
    cells = [row[at].strip() for _, row in rows]
    if "" in cells:
        raise DataError(f"{path}:{rows[cells.index('')][0]}: no class in column '{targets[0]}'")
    classes = _in_order(set(cells))
    labels = torch.tensor([classes.index(cell) for cell in cells])
    return Dataset(columns, labels, "classes", len(classes), class_names=tuple(classes), description=description)


def _read(path: Path, delimiter: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the names of the columns, and each row with the number of its line; blank lines are passed over."""
    if len(delimiter) != 1:
        raise DataError(f"delimiter must be one character, got {delimiter!r}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv_format.reader(file, delimiter=delimiter, strict=True)
            header = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if row]
    except FileNotFoundError:
        raise DataError(f"no file {path}") from None
    except (OSError, UnicodeDecodeError, csv_format.Error) as error:
        raise DataError(f"{path} cannot be read as CSV in UTF-8: {error}") from error
    if repeated := {name for name in header if header.count(name) > 1}:
        raise DataError(f"{path}:1: several columns are called {', '.join(sorted(repeated))}")
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(f"{path}:{line}: expected {len(header)} cells as in the first line, got {len(row)}")
    if not rows:
        raise DataError(f"{path}: expected a line of names, then rows; the file has no rows")
    return header, rows


def _place(path: str, header: list[str], name: str) -> int:
    if name not in header:
        guess = nearest(name, header)
        hint = f" Did you mean '{guess}'?" if guess else ""
        raise DataError(f"{path} has no column '{name}'.{hint} Its first line names: {', '.join(header)}")
    return header.index(name)


def _numbers(path: str, header: list[str], rows: list[tuple[int, list[str]]], names: list[str]) -> np.ndarray:
    """Return some columns, shape (rows, columns), in double precision."""
    places = [header.index(name) for name in names]
    numbers = np.empty((len(rows), len(names)))
    for index, (line, row) in enumerate(rows):
        for column, place in enumerate(places):
            try:
                numbers[index, column] = float(row[place])
            except ValueError:
                numbers[index, column] = np.nan
            if not np.isfinite(numbers[index, column]):
                found = f"'{row[place]}'" if row[place].strip() else "nothing"
                problem = f"column '{names[column]}' needs numbers, got {found}"
                raise DataError(f"{path}:{line}: {problem} (`inputs` names the columns to use)")
    return numbers


def _refuse_constant(path: str, names: list[str], numbers: np.ndarray) -> None:
    if not (std := numbers.std(0)).all():
        constant = names[int((std == 0).argmax())]
        raise DataError(f"{path}: column '{constant}' is constant: leave it out by `inputs`, or say `scaling: none`")


def _in_order(classes: set[str]) -> list[str]:
    """Sort whole numbers by value, anything else as text."""
    if all(name.isdecimal() for name in classes):
        return sorted(classes, key=int)
    return sorted(classes)
