"""What is wrong with a table: all columns with one kind of fault are told at once, with their first rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import DataError, FaultsError
from .table_file import LISTED, Missing, TableFile, listed

_ROWS = 3  # of each column that a message lists
_GAP = "gap"
_MEAN = "(`missing: mean` puts the mean there)"


@dataclass(frozen=True, eq=False)
class _Fault:
    """Cells of one column, or the column itself.

    Args:
        kind: those of one kind are told together.
        column: its name.
        rows: positions of the cells; None where the whole column is meant.
        said: what is wrong; `{}` stands for the first cell.
        way_out: what to do, as the end of the sentence.
        key: the argument of the data set that decides about it; nothing for the data as a whole.
    """

    kind: str
    column: str
    rows: np.ndarray | None
    said: str
    way_out: str
    key: str


class Faults:
    """The faults found in a table so far.

    Args:
        table: where.
        missing: what was said about cells without a value.
        is_trained: whether a run was trained on such columns: what it took from them cannot be said otherwise now.
    """

    def __init__(self, table: TableFile, missing: Missing | Mapping[str, Missing] = "refuse", is_trained: bool = False):
        self.table, self.missing, self.is_trained = table, missing, is_trained
        self._found: list[_Fault] = []
        self._others: list[tuple[str, str]] = []
        self._policies: dict[str, Missing] = {}  # that columns with gaps could have

    def cells(self, kind: str, column: str, wrong: np.ndarray, said: str, way_out: str = "", key: str = "") -> None:
        """Note the cells of a column at which `wrong` is true, if there are some; see `_Fault`."""
        if wrong.any():
            self._found.append(_Fault(kind, column, np.flatnonzero(wrong), said, way_out, key))

    def numbers_missing(self, column: str, absent: np.ndarray, missing: Missing) -> None:
        """Note the cells of a column of numbers that have none, unless the mean takes their place."""
        said, way_out = "needs numbers, got {}", _MEAN
        if missing == "category":
            said = "has {} where it needs a number"
            way_out = f"(`missing: category` is for columns of categories: say `missing: {{{column}: mean}}`)"
        self._missing(column, absent, missing, "mean", said, way_out)

    def categories_missing(self, column: str, absent: np.ndarray, missing: Missing) -> None:
        """Note the empty cells of a column of categories, unless they are a category of their own."""
        said = "has {}" + (", and categories have no mean" if missing == "mean" else " where it needs a category")
        way_out = f"(`missing: {{{column}: category}}` makes it one of the categories)"
        self._missing(column, absent, missing, "category", said, way_out)

    def whole(self, kind: str, column: str, said: str, way_out: str, key: str) -> None:
        """Note a column as a whole; see `_Fault`."""
        self._found.append(_Fault(kind, column, None, said, way_out, key))

    def other(self, key: str, message: str) -> None:
        """Note what is no fault of a column."""
        self._others.append((key, f"{self.table.path}{message}"))

    def refuse(self) -> None:
        """Refuse the table, if anything was found.

        Raises:
            FaultsError: with a message for each kind, at the argument that decides about it.
            DataError: of rows for a run that was trained.
        """
        by_kind: dict[str, list[_Fault]] = {}
        for fault in self._found:
            by_kind.setdefault(fault.kind, []).append(fault)
        told = [*self._others, *((each[0].key, self._message(each)) for each in by_kind.values())]
        if told and self.is_trained:
            raise DataError("\n".join(message for _, message in told))
        if told:
            raise FaultsError(*told)

    def _missing(
        self, column: str, absent: np.ndarray, missing: Missing, policy: Missing, said: str, way_out: str
    ) -> None:
        if absent.any():
            self._policies[column] = policy
        if missing != policy:
            self.cells(_GAP, column, absent, said, way_out, "missing")

    def _message(self, faults: Sequence[_Fault]) -> str:
        first = faults[0]
        way_out = self._of_gaps(faults) if first.kind == _GAP else first.way_out
        if first.rows is None:
            others = listed([f"'{each.column}'" for each in faults[1:]], "columns")
            likewise = f", and so it is with {others}" if others else ""
            return (
                f"{self.table.place_of_column(first.column)}: column '{first.column}' {first.said}{likewise}{way_out}"
            )
        row = int(first.rows[0])
        said = first.said.format(self.table.cell(first.column, row))
        rows = {each.column: each.rows for each in faults if each.rows is not None}
        in_all = tally(self.table, rows, shows_cells=first.kind != _GAP)
        return f"{self.table.place(row)}: column '{first.column}' {said} {way_out}".rstrip() + in_all

    def _of_gaps(self, faults: Sequence[_Fault]) -> str:
        """Return what `missing` has to say, so that no gap is left."""
        if self.is_trained:
            return "(the model was trained without any: fill them in)"
        if self.missing == "refuse" and set(self._policies.values()) == {"mean"}:
            return _MEAN
        if len(self._policies) == 1 and not isinstance(self.missing, Mapping):
            return faults[0].way_out
        given = dict(self.missing) if isinstance(self.missing, Mapping) else {}
        said = [f"{column}: {policy}" for column, policy in {**given, **self._policies}.items()]
        said = [*said[:LISTED], *(["…"] if len(said) > LISTED else [])]
        return f"(`missing: {{{', '.join(said)}}}` says what stands there)"


def tally(table: TableFile, rows: Mapping[str, np.ndarray], shows_cells: bool = True) -> str:
    """Return how many cells of which columns are meant and where the first stand, unless it is one cell alone.

    Args:
        table: where.
        rows: positions by column.
        shows_cells: whether what stands there is told.
    """
    total = sum(map(len, rows.values()))
    if total == 1:
        return ""
    shown = list(rows.items())[:LISTED]
    first = sorted({int(row) for _, found in shown for row in found[:_ROWS]})
    word, numbers = table.stands(first)
    number = dict(zip(first, numbers, strict=True))
    named = []
    for column, found in shown:
        cells = [
            f"{number[int(row)]}" + (f" ({table.cell(column, int(row))})" if shows_cells else "")
            for row in found[:_ROWS]
        ]
        name = f"'{column}' in " if len(rows) > 1 else ""
        named.append(f"{name}{word}{'s' * (len(found) > 1)} {listed(cells, total=len(found))}")
    of_columns = f" of {len(rows)} columns" if len(rows) > 1 else ""
    more = f"; and {len(rows) - LISTED} columns more" if len(rows) > LISTED else ""
    return f"; in all {total} cells{of_columns}: {', '.join(named)}{more}"
