"""A learning-rate range test in words: the picture, the suggested rates, what it cannot say."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ...experiments.report.figures.lr_range import RangeCurve, range_marks, range_text
from ...experiments.report.style import many
from ...experiments.report.tables.table import aligned
from ...experiments.studies.lr_finder import RULES
from ..terminal.console import filled
from ..terminal.screen import width
from ..terminal.streams import is_utf8, results

if TYPE_CHECKING:
    from ...experiments.studies.lr_finder import LrRange

CAVEAT = (
    "These few steps start at the initial weights, with one seed, and without the schedule: the rate that trains best "
    "may be several times higher or lower. Compare rates by what whole runs come to before you rely on one."
)


def suggestions(found: LrRange) -> dict[str, float]:
    """Return the rates that the rules suggest, without those of rules that suggest none."""
    return {rule: rate for rule, rate in found.suggestions.items() if rate is not None}


def range_curve(found: LrRange) -> RangeCurve:
    """Return what is drawn of a range test."""
    return RangeCurve(found.rates, found.losses, found.smoothed, suggestions(found))


def range_lines(name: str, found: LrRange) -> list[str]:
    """Return the picture of a range test, what the rules suggest, how it ended, and what it cannot say."""
    tried = f"{many(len(found.rates), 'step')} of {found.batch_size} examples"
    groups = f", {found.num_groups} groups in their ratios" if found.num_groups > 1 else ""
    title = f"{name}: smoothed loss after {tried} at growing rates{groups}"
    picture = range_text(range_curve(found), width=width(results()), unicode=is_utf8(results()))
    return [*_filled(title), *picture, *suggestion_lines(found), *_filled(_ending(found)), *_filled(CAVEAT)]


def suggestion_lines(found: LrRange) -> list[str]:
    """Return a line for each rule: its mark in the picture, its name, its rate, what it goes by."""
    marks = iter(range_marks(is_utf8(results())))
    rows = []
    for rule, rate in found.suggestions.items():
        rows.append((next(marks) if rate is not None else " ", rule, f"{rate:.2g}" if rate else "none", RULES[rule]))
    return [f"  {line}" for line in aligned(rows)]


def _ending(found: LrRange) -> str:
    at = f"at {found.end_lr:.3g}"
    return {
        "range": f"The loss had not blown up {at}, the last rate: --to can be higher.",
        "blow-up": f"It ended {at}, where the smoothed loss was above 4 times its best.",
        "infinite": f"It ended {at}: after that step loss or gradients were not finite.",
    }[found.end]


def next_lines(target: str, overrides: list[str], found: LrRange) -> list[str]:
    """Return what to do next: a sweep around the suggested rates, or a range test from lower ones."""
    suggested = list(suggestions(found).values())
    if not suggested:
        return [f"no suggestion: the loss did not fall; begin lower than --from {found.rates[0]:g}"]
    others = [override for override in overrides if not override.startswith("optimizer.lr=")]
    spread = f"optimizer.lr=log:{min(suggested) / 3:.1g}:{max(suggested) * 3:.1g}"
    return [f"next: optrun sweep {shlex.join([target, spread, *others])}"]


def _filled(text: str) -> list[str]:
    return filled(text, break_long_words=True)
