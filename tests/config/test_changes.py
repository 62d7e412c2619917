from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrun.experiments.config.changes import Change, changed_keys, describe_changes


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": 2}, ["a: 1 -> 2"]),
        ({"a": 1}, {"a": True}, ["a: 1 -> true"]),
        ({"a": [0, 1]}, {"a": [False, 1]}, ["a: [0, 1] -> [False, 1]"]),
        ({"a": 1}, {"a": "1"}, ["a: 1 -> 1"]),
        # missing and null
        ({}, {"a": 1}, ["a: (not set) -> 1"]),
        ({"a": 1}, {}, ["a: 1 -> (not set)"]),
        ({"a": None}, {"a": 1}, ["a: null -> 1"]),
        ({"a": None}, {}, ["a: null -> (not set)"]),
        ({}, {"a": None}, ["a: (not set) -> null"]),
        ({"a": None}, {"a": None}, []),
        # the name
        ({"name": "a"}, {"name": "b"}, []),
        ({"name": "a"}, {}, []),
        ({"model": {"name": "mlp"}}, {"model": {"name": "cnn"}}, ["model.name: mlp -> cnn"]),
        # nested
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, ["a.b.c: 1 -> 2"]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, ["a.b: 1 -> (not set)", "a.c: 2 -> 3"]),
        ({"a": {"b": 1}}, {}, ["a.b: 1 -> (not set)"]),
        ({"a": {"b": 1}}, {"a": {}}, ["a.b: 1 -> (not set)"]),
        ({"a": {}}, {"a": {"b": 1}}, ["a.b: (not set) -> 1"]),
        ({"a": {}}, {}, ["a: {} -> (not set)"]),
        ({"a": {}}, {"a": {}}, []),
        ({"a": {}}, {"a": None}, ["a: {} -> null"]),
        ({"a": {"b": 1}}, {"a": 3}, ["a: {'b': 1} -> 3"]),
        ({"a": {"b": 1}}, {"a": None}, ["a: {'b': 1} -> null"]),
        # lists
        ({"a": [1, 2]}, {"a": [1, 2]}, []),
        ({"a": [1, 2]}, {"a": [2, 1]}, ["a: [1, 2] -> [2, 1]"]),
        ({"a": []}, {"a": [1]}, ["a: [] -> [1]"]),
        ({"a": []}, {}, ["a: [] -> (not set)"]),
        ({"a": []}, {"a": {}}, ["a: [] -> {}"]),
        ({"a": [[1], [2]]}, {"a": [[1], [3]]}, ["a: [[1], [2]] -> [[1], [3]]"]),
        # lists of mappings
        ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 1}, {"b": 3}]}, ["a.1.b: 2 -> 3"]),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1}, {"b": 2}]}, ["a.1.b: (not set) -> 2"]),
        ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 1}]}, ["a.1.b: 2 -> (not set)"]),
        ({"a": []}, {"a": [{"b": 1}]}, ["a.0.b: (not set) -> 1"]),
        ({"a": [{"b": 1}]}, {"a": []}, ["a.0.b: 1 -> (not set)"]),
        ({}, {"a": [{"b": 1}]}, ["a.0.b: (not set) -> 1"]),
        ({"a": [{"name": "x"}]}, {"a": [{"name": "y"}]}, ["a.0.name: x -> y"]),
        ({"a": ["x"]}, {"a": [{"b": 1}]}, ["a: ['x'] -> [{'b': 1}]"]),
        ({"a": ["x", {"b": 1}]}, {"a": ["x", {"b": 2}]}, ["a.1.b: 1 -> 2"]),
    ],
)
def test_changes(before, after, lines):
    assert [change.text for change in changed_keys(before, after)] == lines


def test_a_value_that_is_not_there_is_none_and_the_text_says_so():
    assert changed_keys({"a": 1, "b": None}, {"c": None}) == [
        Change("a", 1, None, "a: 1 -> (not set)"),
        Change("b", None, None, "b: null -> (not set)"),
        Change("c", None, None, "c: (not set) -> null"),
    ]


def test_the_description_is_one_indented_line_for_each():
    changes = changed_keys({"optimizer": {"lr": 0.1}, "seed": 0}, {"optimizer": {"lr": 0.2}, "seed": 1})
    assert describe_changes(changes) == "  optimizer.lr: 0.1 -> 0.2\n  seed: 0 -> 1"
    assert describe_changes([]) == ""


plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from(["x", "y"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=8,
)
configs = st.dictionaries(st.sampled_from("abc"), plain, max_size=3)


@given(configs)
def test_a_configuration_does_not_differ_from_its_copy(config):
    assert changed_keys(config, copy.deepcopy(config)) == []


@given(configs, configs)
def test_different_configurations_differ_somewhere_and_the_other_way_round_too(before, after):
    changes = changed_keys(before, after)
    assert bool(changes) == (repr(sorted_deep(before)) != repr(sorted_deep(after)))
    back = {(change.key, repr(change.after), repr(change.before)) for change in changed_keys(after, before)}
    assert {(change.key, repr(change.before), repr(change.after)) for change in changes} == back


def sorted_deep(value):
    if isinstance(value, dict):
        return {key: sorted_deep(value[key]) for key in sorted(value)}
    return [sorted_deep(item) for item in value] if isinstance(value, list) else value
