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

if TYPE_CHECKING:
    import torch

registry = Registry("loss", __name__, given=2, base="torch.nn:Module")
register_loss = registry.register


def make_loss(
    name: str | Component, *, base: Path = Path(), **args: Any
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return the loss called `name` as a function of (outputs, targets).

    Raises:
        UsageError: an unknown name, or an unknown or impossible argument.
    """
    return bound_component(registry, name, base, args)
