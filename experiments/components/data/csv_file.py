"""The user's own table, from a CSV file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch

from ...errors import DataError
from ...registry.arguments import DataPath
from . import register_data
from .columns import Column, Missing, in_order, input_columns, number_column
from .dataset import Dataset
from .encoding import Encoding, Method
from .precision import refuse_coarse
from .table_file import DecimalMark, TableFile, read_table, shown
from .tables import Scaling, columns, standardised

log = logging.getLogger("optrun")


def _as_before(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments with the classes as versions numbered them that kept no record: those below 0 as text."""
    if args.get("task") != "classes" or args.get("classes") is not None or not isinstance(args.get("target"), str):
        return dict(args)
    cells = read_table(args["path"], args.get("delimiter", ",")).column(args["target"])
    names = cells.unique().to_pylist()
    is_whole = all(name.isdecimal() for name in names)
    return {**args, "classes": tuple(sorted(names, key=int) if is_whole else sorted(names))}


def csv_rows(
    path: str,
    target: str | tuple[str, ...],
    inputs: tuple[str, ...] | None = None,
    scaling: Scaling = "standard",
    delimiter: str = ",",
    categories: Method = "one_hot",
    categorical: tuple[str, ...] | None = None,
    unseen: Literal["refuse", "ignore"] = "refuse",
    missing: Missing | dict[str, Missing] = "refuse",
    **_: Any,
) -> Dataset:
    """Return the inputs of another table, which need have no target; the arguments are those of `csv`.

    Raises:
        DataError: a column lacks; or a cell is not what it should be.
    """
    table = read_table(path, delimiter)
    targets = [target] if isinstance(target, str) else list(target)
    names = [name for name in table.cells if name not in targets] if inputs is None else list(inputs)
    if lacking := [name for name in names if name not in table.cells]:
        there = f"its first line names: {', '.join(table.cells)}"
        raise DataError(f"{path} lacks {_quoted(lacking)}, which the model was trained with; {there}")
    if unknown := [name for name in table.cells if name not in {*names, *targets}]:
        log.warning("%s: not read, since the model was trained without: %s", path, _quoted(unknown))
    numbers, about = _inputs(table, names, scaling, categories, categorical, unseen, missing)
    about |= {"standardised": standardised(scaling), "place_of": table.place}
    return Dataset(numbers, torch.zeros(len(numbers)), "none", 1, **about)


def _quoted(names: list[str]) -> str:
    return f"the column{'s' * (len(names) != 1)} {', '.join(map(repr, names))}"


@register_data(
    "csv",
    source="RFC 4180",
    example={"path": "table.csv", "target": "price", "task": "values"},
    before=_as_before,
    rows=csv_rows,
)
def csv(
    path: DataPath,
    target: str | tuple[str, ...],
    task: Literal["classes", "values"],
    inputs: tuple[str, ...] | None = None,
    scaling: Scaling = "standard",
    delimiter: str = ",",
    target_scaling: Scaling = "none",
    classes: tuple[str, ...] | None = None,
    categories: Method = "one_hot",
    categorical: tuple[str, ...] | None = None,
    unseen: Literal["refuse", "ignore"] = "refuse",
    missing: Missing | dict[str, Missing] = "refuse",
    decimal: DecimalMark = ".",
) -> Dataset:
    """A table from a CSV file whose first line names the columns.

        standard: (x - mean) / std, of each column over the training rows; none: x

    An input column holds numbers, or, where no cell is a number, categories; a column that is constant over the
    training rows alone is divided by 1. A target of classes may be any text. Categories and classes are numbered in the
    order of their names, numbers by value. A run keeps what it took from the rows (means, deviations, columns,
    categories, classes): later rows are treated alike, and a new class is refused.

    Args:
        path: the file, in UTF-8.
        target: the column to predict; for values, also a list of columns.
        task: `classes` or `values`.
        inputs: the columns to predict from; left out, all others.
        scaling: of inputs that are numbers.
        delimiter: one character between cells; "\\t" for tabs.
        target_scaling: of targets of values. The loss is then of scaled targets, metrics are in their original units.
        classes: their names in the order of their numbers; left out, those of the whole table.
        categories: `one_hot`: a column of 0 and 1 for each category that the training rows have; `codes`: one column
            of their numbers from 1, as an embedding takes them. Neither is scaled.
        categorical: the input columns that hold categories, numbers or not; left out, those without a number.
        unseen: whether a category that no training row has is refused, or ignored, as 0.
        missing: what becomes of a cell without a value: `mean` of the training rows, in columns of numbers;
            `category` of its own, in columns of categories; for all columns, or a policy for each.
        decimal: the mark before decimals, `.` or `,`. No other may stand in a number: 1.234,5 is none.

    Raises:
        DataError: the file is missing, or a column or number in it; the message has the line.
        ArgumentsError: `decimal` and `delimiter` are the same.

    Source: RFC 4180, "Common format and MIME type for comma-separated values (CSV) files", 2005.
    """
    table = read_table(path, delimiter, decimal)
    targets = [target] if isinstance(target, str) else list(target)
    names = [name for name in table.cells if name not in targets] if inputs is None else list(inputs)
    for name in (*targets, *names):
        table.column(name)
    if both := set(targets) & set(names):
        raise DataError(f"{path}: {', '.join(sorted(both))} cannot be input and target")
    if not names or (task == "classes" and len(targets) != 1):
        raise DataError(f"{path}: expected {'one target for classes' if names else 'at least one input column'}")
    numbers, about = _inputs(table, names, scaling, categories, categorical, unseen, missing)
    about |= {"standardised": standardised(scaling, target_scaling), "place_of": table.place}
    learned = {"inputs": tuple(names), "categorical": tuple(about["encoding"].categories)}
    if task == "values":
        if classes is not None:
            raise DataError(f"{path}: `classes` is for a target of classes, and the task is values")
        values = [number_column(table, name) for name in targets]
        about |= {"target_columns": tuple(targets), "original_units": True, "learned": learned}
        return Dataset(numbers, _matrix(table, values, target_scaling, "target_scaling"), task, len(targets), **about)
    if target_scaling != "none":
        raise DataError(f"{path}: `target_scaling` is for a target of values, and the task is classes")
    labels, classes = _labels(table, targets[0], classes)
    learned["classes"] = classes
    return Dataset(numbers, labels, task, len(classes), class_names=classes, learned=learned, **about)


