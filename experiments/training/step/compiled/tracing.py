"""Functions of tensors as graphs of torch's elementary operations."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from .cannot import CannotCompile, explained


def traced(function: Callable[..., Any], examples: Sequence[Tensor], *, is_apart: bool = True) -> torch.fx.GraphModule:
    """Return what a function does to such tensors, as a graph; nothing is computed.

    What it changes in place is an operation of its own there: batch norm, whose schema does not say that it writes to
    its running statistics, is taken apart.

    Args:
        function: of tensors.
        examples: tensors of the shapes and kinds that it will be called with.
        is_apart: whether batch norm and linear layers are, as is best for a compiler.

    Raises:
        CannotCompile: it cannot be traced.
    """
    from torch._decomp import get_decompositions
    from torch.fx.experimental.proxy_tensor import make_fx

    aten = torch.ops.aten
    apart: Any = {}
    if is_apart:
        apart |= get_decompositions([aten.native_batch_norm, aten.cudnn_batch_norm, aten.miopen_batch_norm])
        apart[aten.addmm.default] = _product_and_sum
    with explained("tracing"):
        return make_fx(function, apart, tracing_mode="fake")(*(example.detach() for example in examples))


def mappable() -> AbstractContextManager[Any]:
    """Return a `with` block in which what is traced can be mapped over rows.

    Attention is written as products there: its kernel for the CPU is none that torch maps.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH)


def _product_and_sum(bias: Tensor, one: Tensor, other: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Return a linear layer as two operations: to add becomes a part of what follows, and costs nothing there.

    It is written as a difference, the same to the last bit, because inductor would join a sum to one operation again.
    """
    if beta != 1 or alpha != 1:
        return NotImplemented
    return one @ other - (-bias)


def written(graph: torch.fx.GraphModule) -> tuple[int, ...]:
    """Return the places of the inputs that a traced graph writes to, by themselves or through views of them.

    Version counters would not show it: what an operation is taken apart to moves none.

    Raises:
        CannotCompile: an operation does not say whether it writes.
    """
    inputs = graph.graph.find_nodes(op="placeholder")
    shares: dict[torch.fx.Node, set[torch.fx.Node]] = {node: {node} for node in inputs}
    found: set[torch.fx.Node] = set()
    for node in graph.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is None and node.op == "call_function" and node.target is not operator.getitem:
            raise CannotCompile(f"an operation that says nothing of what it changes is not compiled ({node.target})")
        if schema is None:  # an item of what an operation returns
            if node not in shares:
                shares[node] = set().union(*(shares.get(each, set()) for each in node.all_input_nodes))
            continue
        names = [argument.name for argument in schema.arguments]
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        shares[node] = set()
        for argument in schema.arguments:
            value = given.get(argument.name)
            for each in value if isinstance(value, list | tuple) else [value]:
                if argument.alias_info is not None and isinstance(each, torch.fx.Node):
                    shares[node] |= shares[each]
                    if argument.alias_info.is_write:
                        found |= shares[each]
    return tuple(place for place, node in enumerate(inputs) if node in found)
