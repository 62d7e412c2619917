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
from .encoding import Encoder
from .precision import loses_values
from .scale import Scale, flattening
from .table_file import listed

SCHEMA = "optrun/fitted@1"
_WITH_ENCODER = "optrun/fitted@2"


@dataclass(frozen=True)
class Fitted:
    """What a run takes from its rows: kept with it, so that rows that are read later are treated alike.

    Args:
        arguments: of the data set, which say how its rows are read: the columns, the list of classes.
        scales: of `inputs` and `targets`, where they are standardised.
        rows: which ones scales are fitted to: those for training; or all, as by versions that kept no record.
        encoder: of columns of categories and missing numbers.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    scales: Mapping[str, Scale] = field(default_factory=dict)
    rows: Literal["train", "all"] = "train"
    encoder: Encoder = field(default_factory=Encoder)

    def __bool__(self) -> bool:
        return bool(self.arguments or self.scales or self.encoder)

    def completed(self, dataset: Dataset, train: torch.Tensor) -> Fitted:
        """Return this with what is missing fitted to the rows at the positions `train`.

        Raises:
            DataError: what is there was fitted to other columns, or nothing can be fitted to these rows.
        """
        encoder = self.encoder
        if dataset.encoding:
            encoder = encoder or Encoder.fitted_to(dataset, train)
            dataset = encoder(dataset)
        scales = {}
        for part in dataset.standardised:
            columns: torch.Tensor = getattr(dataset, part)
            if part not in self.scales:
                unscaled = dataset.unscaled if part == "inputs" else ()
                scales[part] = Scale.fitted_to(columns if self.rows == "all" else columns[train], unscaled)
            elif len(self.scales[part].mean) == columns.shape[1]:
                scales[part] = self.scales[part]
            else:
                fitted, found = len(self.scales[part].mean), columns.shape[1]
                raise DataError(f"the {part} were standardised as {fitted} columns, but there are {found} now")
        return Fitted({**dataset.learned, **self.arguments}, scales, self.rows, encoder)

    def applied(self, dataset: Dataset) -> Dataset:
        """Return a data set encoded and standardised by what was fitted.

        Raises:
            DataError: a number becomes too large for single precision, or a category is new.
        """
        if dataset.encoding:
            dataset = self.encoder(dataset)
        scaled = {part: self.scales[part](getattr(dataset, part)) for part in dataset.standardised}
        for part, numbers in scaled.items():
            if not numbers.isfinite().all():
                row, column = (~numbers.isfinite()).nonzero()[0].tolist()
                problem = f"{dataset.place(row)} of the {part}, column {dataset.column(part, column)}"
                raise DataError(f"{problem}, is too far from the training rows to be standardised by them")
        if not scaled:
            return dataset
        facts, target_scale = dict(dataset.facts), self.scales.get("targets")
        if target_scale is not None:
            facts |= {"target_mean": list(target_scale.mean), "target_std": list(target_scale.std)}
        return replace(dataset, **scaled, facts=facts, standardised=(), target_scale=target_scale)

    def flattened(self, dataset: Dataset, train: torch.Tensor) -> list[str]:
        """Return a sentence for each column that is to be standardised anew, and that one value flattens.

        Raises:
            DataError: some make the others equal in single precision.
        """
        notes, equal = [], []
        way_out = "mend it, leave its row out, or give the logarithm of the column"
        for part in (each for each in dataset.standardised if each not in self.scales):
            for number, values in enumerate(getattr(dataset, part)[train].double().T.contiguous().numpy()):
                name = dataset.column(part, number)
                if part == "inputs" and dataset.columns and dataset.columns[number] in dataset.encoding.categories:
                    continue
                there = ~np.isnan(values)
                if (flat := flattening(values[there])) is None:
                    continue
                row = int(train[np.flatnonzero(there)[flat[0]]])
                said = f"{dataset.place(row)}: column {name} has {values[there][flat[0]]:g}, beside which the others"
                if loses_values((values - values[there].mean()) / values[there].std()):
                    equal.append(f"{said} become equal")
                else:
                    notes.append(f"{said} are {flat[1]:.1g} of a standard deviation apart: {way_out}")
        if equal:
            raise DataError(f"{listed(equal, 'columns')}, once they are standardised: {way_out}")
        return notes

    def arguments_of(self, component: Component, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a data set, those that are left out as they were when this was fitted."""
        if self.rows == "all" and not self and (before := component.facts.get("before")) is not None:
            args = before(args)
        known = {argument.name for argument in component.signature.arguments}
        return {**args, **{k: v for k, v in self.arguments.items() if k in known and args.get(k) is None}}

    def as_dict(self) -> dict[str, Any]:
        """Return this as JSON holds it."""
        return {
            "schema": _WITH_ENCODER if self.encoder else SCHEMA,
            "rows": self.rows,
            "arguments": {k: list(v) if isinstance(v, tuple) else v for k, v in self.arguments.items()},
            "scales": {k: {"mean": list(v.mean), "std": list(v.std)} for k, v in self.scales.items()},
            **({"encoder": self.encoder.as_dict()} if self.encoder else {}),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Fitted:
        """Return what `as_dict` wrote down.

        Raises:
            DataError: it is not that.
        """
        try:
            if stored["schema"] not in (SCHEMA, _WITH_ENCODER) or stored["rows"] not in ("train", "all"):
                raise ValueError(f"schema {stored['schema']!r}, rows {stored['rows']!r}")
            arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in stored["arguments"].items()}
            scales = {k: Scale(tuple(v["mean"]), tuple(v["std"])) for k, v in stored["scales"].items()}
            for scale in scales.values():
                numbers = np.array([scale.mean, scale.std], dtype=np.float64)
                if not np.isfinite(numbers).all() or not (numbers[1] > 0).all():
                    raise ValueError("a mean or deviation that is none")
            if ("encoder" in stored) != (stored["schema"] == _WITH_ENCODER):
                raise ValueError(f"schema {stored['schema']!r} is of another record")
            encoder = Encoder.from_dict(stored["encoder"]) if "encoder" in stored else Encoder()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"the record of what was fitted to the training rows is damaged: {error!r}") from error
        return cls(arguments, scales, stored["rows"], encoder)


#: Of a run that kept no record, because it was made before there was one.
BEFORE = Fitted(rows="all")
