"""The user's own table, from an ARFF file."""

from __future__ import annotations

from typing import Any, Literal

from ...registry.arguments import DataPath
from . import register_data
from .arff_table import read_arff
from .dataset import Dataset
from .encoding import Method
from .table_data import Unseen, data_of, rows_of
from .table_file import Missing
from .tables import Scaling


def arff_rows(path: str, target: str | tuple[str, ...], **args: Any) -> Dataset:
    """Return the inputs of another table, which need have no target; the arguments are those of `arff`.

    Raises:
        DataError: a column lacks; or a cell is not what it should be.
    """
    return rows_of(read_arff(path), target, **args)


@register_data(
    "arff",
    source="Weka, ARFF",
    example={"path": "table.arff", "target": "price", "task": "values"},
    rows=arff_rows,
)
def arff(
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
    """A table from an ARFF file, which declares what each column holds.

        standard: (x - mean) / std, of each column over the training rows; none: x

    Numeric, real and integer attributes are numbers; nominal ones and strings are categories, nominal ones in the order
    in which the file declares their values: of these the ones that occur, as for `csv`. A question mark is a missing
    cell, and so is an empty one. Dates are refused where they are asked for; sparse rows, relational attributes and
    weights in braces always. All else is as for `csv`.

    Args:
        path: the file, `.arff` or `.arff.gz`, in UTF-8.
        target: the column to predict; for values, also a list of columns.
        task: `classes` or `values`.
        inputs: the columns to predict from; left out, all others.
        scaling: of inputs that are numbers.
        target_scaling: of targets of values. The loss is then of scaled targets, metrics are in their original units.
        classes: their names in the order of their numbers; left out, those that occur in the whole table, as declared.
        categories: `one_hot`: a column of 0 and 1 for each category that the training rows have; `codes`: one column
            of their numbers from 1, as an embedding takes them. Neither is scaled.
        categorical: the input columns that hold categories, numbers or not; left out, those that are no numbers.
        unseen: whether a category that no training row has is refused, or ignored, as 0.
        missing: what becomes of a cell without a value: `mean` of the training rows, in columns of numbers;
            `category` of its own, in columns of categories; for all columns, or a policy for each.
        weights: columns that say how much each row weighs, and are no inputs: for `data.sampling` and `loss.weights`,
            which name one of them.

    Raises:
        DataError: the file is missing or damaged, or an attribute, row or cell is not what it should be; the message
            has the line.

    Source: Witten and Frank, "Data mining", 2000, section 2.4, "ARFF format", as Weka and OpenML write it.
    """
    return data_of(
        read_arff(path),
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