def _inputs(
    table: TableFile,
    names: list[str],
    scaling: Scaling,
    categories: Method,
    categorical: tuple[str, ...] | None,
    unseen: Literal["refuse", "ignore"],
    missing: Missing | dict[str, Missing],
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Return the input columns side by side, and what a data set says of them; the arguments are those of `csv`."""
    found = input_columns(table, names, categorical, missing)
    categories_of = {column.name: column.categories for column in found if column.categories is not None}
    policy = dict.fromkeys(names, "mean") if missing == "mean" else missing if isinstance(missing, dict) else {}
    fills = tuple(name for name in names if policy.get(name) == "mean" and name not in categories_of)
    return _matrix(table, found, scaling, "scaling"), {
        "columns": tuple(names),
        "description": _description(table, found),
        "encoding": Encoding(categories_of, fills, categories, unseen) if categories_of or fills else Encoding(),
    }


def _description(table: TableFile, found: list[Column]) -> str:
    named = [f"{column.name} of {len(column.categories)}" for column in found if column.categories is not None]
    categories = f"; categories: {', '.join(named)}" if named else ""
    return f"{table.num_rows} rows of {table.path}{categories}"


def _matrix(table: TableFile, found: list[Column], scaling: Scaling, option: str) -> torch.Tensor:
    """Return columns side by side: in double precision until they are scaled or encoded, else in single."""
    numbers = np.column_stack([column.values for column in found])
    plain = [index for index, column in enumerate(found) if column.categories is None]
    if scaling == "none" and plain:
        names = [f"{table.path}: column '{found[index].name}'" for index in plain]
        refuse_coarse(numbers[:, plain], names, f"say `{option}: standard`, or subtract an offset")
    return columns(numbers, scaling)


def _labels(table: TableFile, target: str, classes: tuple[str, ...] | None) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Return the number of each row's class, and the names of the classes."""
    encoded = table.column(target).combine_chunks().dictionary_encode()
    found, codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    if "" in found:
        row = int((codes == found.index("")).argmax())
        raise DataError(f"{table.place(row)}: no class in column '{target}'")
    if classes is None:
        classes = in_order(found, table.decimal)
    elif len(set(classes)) != len(classes):
        raise DataError(f"{table.path}: `classes` names one twice: {', '.join(classes)}")
    numbers = {name: number for number, name in enumerate(classes)}
    if unknown := next((name for name in found if name not in numbers), None):
        place = table.place(int((codes == found.index(unknown)).argmax()))
        raise DataError(f"{place}: {shown(unknown)} in column '{target}' is none of the classes {', '.join(classes)}")
    return torch.from_numpy(np.array([numbers[name] for name in found], np.int64)[codes]), classes
