"""Random numbers of a graph as its inputs: they are drawn before each step, as an eager step draws them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .cannot import CannotCompile

if TYPE_CHECKING:
    from ..train_op import TrainOp

_aten = torch.ops.aten
#: Operations that fill a new tensor with noise, by the method that does, and those that make one to be filled.
_FILLED = {
    _aten.rand.default: "uniform_",
    _aten.rand_like.default: "uniform_",
    _aten.randn.default: "normal_",
    _aten.randn_like.default: "normal_",
}
_EMPTY = (_aten.empty.memory_format, _aten.empty_like.default, _aten.new_empty.default)


@dataclass(frozen=True)
class Noise:
    """A tensor of random numbers that a step needs.

    Args:
        method: of a tensor, fills it from torch's default generator.
        numbers: that the method takes.
        shape: of the tensor; so the next three.
        stride: in elements.
        dtype: by its name in torch.
        device: by its name.
    """

    method: str
    numbers: tuple[float, ...]
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str
    device: str

    @classmethod
    def like(cls, tensor: Tensor, method: str, *numbers: float) -> Noise:
        """Return the noise that fills tensors of a shape and kind."""
        dtype, device = str(tensor.dtype).removeprefix("torch."), str(tensor.device)
        return cls(method, numbers, tuple(tensor.shape), tensor.stride(), dtype, device)

    def empty(self) -> Tensor:
        """Return a tensor for the numbers."""
        return torch.empty_strided(self.shape, self.stride, dtype=getattr(torch, self.dtype), device=self.device)

    def draw(self) -> Tensor:
        """Return new numbers, from torch's default generator."""
        tensor = self.empty()
        getattr(tensor, self.method)(*self.numbers)
        return tensor


def draw_noise(op: TrainOp, noise: Sequence[Noise], steps: range) -> list[Tensor]:
    """Return the noise of steps to come, each from where an eager step would begin to draw.

    Args:
        op: whose steps.
        noise: of each step.
        steps: 0 for the next one.
    """
    now, found = op.batch, []
    if not noise:
        return found
    try:
        for step in steps:
            op.batch = now + step
            op.seed_noise()
            found += [each.draw() for each in noise]
    finally:
        op.batch = now
    return found


def take_out(graph: torch.fx.GraphModule) -> list[Noise]:
    """Turn what a graph draws into further inputs, and return it in the order in which it was drawn.

    Raises:
        CannotCompile: what is drawn depends on what was computed.
    """
    found: list[Noise] = []
    own = set(graph.graph.nodes)
    for node in list(_drawing(graph)):
        noise, filled = _noise_of(node) if node in own else (None, [])
        if noise is None:
            raise CannotCompile(f"a way in which model or loss draw random numbers is not compiled ({node.target})")
        last = graph.graph.find_nodes(op="placeholder")[-1]
        with graph.graph.inserting_after(last):
            given = graph.graph.placeholder(f"noise_{len(found)}")
        given.meta["val"] = node.meta["val"]
        for each in filled:  # what is filled last, then the empty tensor
            each.replace_all_uses_with(given)
            graph.graph.erase_node(each)
        found.append(noise)
    if found:
        graph.graph.lint()
        graph.recompile()
    return found


def _noise_of(node: torch.fx.Node) -> tuple[Noise | None, list[torch.fx.Node]]:
    """Return the noise that an operation draws, and the nodes that stand for it; None where that is more than noise."""
    like = node.meta["val"]
    if (method := _FILLED.get(node.target)) is not None:  # type: ignore[arg-type]
        return Noise.like(like, method), [node]
    is_dropout = node.target is _aten.bernoulli_.float and node.kwargs.get("generator") is None
    if not is_dropout or not 0 < len(node.args) <= 2:
        return None, []
    empty, chance = node.args[0], node.args[1] if len(node.args) > 1 else 0.5
    if not isinstance(empty, torch.fx.Node) or empty.target not in _EMPTY or not isinstance(chance, float | int):
        return None, []
    if next(iter(empty.users)) is not node:  # somebody reads what is not filled yet
        return None, []
    return Noise.like(like, "bernoulli_", chance), [node, empty]


def _drawing(graph: torch.fx.GraphModule) -> Iterator[torch.fx.Node]:
    """Yield the operations that draw from a generator of random numbers, in the order of the graph."""
    for module in graph.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                tags: Any = getattr(node.target, "tags", ())
                if torch.Tag.nondeterministic_seeded in tags and not _draws_nothing(node):
                    yield node


def _draws_nothing(node: torch.fx.Node) -> bool:
    """Return True for attention that could drop something, and is told to drop nothing."""
    schema = node.target._schema  # type: ignore[union-attr] (an operation of torch's has one)
    for place, argument in enumerate(schema.arguments):
        if argument.name == "dropout_p":
            given = node.args[place] if place < len(node.args) else node.kwargs.get(argument.name, 0.0)
            return isinstance(given, float | int) and given == 0
    return False
