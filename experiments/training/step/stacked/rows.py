"""The weights of several train ops as rows of one tensor, and so what their optimizers keep for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from ..compiled.cannot import CannotCompile
from ..compiled.cells import Cell
from ..compiled.layout import Layout
from ..compiled.program import number_type, row_length
from ..compiled.rules import Counters, Rates
from .members import Found

_LEAST_ROWS = 2  # a row by itself would have other bits


def num_rows_for(num_members: int, before: int, width: int = 1) -> int:
    """Return how many rows there are for so many members: as many as before, unless that is far too many.

    Args:
        num_members: that have one.
        before: how many there were.
        width: how many are taken at once; it divides the number.
    """
    least = -(-max(num_members, _LEAST_ROWS) // width) * width
    return before if least <= before < 2 * least else least


class Columns:
    """Tensors of one type in each row, one after the other.

    Args:
        like: of one member, by which the columns are laid out.
        num_rows: one for each member.

    Attributes:
        all: shape (rows, elements); between two tensors there may be some that are no tensor's.
    """

    def __init__(self, like: Sequence[Tensor], num_rows: int):
        self._like, self._starts, length = [*like], [], 0
        for tensor in like:
            self._starts.append(length)
            length += row_length(tensor)
        self._ends = [*self._starts[1:], length]
        self.all = torch.zeros((num_rows, length), dtype=like[0].dtype, device=like[0].device)

    def of(self, index: int, rows: slice = slice(None)) -> Tensor:
        """Return one tensor of some members, shape (rows, ...)."""
        part, like = self.all[rows], self._like[index]
        start = part.storage_offset() + self._starts[index]
        return part.as_strided((len(part), *like.shape), (self.all.shape[1], *like.stride()), start)

    def span(self, first: int, last: int, rows: slice = slice(None)) -> Tensor:
        """Return some members' tensors from one to another as they lie next to each other, shape (rows, elements)."""
        return self.all[rows, self._starts[first] : self._ends[last]]


