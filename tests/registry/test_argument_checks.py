"""Arguments given in Python are checked as those of a configuration file are."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
import torch
from annotated_types import Ge, Lt

from optrun.experiments.config.lengths import Interval, Length
from optrun.experiments.config.sections import L2
from optrun.experiments.config.values import check
from optrun.experiments.errors import UsageError
from optrun.experiments.registry import Component
from optrun.experiments.registry.argument_checks import check_arguments
from optrun.experiments.registry.arguments import Count, Decay, Nested, Positive

ANNOTATIONS = [
    Positive,
    Count,
    Decay | None,
    tuple[Decay, Decay],
    tuple[Count, ...],
    list[Positive],
    Literal["lt", "le", 1],
    Literal["full"] | Count,
    Positive | L2 | None,
    Length,
    Interval | None,
    bool,
    str,
    dict[str, Annotated[int, Ge(0), Lt(9)]],
    Any,
]
VALUES = [
    None, True, False, 0, 1, -1, 5, 0.5, 1.0, -0.5, 10**400, "1", "lt", "full", "5%", "10m", "5 steps", "",
    [], [1], [0.5, 0.9], (0.5, 0.9), (0, 1), [True], ["lt"], {}, {"rate": 1.0}, {"rate": -1}, {"rate": 1, "x": 2},
    {"a": 3},
]  # fmt: skip


def component(annotation: Any) -> Component:
    def build(value): ...

    build.__annotations__ = {"value": annotation}
    return Component("optimizer", "own", build)


@pytest.mark.parametrize("annotation", ANNOTATIONS, ids=str)
def test_both_ways_refuse_the_same_values(annotation):
    own = component(annotation)
    for value in VALUES:
        mistakes = check(annotation, list(value) if isinstance(value, tuple) else value)[1]
        if not mistakes:
            check_arguments(own, {"value": value})
            continue
        with pytest.raises(UsageError, match=r"^optimizer 'own': value(: | must be )"):
            check_arguments(own, {"value": value})


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (Positive, "0.1", "value must be number > 0, got '0.1'"),
        (Count, 2.0, "value must be int >= 1, got 2.0"),
        (tuple[Decay, Decay], [0.5, 1], r"value must be \[number >= 0, < 1, number >= 0, < 1\], got \[0.5, 1\]"),
        (Length, "5 eons", "value: expected a length such as"),
        (bool, 1, "value must be true or false, got 1"),
    ],
)
def test_the_message_names_argument_range_and_value(annotation, value, message):
    with pytest.raises(UsageError, match=message):
        check_arguments(component(annotation), {"value": value})


@pytest.mark.parametrize(
    "value", [torch.tensor(-1.0), print, object(), [torch.zeros(1)], {"rate": print}, float("inf")]
)
def test_what_no_file_can_hold_is_left_to_the_component(value):
    check_arguments(component(Positive | tuple[Positive, ...] | L2), {"value": value})


@pytest.mark.parametrize("value", ["cosine", {"name": "cosine"}, lambda step: 1.0, 3])
def test_a_nested_component_is_checked_where_it_is_built(value):
    check_arguments(component(Annotated[Any, Nested("schedule")]), {"value": value})
