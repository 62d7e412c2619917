"""The parts of a train op's step, as a list: for `optrun plan`, and for tests that hold it against the step itself."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ...components.selected import Selected

if TYPE_CHECKING:
    from .train_op import TrainOp


class Part(NamedTuple):
    """One of the things that a step does.

    Args:
        name: `batch`, `forward`, `loss`, `l2`, `backward`, `gate`, `after_gradients`, `clip_norm`, `clip_value`,
            `optimizer`, `update` or `global_step`.
        what: which one, in words.
        within: `optimizer` where the optimizer evaluates the batch itself, as often as it wants; else empty.
    """

    name: str
    what: str = ""
    within: str = ""


def parts_of(op: TrainOp, after_gradients: bool = False) -> list[Part]:
    """List what a step does, in order.

    Args:
        op: the train op.
        after_gradients: whether it is a step at which hooks look at the gradients.
    """
    options = op.options
    gate = [Part("gate", f"{op.gate.policy} unless loss and gradients are finite")] if op.gate else []
    looking = [Part("after_gradients", "hooks look at the gradients, or change them"), *gate]
    micro = f"of {options.accumulate} micro-batches in turn, from forward on" if options.accumulate > 1 else ""
    clips = {"clip_norm": options.clip_norm, "clip_value": options.clip_value}
    why_not = op.compiled.why_not
    compiled = ", compiled" if why_not is None else f", uncompiled: {why_not}" if options.compile == "auto" else ""
    evaluation = [
        Part("forward", f"{type(op.model).__name__}, {options.precision}{compiled}"),
        Part("loss", _name_of(op.loss) + _own_parameters(op)),
        *([Part("l2", str(op.l2))] if op.l2 is not None else []),
        Part("backward", micro),
        *gate,
        *(looking if after_gradients else []),
        *(Part(name, f"at most {bound:g}") for name, bound in clips.items() if bound is not None),
    ]
    optimizer = Part("optimizer", type(op.optimizer).__name__)
    if op.needs_closure:
        evaluation = [optimizer, *(part._replace(within="optimizer") for part in evaluation)]
    else:
        evaluation.append(optimizer)
    updates = [Part("update", type(update).__name__) for update in op.updates]
    return [Part("batch", type(op.data).__name__), *evaluation, *updates, Part("global_step", "+ 1")]


def _own_parameters(op: TrainOp) -> str:
    count = sum(parameter.numel() for _, parameter in op.trained.loss_parameters() if parameter.requires_grad)
    return f", with {count:,} trained parameter{'s' * (count != 1)}" if count else ""


def _name_of(function: Callable[..., Any]) -> str:
    """Return what a function is called, under its bound arguments."""
    while isinstance(function, functools.partial | Selected):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)
