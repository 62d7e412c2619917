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
    **args: Any,
) -> Callable[[Any, Any], torch.Tensor]:
    """Return the loss called `name` as a function of (outputs, targets).

    Args:
        name: of the loss, or what a registry holds.
        base: where a file of the user's own is looked for.
        of: which part of the outputs it looks at: a key, an attribute, an index, a path of them, or a function.
        target: which part of the targets, likewise.
        args: of the loss.

    Raises:
        UsageError: an unknown name, or an unknown or impossible argument.
    """
    return selected(bound_component(registry, name, base, args), of, target)
