"""The shape of a configuration: what each section holds, its defaults and its ranges.

The ranges stand in the annotations, as in the components' own signatures, and are checked by the same code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Required

from annotated_types import Ge, Lt
from typing_extensions import TypedDict  # pydantic asks for this one below Python 3.12

from ..registry import Component
from ..registry.arguments import Argument, Count, Natural, Nested, NonNegative, Positive
from .lengths import Interval, Length

Share = Annotated[float, Ge(0), Lt(1)]
Policy = Literal["raise", "stop", "skip"]  # of the gate, for a loss or gradient that is not finite


class L2(TypedDict, total=False):
    """An L2 penalty on some of the parameters, chosen as in an optimizer's weight decay."""

    __pydantic_config__ = {"extra": "forbid"}  # type: ignore[misc]  # noqa: RUF012

    rate: Required[Positive]
    include: list[str]
    exclude: list[str]


@dataclass(frozen=True)
class ComponentConfig:
    """A component by name, with its arguments.

    Args:
        name: a registered name, `pkg.mod:Class` or `/absolute/file.py:Class`.
        args: the arguments, validated, defaults filled in; an argument that holds a component is a ComponentConfig, one
            that holds several a tuple of them. Left out unless given: what is only known when the run is built
            (see `left_to_build`).
        path: the key path of the component, `optimizer` or `hooks.0`.
        component: what the registry has under that name.
        given: the names of the arguments that the user gave, those of a partial included.
    """

    name: str
    args: Mapping[str, Any]
    path: str
    component: Component
    given: frozenset[str]

    @property
    def label(self) -> str:
        """Return the name as rows and messages have it: the class alone for the user's own code."""
        return self.name.rpartition(":")[2]

    def nested(self) -> Iterator[ComponentConfig]:
        """Yield this component and all components among its arguments."""
        yield self
        for value in self.args.values():
            for inner in value if isinstance(value, tuple) else (value,):
                if isinstance(inner, ComponentConfig):
                    yield from inner.nested()


def arguments_of(component: Component) -> tuple[Argument, ...]:
    """Return a component's arguments; a hook's `every` is an interval, which the run's length makes a trigger."""
    arguments = component.signature.arguments
    if component.kind != "hook":
        return arguments
    return tuple(replace(each, annotation=Interval | None) if each.name == "every" else each for each in arguments)


def left_to_build(component: Component) -> frozenset[str]:
    """Return the arguments that the data decides when everything is built, unless they are given.

    A default of theirs is left out of the configuration, which would otherwise fix them.
    """
    decided: set[str] = set()
    if component.kind == "model":
        decided = {"input_shape", "num_classes", "num_outputs", "num_tokens"}
    elif component.kind in ("loss", "metric") and not component.roots():
        decided = {"ignore_index"}
    return frozenset(decided - component.fixed.keys())


class SamplingWeights(TypedDict, total=False):
    """What examples are drawn by: weights that the data has under a name, or a weight for each class."""

    __pydantic_config__ = {"extra": "forbid"}  # type: ignore[misc]  # noqa: RUF012

    weights: str | int
    class_weights: tuple[NonNegative, ...] | dict[str, NonNegative]


Place = str | int | tuple[str | int, ...]  # of a part in a batch or in outputs: a name or an index, or several


@dataclass(frozen=True)
class DataConfig(ComponentConfig):
    """The data set, its split and its batches; `val` and `test` are shares of the examples."""

    batch_size: Literal["full"] | Count = 64
    eval_batch_size: Count = 512
    eval_batches: Count | None = None
    val: Share = 0.2
    test: Share = 0.2
    split_seed: Natural = 0
    subset: Count | None = None
    drop_last: bool = False
    augment: tuple[Annotated[Any, Nested("augmentation")], ...] = ()
    workers: Natural = 0
    collate: Annotated[Any, Nested("function")] | None = None
    sampling: Literal["shuffled", "sequential", "balanced"] | SamplingWeights | None = None
    call: Literal["auto", "inputs", "unpack", "keywords"] = "auto"
    inputs_from: Place | None = None
    targets_from: Place | None = None


