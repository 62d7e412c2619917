"""The tests of several pairs, corrected together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .equivalence import Equivalence, equivalence
from .multiplicity import holm, holm_levels
from .paired_result import PairedResult
from .samples import check_alpha, check_margin
from .student import Interval


@dataclass(frozen=True)
class Adjusted:
    """The tests of one pair after Holm's correction over the family that it belongs to.

    Args:
        alpha: error rate of the whole family.
        num_tests: p-values in the family.
        p: adjusted p of the test that decides; None where nothing was tested.
        rate: the error rate at which Holm's procedure tested it.
        interval: of the mean difference at level 1 - rate: it excludes 0 exactly when p <= alpha.
        flip_p: p of the sign-flip test, adjusted over the sign-flip tests of all pairs.
        equivalence: TOST, adjusted over those of all pairs; its interval has level 1 - 2 rate of that family.
    """

    alpha: float
    num_tests: int
    p: float | None
    rate: float
    interval: Interval | None
    flip_p: float | None
    equivalence: Equivalence


def adjust(
    results: Sequence[PairedResult],
    *,
    margin: float,
    alpha: float = 0.05,
    other_p: Sequence[float | None] = (),
    num_lost: int = 0,
    num_lost_others: int = 0,
) -> tuple[tuple[Adjusted, ...], tuple[float | None, ...]]:
    """Correct the tests of all pairs by Holm's procedure: one family each for deciding, sign-flip and TOST.

    Each family is one column of a table, and no column shows a p that is not corrected over all of its rows.

    Args:
        results: of the pairs.
        margin: for TOST, in the metric's unit.
        alpha: error rate of each family.
        other_p: p-values of other questions that are printed beside, such as times to target: part of the first family.
        num_lost: pairs that were planned and cannot be tested. They stay in each family, as tests with p = 1: a family
            that shrank with what failed would correct less than was planned.
        num_lost_others: other questions, likewise, in the first family.

    Returns:
        The tests of each pair, and the other p-values, adjusted.
    """
    check_alpha(alpha)
    check_margin(margin)
    lost = [1.0] * num_lost
    family = [*(result.p for result in results), *other_p, *lost, *[1.0] * num_lost_others]
    num_tests = sum(p is not None for p in family)
    adjusted, rates = holm(family), holm_levels(family, alpha)
    flips = holm([*(None if result.sign_flip is None else result.sign_flip.p for result in results), *lost])
    equivalences = _equivalences(results, margin, alpha, lost if margin > 0 else [])
    pairs = []
    for index, result in enumerate(results):
        rate = rates[index] or alpha
        interval = result.interval_at(1 - rate)
        pairs.append(Adjusted(alpha, num_tests, adjusted[index], rate, interval, flips[index], equivalences[index]))
    return tuple(pairs), adjusted[len(results) : len(results) + len(other_p)]


def _equivalences(
    results: Sequence[PairedResult], margin: float, alpha: float, lost: Sequence[float]
) -> list[Equivalence]:
    # Pairs of identical runs are no question, and a margin of 0 asks none: neither may cost the others their power.
    asked = [margin > 0 and not result.identical and not result.tied for result in results]
    single = [equivalence(result.spread, margin, alpha) for result in results]
    family = [*(e.p if ask else None for e, ask in zip(single, asked, strict=True)), *lost]
    tested = zip(holm(family), holm_levels(family, alpha), strict=True)
    adjusted = []
    for e, result, (p, rate) in zip(single, results, tested, strict=False):
        if p is None or rate is None:
            adjusted.append(e)
        else:
            adjusted.append(replace(e, holds=p <= alpha, p=p, interval=result.interval_at(1 - 2 * rate)))
    return adjusted
