"""Checks across sections: keys that exclude each other, names that must exist elsewhere, lengths of what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from .lengths import Length
from .problems import DEFAULT, Origin, Problem, suggestion
from .sections import ComponentConfig, DataConfig, EvalConfig, OptimizerConfig, ScheduleConfig, StopConfig, TrainConfig

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")


class CrossChecks:
    """Finds what no section can see alone.

    Args:
        parts: the sections by name; None for one that is wrong in itself.
        origins: the places of the values that were given.
        root: the place of the whole file.
        problems: gets what is wrong.
    """

    def __init__(self, parts: Mapping[str, Any], origins: Mapping[str, Origin], root: Origin, problems: list[Problem]):
        self.parts = parts
        self.origins = origins
        self.root = root
        self.problems = problems

    def run(self) -> None:
        parts = self.parts
        if (train := parts["train"]) is not None:
            self._length_of_run(train)
        if (data := parts["data"]) is not None:
            self._split(data)
        if parts["optimizer"] is not None and parts["schedule"] is not None:
            self._absolute_values(parts["optimizer"], parts["schedule"])
        self._metrics(parts["metrics"], parts["eval"])
        if not parts["metrics_wrong"]:
            self._watched(parts["metrics"], [parts["schedule"], *parts["hooks"]])
        if parts["eval"] is not None:
            self._evaluation(parts["eval"], parts["updates"], parts["stop"])
        self._lengths()

    def note(self, path: str, message: str, hint: str | None = None, code: str = "conflict") -> None:
        key = path
        while path and self.origins.get(path, DEFAULT).kind == "default":
            path = path.rpartition(".")[0]
        self.problems.append(Problem(self.origins.get(path, self.root), key, code, message, hint))

    def _length_of_run(self, train: TrainConfig) -> None:
        if train.epochs is None and train.steps is None and train.max_time is None:
            self.note("train", "how long? Give train.epochs or train.steps (or train.max_time)", code="missing")
        if train.epochs is not None and train.steps is not None:
            other = self.origins["train.epochs"].place
            self.note("train.steps", f"train.steps excludes train.epochs ({other}): give one of them")
        if train.max_time is not None and train.max_time.unit != "secs":
            self.note("train.max_time", f"expected a time such as `10m`, got '{train.max_time}'", code="invalid-value")
        if not _DEVICE.fullmatch(train.device):
            message = f"expected auto, cpu, cuda, cuda:N or mps, got '{train.device}'"
            hint = suggestion(train.device, ["auto", "cpu", "cuda", "mps"])
            self.note("train.device", message, hint, "invalid-value")

    def _split(self, data: DataConfig) -> None:
        if data.val + data.test >= 1:
            where = max("data.test", "data.val", key=lambda path: self.origins.get(path, DEFAULT).kind != "default")
            message = (
                f"data.val {data.val:g} and data.test {data.test:g} leave nothing to train on: their sum must be < 1"
            )
            self.note(where, message)

    def _absolute_values(self, optimizer: OptimizerConfig, schedule: ScheduleConfig) -> None:
        absolute = next((part for part in schedule.nested() if "values" in part.given), None)
        if absolute is not None and "lr" in optimizer.given:
            key = f"{absolute.path}.values"
            lr, values = self.origins["optimizer.lr"].place, self.origins[key].place
            message = f"absolute rates ({values}) and optimizer.lr ({lr}) exclude each other"
            self.note(key, message, "remove optimizer.lr, or give `factors` of it")
        if absolute is None:
            return
        for index, group in enumerate(optimizer.groups):
            if "lr" in group.args:
                values = self.origins[f"{absolute.path}.values"].place
                message = (
                    f"the schedule's values ({values}) are the rates of all parameters: there is no optimizer.lr "
                    "that a group's own rate could be a multiple of"
                )
                hint = "give optimizer.lr and `factors` of it in place of `values`: each group then keeps its ratio"
                self.note(f"optimizer.groups.{index}.lr", message, hint)

    def _metrics(self, metrics: tuple[ComponentConfig, ...], evaluation: EvalConfig | None) -> None:
        seen: dict[str, str] = {}
        for metric in metrics:
            if metric.label in seen:
                message = f"'{metric.label}' is listed twice ({seen[metric.label]}): rows have one column for each name"
                self.note(metric.path, message)
            seen.setdefault(metric.label, metric.path)
        if evaluation is None or self.parts["metrics_wrong"]:
            return
        computed = ["val/loss", *(f"val/{label}" for label in seen)]
        if evaluation.metric not in computed:
            split = next((name for name in computed if name.endswith(f"/{evaluation.metric}")), None)
            self._not_computed("eval.metric", evaluation.metric, computed, split)

    def _watched(self, metrics: tuple[ComponentConfig, ...], parts: list[ComponentConfig | None]) -> None:
        computed = ["val/loss", *(f"val/{metric.label}" for metric in metrics)]
        for part in [inner for each in parts if each is not None for inner in each.nested()]:
            argument = part.component.facts.get("watches", "")
            watched = part.args.get(argument)
            if watched is not None and watched not in computed:
                self._not_computed(f"{part.path}.{argument}", watched, computed)

    def _not_computed(self, path: str, metric: str, computed: list[str], guess: str | None = None) -> None:
        hint = suggestion(metric, computed, f"did you mean '{guess}'?" if guess else f"computed: {', '.join(computed)}")
        self.note(path, f"'{metric}' is not computed in this run", hint, "unknown-name")

    def _evaluation(
        self, evaluation: EvalConfig, updates: tuple[ComponentConfig, ...], stop: StopConfig | None
    ) -> None:
        if evaluation.weights == "ema" and not any(update.label == "ema" for update in updates):
            self.note("eval.weights", "there are no averaged weights: `updates` has no ema", "add `updates: [ema]`")
        if stop is not None and stop.at_target and evaluation.target is None:
            self.note("stop.at_target", "there is no target to stop at: set eval.target")

    def _lengths(self) -> None:
        train = self.parts["train"]
        measured = train is None or train.epochs is not None or train.steps is not None
        for name, part in self.parts.items():
            for path, length in _lengths_in(part, name):
                if length.unit == "%" and not measured:
                    message = f"'{length}' of what? It needs a run length in train.steps or train.epochs"
                    self.note(path, message)
                if length.amount == 0 and path.rpartition(".")[2] in ("every", "lines", "max_time"):
                    self.note(path, f"expected more than nothing, got '{length}'", code="invalid-value")


def _lengths_in(part: Any, path: str) -> Iterator[tuple[str, Length]]:
    """Yield all lengths below a section, with their key paths."""
    if isinstance(part, Length):
        yield path, part
    elif isinstance(part, ComponentConfig):
        for name, value in part.args.items():
            yield from _lengths_in(value, f"{part.path}.{name}")
        for name in (field.name for field in fields(part) if field.name not in ("args", "component", "given")):
            yield from _lengths_in(getattr(part, name), f"{part.path}.{name}")
    elif is_dataclass(part) and not isinstance(part, type):
        for field in fields(part):
            yield from _lengths_in(getattr(part, field.name), f"{path}.{field.name}")
    elif isinstance(part, list | tuple):
        for position, item in enumerate(part):
            yield from _lengths_in(item, f"{path}.{position}")
    elif isinstance(part, dict):
        for name, item in part.items():
            yield from _lengths_in(item, f"{path}.{name}")
