"""From the graph of a loss to that of its gradients, in torch's elementary operations."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..penalty import Penalty
from . import store
from .cannot import CannotCompile
from .capture import Captured
from .fingerprint import digest, kinds_of, machine, text_of
from .noise import Noise, take_out
from .tracing import mappable, traced, written

_TUPLES = ("numbers", "shape", "stride")  # lists in JSON


@dataclass(frozen=True)
class Outline:
    """What a graph of gradients is like, without the graph.

    Args:
        weights: the places of weights that have a gradient among the tensors that it takes.
        changed: the places of tensors that a forward pass changes, such as running statistics.
        noise: the random numbers of a step, in the order in which they are drawn.
        num_operations: in it.
    """

    weights: tuple[int, ...]
    changed: tuple[int, ...]
    noise: tuple[Noise, ...]
    num_operations: int


class Gradients:
    """The gradients of a captured loss.

    Its graph takes tensors, then noise, and returns the loss and the gradients of the weights that have one. It is
    traced when somebody needs it: what it is like is known from an earlier process, if there was one.

    Args:
        captured: the loss.
        tensors: what its graph takes, then further weights that only the penalty depends on.
        free: the places of the weights that may have a gradient.
        penalty: that is added to the loss.
        is_stored: whether other processes are to find it.
        for_rows: whether it will be mapped over rows.

    Attributes:
        key: of all that it depends on; None where that cannot be told.
        outline: what its graph is like.

    Raises:
        CannotCompile: a part of it cannot be traced, draws what depends on what it computes, or changes a weight.
    """

    def __init__(
        self,
        captured: Captured,
        tensors: Sequence[Tensor],
        free: Sequence[int],
        penalty: Penalty | None,
        is_stored: bool = True,
        for_rows: bool = False,
    ):
        places = {id(tensor): place for place, tensor in enumerate(tensors)}
        self._captured, self._free, self._penalty, self._for_rows = captured, free, penalty, for_rows
        self._penalised = [] if penalty is None else [places[id(weight)] for weight in penalty.weights]
        self._graph: torch.fx.GraphModule | None = None
        text = text_of(captured.graph) if is_stored else None
        rate = None if penalty is None else penalty.rate
        parts = ("gradients", machine(), text, kinds_of(tensors), [*free], self._penalised, rate, for_rows)
        self.key = None if text is None else digest(parts)
        facts = store.recall(self.key)
        if facts is None:
            self.outline = self._trace(tensors)
            store.keep(self.key, asdict(self.outline))
        else:
            self.outline = _outline_of(facts)

    def graph_as_written(self, tensors: Sequence[Tensor]) -> torch.fx.GraphModule:
        """Return the graph with operations as they are called, batch norm as a whole, for whoever runs it as it is.

        Args:
            tensors: of the kinds that it takes.
        """
        graph, _ = self._traced(tensors, is_apart=False)
        if tuple(take_out(graph)) != self.outline.noise:
            raise CannotCompile("what is drawn depends on how operations are taken apart")
        return graph

    def graph(self, tensors: Sequence[Tensor]) -> torch.fx.GraphModule:
        """Return the graph, with operations taken apart as is best for a compiler.

        Args:
            tensors: of the kinds that it takes.
        """
        if self._graph is None:
            found = self._trace(tensors)
            if found != self.outline:
                raise CannotCompile(f"what {store.compiled_dir()} has of this model is not so: delete that folder")
        assert isinstance(self._graph, torch.fx.GraphModule)
        return self._graph

    def _trace(self, tensors: Sequence[Tensor]) -> Outline:
        """Trace the graph; return what it is like."""
        graph, moved = self._traced(tensors)
        if any(writes_in_secret(node) for node in graph.graph.nodes):
            raise CannotCompile("a layer changes its running statistics in a way that is not compiled")
        changed = written(graph)
        noise = take_out(graph)
        if not moved:
            raise CannotCompile("no weight of the optimizer has a gradient")
        if set(changed) & set(self._free):
            raise CannotCompile("the forward pass changes a weight in place")
        size = sum(node.op == "call_function" for node in graph.graph.nodes)
        self._graph = graph
        return Outline(tuple(moved), changed, tuple(noise), size)

    def _traced(self, tensors: Sequence[Tensor], is_apart: bool = True) -> tuple[torch.fx.GraphModule, list[int]]:
        """Return the graph as it is traced, and the places of the weights that have a gradient."""
        num_inputs = len(self._captured.graph.graph.find_nodes(op="placeholder"))
        free, penalty = self._free, self._penalty
        moved: list[int] = []

        def loss_and_gradients(*given: Tensor) -> list[Tensor]:
            taken = list(given)
            for place in free:
                taken[place] = given[place].detach().requires_grad_()
            with torch.enable_grad():
                loss = self._captured.graph(*taken[:num_inputs])[0]
                if penalty is not None:
                    loss = loss + penalty.of_weights([taken[place] for place in self._penalised])
                found = torch.autograd.grad(loss, [taken[place] for place in free], allow_unused=True)
            moved[:] = [place for place, gradient in zip(free, found, strict=True) if gradient is not None]
            return [loss.detach(), *(gradient for gradient in found if gradient is not None)]

        with mappable() if self._for_rows else nullcontext():
            graph = traced(loss_and_gradients, tensors, is_apart=is_apart)
        return graph, moved


def _outline_of(facts: dict[str, Any]) -> Outline:
    noise = tuple([Noise(**{**each, **{name: tuple(each[name]) for name in _TUPLES}}) for each in facts["noise"]])
    return Outline(tuple(facts["weights"]), tuple(facts["changed"]), noise, facts["num_operations"])


def writes_in_secret(node: torch.fx.Node) -> bool:
    """Return True for an operation that changes running statistics, and whose schema does not say so."""
    schema = getattr(node.target, "_schema", None)
    named = [] if schema is None else list(zip(schema.arguments, node.args, strict=False))
    is_declared = any(argument.alias_info is not None for argument, _ in named)
    changes = any(argument.name in ("training", "train") and given is True for argument, given in named)
    has_statistics = any(argument.name == "running_mean" and given is not None for argument, given in named)
    return changes and has_statistics and not is_declared and "backward" not in str(node.target)
