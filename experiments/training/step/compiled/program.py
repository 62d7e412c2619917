"""One step of training as one compiled graph, to be called with other batches and rates again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..step_options import StepOptions
from .cells import Cell
from .gradients import Gradients
from .inductor import compile_graph


def step_of(
    gradients: Gradients, cells: Sequence[Cell], tensors: Sequence[Tensor], options: StepOptions
) -> Callable[..., Any]:
    """Compile the step of weights in cells.

        loss, gradients = graph(tensors)
        good = good and loss and gradients are finite and loss <= loss_above         (with a gate)
        weights, state = rule(clipped gradients) if good, else as they were

    The function takes the tensors, the state of the cells in order, the numbers of their rules (one tensor), and with a
    gate `good`, a boolean scalar; it returns the loss and `good`.

    Raises:
        CannotCompile: there is no compiler, or it fails.
    """
    has_gate = options.on_nan is not None
    kept = [state for cell in cells for state in cell.kept()]
    num_numbers = sum(len(cell.numbers(0.0, 0)) for cell in cells)
    dtype = number_type(cells)
    place_of = {id(tensors[place]): place for place in gradients.weights}
    places = [[place_of[id(weight)] for weight in cell.weights] for cell in cells]

    def step(*given: Tensor) -> list[Tensor]:
        own, kept_here = list(given[: len(tensors)]), list(given[len(tensors) : len(tensors) + len(kept)])
        numbers = given[len(tensors) + len(kept)].unbind()
        before = [own[place].clone() for place in gradients.changed] if has_gate else []
        loss, *found = gradients.graph(*own)
        good = _gate(given[-1], loss, found, options) if has_gate else None
        by_place = dict(zip(gradients.weights, _clipped(found, options), strict=True))
        for place, old in zip(gradients.changed, before, strict=False):
            _move(own[place], own[place], old, good)
        for cell, members in zip(cells, places, strict=True):
            names = list(cell.rule.state(cell.group))
            count = len(cell.numbers(0.0, 0))
            here, numbers = numbers[:count], numbers[count:]
            for place in members:
                weight = own[place]
                state, kept_here = dict(zip(names, kept_here, strict=False)), kept_here[len(names) :]
                new, new_state = cell.rule.update(cell.group, here, weight, by_place[place], state)
                for name, value in new_state.items():
                    _move(state[name], value, state[name], good)
                _move(weight, new, weight, good)
        return [loss] if good is None else [loss, good]

    device = tensors[gradients.weights[0]].device
    flags = [torch.ones((), dtype=torch.bool, device=device)] if has_gate else []
    examples = [*tensors, *kept, torch.zeros(num_numbers, dtype=dtype, device=device), *flags]
    return compile_graph(step, examples)


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
