"""One value against one annotation, and the words for what is wrong."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Required

import pytest
from annotated_types import Ge, Lt
from typing_extensions import TypedDict

from optrun.experiments.config.lengths import Interval, Length
from optrun.experiments.config.values import check
from optrun.experiments.registry.arguments import Count, Decay, Natural, Positive


class Colour(enum.Enum):
    RED = "red"


class Part(TypedDict, total=False):
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012
    rate: Required[Positive]
    only: list[str]


class Own:
    pass


@pytest.mark.parametrize(
    ("annotation", "value", "result"),
    [
        (float, 1, 1.0),
        (float, 0.5, 0.5),
        (int, 3, 3),
        (bool, True, True),
        (str, "x", "x"),
        (Positive, 1e-30, 1e-30),
        (float | None, 1, 1.0),
        (tuple[float, float], [0, 0.5], (0.0, 0.5)),
        (tuple[int, ...], [], ()),
        (list[int], [1], [1]),
        (Sequence[int], [1, 2], [1, 2]),
        (tuple[tuple[int, int], ...], [[1, 2]], ((1, 2),)),
        (dict[str, float], {"a": 1}, {"a": 1.0}),
        (set[int], [1, 1], {1}),
        (Literal["a", "b"], "a", "a"),
        (Literal["auto"] | Count, "auto", "auto"),
        (Literal["auto"] | Count, 3, 3),
        (int | tuple[int, ...], 3, 3),
        (int | tuple[int, ...], [3], (3,)),
        (Length, "5%", Length(5, "%")),
        (Length, 3, Length(3)),
        (Interval, "10m", Interval(600, "secs")),
        (tuple[Length, ...], ["50%", 3], (Length(50, "%"), Length(3))),
        (Positive | Part, 0.5, 0.5),
        (Positive | Part, {"rate": 1, "only": ["a"]}, {"rate": 1, "only": ["a"]}),
        (Colour, "red", Colour.RED),
        (Path, "a/b", Path("a/b")),
        (Any, [1, {"a": "b"}], [1, {"a": "b"}]),
        (tuple, [1, "a"], (1, "a")),
        (dict, {"a": 1}, {"a": 1}),
    ],
)
def test_accepts(annotation, value, result):
    found, mistakes = check(annotation, value)
    assert mistakes == []
    assert found == result
    assert type(found) is type(result)


@pytest.mark.parametrize(
    ("annotation", "value", "path", "message", "hint"),
    [
        (float, "0.1", (), "expected a number, got '0.1'", "remove the quotes"),
        (float, True, (), "expected a number, got true", None),
        (int, True, (), "expected an int, got true", None),
        (int, 1.0, (), "expected an int, got 1.0", None),
        (int, "3", (), "expected an int, got '3'", "remove the quotes"),
        (bool, 0, (), "expected true or false, got 0", None),
        (bool, "yes", (), "expected true or false, got 'yes'", "write true or false, without quotes"),
        (str, 3, (), "expected text, got 3", None),
        (Positive, 0, (), "expected a number > 0, got 0", None),
        (Positive | None, -1, (), "expected a number > 0, got -1", None),
        (Decay, 1, (), "expected a number >= 0, < 1, got 1", None),
        (Annotated[int, Ge(2), Lt(5)], 5, (), "expected an int >= 2, < 5, got 5", None),
        (Natural, 2.5, (), "expected an int >= 0, got 2.5", None),
        (float, float("nan"), (), "expected a finite number, got .nan", None),
        (Any, [1, float("-inf")], (1,), "expected a finite number, got -.inf", None),
        (tuple[Decay, Decay], [2, 0.5], (0,), "expected a number >= 0, < 1, got 2", None),
        (tuple[Decay, Decay], [2, 3], (0,), "expected a number >= 0, < 1, got 2", None),
        (tuple[int, int], [1], (), "expected [int, int], got [1]", None),
        (tuple[int, ...], 3, (), "expected a list of int, got 3", None),
        (tuple[int, ...], "1, 2", (), "expected a list of int, got '1, 2'", "write [1, 2]"),
        (tuple[int, ...], "abc", (), "expected a list of int, got 'abc'", None),
        (tuple[int, ...] | None, [1, "2"], (1,), "expected an int, got '2'", "remove the quotes"),
        (tuple[tuple[int, ...], ...], [[1], [2, None]], (1, 1), "expected an int, got null", None),
        (dict[str, Count], {"a": 0}, ("a",), "expected an int >= 1, got 0", None),
        (int | tuple[int, ...], "a", (), "expected an int or list of int, got 'a'", None),
        (int | tuple[int, ...], ["a"], (0,), "expected an int, got 'a'", None),
        (Literal["relu", "tanh"], "rleu", (), "expected relu or tanh, got 'rleu'", "did you mean 'relu'?"),
        (Literal["relu", "tanh"], 1, (), "expected relu or tanh, got 1", None),
        (Literal[0], False, (), "expected 0, got false", None),
        (Literal["auto"] | Count, 0, (), "expected auto or int >= 1, got 0", None),
        (Positive | Part, {"rate": -1}, ("rate",), "expected a number > 0, got -1", None),
        (Positive | Part, {"only": ["a"]}, (), "the key 'rate' is missing", None),
        (Positive | Part, {"rate": 1, "ony": 1}, ("ony",), "there is no key 'ony' here", "did you mean 'only'?"),
        (Positive | Part, "x", (), "expected a number > 0 or mapping, got 'x'", None),
        (Positive | Part | None, [1], (), "expected a number > 0 or mapping, got [1]", None),
        (Length, "10s", (), "expected a length such as `300 steps`, `2 epochs` or `5%`, got the time '10s'", None),
        (Length, f"{'9' * 400} steps", (), "expected a length, got a number that is too large", None),
        (Length, 2.5, (), "expected a length such as `300 steps`, `2 epochs` or `5%`, got 2.5", None),
        (tuple[Length, ...], [3, "x"], (1,), "expected a length such as", None),
        (Own, 3, (), "expected own, got 3", None),
        (float, [[1] * 50], (), "expected a number, got [a list of 50]", None),
        (float, "x" * 500, (), "expected a number, got 'xxx", None),
    ],
)
def test_refuses(annotation, value, path, message, hint):
    _, mistakes = check(annotation, value)
    assert mistakes
    assert mistakes[0].path == path
    assert mistakes[0].message.startswith(message)
    assert hint is None or mistakes[0].hint == hint
    assert len(mistakes[0].message) < 200


def test_every_item_is_reported():
    _, mistakes = check(tuple[Count, ...], [1, 0, "a", 2, -1])
    assert [mistake.path for mistake in mistakes] == [(1,), (2,), (4,)]


@pytest.mark.parametrize("annotation", [Callable[[int], float], "Undefined", Annotated[Any, []]])
def test_annotations_that_pydantic_cannot_use_let_values_through(annotation):
    check(annotation, 3)


def test_huge_numbers_are_refused_as_floats():
    _, mistakes = check(float, 10**400)
    assert mistakes
    assert len(mistakes[0].message) < 100


@pytest.mark.parametrize(
    ("annotation", "value", "hint"),
    [
        (Decay, "30%", "write 0.3"),
        (Decay, "12.5 %", "write 0.125"),
        (Annotated[float, Ge(0), Lt(1)] | None, "7%", "write 0.07"),
        (float | str, "5%", None),  # it is a text
        (Decay, "100%", None),  # 1 is refused as well
        (int, "30%", None),
        (Decay, "-3%", None),
        (Decay, "%", None),
    ],
)
def test_a_fraction_given_as_a_per_cent(annotation, value, hint):
    _, mistakes = check(annotation, value)
    assert [mistake.hint for mistake in mistakes] == ([] if annotation == float | str else [hint])
