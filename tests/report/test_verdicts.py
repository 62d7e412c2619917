from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrun.experiments.report.statistics.adjusted import adjust
from optrun.experiments.report.statistics.multiplicity import holm
from optrun.experiments.report.statistics.paired import paired
from optrun.experiments.report.statistics.power import seeds_needed
from optrun.experiments.report.statistics.verdicts import judge
from optrun.experiments.report.words.verdicts import pair_sentence

NOISE = np.random.default_rng(11).normal(0, 0.002, size=10)
NOISE = NOISE - NOISE.mean()
BASE = [0.9 + 0.001 * seed for seed in range(10)]


def shifted(by: float, spread: float = 1.0) -> list[float]:
    """Return values whose mean difference to BASE is `by`."""
    return [base + by + spread * noise for base, noise in zip(BASE, NOISE.tolist(), strict=True)]


def decide(by: float, spread: float = 1.0, *, margin: float = 0.005, mode="max"):
    return judge("adam", "sgd", paired(shifted(by, spread), BASE, mode=mode), margin=margin)


def test_better_takes_both_p_and_margin():
    found = decide(0.02)
    assert (found.verdict.kind, found.verdict.winner, found.verdict.loser) == ("better", "adam", "sgd")
    assert found.verdict.different
    assert found.verdict.agrees
    assert (
        pair_sentence(found) == "adam is better than sgd: higher by 0.02 (95 % CI 0.0186 to 0.0214, p < .001, n = 10)"
    )


def test_less_is_better():
    found = decide(0.02, mode="min")
    assert (found.verdict.kind, found.verdict.winner) == ("better", "sgd")
    # The difference is adam - sgd; it is told from the winner's side, whichever side that is.
    assert pair_sentence(found) == "sgd is better than adam: lower by 0.02 (95 % CI 0.0186 to 0.0214, p < .001, n = 10)"
    turned = judge("sgd", "adam", paired(BASE, shifted(0.02), mode="min"), margin=0.005)
    assert pair_sentence(turned) == pair_sentence(found)


def test_a_small_difference_can_be_real_and_not_matter():
    found = decide(0.002, margin=0.005)
    assert (found.verdict.kind, found.verdict.winner, found.verdict.different, found.verdict.equivalent) == (
        "equivalent",
        None,
        True,
        True,
    )
    assert pair_sentence(found).startswith("adam and sgd are equivalent within 0.005 (mean difference 0.002, 90 % CI ")
    assert pair_sentence(found).endswith("; the difference is not 0 (p = .009), but too small to matter")


def test_different_but_not_shown_to_matter_nor_not():
    found = decide(0.0045, spread=2.0, margin=0.005)
    assert (found.verdict.kind, found.verdict.winner) == ("different, within the margin", None)
    assert found.verdict.different
    assert not found.verdict.equivalent
    assert pair_sentence(found).startswith("adam is ahead of sgd by 0.0045 (95 % CI ")
    assert pair_sentence(found).endswith("different from 0, but not by more than the margin of 0.005")


def test_equivalent():
    found = decide(0.0002)
    assert (found.verdict.kind, found.verdict.different, found.verdict.equivalent) == ("equivalent", False, True)
    assert "too small to matter" not in pair_sentence(found)


def test_no_difference_shown_names_the_seeds():
    found = decide(0.002, spread=6.0)
    result = paired(shifted(0.002, 6.0), BASE)
    assert (found.verdict.kind, found.verdict.winner) == ("no difference shown", None)
    assert result.sd is not None
    assert found.verdict.seeds_needed == seeds_needed(result.sd, 0.005)
    assert pair_sentence(found).endswith(
        f"; about {found.verdict.seeds_needed} seeds would be needed to show one of 0.005"
    )


def test_no_difference_shown_with_enough_seeds():
    found = decide(0.003, spread=2.5, margin=0.0055)
    assert found.verdict.kind == "no difference shown"
    assert found.verdict.seeds_needed is not None
    assert found.verdict.seeds_needed <= 10
    assert pair_sentence(found).endswith("; 10 seeds show a true difference of 0.0055 four times out of five")


def test_a_margin_of_zero_names_no_seeds():
    found = decide(0.002, spread=6.0, margin=0.0)
    assert (found.verdict.kind, found.verdict.seeds_needed) == ("no difference shown", None)
    assert "needed" not in pair_sentence(found)


def test_identical():
    found = judge("mom", "mom 2", paired(BASE, BASE), margin=0.005)
    assert (found.verdict.kind, found.verdict.winner, found.verdict.different) == ("identical", None, False)
    assert pair_sentence(found) == "mom and mom 2 are identical: every difference over 10 seeds is exactly 0"


