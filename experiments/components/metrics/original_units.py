"""Metrics of values in their original units, where a model learns them scaled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ...errors import UsageError
from ...registry import Component

Undo = Callable[[torch.Tensor], torch.Tensor]


class OriginalUnits:
    """A metric of what outputs and targets stand for, before the targets were scaled.

    Args:
        metric: (outputs, targets) -> one value or row of values per example.
        undo: turns scaled values into those in original units, in double precision.
    """

    def __init__(self, metric: Callable[[Any, Any], torch.Tensor], undo: Undo):
        self.metric, self.undo = metric, undo
        self.finish = getattr(metric, "finish", None)

    def __call__(self, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        """Return what the metric gives for outputs and targets in original units.

        Raises:
            UsageError: outputs that are no tensor of the shape of the targets, up to a last dimension of 1.
        """
        num_values = targets.shape[-1]
        fits = isinstance(outputs, torch.Tensor) and (outputs.shape[-1:] == (num_values,) or num_values == 1)
        if not fits:
            shown = f"shape {tuple(outputs.shape)}" if isinstance(outputs, torch.Tensor) else type(outputs).__name__
            expected = f"outputs of shape (examples, {num_values}) to bring back to the targets' original units"
            raise UsageError(f"expected {expected}, got {shown}; `target_scaling: none` leaves all as it is")
        return self.metric(self.undo(outputs), self.undo(targets))


def in_original_units(metric: Callable[..., Any], component: Component, undo: Undo | None) -> Callable[..., Any]:
    """Return a metric that is measured in original units, unless it has no unit (`unit="none"`: it is the same).

    Args:
        metric: as `make_metric` returns it.
        component: what it was made of.
        undo: see `OriginalUnits`; None where targets are what they were.
    """
    return metric if undo is None or component.facts.get("unit") == "none" else OriginalUnits(metric, undo)
