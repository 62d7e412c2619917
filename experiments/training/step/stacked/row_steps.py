"""Steps of train ops that have rows in common, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ....components.data.tree import tensors
from ..compiled.noise import draw_noise
from ..step_options import StepOptions
from .graph import Graphs
from .members import Ready
from .rows import Rows, beside, num_rows_for


class RowSteps:
    """Takes steps of members whose rows go through a graph at once.

    Args:
        graphs: of losses and gradients.
    """

    def __init__(self, graphs: Graphs):
        self._graphs = graphs
        self._rows: Rows | None = None
        self._num_rows = 0

    def take(self, ready: Sequence[Ready], count: int) -> tuple[Tensor, list[int]]:
        """Take steps until one is bad for some member; return losses, shape (steps, rows), and how many were good.

            loss, gradients = graph(tensors of all rows)
            good = loss and gradients are finite and loss <= loss_above         (with a gate)
            weights, state = rule(clipped gradients) in rows that are good, else as they were

        Args:
            ready: the members, those that have one rule next to each other.
            count: how many steps.

        Raises:
            CannotCompile: there is no graph of them.
        """
        found = [each.found for each in ready]
        self._num_rows = num_rows_for(len(found), self._num_rows, self._graphs.width(1))
        if self._rows is None or not self._rows.are_still(found, self._num_rows):
            self._rows = Rows(found, self._num_rows)
        rows, layout, options = self._rows, found[0].layout, found[0].op.options
        own, has_gate = rows.taken(found), options.on_nan is not None
        changed = [own[place] for place in layout.gradients.outline.changed]
        batches = [
            (place, self._batches(ready, index, count)) for index, place in enumerate(layout.batch) if place is not None
        ]
        noise = self._noise(ready, count)
        moves = self._begun(ready, rows, count)
        taken: list[Any] = [*own]
        for place, leaf in batches:
            taken[place] = leaf[0]
        graph = self._graphs.of(found[0], taken, noise[0], rows.gradient_of)
        losses: list[Tensor] = []
        for step in range(count):
            for place, leaf in batches:
                taken[place] = leaf[step]
            before = [each.clone() for each in changed] if has_gate else []
            loss, total = graph(taken, noise[step], rows.gradient_of)
            losses.append(loss)
            good = _good(loss, total, options) if has_gate else None
            is_good = [True] if good is None else good.tolist()
            if all(is_good):
                good = None
            for tensor, old in zip(changed, before, strict=False):
                if good is not None:
                    tensor.copy_(torch.where(beside(good, tensor), tensor, old))
            _clip(rows, options)
            for move in moves:
                move(step, good)
            if good is not None:
                return torch.stack(losses), [step + flag for flag in is_good]
        return torch.stack(losses), [count] * self._num_rows

    def _begun(self, ready: Sequence[Ready], rows: Rows, count: int) -> list[Any]:
        """Return what moves weights, prepared for so many steps."""
        found = [each.found for each in ready]
        rates = [[*zip(*each.rates[:count], strict=True)] for each in ready]
        for members, moves in rows.groups:
            for move in moves:
                move.begin(found[members], rates[members])
        return [move for _, moves in rows.groups for move in moves]

    def _batches(self, ready: Sequence[Ready], index: int, count: int) -> tuple[Tensor, ...]:
        """Return a tensor of the batches of all rows, of each step."""
        leaves = [
            [leaf for tree in (each.drawn.inputs, each.drawn.targets) for leaf in tensors(tree)] for each in ready
        ]
        return torch.stack(self._with_twins([each[index][:count] for each in leaves]), dim=1).unbind()

    def _noise(self, ready: Sequence[Ready], count: int) -> list[list[Tensor]]:
        """Return the noise of each step, each tensor of all rows."""
        noise = ready[0].found.layout.gradients.outline.noise
        if not noise:
            return [[]] * count
        drawn = self._with_twins([draw_noise(each.found.op, noise, range(count)) for each in ready])
        joined = [torch.stack(each) for each in zip(*drawn, strict=True)]
        return [joined[step * len(noise) : (step + 1) * len(noise)] for step in range(count)]

    def _with_twins(self, members: list[Any]) -> list[Any]:
        """Return something of all members, and for the further rows that of the last one."""
        return [*members, *[members[-1]] * (self._num_rows - len(members))]


def _good(losses: Tensor, totals: Tensor, options: StepOptions) -> Tensor:
    """Return which rows have a loss and gradients that may be applied.

    A sum is finite only if all that is summed is. Where it overflows though all is finite, the member is looked at once
    more by itself.
    """
    good = torch.isfinite(totals)
    return good if options.loss_above is None else good & (losses.double() <= options.loss_above)


def _clip(rows: Rows, options: StepOptions) -> None:
    """Clip gradients by norm, then by value, each row by itself."""
    if options.clip_norm is not None:
        norms = [torch.linalg.vector_norm(each.flatten(1), dim=1) for each in rows.gradient_of]
        norm = torch.linalg.vector_norm(torch.stack(norms), dim=0)
        rows.gradients.mul_((options.clip_norm / (norm + 1e-6)).clamp(max=1.0).unsqueeze(1))
    if options.clip_value is not None:
        rows.gradients.clamp_(-options.clip_value, options.clip_value)
