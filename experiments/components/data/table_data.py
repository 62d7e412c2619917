"""A table of the user's own as data: which columns are inputs, targets and classes, whatever file they come from."""

from __future__ import annotations

import logging
from typing import Any, Literal

import numpy as np
import torch

from ...errors import DataError, FaultsError
from .columns import Column, in_order, input_columns, number_column, weight_column
from .dataset import Dataset
from .encoding import Encoding, Method
from .faults import Faults, tally
from .precision import refuse_coarse
from .table_file import Missing, TableFile, listed, shown
from .tables import Scaling, columns, standardised

log = logging.getLogger("optrun")

Unseen = Literal["refuse", "ignore"]


def data_of(
    table: TableFile,
    target: str | tuple[str, ...],
    task: Literal["classes", "values"],
    inputs: tuple[str, ...] | None,
    scaling: Scaling,
    target_scaling: Scaling,
    classes: tuple[str, ...] | None,
    weights: str | tuple[str, ...] | None,
    *,
    categories: Method,
    categorical: tuple[str, ...] | None,
    unseen: Unseen,
    missing: Missing | dict[str, Missing],
) -> Dataset:
    """Return a table as data; the arguments are those of `csv`.

    Raises:
        FaultsError: columns lack, or cells are not what they should be; the message has the places.
        DataError: the arguments do not fit the table.
    """
    targets, weighing = _listed(target), _listed(weights)
    names = _input_names(table, [*targets, *weighing], inputs)
    faults = Faults(table, missing)
    for key, asked in (("target", targets), ("weights", weighing), ("inputs", names)):
        _check_columns(faults, key, asked)
    faults.refuse()
    if both := set(targets) & set(names):
        raise FaultsError(("inputs", f"{table.path}: {', '.join(sorted(both))} cannot be input and target"))
    if both := set(weighing) & {*targets, *names}:
        problem = f"{', '.join(sorted(both))} cannot be a weight, and input or target too"
        raise FaultsError(("weights", f"{table.path}: {problem}"))
    if not names or (task == "classes" and len(targets) != 1):
        raise DataError(f"{table.path}: expected {'one target for classes' if names else 'at least one input column'}")
    found = input_columns(faults, names, categorical, missing)
    values = [number_column(faults, name) for name in targets] if task == "values" else []
    weights_found = [weight_column(faults, name) for name in weighing]
    faults.refuse()
    numbers, about = _inputs(table, found, scaling, categories, unseen, missing)
    about |= {"standardised": standardised(scaling, target_scaling), "place_of": table.place}
    about |= {"weights": {column.name: torch.tensor(column.values) for column in weights_found}}
    learned = {"inputs": tuple(names), "categorical": tuple(about["encoding"].categories)}
    if task == "values":
        if classes is not None:
            raise DataError(f"{table.path}: `classes` is for a target of classes, and the task is values")
        about |= {"target_columns": tuple(targets), "original_units": True, "learned": learned}
        return Dataset(numbers, _matrix(table, values, target_scaling, "target_scaling"), task, len(targets), **about)
    if target_scaling != "none":
        raise DataError(f"{table.path}: `target_scaling` is for a target of values, and the task is classes")
    labels, classes = _labels(table, targets[0], classes)
    learned["classes"] = classes
    return Dataset(numbers, labels, task, len(classes), class_names=classes, learned=learned, **about)


def rows_of(
    table: TableFile,
    target: str | tuple[str, ...],
    *,
    inputs: tuple[str, ...] | None = None,
    scaling: Scaling = "standard",
    categories: Method = "one_hot",
    categorical: tuple[str, ...] | None = None,
    unseen: Unseen = "refuse",
    missing: Missing | dict[str, Missing] = "refuse",
    weights: str | tuple[str, ...] | None = None,
    **_: Any,
) -> Dataset:
    """Return the inputs of another table, which need have no target; the arguments are those of `csv`.

    Raises:
        DataError: a column lacks; or a cell is not what it should be.
    """
    targets = [*_listed(target), *_listed(weights)]  # which other rows need not have
    names = _input_names(table, targets, inputs)
    faults = Faults(table, missing, is_trained=True)
    if lacking := [name for name in names if name not in table.cells]:
        there = f"{table.named_by[0].lower()}{table.named_by[1:]}: {', '.join(table.cells)}"
        raise DataError(f"{table.path} lacks {_quoted(lacking)}, which the model was trained with; {there}")
    if unknown := [name for name in table.cells if name not in {*names, *targets, *table.index}]:
        log.warning("%s: not read, since the model was trained without: %s", table.path, _quoted(unknown))
    _check_columns(faults, "", names)
    faults.refuse()
    found = input_columns(faults, names, categorical, missing)
    faults.refuse()
    numbers, about = _inputs(table, found, scaling, categories, unseen, missing)
    about |= {"standardised": standardised(scaling), "place_of": table.place}
    return Dataset(numbers, torch.zeros(len(numbers)), "none", 1, **about)


def _listed(names: str | tuple[str, ...] | None) -> list[str]:
    return [names] if isinstance(names, str) else list(names or ())


def _input_names(table: TableFile, targets: list[str], inputs: tuple[str, ...] | None) -> list[str]:
    if inputs is not None:
        return list(inputs)
    return [name for name in table.cells if name not in targets and name not in table.index]


def _quoted(names: list[str]) -> str:
    return f"the column{'s' * (len(names) != 1)} {', '.join(map(repr, names))}"


def _check_columns(faults: Faults, key: str, names: list[str]) -> None:
    """Take in columns that lack, or hold what is neither number nor text."""
    table = faults.table
    if lacking := table.lacking(names):
        faults.other(key, lacking)
    for name in names:
        if name in table.cells and (found := table.unusable(name)) is not None:
            faults.whole(f"type {key}", name, *found, key)


def _inputs(
    table: TableFile,
    found: list[Column],
    scaling: Scaling,
    categories: Method,
    unseen: Unseen,
    missing: Missing | dict[str, Missing],
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Return the input columns side by side, and what a data set says of them; the arguments are those of `csv`."""
    names = [column.name for column in found]
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
        names = [f"column '{found[index].name}'" for index in plain]
        way_out = f"say `{option}: standard`, or subtract an offset"
        refuse_coarse(numbers[:, plain], names, way_out, option, f"{table.path}: ")
    return columns(numbers, scaling)


def _labels(table: TableFile, target: str, classes: tuple[str, ...] | None) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Return the number of each row's class, and the names of the classes."""
    encoded = table.texts(target).combine_chunks().dictionary_encode()
    found, codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    if "" in found:
        rows = np.flatnonzero(codes == found.index(""))
        in_all = tally(table, {target: rows}, shows_cells=False)
        raise FaultsError(("target", f"{table.place(int(rows[0]))}: no class in column '{target}'{in_all}"))
    if classes is None:
        classes = in_order(found, table, target)
    elif len(set(classes)) != len(classes):
        raise FaultsError(("classes", f"{table.path}: `classes` names one twice: {', '.join(classes)}"))
    numbers = {name: number for number, name in enumerate(classes)}
    if unknown := [name for name in found if name not in numbers]:
        place = table.place(int((codes == found.index(unknown[0])).argmax()))
        nor = f", nor {'is' if len(unknown) == 2 else 'are'} {listed([shown(name) for name in unknown[1:]])}"
        said = f"{shown(unknown[0])} in column '{target}' is none of the classes {', '.join(classes)}"
        raise FaultsError(("classes", f"{place}: {said}{nor if unknown[1:] else ''}"))
    return torch.from_numpy(np.array([numbers[name] for name in found], np.int64)[codes]), classes
