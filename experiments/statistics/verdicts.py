"""What a comparison of two entries comes to: one word, one winner or none, one sentence."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from .equivalence import Equivalence, equivalence_of
from .paired import PairedResult
from .power import seeds_needed
from .samples import check_alpha, check_margin
from .student import Interval
from .text import count_text, number_text, p_text

BETTER = "better"
WITHIN_MARGIN = "different, within the margin"
EQUIVALENT = "equivalent"
NO_DIFFERENCE = "no difference shown"
IDENTICAL = "identical"
DIVERGED = "undecided: diverged"


@dataclass(frozen=True)
class Verdict:
    """What is concluded about entries a and b.

    Args:
        a, b: their names.
        kind: `better`, `different, within the margin`, `equivalent`, `no difference shown`, `identical` or
            `undecided: diverged`.
        winner: of a and b, only where the kind is `better`.
        different: the adjusted p is at most alpha.
        equivalent: the difference is shown to be smaller than the margin; it may be different from 0 all the same.
        agrees: whether the sign-flip test, with its own adjusted p, comes to the same `different`; None without it.
        p: the adjusted p.
        seeds_needed: about how many would show a difference of the margin; None where that is no question.
        sentence: all of it in words, with the numbers.
    """

    a: str
    b: str
    kind: str
    winner: str | None
    different: bool
    equivalent: bool
    agrees: bool | None
    p: float | None
    seeds_needed: int | None
    sentence: str


def verdict(
    a: str,
    b: str,
    result: PairedResult,
    *,
    margin: float,
    alpha: float = 0.05,
    p: float | None = None,
    flip_p: float | None = None,
    rate: float | None = None,
    equivalence: Equivalence | None = None,
    num_tests: int = 1,
) -> Verdict:
    """Decide about one pair, by the paired test and the margin that was fixed before.

    `better` takes both an adjusted p of at most alpha and a mean difference larger than the margin. `equivalent` takes
    the TOST interval inside the margin, whether or not the difference is also different from 0. Where a run diverged
    the sign test stands in for t and the median of the differences for their mean, a run that diverged being worse
    than every number.

    Args:
        a, b: the entries' names.
        result: of `paired(values of a, values of b)`.
        margin: the largest difference that does not matter, in the metric's unit.
        alpha: error rate.
        p, flip_p: of the deciding and of the sign-flip test, adjusted; without them, those of `result` as they are.
        rate: the error rate that the correction left to this pair, for the seeds needed; alpha without it.
        equivalence: of this pair, adjusted; computed at alpha without it.
        num_tests: tests in the family that p is adjusted over.
    """
    check_margin(margin)
    check_alpha(alpha)
    p = result.p if p is None else p
    flip_p = result.sign_flip.p if flip_p is None and result.sign_flip is not None else flip_p
    equivalence = equivalence_of(result.spread, margin, alpha) if equivalence is None else equivalence
    different = p is not None and p <= alpha
    center = typical_difference(result)
    ahead = None if center is None or center == 0 else a if center * result.direction > 0 else b
    beyond = center is not None and abs(center) > margin
    needed = None
    if result.identical:
        kind = IDENTICAL
    elif different and beyond:
        kind = BETTER
    elif result.diverged:
        kind = DIVERGED
    elif equivalence.holds:
        kind = EQUIVALENT
    elif different:
        kind = WITHIN_MARGIN
    else:
        kind = NO_DIFFERENCE
        if margin > 0 and result.sd is not None:
            needed = seeds_needed(result.sd, margin, alpha=rate or alpha)
    words = _Words(a, b, result, margin, p, num_tests, center, ahead, equivalence, different, needed)
    agrees = None if p is None or flip_p is None else (flip_p <= alpha) == different
    sentence = words.sentence(kind)
    if kind == BETTER and agrees is False and flip_p is not None:
        sentence += f". The sign-flip test does not confirm it ({p_text(flip_p, words.p_name)})"
    return Verdict(
        a=a,
        b=b,
        kind=kind,
        winner=ahead if kind == BETTER else None,
        different=different,
        equivalent=result.identical or equivalence.holds,
        agrees=agrees,
        p=p,
        seeds_needed=needed,
        sentence=sentence,
    )


def typical_difference(result: PairedResult) -> float | None:
    """Return the mean difference, or, where a run diverged, the median with diverged runs as the worst.

    That median is infinite where most pairs are decided by a run that diverged; None when both diverged in all pairs.
    """
    if not result.diverged:
        return result.mean
    worst = -result.direction * float("inf")
    differences = []
    for seed_index, difference in enumerate(result.differences):
        if difference is not None:
            differences.append(difference)
        elif result.lost_by_divergence[seed_index]:
            differences.append(worst * result.lost_by_divergence[seed_index])
    return statistics.median_low(differences) if differences else None
