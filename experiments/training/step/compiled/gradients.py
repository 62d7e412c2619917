"""From the graph of a loss to that of its gradients, in torch's elementary operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..penalty import Penalty
from .cannot import CannotCompile
from .capture import Captured
from .noise import Noise, take_out
from .tracing import traced, written


@dataclass(frozen=True)
class Gradients:
    """The graph of a loss and its gradients.

    Args:
        graph: takes tensors, then noise; returns the loss and the gradients of the weights that have one.
        weights: the places of those weights among the tensors.
        changed: the places of tensors that a forward pass changes, such as running statistics.
        noise: the random numbers of a step, in the order in which they are drawn.
    """

    graph: torch.fx.GraphModule
    weights: tuple[int, ...]
    changed: tuple[int, ...]
    noise: tuple[Noise, ...]


def gradients_of(
    captured: Captured, tensors: Sequence[Tensor], weights: Sequence[int], penalty: Penalty | None
) -> Gradients:
    """Trace the gradients of a captured loss.

    Args:
        captured: the loss.
        tensors: what its graph takes, then further weights that only the penalty depends on.
        weights: the places of the weights that may have a gradient.
        penalty: that is added to the loss.

    Raises:
        CannotCompile: a part of it cannot be traced, draws what depends on what it computes, or changes a weight.
    """
    places = {id(tensor): place for place, tensor in enumerate(tensors)}
    penalised = [] if penalty is None else [places[id(weight)] for weight in penalty.weights]
    num_inputs = len(captured.graph.graph.find_nodes(op="placeholder"))
    moved: list[int] = []

    def loss_and_gradients(*given: Tensor) -> list[Tensor]:
        taken = list(given)
        for place in weights:
            taken[place] = given[place].detach().requires_grad_()
        with torch.enable_grad():
            loss = captured.graph(*taken[:num_inputs])[0]
            if penalty is not None:
                loss = loss + penalty.of_weights([taken[place] for place in penalised])
            found = torch.autograd.grad(loss, [taken[place] for place in weights], allow_unused=True)
        moved[:] = [place for place, gradient in zip(weights, found, strict=True) if gradient is not None]
        return [loss.detach(), *(gradient for gradient in found if gradient is not None)]

    graph = traced(loss_and_gradients, tensors)
    if any(_writes_in_secret(node) for node in graph.graph.nodes):
        raise CannotCompile("a layer changes its running statistics in a way that is not compiled")
    changed = written(graph)
    noise = take_out(graph)
    if not moved:
        raise CannotCompile("no weight of the optimizer has a gradient")
    if set(changed) & set(weights):
        raise CannotCompile("the forward pass changes a weight in place")
    return Gradients(graph, tuple(moved), changed, tuple(noise))


def _writes_in_secret(node: torch.fx.Node) -> bool:
    """Return True for an operation that changes running statistics, and whose schema does not say so."""
    schema = getattr(node.target, "_schema", None)
    named = [] if schema is None else list(zip(schema.arguments, node.args, strict=False))
    is_declared = any(argument.alias_info is not None for argument, _ in named)
    changes = any(argument.name in ("training", "train") and given is True for argument, given in named)
    has_statistics = any(argument.name == "running_mean" and given is not None for argument, given in named)
    return changes and has_statistics and not is_declared and "backward" not in str(node.target)
