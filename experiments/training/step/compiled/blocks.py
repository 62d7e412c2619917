"""Blocks of steps, each of which is one call of a compiled graph."""

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
from .program import number_type, step_of

if TYPE_CHECKING:
    from ..train_op import TrainOp

_ALIGNED = 64  # bytes: kernels of other libraries may round otherwise where a tensor begins elsewhere
_MOST_STEPS = 8  # compiled ones


class CompiledBlocks:
    """Takes several steps of a train op at once, each of which is one compiled graph.

    Forward, loss, backward, gate, clipping and optimizer are one graph, and each step one call of it, so that no bit
    depends on how steps are cut into blocks. The graph is compiled at the first block, and again where shapes, the
    model's mode or the optimizer's settings change.

    Args:
        op: for which `why_eager` knows no reason.

    Attributes:
        sizes: lengths of blocks that are worth handing over, in falling order; any other works as well.
    """

    sizes: tuple[int, ...] = (64, 16, 4, 1)

    def __init__(self, op: TrainOp):
        self._op = op
        self._capture = Capture(_loss_of(op))
        self._num_compiled = 0

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
        layout, taken = self._layout(inputs, targets, [rows[0] for rows in leaves])
        cells = cells_of(self._op.optimizer, layout.weights)
        step = self._step(layout, cells, taken)
        for weight in layout.weights:
            weight.grad = None  # of an earlier step
        losses, good = self._take_steps(step, layout, cells, taken, leaves, rates)
        num_good = len(losses) if self._op.gate is None else int(good.sum())
        for cell in cells:
            cell.end(self._op.optimizer, num_good)
        moved = [state for cell in cells for state in cell.kept()]
        torch.autograd.graph.increment_version(
            [*layout.weights, *moved, *(taken[place] for place in layout.gradients.changed)]
        )
        return losses, good

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

    def _step(self, layout: Layout, cells: Sequence[Cell], taken: Sequence[Tensor]) -> Callable[..., Any]:
        """Return the compiled step for weights in such cells."""
        key = tuple((cell.settings(), tuple(map(id, cell.weights)), *map(_kind, cell.kept())) for cell in cells)
        if key not in layout.steps:
            self._num_compiled += 1
            if self._num_compiled > _MOST_STEPS:
                raise CannotCompile(f"the optimizer's settings, or the batch's shape, changed {_MOST_STEPS} times")
            layout.steps[key] = step_of(layout.gradients, cells, taken, self._op.options)
        return layout.steps[key]

    def _take_steps(
        self,
        step: Callable[..., Any],
        layout: Layout,
        cells: Sequence[Cell],
        taken: list[Tensor],
        leaves: Sequence[Sequence[Tensor]],
        rates: Tensor,
    ) -> tuple[Tensor, Tensor]:
        device = layout.weights[0].device
        numbers = _numbers(cells, rates, device)
        given = [*taken, *(state for cell in cells for state in cell.kept()), numbers[0]]
        moving = [(place, rows) for place, rows in zip(layout.batch, leaves, strict=True) if place is not None]
        all_good = torch.ones((), dtype=torch.bool, device=device)
        flags = [] if self._op.gate is None else [all_good]
        losses, good = [], []
        with torch.no_grad():
            for index, row in enumerate(numbers):
                for place, rows in moving:
                    given[place] = rows[index]
                given[-1] = row
                loss, *flags = step(*given, *flags)
                losses.append(loss)
                good += flags or [all_good]
            return torch.stack(losses), torch.stack(good)


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
    rows = [
        [number for cell in cells for number in cell.numbers(rate[cell.place], index)]
        for index, rate in enumerate(rates.tolist())
    ]
    return torch.tensor(rows, dtype=number_type(cells)).to(device).unbind()


def _kind(tensor: Tensor) -> Any:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device
