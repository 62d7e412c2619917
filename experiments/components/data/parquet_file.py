"""The user's own table, from a parquet file."""

from __future__ import annotations

from typing import Any, Literal

from ...registry.arguments import DataPath
from . import register_data
from .dataset import Dataset
from .encoding import Method
from .parquet_table import read_parquet
from .table_data import Unseen, data_of, rows_of
from .table_file import Missing
from .tables import Scaling


def parquet_rows(path: str, target: str | tuple[str, ...], **args: Any) -> Dataset:
    """Return the inputs of another table, which need have no target; the arguments are those of `parquet`.

    Raises:
        DataError: a column lacks; or a cell is not what it should be.
    """
    return rows_of(read_parquet(path), target, **args)


@register_data(
    "parquet",
    source="Apache Parquet format 2",
    example={"path": "table.parquet", "target": "price", "task": "values"},
    rows=parquet_rows,
)
def parquet(
    path: DataPath,
    target: str | tuple[str, ...],
    task: Literal["classes", "values"],
    inputs: tuple[str, ...] | None = None,
    scaling: Scaling = "standard",
    target_scaling: Scaling = "none",
    classes: tuple[str, ...] | None = None,
    categories: Method = "one_hot",
    categorical: tuple[str, ...] | None = None,
    unseen: Unseen = "refuse",
    missing: Missing | dict[str, Missing] = "refuse",
    weights: str | tuple[str, ...] | None = None,
) -> Dataset:
    """A table from a parquet file, which says what each column holds.

        standard: (x - mean) / std, of each column over the training rows; none: x

    Integers, floating point and decimal numbers are numbers, booleans 0 and 1; strings and dictionaries are categories.
    A null is a missing cell, and so are NaN and an empty text. Dates, times and nested columns are refused where they
    are asked for. All else is as for `csv`.

    Args:
        path: the file.
        target: the column to predict; for values, also a list of columns.
        task: `classes` or `values`.
        inputs: the columns to predict from; left out, all others but the index of a pandas frame.
        scaling: of inputs that are numbers.
        target_scaling: of targets of values. The loss is then of scaled targets, metrics are in their original units.
        classes: their names in the order of their numbers; left out, those of the whole table.
        categories: `one_hot`: a column of 0 and 1 for each category that the training rows have; `codes`: one column
            of their numbers from 1, as an embedding takes them. Neither is scaled.
        categorical: the input columns that hold categories, numbers or not; left out, those that are no numbers.
        unseen: whether a category that no training row has is refused, or ignored, as 0.
        missing: what becomes of a cell without a value: `mean` of the training rows, in columns of numbers;
            `category` of its own, in columns of categories; for all columns, or a policy for each.
        weights: columns that say how much each row weighs, and are no inputs: for `data.sampling` and `loss.weights`,
            which name one of them.

    Raises:
        DataError: the file is missing or damaged, or a column or cell is not what it should be; the message has the
            row, counted from 1.

    Source: Apache Parquet, "File format", version 2.
    """
    return data_of(
        read_parquet(path),
        target,
        task,
        inputs,
        scaling,
        target_scaling,
        classes,
        weights,
        categories=categories,
        categorical=categorical,
        unseen=unseen,
        missing=missing,
    )
