"""The sentence of each verdict: plain words that a person can repeat, with the numbers."""

from __future__ import annotations

from .adjusted import Adjusted
from .paired_result import PairedResult
from .text import count_text, number_text, p_text


def identical(a: str, b: str, result: PairedResult) -> str:
    """Say that no seed makes a difference."""
    both = f" ({result.num_diverged_a} diverged in both)" if result.diverged else ""
    return f"{a} and {b} are identical: every difference over {count_text(result.n, 'seed')} is exactly 0{both}"


def better(winner: str, loser: str, result: PairedResult, adjusted: Adjusted) -> str:
    """Say who is better, by how much, and whether the sign-flip test objects."""
    if result.mean is None:
        won_by_a = (result.center or 0) * result.direction > 0
        won = result.outcomes.count(1 if won_by_a else -1)
        told = _diverged(result, winner, loser) if won_by_a else _diverged(result, loser, winner)
        return (
            f"{winner} is better than {loser}: it won {won} of {count_text(result.n, 'pair')} "
            f"(diverged: {told}; exact sign test {_p(adjusted)})"
        )
    more = "higher" if result.mode == "max" else "lower"
    said = f"{winner} is better than {loser}: {more} by {number_text(abs(result.mean))} ({_numbers(result, adjusted)})"
    if adjusted.flip_p is not None and adjusted.flip_p > adjusted.alpha:
        name = "adjusted p" if adjusted.num_tests > 1 else "p"
        said += f". The sign-flip test does not confirm it ({p_text(adjusted.flip_p, name)})"
    return said


def within_margin(ahead: str, behind: str, result: PairedResult, adjusted: Adjusted) -> str:
    """Say that there is a difference, and that it is not shown to matter."""
    return (
        f"{ahead} is ahead of {behind} by {number_text(abs(result.mean or 0))} ({_numbers(result, adjusted)}): "
        f"different from 0, but not by more than the margin of {number_text(adjusted.equivalence.margin)}"
    )


def equivalent(a: str, b: str, result: PairedResult, adjusted: Adjusted, different: bool) -> str:
    """Say that the difference is too small to matter."""
    interval = adjusted.equivalence.interval
    shown = "" if interval is None else f", {interval}"
    said = (
        f"{a} and {b} are equivalent within {number_text(adjusted.equivalence.margin)} "
        f"(mean difference {number_text(result.mean or 0)}{shown}, n = {result.n})"
    )
    return f"{said}; the difference is not 0 ({_p(adjusted)}), but too small to matter" if different else said


def no_difference(a: str, b: str, result: PairedResult, adjusted: Adjusted, needed: int | None) -> str:
    """Say that nothing is shown, and what it would take."""
    mean, margin = number_text(result.mean or 0), number_text(adjusted.equivalence.margin)
    said = f"{a} and {b}: no difference shown (mean difference {mean}, {_numbers(result, adjusted, signed=True)})"
    if result.sd is None:
        return f"{said}; one seed can show none"
    if needed is None:
        return said
    if needed <= result.n:
        return f"{said}; {count_text(result.n, 'seed')} show a true difference of {margin} four times out of five"
    return f"{said}; about {count_text(needed, 'seed')} would be needed to show one of {margin}"


def diverged(a: str, b: str, result: PairedResult, adjusted: Adjusted) -> str:
    """Say that runs diverged, and how the pairs went."""
    won, lost = result.outcomes.count(1), result.outcomes.count(-1)
    tested = "" if adjusted.p is None else f", exact sign test {_p(adjusted)}"
    return (
        f"{a} and {b}: undecided, because runs diverged ({_diverged(result, a, b)}); pairs won {won} to {lost}{tested}"
    )


def _diverged(result: PairedResult, a: str, b: str) -> str:
    return f"{a} {result.num_diverged_a}/{result.n}, {b} {result.num_diverged_b}/{result.n}"


def _numbers(result: PairedResult, adjusted: Adjusted, signed: bool = False) -> str:
    """Return interval, p and n; the interval of the size of the difference, or with its sign."""
    parts = []
    if result.interval is not None:
        flip = not signed and (result.mean or 0) < 0
        parts.append(str(-result.interval if flip else result.interval))
    if adjusted.p is not None:
        parts.append(_p(adjusted))
    return ", ".join([*parts, f"n = {result.n}"])


def _p(adjusted: Adjusted) -> str:
    if adjusted.p is None:
        return "no p"
    return p_text(adjusted.p, "adjusted p" if adjusted.num_tests > 1 else "p")
