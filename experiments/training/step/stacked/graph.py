"""Graphs of all rows, made for being run as they are, one operation after the other."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from ..compiled.cannot import CannotCompile
from ..compiled.fingerprint import digest, kinds_of
from ..compiled.gradients import Gradients, writes_in_secret
from ..compiled.program import compiled_once, is_compiled
from ..compiled.tracing import traced
from .members import Found

_aten = torch.ops.aten
_SAME = {_aten.detach.default, _aten.alias.default}
_SHAPED = {_aten.view.default, _aten._unsafe_view.default, _aten.expand.default, _aten.permute.default}

#: The same functions as Python reaches them, which is sooner than through the table of operations.
_SOONER: dict[Any, Callable[..., Any]] = {
    _aten.bmm.default: torch.bmm,
    _aten.add.Tensor: torch.add,
    _aten.sub.Tensor: torch.sub,
    _aten.mul.Tensor: torch.mul,
    _aten.mul.Scalar: torch.mul,
    _aten.div.Tensor: torch.div,
    _aten.neg.default: torch.neg,
    _aten.relu.default: torch.relu,
    _aten.where.self: torch.where,
    _aten.view.default: Tensor.view,
    _aten._unsafe_view.default: Tensor.view,
    _aten.expand.default: Tensor.expand,
    _aten.transpose.int: torch.transpose,
    _aten.permute.default: Tensor.permute,
    _aten.unsqueeze.default: torch.unsqueeze,
    _aten.gather.default: torch.gather,
    _aten.ne.Scalar: torch.ne,
    _aten.select.int: torch.select,
}


#: Operations that may write their result where their argument was, and whether their two arguments can be exchanged.
_IN_PLACE: dict[Any, tuple[Callable[..., Any], bool]] = {
    _aten.add.Tensor: (Tensor.add_, True),
    _aten.mul.Tensor: (Tensor.mul_, True),
    _aten.sub.Tensor: (Tensor.sub_, False),
    _aten.relu.default: (Tensor.relu_, False),
}
_NEW = {*_IN_PLACE, _aten.bmm.default, _aten.convolution.default, _aten.where.self, _aten.div.Tensor}
_VIEWS = {_aten.view.default, _aten._unsafe_view.default}


class NotCompiledError(CannotCompile):
    """A graph would have to be compiled, which was not asked for.

    Args:
        num_operations: in it.
    """

    def __init__(self, num_operations: int):
        super().__init__("a graph of it is not compiled yet")
        self.num_operations = num_operations


WIDTH = 4  #: Rows of a compiled graph, whatever the number of members: more rows are taken so many at a time.

#: (tensors, noise, where gradients are put), each of rows -> their losses, and sums that are finite if these are, and
#: all gradients.
RowsGraph = Callable[[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]], tuple[Tensor, Tensor]]


class Graphs:
    """The graphs of losses and gradients of rows, each made when it is first needed.

    Args:
        is_compiled: whether they are compiled; else they are run as they are, one operation after the other.

    Attributes:
        may_compile: False refuses what no earlier process has compiled.
    """

    def __init__(self, is_compiled: bool):
        self._is_compiled, self.may_compile = is_compiled, True
        self._known: dict[Any, RowsGraph] = {}

    def width(self, num_rows: int) -> int:
        """Return how many of so many rows a graph takes at once."""
        return WIDTH if self._is_compiled else num_rows

    def of(self, found: Found, own: Sequence[Tensor], noise: Sequence[Tensor], into: Sequence[Tensor]) -> RowsGraph:
        """Return the graph of members.

        Args:
            found: what the first of them depends on.
            own: tensors of all rows that the graph takes.
            noise: likewise.
            into: where gradients are put.

        Raises:
            NotCompiledError: it may not be compiled, and no earlier process has done so.
            CannotCompile: it cannot be made.
        """
        gradients = found.layout.gradients
        key = gradients, len(into[0])
        if key not in self._known:
            if self._is_compiled:
                graph = compiled_graph_of_rows(gradients, found.taken, own, noise, into, self.may_compile)
            else:
                graph = graph_of_rows(gradients, found.taken, own, noise)
            self._known[key] = graph
        return self._known[key]


def graph_of_rows(
    gradients: Gradients, tensors: Sequence[Tensor], rows: Sequence[Tensor], noise: Sequence[Tensor]
) -> RowsGraph:
    """Return the graph of losses and gradients of so many rows, to be run as it is, one operation after the other.

    Args:
        gradients: of one member.
        tensors: that its graph takes.
        rows: the same of all rows.
        noise: likewise.

    Raises:
        CannotCompile: it cannot be made.
    """
    examples = [*rows, *noise]
    graph = traced(torch.func.vmap(gradients.graph_as_written(tensors)), examples, is_apart=False)
    if not all(map(_reaches_rows, graph.graph.nodes)):
        graph = traced(torch.func.vmap(gradients.graph(tensors)), examples)
    graph = simplified(graph, not gradients.outline.changed)

    def run(own: Sequence[Tensor], noise: Sequence[Tensor], into: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        loss, *found = graph(*own, *noise)
        torch._foreach_copy_([*into], found)
        return loss, loss + sum([each.sum(tuple(range(1, each.dim()))) for each in into])

    return run


def compiled_graph_of_rows(
    gradients: Gradients,
    tensors: Sequence[Tensor],
    rows: Sequence[Tensor],
    noise: Sequence[Tensor],
    into: Sequence[Tensor],
    may_compile: bool = True,
) -> RowsGraph:
    """Return the graph of losses and gradients of `WIDTH` rows, compiled; an earlier process may have made it.

    Args:
        gradients: of one member.
        tensors: that its graph takes.
        rows: the same of `WIDTH` rows.
        noise: likewise.
        into: where gradients are put.
        may_compile: False refuses where none has.

    Raises:
        NotCompiledError: it may not be compiled, and no earlier process has done so.
        CannotCompile: it cannot be made.
    """
    num_taken = len(rows) + len(noise)
    # The places are columns of one tensor, which a compiler would take for one place that is written several times.
    examples = [*rows, *noise, *(torch.empty_strided(each.shape, each.stride(), dtype=each.dtype) for each in into)]

    def made() -> tuple[Callable[..., list[Tensor]], list[Tensor]]:
        all_rows = torch.func.vmap(gradients.graph(tensors))

        def losses(*given: Tensor) -> list[Tensor]:
            loss, *found = all_rows(*given[:num_taken])
            for place, each in zip(given[num_taken:], found, strict=True):
                place.copy_(each)
            return [loss, loss + sum([each.flatten(1).sum(1) for each in found])]

        return losses, examples

    key = None if gradients.key is None else digest(("rows", gradients.key, kinds_of(examples)))
    if not may_compile and not is_compiled(key):
        raise NotCompiledError(gradients.outline.num_operations)
    run = compiled_once(key, made, rows[0].device)

    def run_rows(own: Sequence[Tensor], noise: Sequence[Tensor], into: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        loss, total = run([*own, *noise, *into])
        return loss, total

    return run_rows


def simplified(graph: GraphModule, changes_nothing: bool) -> GraphModule:
    """Return a graph without the operations that a compiler would drop, for whoever runs it without one.

    The values are the same to the last bit: what changes nothing is left out, what is worked out twice is worked out
    once, constants are made once, and what is read for the last time is written over.

    Args:
        graph: changed in place.
        changes_nothing: whether it leaves all that it takes as it is.
    """
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and _is_same(node):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    if changes_nothing:
        _once(graph)
    _constants(graph)
    graph.graph.eliminate_dead_code()
    _in_place(graph)
    for node in graph.graph.nodes:
        if node.target in _SOONER and not node.kwargs:
            node.target = _SOONER[node.target]
    graph.graph.lint()
    graph.recompile()
    return graph


def _reaches_rows(node: Node) -> bool:
    """Return False for batch norm that moves a copy of its running statistics, and not what the graph takes."""
    if not writes_in_secret(node):
        return True
    names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr] (it has one)
    for name in ("running_mean", "running_var"):
        given: Any = node.args[names.index(name)]
        while given.target in _SHAPED | _VIEWS:
            given = given.args[0]
        if given.op != "placeholder":
            return False
    return True


def _is_same(node: Node) -> bool:
    """Return True if an operation returns its first argument as it is."""
    if node.target in _SAME:
        return True
    before = node.args[0].meta.get("val") if node.args and isinstance(node.args[0], Node) else None
    after = node.meta.get("val")
    if node.target not in _SHAPED or not isinstance(before, Tensor) or not isinstance(after, Tensor):
        return False
    return before.shape == after.shape and before.stride() == after.stride()


def _once(graph: GraphModule) -> None:
    """Work out once what is worked out several times; nothing is changed in place."""
    known: dict[Any, Node] = {}
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or node.target is operator.setitem:
            continue
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            continue
        key = (node.target, repr(node.args), repr(sorted(node.kwargs.items())))
        if key in known:
            node.replace_all_uses_with(known[key])
            graph.graph.erase_node(node)
        else:
            known[key] = node


def _constants(graph: GraphModule) -> None:
    """Make numbers that are tensors once."""
    for count, node in enumerate(list(graph.graph.nodes)):
        if node.target is _aten.scalar_tensor.default:
            name = f"constant_{count}"
            graph.register_buffer(name, _aten.scalar_tensor.default(*node.args, **node.kwargs))
            with graph.graph.inserting_before(node):
                node.replace_all_uses_with(graph.graph.get_attr(name))
            graph.graph.erase_node(node)


def _in_place(graph: GraphModule) -> None:
    """Write results where an argument was that nobody reads any more: new memory has to be fetched from the system."""
    for node in graph.graph.nodes:
        if node.target not in _IN_PLACE or node.kwargs:
            continue
        function, is_symmetric = _IN_PLACE[node.target]
        if len(node.args) > 2:
            continue
        order = [node.args, node.args[::-1]] if is_symmetric else [node.args]
        for args in order:
            if _is_free(args[0], node):
                node.target, node.args = function, args
                break


def _is_free(argument: Any, node: Node) -> bool:
    """Return True if a node is all that reads an argument, which has memory of its own and the shape of its result."""
    if not isinstance(argument, Node) or len(argument.users) > 1:
        return False
    before, after = argument.meta.get("val"), node.meta.get("val")
    if not isinstance(before, Tensor) or not isinstance(after, Tensor):
        return False
    if (before.shape, before.dtype, before.stride()) != (after.shape, after.dtype, after.stride()):
        return False
    while argument.target in _VIEWS:
        (argument,) = argument.all_input_nodes
        if len(argument.users) > 1:
            return False
    return argument.target in _NEW or any(argument.target is function for function, _ in _IN_PLACE.values())
