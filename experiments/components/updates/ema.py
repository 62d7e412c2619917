"""Exponential moving averages of the weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ...registry.arguments import Decay
from ..averaging import Averaging
from . import Update, register_update


@register_update("ema", source="Polyak and Juditsky, 1992; tf.train.ExponentialMovingAverage (TensorFlow 1)")
class Ema(Averaging, Update):
    """Keep a moving average of the trainable weights, for evaluation.

        shadow <- shadow - (1 - d) (shadow - weight),    d = decay, or min(decay, (1 + n) / (10 + n))

    The shadow starts at the weights; that of a weight that is frozen, when it is freed. Buffers are not averaged:
    evaluation uses the model's own.

    Args:
        model: whose parameters are averaged.
        decay: how much of the past is kept at each step.
        num_updates: average faster at the start: n counts the updates of the weights, the first one being 1, as
            TensorFlow's `num_updates` does with the global step that the optimizer has just advanced.
    """

    def __init__(self, model: nn.Module, *, decay: Decay = 0.999, num_updates: bool = False):
        named = dict(model.named_parameters())
        self._weights: dict[str, Tensor] = {name: weight for name, weight in named.items() if weight.requires_grad}
        self._frozen: dict[str, Tensor] = {name: weight for name, weight in named.items() if not weight.requires_grad}
        self._built_frozen = frozenset(self._frozen)
        self.shadows = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self.decay = decay
        self.num_updates = num_updates
        self.count = 0

    def start(self) -> None:
        for name, weight in self._weights.items():
            self.shadows[name].copy_(weight.detach())

    def apply(self) -> None:
        self.count += 1
        if self._frozen:
            self._take_in(self.freed())
        shadows, weights = list(self.shadows.values()), list(self._weights.values())
        torch._foreach_add_(shadows, torch._foreach_sub(weights, shadows), alpha=1 - self.decay_at(self.count))

    def decay_at(self, count: float) -> float:
        """Return how much of the past an update keeps, by its number, the first one being 1."""
        return min(self.decay, (1 + count) / (10 + count)) if self.num_updates else self.decay

    def freed(self) -> list[str]:
        """Return the names of weights that were frozen, and whose average begins with the next update."""
        return [name for name, weight in self._frozen.items() if weight.requires_grad]

    def _take_in(self, freed: Iterable[str]) -> None:
        """Begin to average weights that were frozen before."""
        for name in freed:
            self._weights[name] = self._frozen.pop(name)
            self.shadows[name] = self._weights[name].detach().clone()

    def averages(self) -> list[tuple[Tensor, Tensor]]:
        return [(weight, self.shadows[name]) for name, weight in self._weights.items()]

    def state_dict(self) -> dict[str, Any]:
        return {"shadows": self.shadows, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in [name for name in self.shadows if name not in state["shadows"] and name in self._built_frozen]:
            self._frozen[name] = self._weights.pop(name)  # it was freed after the state was saved
            del self.shadows[name]
        self._take_in([name for name in state["shadows"] if name in self._frozen])
        for name, shadow in self.shadows.items():
            shadow.copy_(state["shadows"][name])
        self.count = state["count"]
