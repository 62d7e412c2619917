"""Names of several files in one: `part-{000..003}.tar`, `{a,b}.csv`, `*.parquet`."""

from __future__ import annotations

import glob
import itertools
import os
import re

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST = 100_000  # files that one pattern may name


def expanded(pattern: str) -> list[str]:
    """Return the paths that a pattern names, in its order; those of `*`, `?` and `[…]` in the order of their names.

    A path that is there as it is written is itself; what braces name need not be there.

    Raises:
        ValueError: a range that goes down, or far too many names.
    """
    if os.path.exists(pattern):
        return [pattern]
    named = _without_braces(pattern)
    return list(itertools.chain.from_iterable(_globbed(each) for each in named))


def _without_braces(pattern: str) -> list[str]:
    """Return what a shell makes of braces: numbers keep their zeros, several braces are combined, the last fastest."""
    parts = _BRACES.split(pattern)
    choices = [[part] if place % 2 == 0 else _choices(part) for place, part in enumerate(parts)]
    number = 1
    for each in choices:
        number *= len(each)
    if number > _MOST:
        raise ValueError(f"{pattern} names {number:,} files, more than {_MOST:,}")
    return ["".join(each) for each in itertools.product(*choices)]


def _choices(text: str) -> list[str]:
    found = _RANGE.fullmatch(text)
    if found is None:
        return text.split(",")
    first, last = found.groups()
    if int(last) < int(first):
        raise ValueError(f"the range {{{text}}} goes down")
    if int(last) - int(first) >= _MOST:
        raise ValueError(f"the range {{{text}}} has more than {_MOST:,} numbers")
    width = max(len(first), len(last)) if first[0] == "0" or last[0] == "0" else 0
    return [f"{number:0{width}d}" for number in range(int(first), int(last) + 1)]


def _globbed(path: str) -> list[str]:
    return sorted(glob.glob(path)) if re.search(r"[*?\[]", path) else [path]
