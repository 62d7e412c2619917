"""What is fitted to the training rows of a data set, and then serves for every row that is read later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch

from ...errors import DataError
from ...registry import Component
from .dataset import Dataset

SCHEMA = "optrun/fitted@1"


@dataclass(frozen=True)
class Scale:
    """Brings columns to mean 0 and standard deviation 1 over the rows that it was fitted to.

        (x - mean) / std,   in double precision, handed out in single precision

    Args:
        mean: of each column.
        std: of each column, with n in the denominator; 1 for a column that is constant over these rows, whose mean is
            its value.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fitted_to(cls, rows: torch.Tensor) -> Scale:
        """Return the scale of some rows, shape (rows, columns)."""
        numbers = rows.numpy()
        constant = (numbers == numbers[0]).all(0)
        mean = np.where(constant, numbers[0], numbers.mean(0))
        std = np.where(constant, 1.0, numbers.std(0))
        return cls(tuple(mean.tolist()), tuple(std.tolist()))

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return rows scaled, in single precision; what is too large for it becomes infinite."""
        with np.errstate(over="ignore"):
            scaled = ((rows.numpy() - np.array(self.mean)) / np.array(self.std)).astype(np.float32)
        return torch.from_numpy(scaled)


@dataclass(frozen=True)
class Fitted:
    """What a run takes from its rows: kept with it, so that rows that are read later are treated alike.

    Args:
        arguments: of the data set, which say how its rows are read: the columns, the list of classes.
        scales: of `inputs` and `targets`, where they are standardised.
        rows: which ones scales are fitted to: those for training; or all, as by versions that kept no record.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    scales: Mapping[str, Scale] = field(default_factory=dict)
    rows: Literal["train", "all"] = "train"

    def __bool__(self) -> bool:
        return bool(self.arguments or self.scales)

    def completed(self, dataset: Dataset, train: torch.Tensor) -> Fitted:
        """Return this with what is missing fitted to the rows at the positions `train`.

        Raises:
            DataError: what is there was fitted to other columns.
        """
        if self.rows == "all" and not self:
            _refuse_renumbered_classes(dataset)
        scales = {}
        for part in dataset.standardised:
            columns: torch.Tensor = getattr(dataset, part)
            if part not in self.scales:
                scales[part] = Scale.fitted_to(columns if self.rows == "all" else columns[train])
            elif len(self.scales[part].mean) == columns.shape[1]:
                scales[part] = self.scales[part]
            else:
                fitted, found = len(self.scales[part].mean), columns.shape[1]
                raise DataError(f"the {part} were standardised as {fitted} columns, but there are {found} now")
        return Fitted({**dataset.learned, **self.arguments}, scales, self.rows)

    def applied(self, dataset: Dataset) -> Dataset:
        """Return a data set standardised by these scales.

        Raises:
            DataError: a number becomes too large for single precision.
        """
        scaled = {part: self.scales[part](getattr(dataset, part)) for part in dataset.standardised}
        for part, numbers in scaled.items():
            if not numbers.isfinite().all():
                row, column = (~numbers.isfinite()).nonzero()[0].tolist()
                problem = f"row {row} of the {part}, column {dataset.column(part, column)}"
                raise DataError(f"{problem}, is too far from the training rows to be standardised by them")
        facts = dict(dataset.facts)
        if "targets" in scaled:
            facts |= {"target_mean": list(self.scales["targets"].mean), "target_std": list(self.scales["targets"].std)}
        return replace(dataset, **scaled, facts=facts, standardised=()) if scaled else dataset

    def arguments_of(self, component: Component, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a data set, those that are left out as they were when this was fitted."""
        known = {argument.name for argument in component.signature.arguments}
        return {**args, **{k: v for k, v in self.arguments.items() if k in known and args.get(k) is None}}

    def as_dict(self) -> dict[str, Any]:
        """Return this as JSON holds it."""
        return {
            "schema": SCHEMA,
            "rows": self.rows,
            "arguments": {k: list(v) if isinstance(v, tuple) else v for k, v in self.arguments.items()},
            "scales": {k: {"mean": list(v.mean), "std": list(v.std)} for k, v in self.scales.items()},
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Fitted:
        """Return what `as_dict` wrote down.

        Raises:
            DataError: it is not that.
        """
        try:
            if stored["schema"] != SCHEMA or stored["rows"] not in ("train", "all"):
                raise ValueError(f"schema {stored['schema']!r}, rows {stored['rows']!r}")
            arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in stored["arguments"].items()}
            scales = {k: Scale(tuple(v["mean"]), tuple(v["std"])) for k, v in stored["scales"].items()}
            for scale in scales.values():
                numbers = np.array([scale.mean, scale.std], dtype=np.float64)
                if not np.isfinite(numbers).all() or not (numbers[1] > 0).all():
                    raise ValueError("a mean or deviation that is none")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"the record of what was fitted to the training rows is damaged: {error!r}") from error
        return cls(arguments, scales, stored["rows"])


#: Of a run that kept no record, because it was made before there was one.
BEFORE = Fitted(rows="all")


def _refuse_renumbered_classes(dataset: Dataset) -> None:
    """Refuse classes that a run without a record numbered in another order: it sorted negative numbers as text."""
    names = dataset.class_names
    if list(names) != sorted(names) and any(name.startswith("-") for name in names):
        problem = f"the classes {', '.join(names)} were numbered in another order by the version that made the run"
        raise DataError(f"{problem}: train it anew")
