"""What the rules of TensorFlow 1 share: the rounding of its hyperparameters, and how tensors take a step together."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ....errors import UsageError
from ....registry import Component
from ....registry.argument_checks import check_arguments
from ..shared.foreach import evaluated

_LOW_PRECISION = (torch.bfloat16, torch.float16)
_SUPPORTED = (torch.float32, torch.float64, *_LOW_PRECISION)
Pair = tuple[Tensor, Tensor]  # a parameter and its gradient
_IN_CACHE = 2**18  # weights that pass through a rule together on a CPU, so that they stay in its cache meanwhile


def single(value: float) -> float:
    """Round to float32, as TensorFlow rounds every hyperparameter, whatever the type of the weights."""
    return ctypes.c_float(float(value)).value


def clamped(tensors: list[Tensor], threshold: float) -> list[Tensor]:
    """Return copies with each element moved into the interval [-threshold, threshold]."""
    moved = list(torch._foreach_clamp_min(tensors, -threshold))
    torch._foreach_clamp_max_(moved, threshold)
    return moved


def beyond(tensors: list[Tensor], threshold: float) -> list[Tensor]:
    """Return how far each element is from the interval [-threshold, threshold], with its sign; 0 inside."""
    if not threshold:
        return tensors
    distances = clamped(tensors, threshold)
    torch._foreach_sub_(distances, tensors)
    torch._foreach_neg_(distances)
    return distances


class Batch(NamedTuple):
    """Tensors of one device and type that take a step together.

    Args:
        weights: changed in place.
        grads: of the same shapes; not to be changed.
        slots: what the rule keeps, by name, of the same shapes each; changed in place.
        counters: the numbers that the rule keeps, the same for all.
    """

    weights: list[Tensor]
    grads: list[Tensor]
    slots: dict[str, list[Tensor]]
    counters: tuple[float, ...]


class TF1Optimizer(torch.optim.Optimizer):
    """A rule of TensorFlow 1's `tf.train`, with TensorFlow's rounding.

    Weights of bfloat16 or float16 are updated in float32, where the rule keeps its slots too, and then rounded. A
    parameter without a gradient is left alone. A sparse gradient changes the rows that it names, and their slots;
    rows that it names twice have their gradients added.

    Args:
        params: the parameters to train, or torch's param groups.
        defaults: the hyperparameters; each group may have its own.

    Raises:
        UsageError: a parameter is complex or of another type that has no rule, or a hyperparameter is out of range.
    """

    #: Hyperparameters below 1 that must stay below 1 when they are rounded.
    decays: ClassVar[tuple[str, ...]] = ()
    #: Whether a sparse gradient moves all rows, as one that is 0 in the others.
    sparse_moves_all: ClassVar[bool] = False

    def __init__(self, params: Iterable[Any], **defaults: Any):
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with hyperparameters of their own."""
        group = {**self.defaults, **param_group}
        component = Component("optimizer", type(self).__name__, type(self), given=1)
        known = component.signature.names()
        check_arguments(component, {key: value for key, value in group.items() if key in known})
        for key in self.decays:
            values = group[key] if isinstance(group[key], Sequence) else [group[key]]
            if any(single(value) >= 1 for value in values):
                raise UsageError(f"{type(self).__name__}: {key} {group[key]} is 1 in single precision: make it smaller")
        super().add_param_group(param_group)
        for parameter in self.param_groups[-1]["params"]:
            if parameter.dtype not in _SUPPORTED:
                del self.param_groups[-1]
                known = ", ".join(str(dtype).removeprefix("torch.") for dtype in _SUPPORTED)
                raise UsageError(
                    f"{type(self).__name__} has no rule for {parameter.dtype} parameters, only for {known}"
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; `closure`, if given, computes the loss and the gradients first."""
        loss = evaluated(closure)
        for group in self.param_groups:
            dense, sparse = self._with_gradients(group)
            for (device, _, counters), members in dense.items():
                for part in _parts(members) if device.type == "cpu" else [members]:
                    self._move(group, self._batch(group, part, counters))
                self._count(group, [parameter for parameter, _ in members], counters)
            for parameter, grad in sparse:
                self._move_rows(group, parameter, grad)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned, bit for bit."""
        super().load_state_dict(state_dict)
        ours = [parameter for group in self.param_groups for parameter in group["params"]]
        theirs = [index for group in state_dict["param_groups"] for index in group["params"]]
        for parameter, index in zip(ours, theirs, strict=True):
            if parameter.dtype in _LOW_PRECISION:  # torch has rounded its slots to the type of the weights
                for key, value in state_dict["state"].get(index, {}).items():
                    if isinstance(value, Tensor):
                        self.state[parameter][key] = value.to(parameter.device, copy=True)

    # What a rule consists of.

    def slots(self, group: Mapping[str, Any]) -> dict[str, float]:
        """Return the tensors that the rule keeps for each parameter, by name, with the value that they start at."""
        return {}

    def counters(self, group: Mapping[str, Any]) -> dict[str, float]:
        """Return the numbers that the rule keeps for each parameter, by name, with the value that they start at."""
        return {}

    def counted(self, group: Mapping[str, Any], counters: tuple[float, ...]) -> tuple[float, ...]:
        """Return the counters after a step."""
        return counters

    def update(self, group: Mapping[str, Any], batch: Batch) -> None:
        """Apply the rule to a batch."""
        raise NotImplementedError

    # How it is applied.

    def _with_gradients(self, group: Mapping[str, Any]) -> tuple[dict[Any, list[Pair]], list[Pair]]:
        """Return the dense gradients with their parameters, by what these share to move together, and the sparse."""
        dense: dict[Any, list[Pair]] = {}
        sparse: list[Pair] = []
        names = tuple(self.counters(group))
        keeps = bool(names or self.slots(group))
        counters: tuple[float, ...] = ()
        for parameter in group["params"]:
            grad = parameter.grad
            if grad is None:
                continue
            if keeps and not self.state[parameter]:
                self._start(group, parameter)
            if names:
                state = self.state[parameter]
                counters = tuple([state[name] for name in names])
            if grad.layout is torch.strided:
                dense.setdefault((parameter.device, parameter.dtype, counters), []).append((parameter, grad))
            else:
                sparse.append((parameter, grad))
        return dense, sparse

    def _start(self, group: Mapping[str, Any], parameter: Tensor) -> None:
        state = self.state[parameter]
        dtype = torch.float32 if parameter.dtype in _LOW_PRECISION else parameter.dtype
        for name, value in self.slots(group).items():
            state[name] = torch.full_like(parameter, value, dtype=dtype)
        for name, value in self.counters(group).items():
            state[name] = value

    def _batch(self, group: Mapping[str, Any], members: Sequence[Pair], counters: tuple[float, ...]) -> Batch:
        weights, grads = [parameter for parameter, _ in members], [grad for _, grad in members]
        slots = {name: [self.state[parameter][name] for parameter in weights] for name in self.slots(group)}
        return Batch(weights, grads, slots, counters)

    def _move(self, group: Mapping[str, Any], batch: Batch) -> None:
        weights = batch.weights
        if weights[0].dtype in _LOW_PRECISION:
            wide = [weight.float() for weight in weights]
            batch = batch._replace(weights=wide, grads=[grad.float() for grad in batch.grads])
        if decay := group.get("weight_decay", 0.0):  # not rounded: the recipe's penalty has the type of the weights
            batch = batch._replace(grads=torch._foreach_add(batch.grads, batch.weights, alpha=decay))
        self.update(group, batch)
        if batch.weights is not weights:
            torch._foreach_copy_(weights, batch.weights)

    def _count(self, group: Mapping[str, Any], parameters: Iterable[Tensor], counters: tuple[float, ...]) -> None:
        if counters:
            names, values = self.counters(group), self.counted(group, counters)
            for parameter in parameters:
                self.state[parameter].update(zip(names, values, strict=True))

    def _move_rows(self, group: Mapping[str, Any], parameter: Tensor, grad: Tensor) -> None:
        """Move the rows that a sparse gradient names, or all of them where the rule says so."""
        if group.get("weight_decay"):
            raise UsageError(
                f"{type(self).__name__}: weight_decay acts on all rows, a sparse gradient only on those that it names: "
                "set weight_decay to 0 for this parameter, or make its gradient dense (sparse=False)"
            )
        state = self.state[parameter]
        counters = tuple([state[name] for name in self.counters(group)])
        slots = {name: state[name] for name in self.slots(group)}
        if self.sparse_moves_all:
            whole = {name: [slot] for name, slot in slots.items()}
            self._move(group, Batch([parameter], [grad.to_dense()], whole, counters))
        else:
            grad = grad.coalesce()
            rows = tuple(grad.indices())
            taken = Batch([parameter[rows]], [grad.values()], {n: [slot[rows]] for n, slot in slots.items()}, counters)
            self._move(group, taken)
            parameter[rows] = taken.weights[0]
            for name, slot in slots.items():
                slot[rows] = taken.slots[name][0]
        self._count(group, [parameter], counters)


def _parts(members: list[Pair]) -> Iterator[list[Pair]]:
    """Cut a list of tensors into parts that fit the cache; a large tensor is a part of its own."""
    part: list[Pair] = []
    size = 0
    for parameter, grad in members:
        if part and size + parameter.numel() > _IN_CACHE:
            yield part
            part, size = [], 0
        part.append((parameter, grad))
        size += parameter.numel()
    yield part
