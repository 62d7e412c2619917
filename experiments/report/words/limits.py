"""The limits of a comparison in words: what its seeds cannot show."""

from __future__ import annotations

from collections.abc import Sequence

from .. import style
from ..statistics.analysis import Analysis
from ..statistics.paired_result import PairedResult
from ..statistics.sign_flips import min_seeds, smallest_p


def pair_limits(result: PairedResult) -> list[str]:
    """Return what the seeds of a pair, taken alone, cannot show."""
    n, spread, limits = result.n, result.spread, []
    if result.unmatched:
        limits.append(_left_out(result.unmatched))
    if spread is None:
        limits.append(
            f"runs diverged (a {result.num_diverged_a}/{n}, b {result.num_diverged_b}/{n}): the mean has no interval, "
            "and the exact sign test decides, in which a run that diverged loses"
        )
    elif n == 1:
        limits.append("one seed shows no spread: there is no interval and no p")
    elif n == 2 and not spread.constant:
        limits.append("two seeds leave one degree of freedom: the 95 % interval is 12.7 standard errors to each side")
    if result.identical:
        return limits
    if spread is not None and spread.constant:
        limits.append("all differences are equal: t has no spread to work with, so p is that of the sign-flip test")
    if n > 1 and (few := too_few_seeds(n, result.alpha)):
        limits.append(few)
    return limits


def overall_limits(analysis: Analysis) -> list[str]:
    """Return what the number of seeds cannot show, over all pairs."""
    lost = [(pair, pair.result.unmatched) for pair in analysis.pairs if pair.result.unmatched]
    limits = [f"{pair.a} and {pair.b}: {_left_out(seeds)}" for pair, seeds in lost]
    tested = [pair.result.n for pair in analysis.pairs if pair.result.sign_flip is not None]
    planned = len(tested) + analysis.num_lost  # pairs of an entry without a result stay in the family
    few = too_few_seeds(min(tested), analysis.alpha, planned) if tested else None
    return [*limits, few] if few else limits


def too_few_seeds(n: int, alpha: float, num_pairs: int = 1) -> str | None:
    """Return that n seeds are too few for the sign-flip test ever to reach `alpha`, or None."""
    needed = min_seeds(alpha, num_pairs)
    if n >= needed:
        return None
    over = f" over {num_pairs} pairs" if num_pairs > 1 else ""
    return (
        f"with {style.many(n, 'seed')} the smallest p of the sign-flip test is {smallest_p(n):.3g}: "
        f"it needs {needed} seeds to reach {alpha:g}{over}"
    )


def _left_out(unmatched: Sequence[int]) -> str:
    seeds = ", ".join(map(str, unmatched))
    return f"left out, because only one entry has them: {style.many(len(unmatched), 'seed')} ({seeds})"
