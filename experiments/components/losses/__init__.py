"""Losses by name: functions `(outputs, targets, *, …) -> scalar tensor`, the mean over the examples.

The fact `task` says what kind of targets a loss is for: `classes`, `values`, `tokens` or `none`; `target_range`, where
there is one, the least and the largest target that it can take.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...registry import Component, Registry
from ...registry.argument_checks import bound_component
from ..selected import Selector, selected

if TYPE_CHECKING:
    import torch

registry = Registry("loss", __name__, given=2, base="torch.nn:Module")
register_loss = registry.register


def make_loss(
    name: str | Component,
    *,
    base: Path = Path(),
    of: Selector | None = None,
    target: Selector | None = None,
    weights: str | int | None = None,
    **args: Any,
) -> Callable[[Any, Any], torch.Tensor]:
    """Return the loss called `name` as a function of (outputs, targets).

    Args:
        name: of the loss, or what a registry holds.
        base: where a file of the user's own is looked for.
        of: which part of the outputs it looks at: a key, an attribute, an index, a path of them, or a function.
        target: which part of the targets, likewise.
        weights: the entry of a batch that says how much each example counts, by name or place (`WeightedLoss`).
        args: of the loss.

    Raises:
        UsageError: an unknown name, or an unknown or impossible argument.
    """
    return weighed(bound_component(registry, name, base, args), of, target, weights)


def weighed(
    loss: Callable[..., Any], of: Selector | None, target: Selector | None, weights: str | int | None
) -> Callable[[Any, Any], torch.Tensor]:
    """Return a loss of parts of outputs and targets, in which examples count by weights, if there are some.

    Raises:
        UsageError: the loss does not say what the loss of each example is.
    """
    if weights is None:
        return selected(loss, of, target)
    from .weighting import WeightedLoss

    return WeightedLoss(loss, of, target, weights)
