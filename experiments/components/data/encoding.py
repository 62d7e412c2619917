"""Columns of categories, and cells without a value: numbers that are fitted to the training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ...errors import FaultsError
from .table_file import listed

if TYPE_CHECKING:
    from .dataset import Dataset

Method = Literal["one_hot", "codes"]
_LISTED = 5  # categories that a message names


@dataclass(frozen=True)
class Encoding:
    """How columns of categories and missing numbers become numbers, once the training rows are known.

    Args:
        categories: by column, the names whose positions stand in its cells.
        fills: columns of numbers in which the mean of the training rows takes the place of NaN.
        method: `one_hot`: a column of 0 and 1 for each category; `codes`: its number from 1.
        unseen: whether a category that no training row has is refused, or ignored: all 0.
    """

    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    fills: tuple[str, ...] = ()
    method: Method = "one_hot"
    unseen: Literal["refuse", "ignore"] = "refuse"

    def __bool__(self) -> bool:
        return bool(self.categories or self.fills)


@dataclass(frozen=True)
class Encoder:
    """What an encoding took from the training rows.

    Args:
        categories: by column, the names that occur there, in order.
        means: of the columns of numbers that lack some.
    """

    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    means: Mapping[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.categories or self.means)

    @classmethod
    def fitted_to(cls, dataset: Dataset, train: torch.Tensor) -> Encoder:
        """Return the encoder of a data set's training rows.

        Raises:
            FaultsError: columns have no number there.
        """
        rows = dict(zip(dataset.columns, dataset.inputs[train].numpy().T, strict=True))
        categories = {
            name: tuple(np.array(names, dtype=object)[np.unique(rows[name]).astype(int)])
            for name, names in dataset.encoding.categories.items()
        }
        if empty := [f"'{name}'" for name in dataset.encoding.fills if np.isnan(rows[name]).all()]:
            nor = f", nor have {listed(empty[1:], 'columns')}" if empty[1:] else ""
            message = f"{dataset.description}: column {empty[0]} has no number in the training rows{nor}"
            raise FaultsError(("inputs", f"{message}: leave it out by `inputs`"))
        return cls(categories, {name: float(np.nanmean(rows[name])) for name in dataset.encoding.fills})

    def __call__(self, dataset: Dataset) -> Dataset:
        """Return a data set of numbers alone; the columns that stand for categories are not standardised.

        Raises:
            FaultsError: categories that are in no training row; columns that were not of this kind there.
        """
        self._refuse_unknown(dataset)
        names: list[str] = []
        columns: list[np.ndarray] = []
        unscaled: list[int] = []
        for name, cells in zip(dataset.columns, dataset.inputs.double().numpy().T, strict=True):
            if name in dataset.encoding.categories:
                made = self._encoded(dataset, name, cells)
                unscaled += range(len(names), len(names) + len(made))
            else:
                made = {name: np.where(np.isnan(cells), self.means.get(name, np.nan), cells)}
            names += made
            columns += made.values()
        inputs = torch.from_numpy(np.column_stack(columns))
        if "inputs" not in dataset.standardised:
            inputs = inputs.float()
        return replace(dataset, inputs=inputs, columns=tuple(names), unscaled=tuple(unscaled), encoding=Encoding())

    def as_dict(self) -> dict[str, Any]:
        """Return this as JSON holds it."""
        return {"categories": {name: list(each) for name, each in self.categories.items()}, "means": dict(self.means)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Encoder:
        """Return what `as_dict` wrote down.

        Raises:
            ValueError: it is not that.
        """
        categories = {name: tuple(each) for name, each in stored["categories"].items()}
        means = {name: float(mean) for name, mean in stored["means"].items()}
        if not np.isfinite(list(means.values())).all() or not all(
            isinstance(each, str) for names in categories.values() for each in names
        ):
            raise ValueError("a mean or category that is none")
        return cls(categories, means)

    def _codes(self, dataset: Dataset, name: str, cells: np.ndarray) -> np.ndarray:
        """Return the number of each cell's category, from 1; 0 for one that is unknown."""
        code_of = {category: number for number, category in enumerate(self.categories[name], 1)}
        return np.array([code_of.get(each, 0) for each in dataset.encoding.categories[name]])[cells.astype(int)]

    def _refuse_unknown(self, dataset: Dataset) -> None:
        """Refuse columns that held no categories, and categories that are in no training row, all at once."""
        encoding = dataset.encoding
        if others := [f"'{name}'" for name in encoding.categories if name not in self.categories]:
            held = f"column {others[0]} held numbers in the training rows"
            likewise = f", and so did {listed(others[1:], 'columns')}" if others[1:] else ""
            raise FaultsError(("categorical", f"{dataset.description}: {held}{likewise}"))
        if encoding.unseen == "ignore":
            return
        said, first = [], None
        for name, cells in zip(dataset.columns, dataset.inputs.double().numpy().T, strict=True):
            if name not in encoding.categories or (codes := self._codes(dataset, name, cells)).all():
                continue
            unseen = [encoding.categories[name][place] for place in np.unique(cells[codes == 0]).astype(int)]
            named = [repr(each) if each else "nothing" for each in unseen[:_LISTED]]
            said.append(f"column '{name}' has {listed(named, total=len(unseen))}, which no training row has")
            first = int((codes == 0).argmax()) if first is None else first
        if first is not None:
            way_out = "(`unseen: ignore` makes it none of the categories)"
            raise FaultsError(("unseen", f"{dataset.place(first)}: {listed(said, 'columns')} {way_out}"))

    def _encoded(self, dataset: Dataset, name: str, cells: np.ndarray) -> dict[str, np.ndarray]:
        """Return the columns that stand for one column of categories."""
        known, codes = self.categories[name], self._codes(dataset, name, cells)
        if dataset.encoding.method == "codes":
            return {name: codes.astype(np.float64)}
        return {f"{name}={category}": (codes == number).astype(np.float64) for number, category in enumerate(known, 1)}
