"""The base of TensorFlow 1's rules: hyperparameters are rounded as there, and tensors take a step together."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softshrink

from ....errors import UsageError
from ....registry import Component
from ....registry.argument_checks import check_arguments
from ....registry.arguments import Decay
from ..shared.foreach import RuleOptimizer, by_kind, gradients_of

_LOW_PRECISION = (torch.bfloat16, torch.float16)
_SUPPORTED = (torch.float32, torch.float64, *_LOW_PRECISION)
_IN_CACHE = 2**18  # weights that pass through a rule together on a CPU, so that they stay in its cache meanwhile


def single(value: float) -> float:
    """Round to float32, as TensorFlow rounds every hyperparameter, whatever the type of the weights."""
    return ctypes.c_float(float(value)).value


def shrunk(tensors: list[Tensor], threshold: float, into: list[Tensor]) -> list[Tensor]:
    """Return each element moved towards 0 by the threshold, and 0 where it is nearer than that; written into others."""
    if not threshold:
        return tensors
    for tensor, other in zip(tensors, into, strict=True):
        softshrink(tensor, threshold, out=other)  # type: ignore[call-arg] (not in torch's stubs)
    return into


def assign_quotients(
    weights: Sequence[Tensor], numerators: Sequence[Tensor], denominators: Sequence[Tensor], factor: float
) -> None:
    """Set the weights to factor * numerator / denominator; what is 0 gets no sign."""
    zero = weights[0].new_zeros(())
    for weight, numerator, denominator in zip(weights, numerators, denominators, strict=True):
        torch.addcdiv(zero, numerator, denominator, value=factor, out=weight)


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


class TF1Optimizer(RuleOptimizer):
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

    #: Whether a sparse gradient moves all rows, as one that is 0 in the others.
    sparse_moves_all: ClassVar[bool] = False

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with hyperparameters of their own."""
        group, component = {**self.defaults, **param_group}, _component_of(type(self))
        arguments = [argument for argument in component.signature.arguments if argument.name in group]
        check_arguments(component, {argument.name: group[argument.name] for argument in arguments})
        for argument in arguments:
            values = group[argument.name] if isinstance(group[argument.name], Sequence) else [group[argument.name]]
            if argument.annotation in (Decay, tuple[Decay, Decay]) and any(single(value) >= 1 for value in values):
                label = f"{component.name}: {argument.name} {group[argument.name]}"
                raise UsageError(f"{label} is 1 in single precision: make it smaller")
        super().add_param_group(param_group)
        for parameter in self.param_groups[-1]["params"]:
            if parameter.dtype not in _SUPPORTED:
                del self.param_groups[-1]
                known = ", ".join(str(dtype).removeprefix("torch.") for dtype in _SUPPORTED)
                raise UsageError(f"{component.name} has no rule for {parameter.dtype} parameters, only for {known}")

    def move(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        names, slots = tuple(self.counters(group)), tuple(self.slots(group))
        if names or slots:
            for weight in weights:
                if not self.state[weight]:
                    self._start(group, weight)
        dense = [weight for weight in weights if weight.grad.layout is torch.strided]  # type: ignore[union-attr]
        counted = (lambda weight: tuple([self.state[weight][name] for name in names])) if names else None
        for (device, _, known), alike in by_kind(dense, counted).items():
            counters = known or ()
            in_parts = device.type == "cpu" and not self.passes_once(group) and not torch.compiler.is_compiling()
            for part in _parts(alike) if in_parts else [alike]:
                batch = self._batch(slots, part, counters)
                for piece in _pieces(batch) if in_parts and len(part) == 1 else [batch]:
                    self._move(group, piece)
            self._count(group, alike, counters)
        if len(dense) < len(weights):
            for weight in weights:
                if weight.grad.layout is not torch.strided:  # type: ignore[union-attr]
                    self._move_rows(group, weight, weight.grad)  # type: ignore[arg-type]

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

    @staticmethod
    def slots(group: Mapping[str, Any]) -> dict[str, float]:
        """Return the tensors that the rule keeps for each parameter, by name, with the value that they start at."""
        return {}

    @staticmethod
    def counters(group: Mapping[str, Any]) -> dict[str, float]:
        """Return the numbers that the rule keeps for each parameter, by name, with the value that they start at."""
        return {}

    @staticmethod
    def counted(group: Mapping[str, Any], counters: tuple[float, ...]) -> tuple[float, ...]:
        """Return the counters after a step."""
        return counters

    def passes_once(self, group: Mapping[str, Any]) -> bool:
        """Return True if the rule is one operation, which gains nothing from weights that stay in the cache."""
        return False

    def update(self, group: Mapping[str, Any], batch: Batch) -> None:
        """Apply the rule to a batch."""
        raise NotImplementedError

    # How it is applied.

    def _start(self, group: Mapping[str, Any], parameter: Tensor) -> None:
        state = self.state[parameter]
        dtype = torch.float32 if parameter.dtype in _LOW_PRECISION else parameter.dtype
        for name, value in self.slots(group).items():
            state[name] = torch.full_like(parameter, value, dtype=dtype)
        for name, value in self.counters(group).items():
            state[name] = value

    def _batch(self, names: tuple[str, ...], weights: list[Tensor], counters: tuple[float, ...]) -> Batch:
        states = [self.state[weight] for weight in weights] if names else []
        slots = {name: [state[name] for state in states] for name in names}
        return Batch(weights, gradients_of(weights), slots, counters)

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


@functools.cache
def _component_of(rule: type[TF1Optimizer]) -> Component:
    """Return a rule as a component, whose signature says what its groups may hold."""
    return Component("optimizer", rule.__name__, rule, given=1)


def _parts(weights: list[Tensor]) -> Iterator[list[Tensor]]:
    """Cut a list of tensors into parts that fit the cache; a larger tensor is a part of its own."""
    part: list[Tensor] = []
    size = 0
    for weight in weights:
        added = weight.numel()
        if part and size + added > _IN_CACHE:
            yield part
            part, size = [], 0
        part.append(weight)
        size += added
    yield part


def _pieces(batch: Batch) -> Iterator[Batch]:
    """Cut a tensor that is too large for the cache into runs of its elements, if all tensors lie in one order."""
    tensors = [batch.weights[0], batch.grads[0], *(slot for (slot,) in batch.slots.values())]
    if tensors[0].numel() <= _IN_CACHE or not all(tensor.is_contiguous() for tensor in tensors):
        yield batch
        return
    for weight, grad, *slots in zip(*(tensor.view(-1).split(_IN_CACHE) for tensor in tensors), strict=True):
        yield batch._replace(
            weights=[weight],
            grads=[grad],
            slots={name: [slot] for name, slot in zip(batch.slots, slots, strict=True)},
        )
