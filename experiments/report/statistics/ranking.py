"""Places and tie letters from what the pairs have shown."""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...errors import UsageError, unknown_name

_LETTERS = string.ascii_lowercase + string.ascii_uppercase


@dataclass(frozen=True)
class Rank:
    """The places that an entry can have, given what has been shown: from `best` (1 is first) to `worst`."""

    best: int
    worst: int

    def __str__(self) -> str:
        return f"{self.best}" if self.best == self.worst else f"{self.best}-{self.worst}"


def ranks(names: Sequence[str], better: Iterable[tuple[str, str]]) -> dict[str, Rank]:
    """Return each entry's rank interval.

    best = 1 + the entries shown better than it; worst = k - the entries shown worse. Where the pairs are corrected
    together, all intervals hold at once with probability 1 - alpha.

    Args:
        names: the k entries.
        better: (winner, loser) for each pair in which one was shown to be better.

    Raises:
        UsageError: a pair names no entry, or itself.

    Source: Mogstad, Romano, Shaikh and Wilhelm, "Inference for ranks", Rev. Econ. Stud. 91, 2024; Al Mohamad, Goeman
    and van Zwet, Biometrics 78, 2022.
    """
    pairs = set(better)
    _check(names, pairs)
    above = {name: sum(loser == name for _, loser in pairs) for name in names}
    below = {name: sum(winner == name for winner, _ in pairs) for name in names}
    return {name: Rank(1 + above[name], len(names) - below[name]) for name in names}


def letters(names: Sequence[str], different: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the tie letters of each entry: two entries share a letter exactly when they were not shown to differ.

    Insert and absorb: start with one group of all; for each different pair split every group that holds both into
    one without the first and one without the second, and drop groups that lie inside another.

    Args:
        names: the entries in the order of the table; the letter a goes to the group of the first.
        different: pairs that were shown to differ, in any order.

    Raises:
        UsageError: a pair names no entry, or itself.

    Source: Piepho, "An algorithm for a letter-based representation of all-pairwise comparisons", JCGS 13, 2004.
    """
    pairs = list(different)
    _check(names, pairs)
    groups = [frozenset(names)] if names else []
    for first, second in pairs:
        split: list[frozenset[str]] = []
        for group in groups:
            split += [group - {first}, group - {second}] if first in group and second in group else [group]
        distinct = list(dict.fromkeys(split))
        groups = [group for group in distinct if not any(group < other for other in distinct)]
    place = {name: index for index, name in enumerate(names)}
    groups.sort(key=lambda group: sorted(place[name] for name in group))
    marks = [_LETTERS[i] if i < len(_LETTERS) else f"({i + 1})" for i in range(len(groups))]
    return {name: "".join(m for m, group in zip(marks, groups, strict=True) if name in group) for name in names}


def _check(names: Sequence[str], pairs: Iterable[tuple[str, str]]) -> None:
    for pair in pairs:
        for name in pair:
            if name not in names:
                raise UsageError(unknown_name("entry", name, names))
        if pair[0] == pair[1]:
            raise UsageError(f"'{pair[0]}' cannot differ from itself")
