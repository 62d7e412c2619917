"""Blocks of steps, taken by compiled graphs of one step and of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ....components.data.tree import mapped, tensors
from .cannot import CannotCompile
from .capture import Capture
from .cells import Cell, cells_of
from .layout import Layout
from .noise import Noise
from .program import most_steps, number_type, steps_of

if TYPE_CHECKING:
    from ..train_op import TrainOp

_ALIGNED = 64  # bytes: kernels of other libraries may round otherwise where a tensor begins elsewhere
_MOST_GRAPHS = 16  # compiled ones


class CompiledBlocks:
    """Takes several steps of a train op at once by compiled graphs.

    Forward, loss, backward, gate, clipping and optimizer are one graph. There is one of a single step and, where steps
    are short, one of several in a row; no bit depends on how steps are cut into blocks. Graphs are compiled when the
    first block needs them, and again where shapes, the model's mode or the optimizer's settings change.

    Args:
        op: for which `why_eager` knows no reason.
    """

    def __init__(self, op: TrainOp):
        self._op = op
        self._capture = Capture(_loss_of(op))
        self._num_compiled = 0
        self._known: dict[Any, tuple[Layout, list[Tensor], list[Cell]]] = {}  # by shapes, since `begin`

    def begin(self) -> None:
        """Begin steps between which nobody changes anything: the next block looks at all that graphs depend on."""
        self._known.clear()

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
        leaves = [_rows(leaf) for tree in (inputs, targets) for leaf in tensors(tree)]
        layout, taken, cells = self._found(inputs, targets, [rows[0] for rows in leaves])
        graphs = self._graphs(layout, cells, taken, len(rates))
        losses, good = self._take_steps(graphs, layout, cells, taken, leaves, rates)
        num_good = len(losses) if bool(good[-1]) else int(good.sum())
        for cell in cells:
            cell.end(self._op.optimizer, num_good)
        moved = [state for cell in cells for state in cell.kept()]
        torch.autograd.graph.increment_version(
            [*layout.weights, *moved, *(taken[place] for place in layout.gradients.changed)]
        )
        return losses, good

    def _found(self, inputs: Any, targets: Any, first: Sequence[Tensor]) -> tuple[Layout, list[Tensor], list[Cell]]:
        """Return the graph of the loss of the first batch, what it takes, and the weights that it moves."""
        shapes = tuple(map(_kind, first))
        if shapes not in self._known:
            layout, taken = self._layout(inputs, targets, first)
            for weight in layout.weights:
                weight.grad = None  # of an earlier step
            ids = [*map(id, layout.weights)]
            if any([*map(id, known.weights)] != ids for known, *_ in self._known.values()):
                self._known.clear()  # those that one of them alone has would fall behind in a cell of the other
            self._known[shapes] = layout, taken, cells_of(self._op.optimizer, layout.weights)
        for cell in self._known[shapes][2]:
            cell.count()
        return self._known[shapes]

    def _layout(self, inputs: Any, targets: Any, first: Sequence[Tensor]) -> tuple[Layout, list[Tensor]]:
        """Return how the graph of the loss of the first batch is laid out, and what it takes now."""
        op, leaves = self._op, iter(first)
        batch = [mapped(tree, lambda _: next(leaves)) for tree in (inputs, targets)]
        op.call.settle(op.model, *batch)
        captured, taken = self._capture(*batch)
        layout = captured.made.get("layout")
        if layout is None or not layout.fits(taken):
            _, again = self._capture(*batch)
            layout = captured.made["layout"] = Layout(op, captured, taken, again, first)
        return layout, layout.tensors(taken)

    def _graphs(
        self, layout: Layout, cells: Sequence[Cell], taken: Sequence[Tensor], count: int
    ) -> list[tuple[int, Callable[..., Any]]]:
        """Return graphs that take so many steps one after the other, each with its number of steps."""
        key = tuple((cell.settings(), tuple(map(id, cell.weights)), *map(_kind, cell.kept())) for cell in cells)
        most, graphs = most_steps(layout.gradients), []
        while count:
            size = most if count >= most else 1
            if (key, size) not in layout.steps:
                layout.steps[key, size] = self.compile(layout, cells, taken, size)
            graphs.append((size, layout.steps[key, size]))
            count -= size
        return graphs

    def compile(self, layout: Layout, cells: Sequence[Cell], taken: Sequence[Tensor], size: int) -> Callable[..., Any]:
        """Return a graph that takes so many steps.

        Raises:
            CannotCompile: there are too many by now, or there is no compiler.
        """
        self._num_compiled += 1
        if self._num_compiled > _MOST_GRAPHS:
            raise CannotCompile(f"the optimizer's settings, or the batch's shape, changed {_MOST_GRAPHS} times")
        batch = [place for place in layout.batch if place is not None]
        return steps_of(layout.gradients, cells, taken, self._op.options, batch, size)

    def _take_steps(
        self,
        graphs: Sequence[tuple[int, Callable[..., Any]]],
        layout: Layout,
        cells: Sequence[Cell],
        taken: list[Tensor],
        leaves: Sequence[Sequence[Tensor]],
        rates: Tensor,
    ) -> tuple[Tensor, Tensor]:
        device = layout.weights[0].device
        numbers = _numbers(cells, rates, device)
        own, kept = list(taken), [state for cell in cells for state in cell.kept()]
        places = [place for place in layout.batch if place is not None]
        moving = [rows for place, rows in zip(layout.batch, leaves, strict=True) if place is not None]
        good = torch.ones((), dtype=torch.bool, device=device)
        losses, flags, start = [], [], 0
        with torch.no_grad():
            for size, graph in graphs:
                for place, rows in zip(places, moving, strict=True):
                    own[place] = rows[start]
                end = start + size
                more = [rows[step] for step in range(start + 1, end) for rows in moving]
                noise = self._drawn(layout.gradients.noise, range(start, end))
                found, good_after = graph(*own, *kept, good, *numbers[start:end], *noise, *more)
                good, start = good_after[-1], end
                losses.append(found)
                flags.append(good_after)
            return (losses[0], flags[0]) if len(graphs) == 1 else (torch.cat(losses), torch.cat(flags))

    def _drawn(self, noise: Sequence[Noise], steps: range) -> list[Tensor]:
        """Return the noise of steps of a block, each from where an eager step would begin to draw."""
        op, now, found = self._op, self._op.batch, []
        if not noise:
            return found
        try:
            for step in steps:
                op.batch = now + step
                op.seed_noise()
                found += [each.draw() for each in noise]
        finally:
            op.batch = now
        return found


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


def _rows(leaf: Tensor) -> Sequence[Tensor]:
    """Return a tensor's rows, each of which begins where one of its own would."""
    rows = leaf.unbind()
    row_bytes = leaf.stride(0) * leaf.element_size()
    if leaf.data_ptr() % _ALIGNED or (len(rows) > 1 and row_bytes % _ALIGNED):
        return [row.clone() for row in rows]
    return rows


def _numbers(cells: Sequence[Cell], rates: Tensor, device: torch.device) -> Sequence[Tensor]:
    """Return the numbers of the rules, a row for each step."""
    by_group = list(zip(*rates.tolist(), strict=True))
    by_cell = [cell.numbers(by_group[cell.place]) for cell in cells]
    rows = [[number for numbers in step for number in numbers] for step in zip(*by_cell, strict=True)]
    return torch.tensor(rows, dtype=number_type(cells)).to(device).unbind()


def _kind(tensor: Tensor) -> Any:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device
