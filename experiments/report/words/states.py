"""What came of runs, counted in words: done, diverged, failed, changed, unmeasured and unfinished are six."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .. import style


def count_states(states: Sequence[str]) -> str:
    """Count what came of runs, in order of appearance: `58 done, 2 failed`."""
    return ", ".join(f"{number} {state}" for state, number in Counter(states).items())


def lost_text(states: Sequence[str]) -> str:
    """Return what came of those runs that have no value: `failed` of all, `1 of 2 diverged` of some; else empty."""
    lost = [state for state in states if state != "done"]
    if not lost:
        return ""
    if set(states) == {lost[0]}:
        return lost[0]
    first, *others = Counter(lost).items()
    return ", ".join([f"{first[1]} of {len(states)} {first[0]}", *(f"{number} {state}" for state, number in others)])


def every_one(states: Sequence[str], noun: str) -> str:
    """Return what came of runs none of which has a value: `each of its 3 trials failed`."""
    few = style.many(len(states), noun)
    if len(set(states)) == 1:
        verb = _with_verb(states[0])
        return f"its {noun} {verb}" if len(states) == 1 else f"each of its {few} {verb}"
    return f"of its {few} {style.listing([f'{n} {state}' for state, n in Counter(states).items()])}"


def _with_verb(state: str) -> str:
    if state == "changed":
        return "was changed since"
    return f"is {state}" if state in ("unmeasured", "unfinished") else state
