from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrun.experiments.errors import UsageError
from optrun.experiments.report.statistics.ranking import Rank, letters, ranks

NAMES = list("pqrstuv")


@st.composite
def differing(draw):
    names = NAMES[: draw(st.integers(1, 7))]
    pairs = list(itertools.combinations(names, 2))
    return names, draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []


@given(differing())
def test_a_common_letter_means_not_shown_to_differ(example):
    names, different = example
    marks = letters(names, different)
    for a, b in itertools.combinations(names, 2):
        assert bool(set(marks[a]) & set(marks[b])) == ((a, b) not in different)
    assert all(marks.values())


@given(differing())
def test_letters_are_the_largest_groups_and_no_others(example):
    """By brute force: all groups without a different pair that no entry can join."""
    names, different = example
    tied = [
        set(group)
        for size in range(1, len(names) + 1)
        for group in itertools.combinations(names, size)
        if not any(pair in different for pair in itertools.combinations(group, 2))
    ]
    largest = [group for group in tied if not any(group < other for other in tied)]
    marks = letters(names, different)
    used = {letter: {name for name in names if letter in marks[name]} for letter in "".join(marks.values())}
    assert sorted(map(sorted, used.values())) == sorted(map(sorted, largest))


def test_letters_follow_the_table():
    marks = letters(["adam", "mom", "sgd"], [("sgd", "adam")])
    assert marks == {"adam": "a", "mom": "ab", "sgd": "b"}


def test_more_groups_than_letters():
    names = [f"e{index}" for index in range(60)]
    marks = letters(names, itertools.combinations(names, 2))
    assert len(set(marks.values())) == 60
    assert marks["e0"] == "a"
    assert marks["e59"] == "(60)"


def test_rank_intervals():
    found = ranks(["a", "b", "c", "d"], [("a", "c"), ("a", "d"), ("b", "d")])
    assert found == {"a": Rank(1, 2), "b": Rank(1, 3), "c": Rank(2, 4), "d": Rank(3, 4)}
    assert [str(rank) for rank in found.values()] == ["1-2", "1-3", "2-4", "3-4"]


@given(st.permutations(NAMES), st.data())
def test_every_true_order_lies_in_the_intervals(order, data):
    """Whatever part of a true order has been shown, each entry's true place is inside its interval."""
    pairs = list(itertools.combinations(order, 2))
    shown = data.draw(st.lists(st.sampled_from(pairs), unique=True))
    found = ranks(NAMES, shown)
    for place, name in enumerate(order, start=1):
        assert found[name].best <= place <= found[name].worst


def test_all_shown_leaves_one_place_each():
    found = ranks(NAMES, itertools.combinations(NAMES, 2))
    assert [str(found[name]) for name in NAMES] == [str(place) for place in range(1, 8)]


def test_nothing_to_rank():
    assert letters([], []) == {}
    assert ranks([], []) == {}
    assert letters(["a"], []) == {"a": "a"}


def test_unknown_names():
    with pytest.raises(UsageError, match="Did you mean 'adam'"):
        ranks(["adam", "sgd"], [("adm", "sgd")])
    with pytest.raises(UsageError, match="cannot differ from itself"):
        letters(["adam"], [("adam", "adam")])
