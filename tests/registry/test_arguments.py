from __future__ import annotations

import collections.abc
import functools
import typing
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Optional, Union

import pytest
from annotated_types import Ge, Gt, Le, Lt

from optrun.experiments.config.lengths import Length
from optrun.experiments.registry.arguments import (
    Argument,
    Count,
    Decay,
    Fraction,
    Natural,
    Nested,
    NonNegative,
    Positive,
    signature_of,
    type_text,
)


def read(build, given=0):
    return {argument.name: argument for argument in signature_of(build, given).arguments}


def test_names_defaults_and_annotations_that_are_text():
    def build(
        params, lr: Positive, betas: tuple[Decay, Decay] = (0.9, 0.999), *, anything=None, flag: bool = False
    ): ...

    signature = signature_of(build, given=1)
    assert signature.arguments == (
        Argument("lr", Annotated[float, Gt(0)], None, required=True),
        Argument("betas", tuple[Decay, Decay], (0.9, 0.999)),
        Argument("anything", Any, None),
        Argument("flag", bool, False),
    )
    assert signature.names() == ["lr", "betas", "anything", "flag"]
    assert not signature.open


def test_what_optrun_gives_is_counted_in_positions():
    def build(outputs, targets, smoothing: Fraction = 0.0): ...

    assert list(read(build, 0)) == ["outputs", "targets", "smoothing"]
    assert list(read(build, 2)) == ["smoothing"]
    assert list(read(build, 9)) == []


def test_any_keyword_and_any_position():
    def build(first, /, second, *rest, third=3, **more): ...

    signature = signature_of(build, 0)
    assert signature.open
    assert signature.names() == ["second", "third"], "what can be given by name"


def test_a_class_is_read_by_its_constructor():
    class Plain:
        def __init__(self, lr: Positive = 0.1): ...

    class Heir(Plain): ...

    class Empty: ...

    for build in (Plain, Heir):
        assert read(build) == {"lr": Argument("lr", Positive, 0.1)}
    assert read(Empty) == {}


@dataclass
class Settings:
    every: Length
    depth: Count = 2
    names: list[str] = field(default_factory=list)


class Point:
    def __new__(cls, x: float, y: Natural = 3): ...


class Callable:
    def __call__(self, params, lr: Positive = 0.5): ...


def test_dataclasses_classes_with_new_and_callable_objects():
    every, depth, names = signature_of(Settings, 0).arguments
    assert (every.annotation, every.required, depth.annotation, depth.default) == (Length, True, Count, 2)
    assert names.annotation == list[str]
    assert read(Point) == {"x": Argument("x", float, required=True), "y": Argument("y", Natural, 3)}
    assert read(Callable(), given=1) == {"lr": Argument("lr", Positive, 0.5)}


def test_partials_and_wrapped_functions_keep_their_annotations():
    def build(params, lr: Positive, depth: Count = 1): ...

    @functools.wraps(build)
    def wrapped(*args, **kwargs): ...

    assert read(wrapped, 1) == read(build, 1)
    assert read(functools.partial(build, lr=0.5), 1) == {
        "lr": Argument("lr", Positive, 0.5),
        "depth": Argument("depth", Count, 1),
    }
    assert read(functools.partial(functools.partial(build), depth=4), 1)["depth"] == Argument("depth", Count, 4)


def test_one_name_that_only_a_type_checker_knows_does_not_hide_the_ranges_of_the_others():
    def build(params: Iterable[torch.Tensor], lr: Positive, shape: np.ndarray | None = None, n: Count = 1): ...  # noqa: F821

    assert [(a.name, a.annotation) for a in signature_of(build, 1).arguments] == [
        ("lr", Positive),
        ("shape", Any),
        ("n", Count),
    ]


def test_annotations_that_fail_are_no_annotations():
    def build(lr: Positive = 0.1, bad: "1 / 0" = 1, worse: "not here" = 2): ...  # noqa: F821, UP037

    assert [(a.name, a.annotation) for a in signature_of(build, 0).arguments] == [
        ("lr", Positive),
        ("bad", Any),
        ("worse", Any),
    ]


def test_builtins():
    assert list(read(print)) == ["sep", "end", "file", "flush"]
    with pytest.raises(TypeError, match="has no readable signature: wrap it in a function that names its arguments"):
        signature_of(max, 0)
    with pytest.raises(TypeError, match="not a callable"):
        signature_of(3, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("annotation", "nested"),
    [
        (Annotated[str, Nested("schedule")], ("schedule", False)),
        (list[Annotated[str, Nested("schedule")]], ("schedule", True)),
        (tuple[Annotated[str, Nested("hook")], ...], ("hook", True)),
        (Optional[Annotated[str, Nested("hook")]], ("hook", False)),  # noqa: UP045
        (list[Annotated[str, Nested("hook")]] | None, ("hook", True)),
        (Annotated[list[Annotated[str, Nested("hook")]], "more"], ("hook", True)),
        (list[str], None),
        (list, None),
        (typing.List, None),  # noqa: UP006
        (tuple[()], None),
        (Positive, None),
        (Any, None),
        ("text", None),
    ],
    ids=str,
)
def test_nested_components(annotation, nested):
    assert Argument("then", annotation).nested == nested


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"),
        (float, "number"),
        (str, "text"),
        (bool, "true or false"),
        (type(None), "null"),
        (Any, "any"),
        (Positive, "number > 0"),
        (NonNegative, "number >= 0"),
        (Decay, "number >= 0, < 1"),
        (Fraction, "number >= 0, <= 1"),
        (Count, "int >= 1"),
        (Natural, "int >= 0"),
        (Annotated[float, Gt(-1), Lt(1e-8), "a note"], "number > -1, < 1e-08"),
        (Annotated[float, "a note"], "number"),
        (Annotated[list[Annotated[int, Ge(1), Le(3)]], "note"], "list of int >= 1, <= 3"),
        (Literal["relu", "tanh"], "relu or tanh"),
        (Literal["auto", True, None, 3], "auto or true or null or 3"),
        (int | None, "int or null"),
        (Optional[Positive], "number > 0 or null"),  # noqa: UP045
        (Union[int, str, list[int]], "int or text or list of int"),  # noqa: UP007
        (list[Count], "list of int >= 1"),
        (list[list[float]], "list of list of number"),
        (tuple[Decay, Decay], "[number >= 0, < 1, number >= 0, < 1]"),
        (tuple[int, str], "[int, text]"),
        (tuple[float, ...], "list of number"),
        (collections.abc.Sequence[Positive], "list of number > 0"),
        (typing.Iterable[int], "list of int"),
        (set[str], "list of text"),
        (list, "list"),
        (tuple, "list"),
        (typing.List, "list"),  # noqa: UP006
        (typing.Tuple, "list"),  # noqa: UP006
        (collections.abc.Sequence, "list"),
        (dict, "mapping"),
        (dict[str, float], "mapping"),
        (typing.Dict, "mapping"),  # noqa: UP006
        (collections.abc.Mapping[str, int], "mapping"),
        (Length, "length"),
        (Annotated[str, Nested("schedule")], "a schedule"),
        (list[Annotated[str, Nested("schedule")]], "list of a schedule"),
        (collections.abc.Callable[[int], float], "callable"),
        ([1, 2], "[1, 2]"),
        ("forward.Reference", "forward.reference"),
    ],
    ids=str,
)
def test_types_in_words(annotation, text):
    assert type_text(annotation) == text
