"""Tables of OpenML's that scikit-learn has downloaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from ...errors import FaultsError
from ...registry.arguments import Count, DataPath
from . import register_data
from .arff_table import ArffTable, arff_content, read_arff
from .dataset import Dataset
from .encoding import Method
from .openml_files import OpenmlFiles
from .table_data import Unseen, data_of, rows_of
from .table_file import Missing
from .tables import Scaling


def openml_rows(path: str, target: str | tuple[str, ...], **args: Any) -> Dataset:
    """Return the inputs of an ARFF file, which need have no target; the arguments are those of `openml`.

    Raises:
        DataError: a column lacks; or a cell is not what it should be.
    """
    return rows_of(read_arff(path), target, **args)


def _content_sha256(path: str) -> str:
    """Return the SHA-256 of a table; the file around it is another one whenever it is fetched."""
    return hashlib.sha256(arff_content(path)).hexdigest()


def _table_file(args: Mapping[str, Any]) -> Iterator[str]:
    path = OpenmlFiles(args["data_id"], args.get("path")).table_path()
    if path is not None:
        yield str(path)


@register_data(
    "openml",
    source="OpenML, in the files of scikit-learn's fetch_openml",
    example={"data_id": 31},
    rows=openml_rows,
    reads=_table_file,
    digest=_content_sha256,
)
def openml(
    data_id: Count,
    path: DataPath | None = None,
    target: str | tuple[str, ...] | None = None,
    task: Literal["classes", "values"] | None = None,
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
    """A table of OpenML's, from the files that scikit-learn's `fetch_openml` has left on this machine.

        standard: (x - mean) / std, of each column over the training rows; none: x

    Nothing is downloaded: what is not there is refused with the command that fetches it. The table is compared with the
    MD5 of its description. Its columns are as for `arff`.

    Args:
        data_id: its number on OpenML.
        path: the data folder of scikit-learn; left out, `SCIKIT_LEARN_DATA` or `~/scikit_learn_data`.
        target: the column to predict; for values, also a list of columns. Left out, OpenML's default.
        task: `classes` or `values`; left out, `values` if the target holds numbers.
        inputs: the columns to predict from; left out, all others but those that OpenML says to ignore, and the one that
            numbers or names the rows.
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
        DataError: a file is missing, damaged or another one than its description says; or a column or cell is not what
            it should be.

    Source: Vanschoren et al., "OpenML: networked science in machine learning", 2013, doi:10.1145/2641190.2641198.
    """
    table, defaults = OpenmlFiles(data_id, path).table()
    targets = _targets(table, data_id, target, defaults)
    task = task or _task(table, targets)
    dataset = data_of(
        table,
        targets,
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
    return replace(dataset, learned={**dataset.learned, "target": targets, "task": task})


def _targets(
    table: ArffTable, data_id: int, target: str | tuple[str, ...] | None, defaults: tuple[str, ...]
) -> tuple[str, ...]:
    if target is None and not defaults:
        said = f"OpenML names no target of data set {data_id}: say which of {', '.join(table.cells)}"
        raise FaultsError(("target", said))
    return defaults if target is None else (target,) if isinstance(target, str) else target


def _task(table: ArffTable, targets: tuple[str, ...]) -> Literal["classes", "values"]:
    kinds = {table.attributes[name].kind for name in targets if name in table.attributes}
    return "values" if kinds == {"number"} else "classes"
