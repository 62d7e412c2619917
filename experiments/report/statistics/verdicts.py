"""What a comparison of two entries comes to: one word, one winner or none, one sentence."""

from __future__ import annotations

from dataclasses import dataclass

from . import sentences
from .adjusted import Adjusted, adjust
from .paired_result import PairedResult
from .power import seeds_needed

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
        winner: a or b, only where the kind is `better`.
        different: the adjusted p is at most alpha.
        equivalent: the difference is shown to be smaller than the margin; it may be different from 0 all the same.
        agrees: whether the sign-flip test, by its own adjusted p, comes to the same `different`; None without one.
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
    seeds_needed: int | None
    sentence: str

    @property
    def loser(self) -> str | None:
        """Return the one that is not the winner, where there is one."""
        return None if self.winner is None else self.b if self.winner == self.a else self.a


def verdict(
    a: str, b: str, result: PairedResult, *, margin: float, alpha: float = 0.05, adjusted: Adjusted | None = None
) -> Verdict:
    """Decide about one pair, by the paired test and by a margin that was fixed before.

    `better` takes both an adjusted p of at most alpha and a mean difference larger than the margin. `equivalent` takes
    a TOST interval inside the margin, whether or not the difference is also different from 0. Where a run diverged,
    the sign test stands in for t, and for the mean the median of the differences, a run that diverged being worse than
    every number: `better` if both suffice, else `undecided: diverged`.

    Args:
        a, b: the entries' names.
        result: of `paired(values of a, values of b)`.
        margin: the largest difference that does not matter, in the metric's unit.
        alpha: error rate; that of `adjusted`, where given, holds.
        adjusted: this pair's tests, corrected over all pairs; without it the pair stands alone.

    Raises:
        UsageError: a negative margin, or alpha out of range.
    """
    if adjusted is None:
        adjusted = adjust([result], margin=margin, alpha=alpha)[0][0]
    different = adjusted.p is not None and adjusted.p <= adjusted.alpha
    center = result.center or 0.0
    ahead = (a if center * result.direction > 0 else b) if center else None
    needed = None
    if result.identical:
        kind = IDENTICAL
        sentence = sentences.identical(a, b, result)
    elif different and ahead is not None and abs(center) > margin:
        kind = BETTER
        sentence = sentences.better(ahead, b if ahead == a else a, result, adjusted)
    elif result.diverged:
        kind = DIVERGED
        sentence = sentences.diverged(a, b, result, adjusted)
    elif adjusted.equivalence.holds:
        kind = EQUIVALENT
        sentence = sentences.equivalent(a, b, result, adjusted, different)
    elif different and ahead is not None:
        kind = WITHIN_MARGIN
        sentence = sentences.within_margin(ahead, b if ahead == a else a, result, adjusted)
    else:
        kind = NO_DIFFERENCE
        if margin > 0 and result.sd is not None:
            needed = seeds_needed(result.sd, margin, alpha=adjusted.rate)
        sentence = sentences.no_difference(a, b, result, adjusted, needed)
    return Verdict(
        a=a,
        b=b,
        kind=kind,
        winner=ahead if kind == BETTER else None,
        different=different,
        equivalent=result.identical or adjusted.equivalence.holds,
        agrees=None if adjusted.p is None or adjusted.flip_p is None else (adjusted.flip_p <= alpha) == different,
        seeds_needed=needed,
        sentence=sentence,
    )
