"""Steps of training as one compiled graph, to be called with other batches and rates again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..step_options import StepOptions
from .cells import Cell
from .gradients import Gradients
from .inductor import compile_graph

_MOST_STEPS = 8
_MOST_OPERATIONS = 800  # of a graph, above which compiling takes longer than the calls that are saved


def most_steps(gradients: Gradients) -> int:
    """Return how many steps one graph should have, by the size of one step: a call costs 50 µs, whatever is in it."""
    size = sum(node.op == "call_function" for node in gradients.graph.graph.nodes)
    return _MOST_STEPS if size * _MOST_STEPS <= _MOST_OPERATIONS else 1


def steps_of(
    gradients: Gradients,
    cells: Sequence[Cell],
    tensors: Sequence[Tensor],
    options: StepOptions,
    batch: Sequence[int],
    num_steps: int,
) -> Callable[..., Any]:
    """Compile some steps of weights in cells.

        loss, gradients = graph(tensors)
        good = good and loss and gradients are finite and loss <= loss_above         (with a gate)
        weights, state = rule(clipped gradients) if good, else as they were

    The function takes the tensors with the first batch among them, the state of the cells in order, `good`, a boolean
    scalar, the numbers of the rules of each step, the noise of each, and for each further step its batch. It returns
    the losses, and `good` after each step.

    Args:
        gradients: of the loss.
        cells: of the weights.
        tensors: that the graph of the loss takes.
        options: of the train op.
        batch: the places of a batch's tensors among them.
        num_steps: in a row.

    Raises:
        CannotCompile: there is no compiler, or it fails.
    """
    kept = [state for cell in cells for state in cell.kept()]
    num_numbers = sum(len(cell.numbers([0.0])[0]) for cell in cells)
    dtype, device = number_type(cells), tensors[gradients.weights[0]].device
    num_drawn = num_steps * len(gradients.noise)
    step = _Step(gradients, cells, tensors, options)

    def steps(*given: Tensor) -> list[Tensor]:
        own, rest = list(given[: len(tensors)]), given[len(tensors) :]
        kept_here, (good, *rest) = rest[: len(kept)], rest[len(kept) :]
        numbers, noise, batches = (
            rest[:num_steps],
            rest[num_steps : num_steps + num_drawn],
            rest[num_steps + num_drawn :],
        )
        losses, flags = [], []
        for index in range(num_steps):
            if index:
                for place in batch:
                    own[place], *batches = batches
            drawn, noise = noise[: len(gradients.noise)], noise[len(gradients.noise) :]
            loss, good = step([*own, *drawn], kept_here, numbers[index].unbind(), good)
            losses.append(loss)
            flags.append(good)
        return [torch.stack(losses), torch.stack(flags)]

    examples = [*tensors, *kept, torch.ones((), dtype=torch.bool, device=device)]
    examples += [torch.zeros(num_numbers, dtype=dtype, device=device) for _ in range(num_steps)]
    examples += [each.empty() for _ in range(num_steps) for each in gradients.noise]
    examples += [tensors[place].clone() for _ in range(num_steps - 1) for place in batch]
    return compile_graph(steps, examples)


class _Step:
    """One step as a function that changes tensors in place."""

    def __init__(self, gradients: Gradients, cells: Sequence[Cell], tensors: Sequence[Tensor], options: StepOptions):
        self._gradients, self._cells, self._options = gradients, cells, options
        place_of = {id(tensors[place]): place for place in gradients.weights}
        self._places = [[place_of[id(weight)] for weight in cell.weights] for cell in cells]

    def __call__(
        self, own: Sequence[Tensor], kept: Sequence[Tensor], numbers: Sequence[Tensor], good: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the loss, and whether this step and all before were good."""
        gradients, options = self._gradients, self._options
        has_gate = options.on_nan is not None
        before = [own[place].clone() for place in gradients.changed] if has_gate else []
        loss, *found = gradients.graph(*own)  # with the noise behind the rest
        if has_gate:
            good = _gate(good, loss, found, options)
        moves = good if has_gate else None
        by_place = dict(zip(gradients.weights, _clipped(found, options), strict=True))
        for place, old in zip(gradients.changed, before, strict=False):
            _move(own[place], own[place], old, moves)
        for cell, members in zip(self._cells, self._places, strict=True):
            names = list(cell.rule.state(cell.group))
            count = len(cell.numbers([0.0])[0])
            here, numbers = numbers[:count], numbers[count:]
            for place in members:
                weight = own[place]
                state, kept = dict(zip(names, kept, strict=False)), kept[len(names) :]
                new, new_state = cell.rule.update(cell.group, here, weight, by_place[place], state)
                for name, value in new_state.items():
                    _move(state[name], value, state[name], moves)
                _move(weight, new, weight, moves)
        return loss, good


def number_type(cells: Sequence[Cell]) -> torch.dtype:
    """Return the type of the numbers of rules: that of the widest weights."""
    is_wide = any(weight.dtype == torch.float64 for cell in cells for weight in cell.weights)
    return torch.float64 if is_wide else torch.float32


def _move(tensor: Tensor, new: Tensor, old: Tensor, good: Tensor | None) -> None:
    tensor.copy_(new if good is None else torch.where(good, new, old))


def _gate(good: Tensor, loss: Tensor, gradients: Sequence[Tensor], options: StepOptions) -> Tensor:
    """Return whether this step, and all before it, may be applied."""
    good = good & torch.isfinite(loss)
    if options.loss_above is not None:
        good = good & (loss.double() <= options.loss_above)
    for gradient in gradients:
        good = good & torch.isfinite(gradient).all()
    return good


def _clipped(gradients: Sequence[Tensor], options: StepOptions) -> list[Tensor]:
    """Return gradients clipped by norm, then by value, as torch's own functions do."""
    clipped = list(gradients)
    if options.clip_norm is not None:
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(each) for each in clipped]))
        factor = (options.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        clipped = [each * factor for each in clipped]
    if options.clip_value is not None:
        clipped = [each.clamp(-options.clip_value, options.clip_value) for each in clipped]
    return clipped
