"""From a schedule as configured to a function of the step: lengths become steps, names become schedules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast, get_args

from ...config.lengths import Length, RunLength
from ...errors import ArgumentsError, UsageError
from ...registry import Component
from ...registry.argument_checks import check_arguments, component_of
from ...registry.arguments import Nested
from . import registry
from .values import checked

if TYPE_CHECKING:
    from ...config import ComponentConfig

    Steps = int
else:
    Steps = Length

Schedule = Annotated[Callable[[int], float], Nested("schedule")]

_MOST_CHANGES, _FAR = 10_000, 10**9  # changes that are listed of a rule without end, and steps where it has no limit


class _Run(NamedTuple):
    """The facts of a run that a schedule may take."""

    length: RunLength
    seed: int
    base: Path


class Span(NamedTuple):
    """The part of a run that a schedule is in charge of: steps `start` to `end` - 1; `end` is None without a limit."""

    start: int
    end: int | None


@dataclass(frozen=True)
class Scheduled:
    """A schedule ready to use: a pure function of the step, which says what it is.

    Args:
        name: the schedule's name.
        args: its arguments, lengths in steps, nested schedules ready to use themselves.
        function: what gives the value at a step.
        absolute: whether values are learning rates; else they are multiples of the optimizer's.
        changes: the steps at which the rule changes, increasing.
        signed: whether values may be negative.

    Raises:
        UsageError: called, it gives no finite number, or one that is negative.
    """

    name: str
    args: Mapping[str, Any]
    function: Callable[[int], float]
    absolute: bool = False
    changes: tuple[int, ...] = ()
    signed: bool = False

    def __call__(self, step: int) -> float:
        return checked(self.function(step), self, step)

    def boundaries(self) -> tuple[int, ...]:
        """Return the steps at which the rule changes, increasing; without end, those of the run, 10,000 at most."""
        return self.changes

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.args.items())})"


def watching(schedule: Callable[[int], float]) -> tuple[Any, ...]:
    """Return the schedules in `schedule` that go by evaluations: each has a `metric`, and a method `see`."""
    if not isinstance(schedule, Scheduled):
        return (schedule,) if hasattr(schedule, "see") else ()
    values = [part for value in schedule.args.values() for part in (value if isinstance(value, tuple) else (value,))]
    nested: list[Any] = [part for part in values if callable(part)]
    return tuple(found for part in (schedule.function, *nested) for found in watching(part))


def make_schedule(
    name: str | Component = "constant",
    *,
    num_steps: int | None = None,
    steps_per_epoch: int | None = None,
    warmup: str | int | Length | None = None,
    run_seed: int = 0,
    base: Path = Path(),
    **args: Any,
) -> Scheduled:
    """Build the schedule called `name`.

    Args:
        name: a registered schedule, `pkg.mod:function`, `./file.py:Class`, or a Component.
        num_steps: the run's length, which percentages refer to; None if only a clock ends it.
        steps_per_epoch: what lengths in epochs refer to.
        warmup: a length of linear warm-up before the schedule: short for the schedule `warmup`.
        run_seed: what an argument `seed` that is left out becomes.
        base: the folder that `./file.py` is relative to.
        args: the schedule's arguments. A nested schedule is a name, a mapping with a name, or a function of the step.

    Raises:
        UsageError: an unknown or impossible argument, or a length that this run cannot measure.
    """
    run = _Run(RunLength(num_steps, steps_per_epoch), run_seed, base)
    span = Span(0, num_steps)
    if warmup is None:
        return _build(component_of(registry, name, base), args, run, span)
    outer = {"length": warmup, "then": {"name": name, **args}}
    try:
        return _build(registry.get("warmup"), outer, run, span)
    except ArgumentsError as error:  # it was written beside the schedule, not around it
        names = ["warmup" if name == "length" else name.removeprefix("then.") for name in error.names]
        raise ArgumentsError(str(error), *names) from error


def configured_schedule(
    schedule: ComponentConfig, length: RunLength, seed: int, warmup: Length | None = None
) -> Scheduled:
    """Build a schedule that a configuration names, for a run of that length and seed; see `make_schedule`."""
    return make_schedule(
        schedule.component,
        num_steps=length.num_steps,
        steps_per_epoch=length.steps_per_epoch,
        warmup=warmup,
        run_seed=seed,
        **schedule.args,
    )


def _build(component: Component, given: Mapping[str, Any], run: _Run, span: Span) -> Scheduled:
    check_arguments(component, given)
    label = f"schedule '{component.name}'"
    args = _with_lengths(component, given, run.length, span, label)
    if "seed" in args and args["seed"] is None:
        args["seed"] = run.seed
    _refuse(component, args, given, label)
    spans = component.facts.get("spans", lambda args, span: {})(args, span)
    for argument in component.signature.arguments:
        if argument.nested == ("schedule", False):
            inner = spans.get(argument.name, span)
            with _within(argument.name):
                args[argument.name] = _nested(args[argument.name], run, inner, label)
        elif argument.nested == ("schedule", True):
            parts = spans.get(argument.name, [span] * len(args[argument.name]))
            made = []
            for place, (value, inner) in enumerate(zip(args[argument.name], parts, strict=True)):
                with _within(f"{argument.name}.{place}"):
                    made.append(_nested(value, run, inner, label))
            args[argument.name] = tuple(made)
    try:
        function = component.bind(**args)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{label}: {error}") from error
    parts = [part for value in args.values() for part in (value if isinstance(value, tuple) else [value])]
    absolute = _is_absolute(component, args, parts, label)
    signed = "values" in component.facts or any(getattr(part, "signed", False) for part in parts)
    return Scheduled(component.name, args, function, absolute, _changes(component, args, span), signed)


@contextmanager
def _within(argument: str) -> Iterator[None]:
    """Name the arguments of a nested schedule as the outer one does, whose lengths may leave it too little."""
    try:
        yield
    except ArgumentsError as error:
        raise ArgumentsError(
            str(error), *(f"{argument}.{name}" for name in error.names), "length", "lengths"
        ) from error


def _with_lengths(
    component: Component, given: Mapping[str, Any], run: RunLength, span: Span, label: str
) -> dict[str, Any]:
    """Return all arguments with lengths in steps; a `start` or `end` of None is that of the schedule's span."""
    args: dict[str, Any] = {}
    for argument in component.signature.arguments:
        value = given.get(argument.name, argument.default)
        try:
            if not _holds_length(argument.annotation):
                pass
            elif value is None:
                value = _from_span(argument.name, span)
            elif isinstance(value, list | tuple):
                value = tuple(Length.parse(item).steps(run) for item in value)
            else:
                value = Length.parse(value).steps(run)
        except ValueError as error:
            raise ArgumentsError(f"{label}: {argument.name}: {error}", argument.name) from error
        args[argument.name] = tuple(value) if isinstance(value, list) else value
    return {**args, **{name: value for name, value in given.items() if name not in args}}


