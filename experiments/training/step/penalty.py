"""The L2 penalty as a part of the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...components.optimizers.shared.parameter_groups import selected, trainable
from ...errors import UsageError


class Penalty:
    """The squared length of some weights, to be added to the loss.

        penalty = rate * Σ w² / 2

    Its gradient, rate * w, is that of a coupled weight decay of the same rate; the loss that is logged contains it.

    Args:
        weights: the parameters to keep small.
        rate: how much it counts.

    Source: tf.nn.l2_loss, TensorFlow 1, as image models add it to their cost.
    """

    def __init__(self, weights: Sequence[Tensor], rate: float):
        self.weights, self.rate = list(weights), rate

    @classmethod
    def of(cls, l2: float | Mapping[str, Any] | Penalty | None, model: nn.Module) -> Penalty | None:
        """Make the penalty of a rate for all trainable parameters, or of `{rate, include, exclude}`; None makes none.

        Raises:
            UsageError: a selector matches nothing, or nothing is left to keep small.
        """
        if l2 is None or isinstance(l2, Penalty):
            return l2
        named = trainable(model)
        if not isinstance(l2, Mapping):
            return cls([each.parameter for each in named], l2)
        chosen = set(range(len(named)))
        if "include" in l2:
            chosen = selected(l2["include"], named, "l2.include")
        chosen -= selected(l2.get("exclude", ()), named, "l2.exclude")
        if not chosen:
            raise UsageError("l2: include and exclude leave no parameter; for no penalty, set it to null")
        return cls([named[position].parameter for position in sorted(chosen)], l2["rate"])

    def __call__(self) -> Tensor:
        """Return the penalty, a scalar with a gradient."""
        return self.of_weights(self.weights)

    def of_weights(self, weights: Sequence[Tensor]) -> Tensor:
        """Return the penalty of other tensors in the places of its weights."""
        squares = [(weight * (weight.conj() if weight.is_complex() else weight)).real.sum() for weight in weights]
        return torch.stack(squares).sum() * (self.rate / 2)

    def __str__(self) -> str:
        return f"{self.rate:g} * Σ w² / 2 of {len(self.weights)} tensors"
