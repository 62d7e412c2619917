"""Parts of a run lent for a trial: as copies, or as they are and put back after, so that the run never notices."""

from __future__ import annotations

import collections
import copy
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..system import generators

_CONTAINERS = (dict, list, set, collections.deque)


@contextmanager
def lent(*parts: Any) -> Iterator[Sequence[Any]]:
    """Lend parts of a run for a `with` block, so that nothing which is done to them there is left after it.

    They are copied, with what their code keeps in attributes: a counter, a cache. What cannot be copied, such as a
    model with a lock or an open file in it, is lent as it is: then its tensors, generators and attributes are put back,
    lists and mappings among these with what they held; what lies deeper in them is not.
    The generators of Python, numpy and torch are put back in both cases.

    Args:
        parts: modules, functions, objects. What they share is shared by the copies.
    """
    with generators_kept():
        try:
            copies = copy.deepcopy(parts)
        except Exception:  # noqa: BLE001 (of a `__deepcopy__` of the user's own, or of what knows none)
            copies = parts
        if any(isinstance(part, nn.Module) and part is twin for part, twin in zip(parts, copies, strict=True)):
            with _put_back(parts):
                yield parts
        else:
            yield copies


@contextmanager
def generators_kept() -> Iterator[None]:
    """Put the generators of Python, numpy and torch back, on the CPU and on each GPU that is in use."""
    has_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    on_gpus = torch.cuda.get_rng_state_all() if has_gpu else []
    try:
        with generators.generators_kept():
            yield
    finally:
        if on_gpus:
            torch.cuda.set_rng_state_all(on_gpus)


@contextmanager
def _put_back(parts: Sequence[Any]) -> Iterator[None]:
    modules = [module for part in parts if isinstance(part, nn.Module) for module in part.modules()]
    objects = [
        *modules,
        *(part for part in parts if not isinstance(part, nn.Module | type) and hasattr(part, "__dict__")),
    ]
    undo = [_remembered(each) for each in objects]
    try:
        yield
    finally:
        with torch.no_grad():
            for put_back in undo:
                put_back()


def _remembered(each: Any) -> Callable[[], None]:
    """Return a function that gives an object the attributes back that it has now, with what they hold."""
    attributes = vars(each)
    kept = dict(attributes)
    inside = [_content(value) for value in kept.values()]
    if isinstance(each, nn.Module):
        inside += [_content(value) for value in (*each._parameters.values(), *each._buffers.values())]

    def put_back() -> None:
        attributes.clear()
        attributes.update(kept)
        for restore in inside:
            restore()

    return put_back


def _content(value: Any) -> Callable[[], object]:
    """Return a function that gives a value back what it holds now."""
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, torch.Generator):
        state = value.get_state()
        return lambda: value.set_state(state)
    if isinstance(value, random.Random):
        drawn = value.getstate()
        return lambda: value.setstate(drawn)
    if isinstance(value, np.random.Generator):
        bits = value.bit_generator.state
        return lambda: setattr(value.bit_generator, "state", bits)
    if isinstance(value, _CONTAINERS):
        held: Any = copy.copy(value)
        return lambda: _refill(value, held)
    return lambda: None


def _tensor(value: Tensor) -> Callable[[], object]:
    data, gradient = value.detach().clone(), value.grad if value.is_leaf else None

    def put_back() -> None:
        if value.is_leaf:
            value.grad = gradient
        value.copy_(data)  # always: torch's batch norm changes its statistics without counting a version

    return put_back


def _refill(value: Any, held: Any) -> None:
    value.clear()
    value.extend(held) if isinstance(value, list | collections.deque) else value.update(held)
