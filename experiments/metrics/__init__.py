"""Metrics by name: functions `(outputs, targets, *, …) -> tensor of one value per example`, averaged over a split.

Facts: `mode` (`max` or `min` is better), `margin` (the difference, in the metric's unit, below which two results
count as equivalent in a comparison) and `task` (`classes` or `values`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks import bound_component
from ..registry import Component, Registry

if TYPE_CHECKING:
    import torch

registry = Registry("metric", __name__, given=2)
register_metric = registry.register


def make_metric(
    name: str | Component, *, base: Path = Path(), **args: Any
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return the metric called `name` as a function of (outputs, targets), one value per example.

    Raises:
        UsageError: an unknown name, or an unknown or impossible argument.
    """
    return bound_component(registry, name, base, args)
