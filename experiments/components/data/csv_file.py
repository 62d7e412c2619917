"""The user's own table, from a CSV file."""

from __future__ import annotations

import csv as csv_format
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ...errors import DataError, nearest
from ...registry.arguments import DataPath
from . import register_data
from .dataset import Dataset
from .tables import Scaling, columns, standardised

_LARGEST = float(np.finfo(np.float32).max)
_COARSE = 1e-3  # of a column's standard deviation: rounding that is larger loses what the column says


@register_data("csv", source="RFC 4180", example={"path": "table.csv", "target": "price", "task": "values"})
def csv(
    path: DataPath,
    target: str | tuple[str, ...],
    task: Literal["classes", "values"],
    inputs: tuple[str, ...] | None = None,
    scaling: Scaling = "standard",
    delimiter: str = ",",
    target_scaling: Scaling = "none",
    classes: tuple[str, ...] | None = None,
) -> Dataset:
    """A table from a CSV file whose first line names the columns.

        standard: (x - mean) / std, of each column over the training rows; none: x

    Inputs are numbers; a column that is constant over the training rows alone is divided by 1. A target of classes may
    be any text: classes are numbered in the order of their names, whole numbers by value. A run keeps what it took
    from the rows (means, deviations, columns, classes): later rows are treated alike, and a new class is refused.

    Args:
        path: the file, in UTF-8.
        target: the column to predict; for values, also a list of columns.
        task: `classes` or `values`.
        inputs: the columns to predict from; left out, all others.
        scaling: of the inputs.
        delimiter: one character between cells; "\\t" for tabs.
        target_scaling: of targets of values.
        classes: their names in the order of their numbers; left out, those of the whole table.

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
    found = columns(_numbers(path, header, rows, names, scaling, "scaling"), scaling)
    about: dict[str, Any] = {"columns": tuple(names), "description": f"{len(rows)} rows of {path}"}
    about["standardised"] = standardised(scaling, target_scaling)
    learned = {"inputs": tuple(names)}
    if task == "values":
        if classes is not None:
            raise DataError(f"{path}: `classes` is for a target of classes, and the task is values")
        values = columns(_numbers(path, header, rows, targets, target_scaling, "target_scaling"), target_scaling)
        return Dataset(found, values, "values", len(targets), learned=learned, **about)
    if target_scaling != "none":
        raise DataError(f"{path}: `target_scaling` is for a target of values, and the task is classes")
    labels, classes = _labels(path, header, rows, targets[0], classes)
    return Dataset(
        found,
        labels,
        "classes",
        len(classes),
        class_names=classes,
        learned={**learned, "classes": classes},
        **about,
    )


def _labels(
    path: str, header: list[str], rows: list[tuple[int, list[str]]], target: str, classes: tuple[str, ...] | None
) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Return the number of each row's class, and the names of the classes."""
    at = header.index(target)
    cells = [row[at].strip() for _, row in rows]
    if "" in cells:
        raise DataError(f"{path}:{rows[cells.index('')][0]}: no class in column '{target}'")
    if classes is None:
        classes = _in_order(set(cells))
    elif len(set(classes)) != len(classes):
        raise DataError(f"{path}: `classes` names one twice: {', '.join(classes)}")
    numbers = {name: number for number, name in enumerate(classes)}
    for (line, _), cell in zip(rows, cells, strict=True):
        if cell not in numbers:
            raise DataError(f"{path}:{line}: '{cell}' in column '{target}' is none of the classes {', '.join(classes)}")
    return torch.tensor([numbers[cell] for cell in cells]), classes


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


def _numbers(
    path: str, header: list[str], rows: list[tuple[int, list[str]]], names: list[str], scaling: Scaling, option: str
) -> np.ndarray:
    """Return some columns, shape (rows, columns), in double precision.

    Args:
        path: of the file.
        header: the names of all columns.
        rows: each with its line.
        names: of those that are wanted.
        scaling: of these columns.
        option: what sets it.
    """
    places = [header.index(name) for name in names]
    numbers = np.empty((len(rows), len(names)))
    for index, (line, row) in enumerate(rows):
        for column, place in enumerate(places):
            number = _number(row[place])
            if not np.isfinite(number):
                found = f"'{row[place]}'" if row[place].strip() else "nothing"
                problem = f"column '{names[column]}' needs numbers, got {found}"
                raise DataError(f"{path}:{line}: {problem} (`inputs` names the columns to use)")
            if abs(number) > _LARGEST:
                problem = f"column '{names[column]}' has {row[place].strip()}, too large for single precision"
                raise DataError(f"{path}:{line}: {problem}: divide it, or leave the column out")
            numbers[index, column] = number
    if scaling == "none":
        _refuse_coarse(path, names, numbers, option)
    return numbers


def _number(cell: str) -> float:
    try:
        return np.nan if "_" in cell else float(cell)  # 1_0 is a number in Python, in no table
    except ValueError:
        return np.nan


def _refuse_coarse(path: str, names: list[str], numbers: np.ndarray, option: str) -> None:
    """Refuse columns whose rows would become equal in single precision, such as times in seconds since 1970."""
    lost = np.abs(numbers - numbers.astype(np.float32)).max(0)
    for name, column, rounding in zip(names, numbers.T, lost, strict=True):
        if rounding > _COARSE * column.std() and (column != column[0]).any():
            problem = f"column '{name}' ({column.min():.12g} to {column.max():.12g}) loses {rounding:g} by rounding"
            raise DataError(f"{path}: {problem} to single precision: say `{option}: standard`, or subtract an offset")


def _in_order(classes: set[str]) -> tuple[str, ...]:
    """Sort whole numbers by value, anything else as text."""
    if all(name.removeprefix("-").isdecimal() for name in classes):
        return tuple(sorted(classes, key=lambda name: (int(name), name)))
    return tuple(sorted(classes))
