"""Forward pass and loss as a graph, as torch's dynamo sees them, with its guards on all that they depend on."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ....system.places import shown
from .cannot import CannotCompile, first_line

_MOST_GRAPHS = 8  # one for each shape of batches, and each way in which a model is set


class Captured:
    """One graph of forward pass and loss, and what is made from it.

    Args:
        graph: takes the tensors that it depends on, all of them; returns the loss alone.
    """

    def __init__(self, graph: torch.fx.GraphModule):
        self.graph = graph
        self.made: dict[Any, Any] = {}  # of this graph, by whoever calls, for each of its settings


class Capture:
    """Captures a function as graphs that are captured anew when anything that it reads has changed.

    A function that does something else than compute is refused: a step's graph runs many times for one call of it.

    Args:
        function: (...) -> loss.
        num_graphs: after which it is given up.
    """

    def __init__(self, function: Callable[..., Tensor], num_graphs: int = _MOST_GRAPHS):
        from torch._dynamo import config

        self._num_graphs, self._most_graphs = 0, num_graphs
        self._strictly = config.patch(side_effect_replay_policy="error")  # to make one takes as long as a step
        self._called: tuple[Captured, tuple[Any, ...]] | None = None
        # dynamo keeps graphs by the code of a function, which other train ops would share.
        own = types.FunctionType(
            function.__code__.replace(), function.__globals__, closure=function.__closure__, name=function.__name__
        )
        self._compiled = torch.compile(own, fullgraph=True, dynamic=False, backend=self._take)

    def __call__(self, *given: Any) -> tuple[Captured, tuple[Any, ...]]:
        """Return the graph for such arguments, and what it takes now: weights, buffers, and the tensors of a batch.

        Raises:
            CannotCompile: it cannot be captured, or there have been too many.
        """
        from torch._dynamo.exc import TorchDynamoException

        self._called = None
        try:
            with torch.enable_grad(), self._strictly, warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Dynamo (does not know|detected)")  # what is refused is told below
                self._compiled(*given)
        except TorchDynamoException as error:
            raise CannotCompile(_reason(error)) from error
        if self._called is None:
            raise CannotCompile("torch.compile is switched off, or the loss depends on nothing")
        return self._called

    def _take(self, graph: torch.fx.GraphModule, examples: Sequence[Any]) -> Callable[..., tuple[Tensor, ...]]:
        """Keep a graph, as the backend of torch.compile; what runs for it only notes what it was called with."""
        self._num_graphs += 1
        if self._num_graphs > self._most_graphs:
            raise CannotCompile(f"what the model reads, or the batch's shape, changed {self._most_graphs} times")
        (result,) = (node for node in graph.graph.nodes if node.op == "output")
        if len(result.args[0]) != 1:
            raise CannotCompile("the model or the loss leaves something behind besides the loss")
        captured = Captured(graph)
        unread = torch.zeros(())

        def note(*tensors: Any) -> tuple[Tensor, ...]:
            self._called = captured, tensors
            return (unread,)

        return note


def _reason(error: BaseException) -> str:
    """Return why something was not captured, in one line."""
    inner = getattr(error, "inner_exception", None)
    if isinstance(inner, CannotCompile):
        return str(inner)
    return f"torch cannot compile model and loss{_place(error)}: {first_line(error)}"


def _place(error: BaseException) -> str:
    """Return the file and line that torch's dynamo could not follow, as far as it says so."""
    stack = getattr(error, "real_stack", None)
    return f" ({shown(stack[-1].filename)}:{stack[-1].lineno})" if stack else ""
