"""The verdict on two entries: one kind, and one winner or none."""

from __future__ import annotations

from dataclasses import dataclass

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
    """The conclusion about entries a and b.

    Args:
        a, b: their names.
        kind: `better`, `different, within the margin`, `equivalent`, `no difference shown`, `identical` or
            `undecided: diverged`.
        ahead: a or b, whichever has the better mean; None where neither has.
        different: the adjusted p is at most alpha.
        equivalent: the difference is shown to be smaller than the margin; it may be different from 0 all the same.
        agrees: whether the sign-flip test, by its own adjusted p, comes to the same `different`; None without one.
        seeds_needed: about how many would show a difference of the margin; None where that is no question.
    """

    a: str
    b: str
    kind: str
    ahead: str | None
    different: bool
    equivalent: bool
    agrees: bool | None
    seeds_needed: int | None

    @property
    def behind(self) -> str | None:
        """Return the one that is not ahead, where one is."""
        return None if self.ahead is None else self.b if self.ahead == self.a else self.a

    @property
    def winner(self) -> str | None:
        """Return the one that was shown to be better, where one was."""
        return self.ahead if self.kind == BETTER else None

    @property
    def loser(self) -> str | None:
        """Return the one that is not the winner, where there is one."""
        return self.behind if self.kind == BETTER else None


@dataclass(frozen=True)
class Pair:
    """Two entries: the paired result (differences are a - b), its tests after correction, and the verdict."""

    a: str
    b: str
    result: PairedResult
    adjusted: Adjusted
    verdict: Verdict


def judge(
    a: str, b: str, result: PairedResult, *, margin: float, alpha: float = 0.05, adjusted: Adjusted | None = None
) -> Pair:
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
    kind, needed = NO_DIFFERENCE, None
    if result.identical:
        kind = IDENTICAL
    elif result.tied:  # nothing is shown, neither a difference nor that there is none
        kind = NO_DIFFERENCE
    elif different and abs(center) > margin:
        kind = BETTER
    elif result.diverged:
        kind = DIVERGED
    elif adjusted.equivalence.holds:
        kind = EQUIVALENT
    elif different and ahead is not None:
        kind = WITHIN_MARGIN
    elif margin > 0 and result.sd is not None:
        needed = seeds_needed(result.sd, margin, alpha=adjusted.rate)
    agrees = None if adjusted.p is None or adjusted.flip_p is None else (adjusted.flip_p <= alpha) == different
    is_equivalent = result.identical or (adjusted.equivalence.holds and not result.tied)
    verdict = Verdict(a, b, kind, ahead, different, is_equivalent, agrees, needed)
    return Pair(a, b, result, adjusted, verdict)