def _from_span(name: str, span: Span) -> int | None:
    if name == "end" and span.end is None:
        raise ValueError("the run's length is not known: give an end, or set train.steps or train.epochs")
    return {"start": span.start, "end": span.end}.get(name)


def _holds_length(annotation: Any) -> bool:
    return annotation is Length or any(_holds_length(member) for member in get_args(annotation))


def _refuse(component: Component, args: Mapping[str, Any], given: Mapping[str, Any], label: str) -> None:
    for argument, message in component.facts.get("check", lambda args: [])(args):
        text = f"{label}: {argument}: {message}, got {args[argument]!r}"
        raise ArgumentsError(text, *([argument] if given.get(argument) is not None else []), "start", "end", "warmup")


def _nested(value: Any, run: _Run, span: Span, label: str) -> Callable[[int], float]:
    if isinstance(value, Scheduled):
        return value
    name, args = value, {}
    if isinstance(value, Mapping):
        args = dict(value)
        name = args.pop("name", None)
    elif hasattr(value, "name") and hasattr(value, "args") and not isinstance(value, Component):
        name, args = getattr(value, "component", None) or value.name, dict(value.args)
    elif callable(value):
        return cast("Callable[[int], float]", value)
    if not isinstance(name, str | Component):
        raise UsageError(f"{label}: expected a schedule's name, or a mapping with a name, got {value!r}")
    warmup = args.pop("warmup", None) if name != "warmup" else None
    if warmup is not None:
        raise UsageError(f"{label}: `warmup: {warmup}` belongs to the outermost schedule; inside, name `warmup` itself")
    return _build(component_of(registry, name, run.base), args, run, span)


def _is_absolute(component: Component, args: Mapping[str, Any], parts: list[Any], label: str) -> bool:
    if "absolute" in component.facts:
        return component.facts["absolute"](args)
    kinds = {part.absolute for part in parts if isinstance(part, Scheduled)}
    if len(kinds) > 1:
        raise UsageError(
            f"{label} mixes schedules whose values are rates with schedules whose values are multiples of lr"
        )
    return kinds == {True}


def _changes(component: Component, args: Mapping[str, Any], span: Span) -> tuple[int, ...]:
    changes = component.facts.get("changes", lambda args: ())(args)
    if not isinstance(changes, Sequence):
        end = _FAR if span.end is None else span.end
        changes = islice(takewhile(lambda step: step <= end, changes), _MOST_CHANGES)
    return tuple(sorted(set(changes)))