def test_one_seed():
    found = judge("a", "b", paired([0.9], [0.8]), margin=0.005)
    assert (found.verdict.kind, found.verdict.seeds_needed, found.verdict.agrees) == ("no difference shown", None, None)
    assert pair_sentence(found) == ("a and b: no difference shown (mean difference 0.1, n = 1); one seed can show none")


def test_a_few_diverged_runs_leave_it_undecided():
    values = shifted(0.02)
    values[2] = values[5] = None
    found = judge("adam", "sgd", paired(values, BASE), margin=0.005)
    assert (found.verdict.kind, found.verdict.winner) == ("undecided: diverged", None)
    assert pair_sentence(found) == (
        "adam and sgd: undecided, because runs diverged (adam 2/10, sgd 0/10); "
        "pairs won 8 to 2, exact sign test p = .11"
    )


@pytest.mark.parametrize("mode", ["max", "min"])
def test_always_diverging_is_worse(mode):
    found = judge("adam", "sgd", paired([None] * 10, BASE, mode=mode), margin=0.005)
    assert (found.verdict.kind, found.verdict.winner) == ("better", "sgd")
    assert pair_sentence(found) == (
        "sgd is better than adam: it won 10 of 10 pairs (diverged: adam 10/10, sgd 0/10; exact sign test p = .002)"
    )


def test_the_margin_holds_for_the_sign_test_too():
    """One diverged run does not turn nine differences below the margin into a win."""
    values = [*(base + 0.001 for base in BASE[:9]), BASE[9]]
    rival = [*BASE[:9], None]
    result = paired(values, rival)
    assert result.p is not None
    assert result.p < 0.05
    assert judge("adam", "sgd", result, margin=0.005).verdict.kind == "undecided: diverged"
    assert judge("adam", "sgd", result, margin=0.0005).verdict.kind == "better"


def test_both_diverged_everywhere():
    found = judge("a", "b", paired([None] * 3, [None] * 3), margin=0.005)
    assert found.verdict.kind == "undecided: diverged"
    assert pair_sentence(found) == "a and b: undecided, because runs diverged (a 3/3, b 3/3); pairs won 0 to 0"


def test_the_second_opinion_is_told():
    """With five seeds the sign flips cannot follow t below .0625."""
    found = judge("a", "b", paired(shifted(0.02)[:5], BASE[:5]), margin=0.005)
    assert (found.verdict.kind, found.verdict.agrees) == ("better", False)
    assert pair_sentence(found).endswith("n = 5). The sign-flip test does not confirm it (p = .062)")


def test_adjusted_tests_hold_in_place_of_those_alone():
    weak = paired(shifted(0.0075, 4.0), BASE)
    others = [paired(shifted(0.0, 5.0), BASE) for _ in range(9)]
    assert judge("a", "b", weak, margin=0.005).verdict.kind == "better"
    adjusted, _ = adjust([weak, *others], margin=0.005)
    found = judge("a", "b", weak, margin=0.005, adjusted=adjusted[0])
    assert found.verdict.kind == "no difference shown"
    assert "adjusted p = " in pair_sentence(found)
    assert weak.sd is not None
    assert found.verdict.seeds_needed == seeds_needed(weak.sd, 0.005, alpha=0.005)


DIFFERENCES = st.lists(st.integers(-40, 60).map(lambda n: n / 8), min_size=2, max_size=10)


@given(st.lists(DIFFERENCES, min_size=1, max_size=4), st.sampled_from([0.0, 0.5, 3.0]))
def test_every_verdict_follows_from_its_numbers(samples, margin):
    results = [paired(sample, [0.0] * len(sample)) for sample in samples]
    adjusted, _ = adjust(results, margin=margin)
    assert [tests.p for tests in adjusted] == list(holm([result.p for result in results]))
    for result, tests in zip(results, adjusted, strict=True):
        found = judge("a", "b", result, margin=margin, adjusted=tests)
        different = tests.p is not None and tests.p <= 0.05
        assert found.verdict.different == different
        mean = result.mean or 0.0
        assert (found.verdict.kind == "better") == (different and abs(mean) > margin)
        assert (found.verdict.winner is not None) == (found.verdict.kind == "better")
        assert (found.verdict.kind == "identical") == (not any(result.differences))
        if tests.interval is not None and tests.p is not None and abs(tests.p - 0.05) > 1e-9:
            assert (0.0 not in tests.interval) == different
        swapped = paired([0.0] * result.n, [d or 0.0 for d in result.differences])
        alone = adjust([swapped], margin=margin)[0][0]
        assert (
            judge("b", "a", swapped, margin=margin, adjusted=alone).verdict.kind
            == judge("a", "b", result, margin=margin).verdict.kind
        )