class Moves:
    """What one rule does to weights of some rows.

    Args:
        place: of the cell of these weights among those of each member.
        cell: of the first member; all have the same settings.
        rows: of the weights.
    """

    def __init__(self, place: int, cell: Cell, rows: slice):
        self._place, self._rule, self._group, self._rows = place, cell.rule, cell.group, rows
        self._tensors: list[tuple[Tensor, Tensor, dict[str, Tensor]]] = []
        self._numbers = torch.empty(0)
        self._facts: list[list[tuple[float, Counters]]] = []
        self._by_row: list[list[tuple[Tensor, Tensor, dict[str, Tensor]]]] = []

    def add(self, weight: Tensor, gradient: Tensor, state: dict[str, Tensor]) -> None:
        """Add weights that are moved as one, with their gradients and state, each of shape (rows, ...)."""
        self._tensors.append((weight, gradient, state))
        rows = range(len(weight))
        self._by_row.append([(weight[r], gradient[r], {name: kept[r] for name, kept in state.items()}) for r in rows])

    @property
    def is_fused(self) -> bool:
        """Whether each row is moved by torch's own kernel."""
        return self._rule.fused is not None and bool(self._group.get("fused"))

    def begin(self, found: Sequence[Found], rates: Sequence[Rates]) -> None:
        """Prepare some steps.

        Args:
            found: the members of these rows; further rows do as the last.
            rates: of each, by parameter group, at one step after the other.
        """
        cells = [each.cells[self._place] for each in found]
        own = [by_group[cell.place] for cell, by_group in zip(cells, rates, strict=True)]
        num_more = self._rows.stop - self._rows.start - len(found)
        if self.is_fused:
            facts = [[*zip(rate, cell.counters_at(rate), strict=True)] for cell, rate in zip(cells, own, strict=True)]
            self._facts = [*facts, *[facts[-1]] * num_more]
        else:
            numbers = [cell.numbers(rate) for cell, rate in zip(cells, own, strict=True)]
            numbers += [numbers[-1]] * num_more
            self._numbers = torch.tensor(numbers, dtype=number_type(found[0].cells)).permute(1, 2, 0).contiguous()

    def __call__(self, step: int, good: Tensor | None) -> None:
        """Move weights and state.

        Args:
            step: of those that were prepared.
            good: which rows move, shape (all rows,); None moves all.
        """
        if self.is_fused:
            self._move_each(step, None if good is None else good[self._rows].tolist())
            return
        numbers = self._numbers[step].unbind()
        for weight, gradient, state in self._tensors:
            if self._rule.is_whole:
                new, new_state = torch.func.vmap(self._updated)(numbers, weight, gradient, state)
            else:
                new, new_state = self._updated([beside(each, weight) for each in numbers], weight, gradient, state)
            pairs = [(state[name], value) for name, value in new_state.items()]
            if new is not weight:
                pairs.append((weight, new))
            for tensor, value in pairs:
                tensor.copy_(value if good is None else torch.where(beside(good[self._rows], tensor), value, tensor))

    def _updated(
        self, numbers: Sequence[Tensor], weight: Tensor, gradient: Tensor, state: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return self._rule.update(self._group, numbers, weight, gradient, state)

    def _move_each(self, step: int, good: Sequence[bool] | None) -> None:
        fused, group = self._rule.fused, self._group
        assert fused is not None
        for rows in self._by_row:
            for row, ((weight, gradient, state), facts) in enumerate(zip(rows, self._facts, strict=True)):
                if good is None or good[row]:
                    fused(group, *facts[step], weight, gradient, state)


class Rows:
    """Weights, state and buffers of members, which from here on are views of rows.

    Args:
        found: the members; those that have one rule stand next to each other.
        width: how many rows there are, at least as many as members; the further ones do as the last member does.

    Attributes:
        gradients: of all weights, shape (rows, elements).
        gradient_of: of each weight, shape (rows, ...).
        groups: of rows that have one rule: their members, and what is done to them at a step.
    """

    def __init__(self, found: Sequence[Found], width: int):
        layout = found[0].layout
        if len({weight.dtype for weight in layout.weights}) > 1:
            raise CannotCompile("weights of several types are not trained in one batch")
        self.found, self._width = found, width
        self._views: list[tuple[Tensor, int]] = []  # what is a row's by now, and where
        self._taken: dict[Layout, list[Tensor | None]] = {}  # what graphs take
        weights, gradients = Columns(layout.weights, width), Columns(layout.weights, width)
        self.gradients = gradients.all
        self.gradient_of = [gradients.of(column) for column in range(len(layout.weights))]
        self._rows_of: dict[int, Tensor] = {}  # by the first member's tensor
        for column, weight in enumerate(layout.weights):
            self._rows_of[id(weight)] = self._filled(
                weights.of(column), [each.layout.weights[column] for each in found]
            )
        self.groups = [(rows, [*self._moves(rows, weights, gradients)]) for rows in _alike(found)]

    def taken(self, found: Sequence[Found]) -> list[Tensor | None]:
        """Return what the graph of the loss takes, each of all rows; None for what a batch brings."""
        first = found[0]
        if first.layout not in self._taken:
            batch, changed = {*first.layout.batch}, {*first.layout.gradients.outline.changed}
            for place, tensor in enumerate(first.taken):
                if place not in batch and id(tensor) not in self._rows_of:
                    self._rows_of[id(tensor)] = self._joined([each.taken[place] for each in found], place in changed)
            self._taken[first.layout] = [
                None if place in batch else self._rows_of[id(tensor)] for place, tensor in enumerate(first.taken)
            ]
        return self._taken[first.layout]

    def are_still(self, found: Sequence[Found], width: int) -> bool:
        """Return True if members have these rows, and nobody has put anything in their place."""
        if width != self._width or [each.op for each in found] != [each.op for each in self.found]:
            return False
        return all(tensor.data_ptr() == where for tensor, where in self._views) and all(
            _same(new.layout.weights, old.layout.weights) and _same(_kept(new), _kept(old))
            for new, old in zip(found, self.found, strict=True)
        )

    def _joined(self, tensors: Sequence[Tensor], is_changed: bool) -> Tensor:
        """Return a tensor of all rows: what members have in common, and no step changes, is there once."""
        first = tensors[0]
        if len(tensors) > 1 and not is_changed and all(each is first for each in tensors):
            return first.detach().expand(self._width, *first.shape)
        if is_changed:  # batch norm writes to all rows as to one, which must be a view of them
            return self._filled(first.detach().new_empty((self._width, *first.shape)), tensors)
        return self._filled(Columns([first], self._width).of(0), tensors)

    def _filled(self, rows: Tensor, tensors: Sequence[Tensor]) -> Tensor:
        """Put members' tensors into rows, whose views they are from here on."""
        with torch.no_grad():
            for row, tensor in zip(rows, tensors, strict=False):
                row.copy_(tensor)
                tensor.data = row
                self._views.append((tensor, row.data_ptr()))
            for row in rows[len(tensors) :]:
                row.copy_(tensors[-1])
        return rows

    def _moves(self, rows: slice, weights: Columns, gradients: Columns) -> Iterator[Moves]:
        """Yield what is done to rows that have one rule."""
        found = self.found[rows]
        more = self._width - len(self.found) if rows.stop == len(self.found) else 0
        all_rows = slice(rows.start, rows.stop + more)
        column_of = {id(weight): column for column, weight in enumerate(found[0].layout.weights)}
        for index, cell in enumerate(found[0].cells):
            moves, names = Moves(index, cell, all_rows), cell.names()
            for start, stop in _runs(cell, [column_of[id(weight)] for weight in cell.weights]):
                members = [[each.cells[index].states[one] for one in range(start, stop)] for each in found]
                kept = {
                    name: Columns([state[name] for state in members[0]], all_rows.stop - all_rows.start)
                    for name in names[start]
                }
                for name, columns in kept.items():
                    for place in range(stop - start):
                        self._filled(columns.of(place), [states[place][name] for states in members])
                first, last = (column_of[id(cell.weights[each])] for each in (start, stop - 1))
                if stop - start > 1 or _lie_alike(cell, start):
                    state = {name: each.all for name, each in kept.items()}
                    moves.add(weights.span(first, last, all_rows), gradients.span(first, last, all_rows), state)
                else:
                    state = {name: each.of(0) for name, each in kept.items()}
                    moves.add(weights.of(first, all_rows), gradients.of(first, all_rows), state)
            yield moves


def _alike(found: Sequence[Found]) -> Iterator[slice]:
    """Yield the rows of members that have one rule."""
    rules, start = [each.rule for each in found], 0
    for row in range(1, len(found) + 1):
        if row == len(found) or rules[row] != rules[start]:
            yield slice(start, row)
            start = row


def _runs(cell: Cell, columns: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last place, that one left out, of weights that can be moved as one."""
    names, start = cell.names(), 0
    for place in range(1, len(columns) + 1):
        goes_on = (
            place < len(columns)
            and columns[place] == columns[place - 1] + 1
            and names[place] == names[start]
            and _lie_alike(cell, place)
            and _lie_alike(cell, start)
        )
        if not goes_on:
            yield start, place
            start = place


def _lie_alike(cell: Cell, place: int) -> bool:
    """Return True if an element of a weight has its state at the same place, and no other one matters to it."""
    weight, state = cell.weights[place], cell.states[place]
    kept = [state[name] for name in cell.names()[place]]
    return not cell.rule.is_whole and all(
        (each.shape, each.stride(), each.dtype) == (weight.shape, weight.stride(), weight.dtype) for each in kept
    )


def beside(numbers: Tensor, tensor: Tensor) -> Tensor:
    """Return numbers of rows in as many dimensions as a tensor of rows."""
    return numbers.view(-1, *(1,) * (tensor.dim() - 1))


def _kept(found: Found) -> list[Tensor]:
    return [tensor for cell in found.cells for tensor in cell.kept()]


def _same(one: Iterable[Tensor], other: Iterable[Tensor]) -> bool:
    return all(first is second for first, second in zip(one, other, strict=True))
