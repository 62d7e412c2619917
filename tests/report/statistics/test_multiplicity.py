from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrun.experiments.errors import UsageError
from optrun.experiments.report.statistics.multiplicity import holm, holm_levels

P = st.integers(0, 1000).map(lambda n: n / 1000)
FAMILIES = st.lists(st.none() | P, max_size=9)


def test_published_example():
    """Holm's own kind of table; values as R's p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm") prints them."""
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx((0.05, 0.08, 0.09, 0.09, 0.09))


def closed_test(p_values: list[float], index: int) -> float:
    """Return the adjusted p by its meaning: the largest Bonferroni p over all intersections that hold `index`."""
    worst = 0.0
    for subset in range(1 << len(p_values)):
        members = [i for i in range(len(p_values)) if subset >> i & 1]
        if index in members:
            worst = max(worst, min(1.0, len(members) * min(p_values[i] for i in members)))
    return worst


@given(st.lists(P, min_size=1, max_size=7))
def test_it_is_the_closed_bonferroni_test(p_values):
    assert holm(p_values) == pytest.approx([closed_test(p_values, i) for i in range(len(p_values))])


@given(FAMILIES)
def test_adjusted_values_keep_the_order_and_grow(p_values):
    adjusted = holm(p_values)
    assert [p is None for p in p_values] == [p is None for p in adjusted]
    both = sorted((p, q) for p, q in zip(p_values, adjusted, strict=True) if p is not None and q is not None)
    assert all(p <= q <= 1 for p, q in both)
    assert [q for _, q in both] == sorted(q for _, q in both)


@given(FAMILIES, st.randoms())
def test_the_order_of_the_family_does_not_matter(p_values, random):
    order = list(range(len(p_values)))
    random.shuffle(order)
    shuffled = holm([p_values[i] for i in order])
    assert [shuffled[order.index(i)] for i in range(len(order))] == list(holm(p_values))


@given(FAMILIES)
def test_what_was_not_tested_costs_nothing(p_values):
    tested = [p for p in p_values if p is not None]
    assert [q for q in holm(p_values) if q is not None] == list(holm(tested))


@given(FAMILIES, st.sampled_from([0.05, 0.01, 0.1]))
def test_levels_repeat_the_decisions(p_values, alpha):
    for p, adjusted, level in zip(p_values, holm(p_values), holm_levels(p_values, alpha), strict=True):
        if p is None:
            assert adjusted is None
            assert level is None
        else:
            assert adjusted is not None
            assert level is not None
            # Equality up to rounding may go either way.
            assert (p <= level) == (adjusted <= alpha) or abs(adjusted - alpha) < 1e-12
            assert alpha / len(p_values) <= level <= alpha


def test_levels_of_the_steps():
    assert holm_levels([0.001, 0.5, 0.02], 0.05) == pytest.approx((0.05 / 3, 0.05, 0.025))
    assert holm_levels([0.3, 0.02, 0.04], 0.05) == pytest.approx((0.05 / 3,) * 3)


def test_no_family():
    assert holm([]) == ()
    assert holm([None]) == (None,)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_what_is_no_p(p):
    with pytest.raises(UsageError, match="p_values"):
        holm([0.5, p])
