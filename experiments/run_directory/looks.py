"""Looks at a comparison: each time its verdict was read, with which seeds, and what that makes of the p-values.

The first look has been planned. Whoever then reads the verdict with other seeds may have chosen them by what was seen:
that is exploratory. The seeds of the first look, read again, give the first verdict again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Look = Mapping[str, Any]


def seeds_of(look: Look) -> frozenset[int]:
    """Return the seeds of a look; version 0.1 and 0.2 kept their number alone, and began with 0."""
    known = look.get("set")
    return frozenset(range(int(look.get("seeds") or 0)) if known is None else known)


def why_exploratory(looks: Sequence[Look]) -> str:
    """Return why the last look is exploratory; empty where it is not.

    Args:
        looks: in the order in which they were taken.
    """
    if len(looks) < 2:
        return ""
    earlier, seeds = [seeds_of(look) for look in looks[:-1]], seeds_of(looks[-1])
    if seeds == earlier[0]:
        return ""
    seen = frozenset().union(*earlier)
    if seeds < seen:
        return "fewer seeds are read than had been before"
    if seeds > earlier[0]:
        return "seeds were added after a result had been seen"
    return "a result had been seen with other seeds before"