@dataclass(frozen=True)
class MeasureConfig(ComponentConfig):
    """A loss or a metric, of a part of the outputs and of a part of the targets; None is all of them."""

    of: Place | None = None
    target: Place | None = None


@dataclass(frozen=True)
class LossConfig(MeasureConfig):
    """The loss, and the weights by which examples count in it: a name of the data's, or a place in a batch."""

    weights: str | int | None = None


@dataclass(frozen=True)
class MetricConfig(MeasureConfig):
    """A metric, and the column of the rows that it is recorded in; None is that of its own name."""

    recorded_as: str | None = None

    @property
    def label(self) -> str:
        """Return the name as rows have it."""
        return super().label if self.recorded_as is None else self.recorded_as


@dataclass(frozen=True)
class GroupConfig:
    """Hyperparameters for the parameters whose names match one of the patterns."""

    match: tuple[str, ...]
    args: Mapping[str, Any]


@dataclass(frozen=True)
class OptimizerConfig(ComponentConfig):
    """The optimizer, and parameter groups that differ from its own arguments."""

    groups: tuple[GroupConfig, ...] = ()


@dataclass(frozen=True)
class ScheduleConfig(ComponentConfig):
    """The learning-rate schedule, and how long the rate rises from zero before it."""

    warmup: Length | None = None


#: The sections that hold one component each.
COMPONENT_SECTIONS: dict[str, type[ComponentConfig]] = {
    "data": DataConfig,
    "model": ComponentConfig,
    "init": ComponentConfig,
    "loss": LossConfig,
    "optimizer": OptimizerConfig,
    "schedule": ScheduleConfig,
}


@dataclass(frozen=True)
class TrainConfig:
    """The length of training and its options; exactly one of `epochs` and `steps`, or `max_time` alone."""

    epochs: Count | None = None
    steps: Count | None = None
    max_time: Interval | None = None
    accumulate: Count = 1
    clip_norm: Positive | None = None
    clip_value: Positive | None = None
    l2: Positive | L2 | None = None
    freeze: tuple[str, ...] = ()
    freeze_statistics: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool | Literal["auto"] = False
    channels_last: bool = False
    device: str = "auto"
    soft_placement: bool = True
    threads: Literal["auto"] | Count = "auto"
    deterministic: bool = True


_EPOCH = Length(1, "epochs")
_TEN_MINS = Interval(600, "secs")  # as in TensorFlow 1; an epoch of a small run is over in milliseconds
_TEN_STEPS = Length(10, "steps")
_TEN_SECS = Interval(10, "secs")


@dataclass(frozen=True)
class EvalConfig:
    """When to evaluate, and which metric decides; an empty `mode` is the metric's own."""

    every: Length = _EPOCH
    metric: str = "val/loss"
    mode: Literal["max", "min"] | None = None
    target: float | None = None
    weights: str = "raw"
    gradients: bool = False


@dataclass(frozen=True)
class StopConfig:
    """Reasons to end a run early; `patience` counts evaluations, none of them better than the best by `min_delta`."""

    on_nan: Policy = "raise"
    loss_above: Positive | None = None
    patience: Count | None = None
    min_delta: NonNegative = 0.0
    at_target: bool = False


@dataclass(frozen=True)
class CheckpointConfig:
    """When to save, and what to keep."""

    every: Interval = _TEN_MINS
    keep: Annotated[int, Ge(2)] = 2
    best: bool = True
    keep_every_hours: Positive | None = None


@dataclass(frozen=True)
class LogConfig:
    """The intervals of rows and lines, and where rows go: `jsonl`, and the `log_to` of any hook that has one."""

    every: Length = _TEN_STEPS
    lines: Interval = _TEN_SECS
    to: tuple[str, ...] = ("jsonl",)
