"""The metric that a run is judged by, which way is better, and what difference in it matters."""

from __future__ import annotations

from typing import Literal

from .configuration import Config

Mode = Literal["max", "min"]


def eval_metric(config: Config) -> tuple[str, Mode]:
    """Return the metric that decides what is best, and whether `max` or `min` is."""
    name = config.eval.metric
    part = next((metric for metric in config.metrics if name.endswith(f"/{metric.label}")), None)
    own = part.component.facts.get("mode", "max") if part else "min"
    return name, config.eval.mode or own


def metric_facts(config: Config, metric: str) -> tuple[Mode, float | None]:
    """Return the mode and the registered margin of a metric."""
    label = metric.partition("/")[2]
    part = next((part for part in config.metrics if part.label == label), None)
    if part is None:
        return "min", None
    mode = config.eval.mode if config.eval.mode and config.eval.metric.endswith(f"/{label}") else None
    return mode or part.component.facts.get("mode", "max"), part.component.facts.get("margin")
