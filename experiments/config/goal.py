"""The metric that something is judged by: its name, which way is better, and what difference in it matters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from .configuration import Config
from .sections import ComponentConfig, EvalConfig

Mode = Literal["max", "min"]
_T = TypeVar("_T")

_SPLITS = ("train", "val", "test")
# What runs are judged by whose summary does not say it yet, those of 0.2.0 and before: mode and margin by label.
_BEFORE_0_3: Mapping[str, tuple[Mode, float | None]] = {
    "loss": ("min", None),
    **dict.fromkeys(("accuracy", "top_k", "macro_f1", "token_accuracy"), ("max", 0.005)),
    **dict.fromkeys(("mse", "mae"), ("min", 0.01)),
    "r2": ("max", 0.01),
    "perplexity": ("min", 0.05),
    "bits_per_byte": ("min", 0.01),
}


@dataclass(frozen=True)
class Goal:
    """A metric with its own direction and margin, which cannot be those of another.

    Args:
        metric: as in the metric rows: `val/accuracy`.
        mode: whether `max` or `min` is better.
        margin: the smallest difference that matters, in the metric's unit; None where none is known.
    """

    metric: str
    mode: Mode
    margin: float | None = None

    @property
    def label(self) -> str:
        """Return the metric without its split."""
        return label_of(self.metric)

    @property
    def sign(self) -> int:
        """Return the factor by which values become such that more is better."""
        return 1 if self.mode == "max" else -1

    @property
    def worst(self) -> float:
        """Return what a run that diverged counts as: worse than every number."""
        return -math.inf if self.mode == "max" else math.inf

    @property
    def better(self) -> str:
        """Return which way is better, in words."""
        return "more is better" if self.mode == "max" else "less is better"

    def is_better(self, value: float, other: float | None, by_more_than: float = 0.0) -> bool:
        """Return True if a value is better than another, or than none; one that is not finite never is."""
        return math.isfinite(value) and (other is None or self.sign * value - self.sign * other > by_more_than)

    def reaches(self, value: float, target: float) -> bool:
        """Return True if a value is at the target, or past it."""
        return self.sign * value >= self.sign * target

    def best(self, items: Iterable[_T], value: Callable[[_T], float]) -> _T | None:
        """Return the item with the best value, the first of equal ones; None of none, and where all are NaN."""
        known = [item for item in items if not math.isnan(value(item))]
        return max(known, key=lambda item: self.sign * value(item), default=None)

    def on(self, metric: str) -> Goal | None:
        """Return the same measure on another split; None where `metric` is another measure."""
        return replace(self, metric=metric) if label_of(metric) == self.label else None


def label_of(metric: str) -> str:
    """Return the name of a metric without its split: `accuracy` of `val/accuracy`."""
    split, _, label = metric.partition("/")
    return label if split in _SPLITS and label else metric


def own_mode(metric: str, metrics: Iterable[ComponentConfig], evaluation: EvalConfig | None) -> Mode | None:
    """Return which way of a measure is better, where something says so: `eval.mode`, or whoever registered it.

    Args:
        metric: as in the metric rows, or its label.
        metrics: those of the configuration.
        evaluation: the section `eval`, whose `mode` is about the measure that it names.
    """
    label = label_of(metric)
    part = next((part for part in metrics if part.label == label), None)
    registered = "min" if part is None and label == "loss" else part.component.facts.get("mode") if part else None
    is_meant = evaluation is not None and label == label_of(evaluation.metric)
    return (evaluation.mode if evaluation is not None and is_meant else None) or registered


def watched(part: ComponentConfig) -> Iterator[tuple[str, str, str | None]]:
    """Yield the arguments of a component that name evaluated metrics: (argument, metric, the argument of its mode)."""
    arguments = {argument.name: argument for argument in part.component.signature.arguments}
    for name, argument in arguments.items():
        if (mark := argument.evaluated_metric) is None:
            continue
        value = part.args.get(name)
        for metric in value if isinstance(value, list | tuple) else (value,):
            if isinstance(metric, str):
                yield name, metric, mark.mode if mark.mode in arguments else None


def with_modes(config: Config, part: ComponentConfig) -> ComponentConfig:
    """Return a component in which each metric has its own direction where none is given, nested ones included."""
    args = {name: _with_modes(config, value) for name, value in part.args.items()}
    for _, metric, mode in watched(part):
        if mode is not None and args.get(mode) is None:
            args[mode] = goal_of(config, metric).mode
    return replace(part, args=args)


def _with_modes(config: Config, value: Any) -> Any:
    if isinstance(value, ComponentConfig):
        return with_modes(config, value)
    return tuple(_with_modes(config, item) for item in value) if isinstance(value, tuple) else value


def goal_of(config: Config, metric: str) -> Goal:
    """Return a metric of a run with its direction and its registered margin.

    A margin in the unit of the targets is none where nobody knows what that is; see `lacks_scale`.

    `eval.mode` is about the measure that `eval.metric` names, on every split; no other takes its direction from there.
    """
    label = label_of(metric)
    part = next((part for part in config.metrics if part.label == label), None)
    facts: Mapping[str, Any] = {"mode": "min"} if part is None else part.component.facts
    given = config.eval.mode if label == label_of(config.eval.metric) else None
    margin = None if part is not None and lacks_scale(config, part) else facts.get("margin")
    return Goal(metric, given or facts.get("mode", "max"), margin)


def lacks_scale(config: Config, part: ComponentConfig) -> bool:
    """Return True for a metric in the unit of targets of which nothing says how large they are: dollars, metres.

    optrun's own data says it (`unit_targets`: whether targets have a standard deviation of about 1, by the arguments);
    what is read from the user's files, or made by the user's code, does not.
    """
    if part.component.facts.get("unit") != "target":
        return False
    has_unit_targets = config.data.component.facts.get("unit_targets")
    return has_unit_targets is None or not has_unit_targets(config.data.args)


def eval_goal(config: Config) -> Goal:
    """Return the metric that decides what is best in a run."""
    return goal_of(config, config.eval.metric)


def goals_record(config: Config) -> dict[str, dict[str, Any]]:
    """Return what a run's summary keeps of all its measures, by label, for whoever reads it without the code."""
    goals = [goal_of(config, label) for label in ("loss", *(part.label for part in config.metrics))]
    return {goal.metric: {"mode": goal.mode, "margin": goal.margin} for goal in goals}


def recorded_goal(metric: str, summaries: Iterable[Mapping[str, Any]]) -> Goal | None:
    """Return a metric with its direction, as runs have recorded it; None for what has none, such as `lr`.

    Args:
        metric: as in the metric rows.
        summaries: `summary.json` of runs that have it; one of an older version knows its eval.metric alone, and what
            every optrun has is known without any.
    """
    label = label_of(metric)
    for summary in summaries:
        if (kept := (summary.get("metrics") or {}).get(label)) is not None:
            return Goal(metric, kept["mode"], kept.get("margin"))
        judged = summary.get("metric") or {}
        if judged.get("mode") in ("max", "min") and label_of(str(judged.get("name"))) == label:
            return Goal(metric, judged["mode"], _BEFORE_0_3.get(label, ("max", None))[1])
    return Goal(metric, *_BEFORE_0_3[label]) if label in _BEFORE_0_3 else None
