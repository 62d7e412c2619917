"""The user's own table, from a CSV file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ...registry.arguments import DataPath
from . import register_data
from .csv_table import read_csv
from .dataset import Dataset
from .encoding import Method
from .table_data import Unseen, data_of, rows_of
from .table_file import DecimalMark, Missing
from .tables import Scaling


def _as_before(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as versions had them that kept no record: without categories, classes below 0 as text."""
    args = {**args, "categorical": args.get("categorical") or ()}
    if args.get("task") != "classes" or args.get("classes") is not None or not isinstance(args.get("target"), str):
        return dict(args)
    cells = read_csv(args["path"], args.get("delimiter", ",")).column(args["target"])
    names = cells.unique().to_pylist()
    is_whole = all(name.isdecimal() for name in names)
    return {**args, "classes": tuple(sorted(names, key=int) if is_whole else sorted(names))}


def csv_rows(
    path: str, target: str | tuple[str, ...], delimiter: str = ",", decimal: DecimalMark = ".", **args: Any
) -> Dataset:
    """Return the inputs of another table, which need have no target; the arguments are those of `csv`.

    Raises:
        DataError: a column lacks; or a cell is not what it should be.
    """
    return rows_of(read_csv(path, delimiter, decimal), target, **args)


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
    unseen: Unseen = "refuse",
    missing: Missing | dict[str, Missing] = "refuse",
    decimal: DecimalMark = ".",
    weights: str | tuple[str, ...] | None = None,
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
        weights: columns that say how much each row weighs, and are no inputs: for `data.sampling` and `loss.weights`,
            which name one of them.

    Raises:
        DataError: the file is missing, or a column or number in it; the message has the line.
        ArgumentsError: `decimal` and `delimiter` are the same.

    Source: RFC 4180, "Common format and MIME type for comma-separated values (CSV) files", 2005.
    """
    table = read_csv(path, delimiter, decimal)
    return data_of(
        table,
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
