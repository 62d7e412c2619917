"""Checks across sections: keys that exclude each other, names that must exist elsewhere, lengths of what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from .goal import Goal, Mode, label_of, own_mode, watched
from .lengths import Length
from .nodes import join
from .places import deciding, elsewhere, place
from .problems import DEFAULT, Origin, Problem, shorten, suggestion
from .sections import (
    ComponentConfig,
    DataConfig,
    EvalConfig,
    MetricConfig,
    OptimizerConfig,
    ScheduleConfig,
    StopConfig,
    TrainConfig,
)

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")
_COLUMN = re.compile(r"[A-Za-z][A-Za-z0-9_.@-]*")


class CrossChecks:
    """Finds what no section can see alone.

    Args:
        parts: the sections by name; None for one that is wrong in itself.
        origins: the places of the values that were given.
        root: the place of the whole file.
        problems: gets what is wrong.
        is_stored: whether it is the record of a run.
    """

    def __init__(
        self,
        parts: Mapping[str, Any],
        origins: Mapping[str, Origin],
        root: Origin,
        problems: list[Problem],
        is_stored: bool = False,
    ):
        self.parts, self.is_stored = parts, is_stored
        self.origins = origins
        self.root = root
        self.problems = problems

    def run(self) -> None:
        parts = self.parts
        if (train := parts["train"]) is not None:
            self._length_of_run(train)
        if (data := parts["data"]) is not None:
            self._split(data)
            self._sampling(data)
        if parts["optimizer"] is not None and parts["schedule"] is not None:
            self._absolute_values(parts["optimizer"], parts["schedule"])
        self._metrics(parts["metrics"], parts["eval"])
        if not parts["metrics_wrong"]:
            self._judged(parts["metrics"], parts["eval"])
            for part in _components(parts.values()):
                self._watched(part)
        if parts["eval"] is not None:
            self._evaluation(parts["eval"], parts["updates"], parts["stop"])
        self._lengths()

    def note(
        self, path: str, message: str, hint: str | None = None, code: str = "conflict", also: Sequence[str] = ()
    ) -> None:
        """Add a problem at a key, or at one of those that also take part, if it was written nearer to the user's hand.

        The others are mentioned with their places.
        """
        key = deciding(self.origins, [path, *also], self.root)
        message += elsewhere(self.origins, [path, *also], but=key)
        where = key
        while where and self.origins.get(where, DEFAULT).kind == "default":
            where = where.rpartition(".")[0]
            if self.origins.get(name := join(where, "name"), DEFAULT).kind != "default":
                where = name  # a default of whatever is named there
        self.problems.append(Problem(place(self.origins, where, self.root), key, code, message, hint))

    def _length_of_run(self, train: TrainConfig) -> None:
        if train.epochs is None and train.steps is None and train.max_time is None:
            self.note("train", "how long? Give train.epochs or train.steps (or train.max_time)", code="missing")
        if train.epochs is not None and train.steps is not None:
            keys = ["train.steps", "train.epochs"]
            key = deciding(self.origins, keys, self.root)
            other = next(each for each in keys if each != key)
            self.note(key, f"{key} excludes {other} ({self.origins[other].place}): give one of them")
        if train.max_time is not None and train.max_time.unit != "secs":
            self.note("train.max_time", f"expected a time such as `10m`, got '{train.max_time}'", code="invalid-value")
        if not _DEVICE.fullmatch(train.device):
            message = f"expected auto, cpu, cuda, cuda:N or mps, got '{train.device}'"
            hint = suggestion(train.device, ["auto", "cpu", "cuda", "mps"])
            self.note("train.device", message, hint, "invalid-value")

    def _split(self, data: DataConfig) -> None:
        if data.val + data.test >= 1:
            message = (
                f"data.val {data.val:g} and data.test {data.test:g} leave nothing to train on: their sum must be < 1"
            )
            self.note("data.test", message, also=["data.val"])

    def _sampling(self, data: DataConfig) -> None:
        if isinstance(data.sampling, Mapping) and len(data.sampling) != 1:
            message = "examples are drawn by one of `weights: NAME` and `class_weights: {CLASS: WEIGHT}`"
            hint = "`weights: null` or `class_weights: null` takes one back that another file or line gives"
            self.note("data.sampling", message, hint if data.sampling else None)

    def _absolute_values(self, optimizer: OptimizerConfig, schedule: ScheduleConfig) -> None:
        absolute = next((part for part in schedule.nested() if "values" in part.given), None)
        if absolute is not None and "lr" in optimizer.given:
            key = f"{absolute.path}.values"
            lr, values = self.origins["optimizer.lr"].place, self.origins[key].place
            message = f"absolute rates ({values}) and optimizer.lr ({lr}) exclude each other"
            hint = "remove optimizer.lr, or give `factors` of it"
            self.note(deciding(self.origins, [key, "optimizer.lr"], self.root), message, hint)
        if absolute is None:
            return
        for index, group in enumerate(optimizer.groups):
            if "lr" in group.args:
                key = f"{absolute.path}.values"
                message = (
                    f"the schedule's values ({self.origins[key].place}) are the rates of all parameters: there is no "
                    "optimizer.lr that a group's own rate could be a multiple of"
                )
                hint = "give optimizer.lr and `factors` of it in place of `values`: each group then keeps its ratio"
                keys = [f"optimizer.groups.{index}.lr", key]
                self.note(deciding(self.origins, keys, self.root), message, hint)

    def _metrics(self, metrics: tuple[MetricConfig, ...], evaluation: EvalConfig | None) -> None:
        seen: dict[str, str] = {}
        for metric in metrics:
            if metric.label in seen:
                message = f"'{metric.label}' is listed twice ({seen[metric.label]}): rows have one column for each name"
                self.note(metric.path, message, "give one of them a column of its own: `recorded_as: NAME`")
            if metric.recorded_as is not None:
                self._column(f"{metric.path}.recorded_as", metric.recorded_as)
            seen.setdefault(metric.label, metric.path)
        if evaluation is None or self.parts["metrics_wrong"]:
            return
        computed = ["val/loss", *(f"val/{label}" for label in seen)]
        if evaluation.metric not in computed:
            split = next((name for name in computed if name.endswith(f"/{evaluation.metric}")), None)
            self._not_computed("eval.metric", evaluation.metric, computed, split)

    def _column(self, path: str, name: str) -> None:
        if name == "loss":
            self.note(path, "'loss' is the column of the loss: choose another name")
        elif not _COLUMN.fullmatch(name):
            message = f"'{shorten(name)}' is no name of a column: expected letters, digits, _ . @ or -, a letter first"
            self.note(path, message, code="invalid-value")

    def _judged(self, metrics: tuple[ComponentConfig, ...], evaluation: EvalConfig | None) -> None:
        """Check that the direction of what a run is judged by is known, and is its own."""
        if evaluation is None or not self._is_new("eval.mode"):
            return
        own = own_mode(evaluation.metric, metrics, None)
        if own is not None and evaluation.mode not in (None, own):
            self._contradicts("eval.mode", evaluation.metric, own)
        if own is None and evaluation.mode is None and label_of(evaluation.metric) in [each.label for each in metrics]:
            self._undirected("eval.metric", evaluation.metric, "eval.mode")

    def _watched(self, part: ComponentConfig) -> None:
        """Check the names of metrics that a component waits for: that they are evaluated, and which way is better."""
        metrics, evaluation = self.parts["metrics"], self.parts["eval"]
        for argument, metric, mode in watched(part):
            path = f"{part.path}.{argument}"
            computed = self._evaluated()
            if not self._is_new(path):
                continue
            if metric not in computed:
                self._not_computed(path, metric, computed)
            elif mode is not None:
                own, given = own_mode(metric, metrics, evaluation), part.args.get(mode)
                if own is not None and given not in (None, own):
                    self._contradicts(f"{part.path}.{mode}", metric, own)
                if own is None and given is None:
                    self._undirected(path, metric, f"`{mode}`")

    def _evaluated(self) -> list[str]:
        """Return the names of what is evaluated while the run trains."""
        hooks: tuple[ComponentConfig, ...] = self.parts["hooks"]
        data: DataConfig | None = self.parts["data"]
        splits = ["val"] if data is None or data.val > 0 else []
        splits += [split for hook in hooks for split in hook.args.get(hook.component.facts.get("evaluates", ""), ())]
        labels = ["loss", *(metric.label for metric in self.parts["metrics"])]
        published = [name for hook in hooks for name in getattr(hook.component.inmost, "publishes", ())]
        return [*(f"{split}/{label}" for split in dict.fromkeys(splits) for label in labels), *published]

    def _is_new(self, path: str) -> bool:
        """Return True for what is said now; a run that was made before there were these checks can still be read."""
        return not self.is_stored or self.origins.get(path, DEFAULT).kind == "override"

    def _contradicts(self, path: str, metric: str, own: Mode) -> None:
        other = "less" if own == "max" else "more"
        message = f"{Goal(metric, own).better} in '{metric}', not {other}"
        self.note(path, message, f"leave it out, or write {own}")

    def _undirected(self, path: str, metric: str, where: str) -> None:
        message = f"nothing says whether more or less of '{metric}' is better"
        self.note(path, message, f"set {where} to max or min", "missing")

    def _not_computed(self, path: str, metric: str, computed: list[str], guess: str | None = None) -> None:
        data: DataConfig | None = self.parts["data"]
        message = f"'{metric}' is not computed in this run"
        if data is not None and data.val == 0 and metric.startswith("val/") and path != "eval.metric":
            message += ": data.val is 0, so that there is no validation part"
        guess = guess or next((name for name in computed if label_of(name) == label_of(metric)), None)
        hint = suggestion(metric, computed, f"did you mean '{guess}'?" if guess else f"computed: {', '.join(computed)}")
        self.note(path, message, hint if computed else "set data.val", "unknown-name", also=["metrics"])

    def _evaluation(
        self, evaluation: EvalConfig, updates: tuple[ComponentConfig, ...], stop: StopConfig | None
    ) -> None:
        if evaluation.weights == "ema" and not any(update.label == "ema" for update in updates):
            message, hint = "there are no averaged weights: `updates` has no ema", "add `updates: [ema]`"
            self.note("eval.weights", message, hint, also=["updates"])
        elif (known := self._known_weights(updates)) is not None and evaluation.weights not in known:
            message = f"this run keeps no weights called '{evaluation.weights}'"
            hint = suggestion(evaluation.weights, known, f"known: {', '.join(known)}")
            self.note("eval.weights", message, hint, "unknown-name")
        if stop is not None and stop.at_target and evaluation.target is None:
            self.note("stop.at_target", "there is no target to stop at: set eval.target", also=["eval.target"])
        if stop is not None and stop.min_delta > 0 and stop.patience is None:
            self.note("stop.min_delta", "it says what ends the patience of stop.patience, which is not set")
        wanted = (
            [] if stop is None else [("stop.patience", stop.patience is not None), ("stop.at_target", stop.at_target)]
        )
        data: DataConfig | None = self.parts["data"]
        for path, is_wanted in wanted:
            if is_wanted and data is not None and data.val == 0 and self._is_new(path):
                self._not_computed(path, evaluation.metric, [])

    def _known_weights(self, updates: tuple[ComponentConfig, ...]) -> list[str] | None:
        """Return the weights that can be evaluated; None where code of the user's may keep others."""
        optimizer: ComponentConfig | None = self.parts["optimizer"]
        parts = [optimizer, *updates]
        package = __name__.partition(".")[0]
        if any(part is None or not str(part.component.build.__module__).startswith(f"{package}.") for part in parts):
            return None
        assert optimizer is not None
        own = optimizer.component.facts.get("averages", ())
        return ["raw", "training", *(["ema"] if any(update.label == "ema" for update in updates) else []), *own]

    def _lengths(self) -> None:
        train = self.parts["train"]
        measured = train is None or train.epochs is not None or train.steps is not None
        for name, part in self.parts.items():
            for path, length in _lengths_in(part, name):
                if length.unit == "%" and not measured:
                    message = f"'{length}' of what? It needs a run length in train.steps or train.epochs"
                    self.note(path, message, also=["train.max_time", "train.steps", "train.epochs"])
                if length.amount == 0 and path.rpartition(".")[2] in ("every", "lines", "max_time"):
                    self.note(path, f"expected more than nothing, got '{length}'", code="invalid-value")


def _components(parts: Iterable[Any]) -> Iterator[ComponentConfig]:
    """Yield all components of the sections."""
    for part in parts:
        for top in part if isinstance(part, tuple) else (part,):
            if isinstance(top, ComponentConfig):
                yield from top.nested()


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
