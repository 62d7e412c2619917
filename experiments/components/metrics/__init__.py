"""Metrics by name: functions `(outputs, targets, *, …) -> tensor of one value per example`, averaged over a split.

A metric that is no mean over the examples is a class with a second method: its instances return one row of numbers
per example, and `finish(means)` makes the metric's value from their means over the split, float64. So every metric is a
function of sums, and the same for every batch size.

Facts: `mode` (`max` or `min` is better), `margin` (the difference, in the metric's unit, below which two results
count as equivalent in a comparison), `task` (`classes`, `values` or `tokens`) and `unit` (`none` for a metric of values
that does not change when these are shifted and scaled; `target` for one in the unit of the targets, or its square,
whose margin is registered for targets with a standard deviation of 1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...config.goal import Goal, Mode, label_of
from ...errors import UsageError
from ...registry import Component, Registry
from ...registry.argument_checks import bound_component
from ...registry.calls import described
from ..selected import Selector, selected

if TYPE_CHECKING:
    import torch

registry = Registry("metric", __name__, given=2, base="torch.nn:Module")
register_metric = registry.register


def make_metric(
    name: str | Component,
    *,
    base: Path = Path(),
    of: Selector | None = None,
    target: Selector | None = None,
    **args: Any,
) -> Callable[[Any, Any], torch.Tensor]:
    """Return the metric called `name` as a function of (outputs, targets), one value or row of values per example.

    Args:
        name: of the metric, or what a registry holds.
        base: where a file of the user's own is looked for.
        of: which part of the outputs it looks at: a key, an attribute, an index, a path of them, or a function.
        target: which part of the targets, likewise.
        args: of the metric.

    Raises:
        UsageError: an unknown name, or an unknown or impossible argument.
    """
    return selected(bound_component(registry, name, base, args), of, target)


def own_goal(metric: str, mode: Mode | None = None) -> Goal:
    """Return a metric with a direction, by default that of the loss, or of the registered metric of its name.

    Args:
        metric: as in the metric rows: `val/accuracy`.
        mode: whether `max` or `min` is better; needed for a metric that nobody has registered.

    Raises:
        UsageError: nothing says which way is better, or it contradicts the metric's own direction.
    """
    label = label_of(metric)
    facts: Mapping[str, Any] = (
        {"mode": "min"} if label == "loss" else registry.get(label).facts if label in registry.names() else {}
    )
    own: Mode | None = facts.get("mode")
    chosen = mode or own
    if chosen is None:
        raise UsageError(f"nothing says whether more or less of '{metric}' is better: give mode='max' or mode='min'")
    goal = Goal(metric, chosen, facts.get("margin"))
    if own is not None and chosen != own:
        raise UsageError(f"mode='{mode}' contradicts the direction of '{metric}': {replace(goal, mode=own).better}")
    return goal


def rows_of(
    metric: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    outputs: torch.Tensor,
    targets: Any,
    name: str,
    num_examples: int | None = None,
) -> torch.Tensor:
    """Return what a metric gives for a batch, one value or row of values per example.

    Args:
        metric: as `make_metric` returns it.
        outputs: of the model.
        targets: of the batch.
        name: of the metric.
        num_examples: in the batch; None for as many as there are targets.

    Raises:
        ValueError: it gives something else, such as one value per class.
    """
    values = metric(outputs, targets)
    shape, count = getattr(values, "shape", None), len(targets) if num_examples is None else num_examples
    if shape is None or tuple(shape[:1]) != (count,):
        raise ValueError(
            f"a metric must return one value per example; {name} gave {described(values)} for {count} "
            "examples. What is no mean over examples is a class: see docs/python.md, `finish`"
        )
    return values


def metric_value(metric: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], means: torch.Tensor) -> float:
    """Return the value of a metric over a split.

    Args:
        metric: as `make_metric` returns it.
        means: what it gave, averaged over the examples.

    Raises:
        ValueError: that is not one number.
    """
    finish = getattr(metric, "finish", None)
    value = means if finish is None else finish(means)
    size = value.numel() if hasattr(value, "numel") else 1
    if size != 1:
        raise ValueError(f"a metric must come to one number, not a tensor of shape {tuple(value.shape)}")
    return float(value)
