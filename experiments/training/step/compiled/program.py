"""Steps of training as one compiled graph, to be called with other batches and rates again and again."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..step_options import StepOptions
from . import store
from .cells import Cell
from .fingerprint import digest, kinds_of
from .gradients import Gradients
from .inductor import Graph, compiled, loaded

_MOST_STEPS = 8
ALIGNED = 64  # bytes
_MOST_OPERATIONS = 800  # of a graph, above which compiling takes longer than the calls that are saved


def most_steps(num_operations: int) -> int:
    """Return how many steps one graph should have, by the size of one: a call costs the same, whatever is in it."""
    return _MOST_STEPS if num_operations * _MOST_STEPS <= _MOST_OPERATIONS else 1


def steps_of(
    gradients: Gradients,
    cells: Sequence[Cell],
    tensors: Sequence[Tensor],
    options: StepOptions,
    batch: Sequence[int],
    num_steps: int,
) -> Graph:
    """Return some steps of weights in cells as a compiled graph, which an earlier process may have made.

        loss, gradients = graph(tensors)
        good = good and loss and gradients are finite and loss <= loss_above         (with a gate)
        weights, state = rule(clipped gradients) if good, else as they were

    It takes the tensors, batches in rows among them (see `rows_like`), the state of the cells in order, `good`, a
    boolean scalar, the numbers of the rules, a row for each step, and the noise of each step. It returns the losses,
    and `good` after each step.

    Args:
        gradients: of the loss.
        cells: of the weights, and of averages of them.
        tensors: that the graph of the loss takes.
        options: of the train op.
        batch: the places of a batch's tensors among them.
        num_steps: in a row.

    Raises:
        CannotCompile: there is no compiler, or it fails.
    """
    steps = _Steps(gradients, cells, tensors, options, batch, num_steps)
    return compiled_once(steps.key(), steps.as_function, steps.device)


def compiled_once(
    key: str | None, make: Callable[[], tuple[Callable[..., Any], Sequence[Tensor]]], device: torch.device
) -> Graph:
    """Return a function as a compiled graph, which an earlier process may have made.

    Args:
        key: of all that it depends on; None where that cannot be told.
        make: returns the function, and examples of the tensors that it takes.
        device: of these.

    Raises:
        CannotCompile: there is no compiler, or it fails.
    """
    with store.alone(key):
        library = _library_of(store.recall(key))
        if library is None:
            library = compiled(*make())
            name = os.path.relpath(library, store.compiled_dir())
            store.keep(key, {"library": name, "size": library.stat().st_size})
    return loaded(library, device)


def is_compiled(key: str | None) -> bool:
    """Return True if an earlier call of `compiled_once` has left what is compiled."""
    return _library_of(store.recall(key)) is not None


def _library_of(facts: store.Facts | None) -> Path | None:
    """Return the library that was made, if it is still there."""
    if facts is None:
        return None
    library = store.compiled_dir() / facts["library"]
    return library if library.exists() and library.stat().st_size == facts["size"] else None


class _Steps:
    """Steps in a row, by what they depend on and as a function; see `steps_of`."""

    def __init__(
        self,
        gradients: Gradients,
        cells: Sequence[Cell],
        tensors: Sequence[Tensor],
        options: StepOptions,
        batch: Sequence[int],
        num_steps: int,
    ):
        self._gradients, self._cells, self._tensors, self._options = gradients, cells, tensors, options
        self._batch, self._num_steps = batch, num_steps
        self._kept = [state for cell in cells for state in cell.kept()]
        place_of = {id(tensor): place for place, tensor in enumerate(tensors)}
        place_of |= {id(tensors[place]): place for place in gradients.outline.weights}
        self._places = [[place_of[id(weight)] for weight in cell.weights] for cell in cells]
        self.device = tensors[gradients.outline.weights[0]].device

    def key(self) -> str | None:
        """Return the digest of all that they depend on; None where that cannot be told."""
        if self._gradients.key is None:
            return None
        rules = [(cell.name, cell.settings(), places) for cell, places in zip(self._cells, self._places, strict=True)]
        options = self._options
        read = (options.on_nan is None, options.loss_above, options.clip_norm, options.clip_value)
        kinds = (kinds_of(self._kept), number_type(self._cells))
        return digest(("steps", self._gradients.key, rules, *kinds, read, self._batch, self._num_steps))

    def as_function(self) -> tuple[Callable[..., list[Tensor]], list[Tensor]]:
        """Return them as a function of tensors, and examples of these."""
        tensors, kept, batch, num_steps = self._tensors, self._kept, self._batch, self._num_steps
        all_noise = self._gradients.outline.noise
        step = _Step(self._gradients, self._cells, self._places, tensors, self._options)

        def steps(*given: Tensor) -> list[Tensor]:
            own, rest = list(given[: len(tensors)]), given[len(tensors) :]
            batches = {place: own[place] for place in batch}
            kept_here, (good, numbers, *noise) = rest[: len(kept)], rest[len(kept) :]
            losses, flags = [], []
            for index in range(num_steps):
                for place in batch:
                    own[place] = batches[place][index]
                drawn, noise = noise[: len(all_noise)], noise[len(all_noise) :]
                loss, good = step([*own, *drawn], kept_here, numbers[index].unbind(), good)
                losses.append(loss)
                flags.append(good)
            return [torch.stack(losses), torch.stack(flags)]

        shape = num_steps, sum(cell.num_numbers() for cell in self._cells)
        examples = [rows_like(each, num_steps) if place in batch else each for place, each in enumerate(tensors)]
        examples += [*kept, torch.ones((), dtype=torch.bool, device=self.device)]
        examples.append(torch.zeros(shape, dtype=number_type(self._cells), device=self.device))
        examples += [each.empty() for _ in range(num_steps) for each in all_noise]
        return steps, examples


def rows_like(tensor: Tensor, count: int) -> Tensor:
    """Return an empty tensor for several in a row, each of which begins where a tensor of its own would.

    Kernels of other libraries may round otherwise where a tensor begins elsewhere.
    """
    length = row_length(tensor)
    rows = torch.empty(count * length, dtype=tensor.dtype, device=tensor.device)
    return rows.as_strided((count, *tensor.shape), (length, *tensor.stride()))


def row_length(tensor: Tensor) -> int:
    """Return how many elements lie between the beginnings of such rows."""
    extent = 1 + sum([(size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)])
    wide = ALIGNED // math.gcd(ALIGNED, tensor.element_size())
    return -(-extent // wide) * wide


class _Step:
    """One step as a function that changes tensors in place."""

    def __init__(
        self,
        gradients: Gradients,
        cells: Sequence[Cell],
        places: Sequence[Sequence[int]],
        tensors: Sequence[Tensor],
        options: StepOptions,
    ):
        self._graph, self._outline = gradients.graph(tensors), gradients.outline
        self._cells, self._places, self._options = cells, places, options

    def __call__(
        self, own: Sequence[Tensor], kept: Sequence[Tensor], numbers: Sequence[Tensor], good: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the loss, and whether this step and all before were good."""
        outline, options = self._outline, self._options
        has_gate = options.on_nan is not None
        before = [own[place].clone() for place in outline.changed] if has_gate else []
        loss, *found = self._graph(*own)  # with the noise behind the rest
        if has_gate:
            good = _gate(good, loss, found, options)
        moves = good if has_gate else None
        by_place = dict(zip(outline.weights, _clipped(found, options), strict=True))
        for place, old in zip(outline.changed, before, strict=False):
            _move(own[place], own[place], old, moves)
        for cell, members in zip(self._cells, self._places, strict=True):
            count = cell.num_numbers()
            here, numbers = numbers[:count], numbers[count:]
            for place, names in zip(members, cell.names(), strict=True):
                weight = own[place]
                state, kept = dict(zip(names, kept, strict=False)), kept[len(names) :]
                gradient = by_place.get(place, weight)  # averages look at none
                new, new_state = cell.rule.update(cell.group, here, weight, gradient, state)
                for name, value in new_state.items():
                    _move(state[name], value, state[name], moves)
                if new is not weight:
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
