"""Blocks of steps, taken by compiled graphs of one step and of several."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ....components.data.tree import mapped, tensors
from .cannot import CannotCompile
from .capture import Capture, Captured
from .cells import Cell, cells_of
from .inductor import Graph
from .layout import Layout
from .noise import draw_noise
from .program import ALIGNED, most_steps, number_type, row_length, rows_like, steps_of
from .rule_table import RULES
from .rules import Rates
from .updates import Statistics, average_cells

if TYPE_CHECKING:
    from ..train_op import TrainOp

_MOST_GRAPHS = 16  # compiled ones


class _Known:
    """What a block of batches of one shape needs, as long as nobody changes anything.

    Args:
        layout: of the graph of the loss.
        taken: what that graph takes, with the first batch among it.
        cells: the weights that it moves.
    """

    def __init__(self, layout: Layout, taken: list[Tensor], cells: list[Cell]):
        self.layout, self.taken, self.cells = layout, taken, cells
        self.kept = [state for cell in cells for state in cell.kept()]
        self.places = [(index, place) for index, place in enumerate(layout.batch) if place is not None]
        self.noise = layout.gradients.outline.noise
        self.changes = [*layout.weights, *self.kept, *(taken[place] for place in layout.gradients.outline.changed)]
        self.key = tuple((cell.settings(), tuple(map(id, cell.weights)), *map(_kind, cell.kept())) for cell in cells)
        self.most = most_steps(layout.gradients.outline.num_operations)
        device = layout.weights[0].device
        self.good = torch.ones((), dtype=torch.bool, device=device)
        self.to_numbers = {"dtype": number_type(cells), "device": device}


class CompiledBlocks:
    """Takes several steps of a train op at once by compiled graphs.

    Forward, loss, backward, gate, clipping and optimizer are one graph. There is one of a single step and, where steps
    are short, one of several in a row; no bit depends on how steps are cut into blocks. Graphs are compiled when the
    first block needs them, and again where shapes, the model's mode or the optimizer's settings change.

    Args:
        op: for which `why_eager` knows no reason.

    Attributes:
        compiling_secs: that went by while graphs were traced, looked for and compiled.
    """

    def __init__(self, op: TrainOp):
        self._op = op
        self._capture = Capture(_loss_of(op))
        self._statistics = Statistics(op.updates)
        self._num_compiled = 0
        self.compiling_secs = 0.0
        self._known: dict[Any, _Known] = {}  # by shapes, since `begin`

    def begin(self) -> None:
        """Begin steps between which nobody changes anything: the next block looks at all that graphs depend on."""
        self._known.clear()
        self._statistics.begin()

    def run(self, inputs: Any, targets: Any, rates: Tensor) -> tuple[Tensor, Tensor]:
        """Take the steps of a block: change weights, buffers and the optimizer's state in place.

        From the first bad step on, nothing is changed. The train op's counters are left to the caller.

        Args:
            inputs: of all batches: a tensor (steps, examples, ...), or what is built of such.
            targets: likewise; None for none.
            rates: shape (steps, parameter groups): the learning rate of each group at each step.

        Returns:
            The losses, shape (steps,), and a flag for each step: False from the first bad one on.

        Raises:
            CannotCompile: in which case nothing has changed.
        """
        leaves = [_in_rows(leaf) for tree in (inputs, targets) for leaf in tensors(tree)]
        known = self._found(inputs, targets, leaves)
        graphs = self._graphs(known, len(rates))
        RULES[type(self._op.optimizer)].announce(self._op.optimizer, rates.tolist())
        by_group = rates.T.tolist()
        losses, good = self._take_steps(graphs, known, leaves, by_group)
        num_good = len(losses) if bool(good[-1]) else int(good.sum())
        for cell in known.cells:
            cell.end(self._op.optimizer, by_group[cell.place][:num_good])
        self._statistics.end()
        torch.autograd.graph.increment_version(known.changes)
        return losses, good

    def _found(self, inputs: Any, targets: Any, leaves: Sequence[Tensor]) -> _Known:
        """Return what is needed for batches of such a shape."""
        shapes = tuple([(leaf.shape[1:], leaf.stride()[1:], leaf.dtype, leaf.device) for leaf in leaves])
        if shapes not in self._known:
            layout, taken = self._layout(inputs, targets, [leaf[0] for leaf in leaves])
            for weight in layout.weights:
                weight.grad = None  # of an earlier step
            ids = [*map(id, layout.weights)]
            if any([*map(id, known.layout.weights)] != ids for known in self._known.values()):
                self._known.clear()  # those that one of them alone has would fall behind in a cell of the other
            cells = cells_of(self._op.optimizer, layout.weights)
            cells += average_cells(self._op.updates, taken)
            self._known[shapes] = _Known(layout, taken, cells)
        for cell in self._known[shapes].cells:
            cell.count()
        return self._known[shapes]

    def _layout(self, inputs: Any, targets: Any, first: Sequence[Tensor]) -> tuple[Layout, list[Tensor]]:
        """Return how the graph of the loss of the first batch is laid out, and what it takes now."""
        op, leaves, start = self._op, iter(first), time.perf_counter()
        batch = [mapped(tree, lambda _: next(leaves)) for tree in (inputs, targets)]
        op.call.settle(op.model, *batch)
        captured, taken = self._captured(batch)
        layout = captured.made.get("layout")
        if layout is None or not layout.fits(taken):
            _, again = self._captured(batch)
            layout = captured.made["layout"] = Layout(op, captured, taken, again, first)
            self.compiling_secs += time.perf_counter() - start
        return layout, layout.tensors(taken)

    def _captured(self, batch: Sequence[Any]) -> tuple[Captured, tuple[Any, ...]]:
        with self._statistics.moving():
            return self._capture(*batch)

    def _graphs(self, known: _Known, count: int) -> list[tuple[int, Graph]]:
        """Return graphs that take so many steps one after the other, each with its number of steps."""
        graphs, steps = [], known.layout.steps
        while count:
            size = known.most if count >= known.most else 1
            if (known.key, size) not in steps:
                start = time.perf_counter()
                steps[known.key, size] = self.compile(known, size)
                self.compiling_secs += time.perf_counter() - start
            graphs.append((size, steps[known.key, size]))
            count -= size
        return graphs

    def compile(self, known: _Known, size: int) -> Graph:
        """Return a graph that takes so many steps.

        Raises:
            CannotCompile: there are too many by now, or there is no compiler.
        """
        self._num_compiled += 1
        if self._num_compiled > _MOST_GRAPHS:
            raise CannotCompile(f"the optimizer's settings, or the batch's shape, changed {_MOST_GRAPHS} times")
        places = [place for _, place in known.places]
        return steps_of(known.layout.gradients, known.cells, known.taken, self._op.options, places, size)

    def _take_steps(
        self, graphs: Sequence[tuple[int, Graph]], known: _Known, leaves: Sequence[Tensor], by_group: Rates
    ) -> tuple[Tensor, Tensor]:
        numbers = torch.tensor(_numbers(known.cells, by_group), **known.to_numbers)
        own, good, losses, flags, start = [*known.taken], known.good, [], [], 0
        with torch.no_grad():
            for size, graph in graphs:
                end = start + size
                for index, place in known.places:
                    own[place] = leaves[index][start:end]
                noise = draw_noise(self._op, known.noise, range(start, end))
                found, good_after = graph([*own, *known.kept, good, numbers[start:end], *noise])
                good, start = good_after[-1], end
                losses.append(found)
                flags.append(good_after)
            return (losses[0], flags[0]) if len(graphs) == 1 else (torch.cat(losses), torch.cat(flags))


def _loss_of(op: TrainOp) -> Callable[[Any, Any], Tensor]:
    """Return the loss of a batch as a function that reads the train op's parts at each call."""
    model, loss, call, device = op.model, op.loss, op.call, op.device.type
    if op.options.precision != "bf16":

        def plain(inputs: Any, targets: Any) -> Tensor:
            return loss(call(model, inputs, targets), targets)

        return plain

    def in_bf16(inputs: Any, targets: Any) -> Tensor:
        with torch.autocast(device, torch.bfloat16):
            return loss(call(model, inputs, targets), targets)

    return in_bf16


def _in_rows(leaf: Tensor) -> Tensor:
    """Return batches in rows that begin where a graph has them begin."""
    first = leaf[0]
    is_so = len(leaf) == 1 or leaf.stride(0) == row_length(first)
    return leaf if is_so and leaf.data_ptr() % ALIGNED == 0 else rows_like(first, len(leaf)).copy_(leaf)


def _numbers(cells: Sequence[Cell], by_group: Rates) -> list[list[float]]:
    """Return the numbers of the rules, a row for each step, at the rates of each parameter group."""
    by_cell = [cell.numbers(by_group[cell.place]) for cell in cells]
    return [[number for numbers in step for number in numbers] for step in zip(*by_cell, strict=True)]


def _kind(tensor: Tensor) -> Any:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device
