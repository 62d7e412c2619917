"""What is trained: the model, and the loss where that is a module with parameters or buffers too."""

from __future__ import annotations

import functools
import types
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError
from .selected import Selected

LOSS = "loss."  # at the beginning of the names of the loss's own tensors


def module_of(function: Any) -> nn.Module | None:
    """Return the module that a loss or metric is, under bound arguments and methods; None where it is none."""
    while isinstance(function, functools.partial | Selected):
        function = function.func
    if isinstance(function, types.MethodType):
        function = function.__self__
    return function if isinstance(function, nn.Module) else None


class Trained:
    """The model and the loss together: the model's tensors under their own names, the loss's own below `loss.`.

    What the loss shares with the model is the model's.

    Args:
        model: that is trained.
        loss: a function of outputs and targets; only a module has tensors.

    Raises:
        UsageError: a tensor of the model has the name of one of the loss.
    """

    def __init__(self, model: nn.Module, loss: Any = None):
        self.model = model
        self.loss = module_of(loss)
        if self.loss is not None and (both := self.loss_state().keys() & model.state_dict().keys()):
            raise UsageError(f"model and loss both have a '{sorted(both)[0]}': give the part of the model another name")

    def modules(self) -> Iterator[nn.Module]:
        """Yield each module of both once."""
        yield from (module for _, module in self.named_modules())

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        yield from self.model.named_modules()
        if self.loss is not None:
            known = set(self.model.modules())
            yield from ((n, m) for n, m in self.loss.named_modules(prefix=LOSS[:-1]) if m not in known)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        yield from self.model.named_parameters()
        yield from self.loss_parameters()

    def loss_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the loss's own, by name."""
        if self.loss is not None:
            known = {id(parameter) for parameter in self.model.parameters()}
            yield from ((n, p) for n, p in self.loss.named_parameters(prefix=LOSS[:-1]) if id(p) not in known)

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.model.named_buffers()
        if self.loss is not None:
            known = {id(buffer) for buffer in self.model.buffers()}
            yield from ((n, b) for n, b in self.loss.named_buffers(prefix=LOSS[:-1]) if id(b) not in known)

    def state_dict(self) -> dict[str, Any]:
        """Return the tensors of both, by name."""
        return {**self.model.state_dict(), **self.loss_state()}

    def loss_state(self) -> dict[str, Any]:
        """Return the loss's own state, by name; empty where it has none."""
        if self.loss is None:
            return {}
        known = {id(tensor) for tensor in (*self.model.parameters(), *self.model.buffers())}
        state = self.loss.state_dict(prefix=LOSS, keep_vars=True)
        return {
            name: value.detach() if isinstance(value, Tensor) else value
            for name, value in state.items()
            if id(value) not in known
        }

    def load_loss_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `loss_state` returned.

        Raises:
            RuntimeError: it is another loss's.
        """
        own = self.loss_state().keys()
        if self.loss is None or own != state.keys():
            have = ", ".join(sorted(own)) or "none"
            raise RuntimeError(f"tensors of the loss: {', '.join(sorted(state)) or 'none'} there, {have} here")
        shared = {n: v for n, v in self.loss.state_dict(prefix=LOSS).items() if n not in own}
        self.loss.load_state_dict({name.removeprefix(LOSS): value for name, value in {**shared, **state}.items()})


def parameters_within(thing: Any, depth: int = 4) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters in an object: a module's, and those of modules in its attributes, arguments and closure.

    Args:
        thing: a function, a bound method, an object of a class, or a container of such.
        depth: how far to look.
    """
    yield from _within(thing, "", depth, set())


def _within(thing: Any, place: str, depth: int, seen: set[int]) -> Iterator[tuple[str, nn.Parameter]]:
    if id(thing) in seen or depth < 0:
        return
    seen.add(id(thing))
    if isinstance(thing, nn.Parameter):
        yield place, thing
    elif isinstance(thing, nn.Module):
        yield from thing.named_parameters(prefix=place)
    else:
        for name, part in _parts(thing):
            yield from _within(part, f"{place}.{name}".strip("."), depth - 1, seen)


def _parts(thing: Any) -> Iterator[tuple[str, Any]]:
    """Yield what an object is made of, by name; nothing of what cannot hold a module of the user's."""
    if isinstance(thing, functools.partial):
        yield from (("", thing.func), *((str(place), value) for place, value in enumerate(thing.args)))
        yield from thing.keywords.items()
    elif isinstance(thing, types.MethodType):
        yield "", thing.__self__
    elif isinstance(thing, types.FunctionType):
        cells = zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True)
        yield from ((name, cell.cell_contents) for name, cell in cells if cell != types.CellType())
    elif isinstance(thing, Mapping):
        yield from ((str(key), value) for key, value in thing.items())
    elif isinstance(thing, list | tuple | set | frozenset):
        yield from ((str(place), value) for place, value in enumerate(thing))
    elif not isinstance(thing, type | types.ModuleType | Tensor | torch.optim.Optimizer):
        yield from getattr(thing, "__dict__", {}).items()


def parameters_of_graph(output: Tensor) -> Iterator[nn.Parameter]:
    """Yield the parameters that a differentiable result depends on."""
    nodes, seen = [output.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(variable := getattr(node, "variable", None), nn.Parameter):
            yield variable
        nodes += [parent for parent, _ in node.next_functions]


def listed(names: Collection[str], most: int = 3) -> str:
    """Return names in words: `a, b, c and 4 more`."""
    some = [str(name) for name in names]
    return ", ".join(some[:most]) + (f" and {len(some) - most} more" if len(some) > most else "")
