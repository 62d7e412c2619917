"""Names in a file to names in a model: patterns, and the prefixes that wrappers of modules leave in names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from ...errors import UsageError, nearest
from ...system.places import shown

#: Names that torch.compile, FSDP and activation checkpointing put between those of modules.
_BETWEEN = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_AROUND = "module."  # of DataParallel, DistributedDataParallel and AveragedModel, in front
COUNTERS = ("n_averaged",)  # of AveragedModel itself, outside of the module that it wraps


def unwrapped(
    names: Collection[str], ours: Collection[str], patterns: Collection[str], owner: str = ""
) -> tuple[dict[str, str], list[str]]:
    """Return each name without what wrappers have added to it, and in words what was left out.

    Nothing is left out that the model's own names have, or that a pattern of `map` begins with.

    Args:
        names: in the file.
        ours: in the model.
        patterns: of `map`.
        owner: an attribute that all names begin with, by the file's format.
    """
    clean = {name: name for name in names}
    said = []
    for part in _BETWEEN:
        if any(_has(name, part) for name in ours) or any(_has(pattern, part) for pattern in patterns):
            continue
        shorter = {raw: ".".join(each for each in name.split(".") if each != part) for raw, name in clean.items()}
        if shorter != clean and len(set(shorter.values())) == len(shorter):
            clean = shorter
            said.append(f"'{part}.' within names")
    fronts = [_AROUND, *([f"{owner}."] if owner and f"{owner}." != _AROUND else [])]
    while found := [front for front in fronts if _is_around(front, clean.values(), ours, patterns)]:
        clean = {raw: name.removeprefix(found[0]) for raw, name in clean.items()}
        said.append(f"'{found[0]}' in front")
    return clean, list(dict.fromkeys(said))


def _has(name: str, part: str) -> bool:
    return part in name.split(".")


def _is_around(front: str, names: Collection[str], ours: Collection[str], patterns: Collection[str]) -> bool:
    """Return True if a prefix is in front of all names, and of none of the model's, some of which it hides."""
    inside = [name for name in names if name not in COUNTERS]
    if not inside or not all(name.startswith(front) for name in inside):
        return False
    if any(text.startswith(front) for text in (*ours, *patterns)):
        return False
    return front == _AROUND or any(name.removeprefix(front).removeprefix(_AROUND) in ours for name in inside)


def renamed(names: Mapping[str, str], patterns: Mapping[str, str | None], path: Path) -> dict[str, str | None]:
    """Return each name of a file with the model's name for it, None where it is left out.

    Args:
        names: in the file, each without what wrappers have added.
        patterns: the first that matches a name says what it becomes.
        path: of the file.

    Raises:
        UsageError: two names would become one, or a pattern matches nothing.
    """
    found: dict[str, str | None] = {}
    origins: dict[str, str] = {}
    used = set()
    for raw, name in names.items():
        new: str | None = name
        for pattern, target in patterns.items():
            if (texts := _stars(pattern, name)) is not None:
                used.add(pattern)
                new = None if target is None else _filled(pattern, target, texts)
                break
        found[raw] = new
        if new is None:
            continue
        if new in origins:
            raise UsageError(f"{origins[new]} and {raw} of {shown(path)} would both become {new}")
        origins[new] = raw
    if unused := [pattern for pattern in patterns if pattern not in used]:
        guess = nearest(unused[0], list(names.values()))
        hint = f"; the nearest is '{guess}'" if guess else f"; it has {some(names.values())}"
        raise UsageError(f"map: '{unused[0]}' matches nothing in {shown(path)}{hint}")
    return found


def _stars(pattern: str, name: str) -> tuple[str, ...] | None:
    """Return what each `*` of the pattern stands for in `name`, or None where they do not match."""
    match = re.fullmatch("(.*)".join(re.escape(part) for part in pattern.split("*")), name, re.DOTALL)
    return match.groups() if match else None


def _filled(pattern: str, target: str, texts: tuple[str, ...]) -> str:
    if target.count("*") not in (0, len(texts)):
        raise UsageError(f"map: '{pattern}' and '{target}' need as many * on both sides")
    parts = target.split("*")
    return parts[0] + "".join(text + part for text, part in zip(texts, parts[1:], strict=False))


def proposed(
    theirs: Mapping[str, tuple[int, ...]], ours: Mapping[str, tuple[int, ...]]
) -> dict[str, str | None] | None:
    """Return the `map` by which every name of the model is found in a file, with equal shapes; None without one.

    It replaces one prefix by another, and leaves out what is not below it.

    Args:
        theirs: the shapes in the file, by name.
        ours: those of the model that are to be set.
    """
    best: tuple[int, str, str] = (0, "", "")
    ours_fronts = _common_fronts(ours)
    for front in _fronts(theirs):
        inside = {name.removeprefix(front): shape for name, shape in theirs.items() if name.startswith(front)}
        for target in ours_fronts:
            hits = sum(ours.get(f"{target}{name}") == shape for name, shape in inside.items())
            if hits > best[0]:
                best = hits, front, target
    hits, front, target = best
    if hits < len(ours) or not ours or (front, target) == ("", ""):
        return None
    found: dict[str, str | None] = {}
    kept = {name for name in theirs if name.startswith(front) and f"{target}{name.removeprefix(front)}" in ours}
    for name in theirs:
        if name not in kept:
            group = f"{name.partition('.')[0]}.*"
            is_whole = "." in name and not any(each.startswith(group[:-1]) for each in kept)
            found[group if is_whole else name] = None
    return {**found, f"{front}*": f"{target}*"}


def _fronts(names: Iterable[str]) -> list[str]:
    """Return all prefixes of names that end with a dot, the empty one first."""
    found = {""}
    for name in names:
        parts = name.split(".")[:-1]
        found |= {"".join(f"{part}." for part in parts[:end]) for end in range(1, min(len(parts), 4) + 1)}
    return sorted(found, key=lambda front: (front.count("."), front))


def _common_fronts(names: Collection[str]) -> list[str]:
    """Return those that all names have, the empty one first."""
    return [front for front in _fronts(list(names)[:1]) if all(name.startswith(front) for name in names)]


def some(names: Iterable[str], most: int = 5) -> str:
    """Return the first names of several, and how many more there are."""
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
