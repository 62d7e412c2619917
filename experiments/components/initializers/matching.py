"""What of a file finds its place in a model, what does not, and why."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...errors import UsageError
from ...system.places import shown
from .names import proposed, some
from .readers.contents import count

_MOST = 6  # sorts of problems, and shapes, that a message lists


class Match(NamedTuple):
    """A tensor of a file, of a model, or of both.

    Args:
        theirs: its name in the file; None where that has nothing for it.
        ours: its name in the model; None where that has no place for it.
        shape: in the file, or of the place that is left.
        what: `taken`, or why not: `left out by map`, `keeps its own start`, `no place`, `nothing there`, `shape`,
            `type`, `no tensor`.
        note: more about it: the other shape, a change of type, what it is instead.
    """

    theirs: str | None
    ours: str | None
    shape: tuple[int, ...]
    what: str
    note: str = ""


@dataclass(frozen=True)
class InitialWeights:
    """The weights that a run begins with, as they were taken over.

    Args:
        source: the file or folder.
        part: of a container; empty for the whole.
        matches: of all tensors on either side.
        notes: what was decided by rule.
    """

    source: str
    part: str
    matches: tuple[Match, ...]
    notes: tuple[str, ...] = ()

    @property
    def num_taken(self) -> int:
        return sum(match.what == "taken" for match in self.matches)

    def special(self) -> list[Match]:
        """Return the matches that are not simply a tensor of the same name and type on both sides."""
        return [m for m in self.matches if m.what != "taken" or m.note or m.theirs != m.ours]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        return {
            "source": self.source,
            "part": self.part,
            "matches": [match._asdict() for match in self.matches],
            "notes": list(self.notes),
        }


class UnmatchedError(UsageError):
    """A file of weights does not fit a model; `initial` has all that was compared."""

    initial: InitialWeights | None = None


@dataclass(frozen=True)
class Side:
    """The tensors of a file by the model's names, and what is known of the rest.

    Args:
        path: of the file.
        found: the tensors by the names that they would have in the model.
        origins: their names in the file.
        unusable: values that are no weights, by the names that they would have, with reasons.
        beside: rows for what has no part in it: left out, or no tensor and not wanted.
        notes: what was decided by rule.
    """

    path: Path
    found: Mapping[str, Tensor]
    origins: Mapping[str, str]
    unusable: Mapping[str, str]
    beside: tuple[Match, ...] = ()
    notes: tuple[str, ...] = ()

    def without(self, kept: Collection[str], is_partial: bool, of: Collection[str]) -> Side:
        """Return this side without what is not asked for.

        Args:
            kept: names of the model that keep their own start.
            is_partial: whether all but the names in `of` are left out, too.
            of: names of the model that are to be set.
        """
        found = {n: t for n, t in self.found.items() if n not in kept and (n in of or not is_partial)}
        return replace(self, found=found)


def kind_of(tensor: Tensor) -> str:
    """Return whether a tensor holds complex numbers, numbers with a fraction, or whole ones."""
    return "complex" if tensor.is_complex() else "float" if tensor.is_floating_point() else "whole"


def matched(side: Side, places: Mapping[str, Tensor], tied: Mapping[str, str]) -> list[Match]:
    """Return a row for each tensor that a file or a model has.

    Args:
        side: the file's.
        places: the model's that are to be set.
        tied: names in `places` that the file may lack, each with the name of the same tensor that it has.
    """
    rows = []
    for name, tensor in side.found.items():
        theirs, shape = side.origins[name], tuple(tensor.shape)
        place = places.get(name)
        if place is None:
            rows.append(Match(theirs, None, shape, "no place", "" if theirs == name else f"as {name}"))
        elif tensor.shape != place.shape:
            rows.append(Match(theirs, name, shape, "shape", f"{tuple(place.shape)} here"))
        elif kind_of(tensor) != kind_of(place):
            rows.append(Match(theirs, name, shape, "type", f"{_type(tensor)} there, {_type(place)} here"))
        else:
            change = "" if tensor.dtype == place.dtype else f"{_type(tensor)} there, {_type(place)} here"
            rows.append(Match(theirs, name, shape, "taken", change))
    for name, place in places.items():
        if name in side.found:
            continue
        if name in side.unusable:
            rows.append(Match(side.origins.get(name, name), name, tuple(place.shape), "no tensor", side.unusable[name]))
        elif name in tied:
            theirs = side.origins[tied[name]]
            rows.append(Match(theirs, name, tuple(place.shape), "taken", f"one tensor with {tied[name]}"))
        else:
            rows.append(Match(None, name, tuple(place.shape), "nothing there"))
    return rows


def check_fit(
    initial: InitialWeights, side: Side, places: Mapping[str, Tensor], *, may_choose: bool, is_mapped: bool, more: str
) -> None:
    """Refuse a file of which something is left over, or lacking, or of another shape or type.

    Args:
        initial: what was compared.
        side: the file's.
        places: the model's that are to be set.
        may_choose: whether neither `only` nor `fresh` is given, which then are a way out.
        is_mapped: whether `map` is given, so that none is proposed.
        more: what else to say, such as that the file is one of several.

    Raises:
        UnmatchedError: it does not fit; the message proposes a `map` where one would do.
    """
    by = {what: [m for m in initial.matches if m.what == what] for what in {m.what for m in initial.matches}}
    path, problems = shown(side.path), []
    if missing := [m.ours or "" for m in by.get("nothing there", ())]:
        hint = " (name them with `map`, or leave them to the model with `only` or `fresh`)" if may_choose else ""
        problems.append(f"{path} has nothing for {some(missing)} of the model{hint}")
    if homeless := [m.note.removeprefix("as ") or m.theirs or "" for m in by.get("no place", ())]:
        problems.append(f"the model has no place for {some(homeless)} of {path} (rename them in `map`, or map to null)")
    for m in (m for m in by.get("no tensor", ()) if m.ours is not None):
        problems.append(f"{m.theirs} of {path} is {m.note}")
    for m in by.get("shape", ()):
        problems.append(f"{m.ours} has shape {m.shape} there, {m.note.removesuffix(' here')} here")
    for m in by.get("type", ()):
        problems.append(f"{m.ours} is {m.note}")
    if not problems:
        return
    if not is_mapped and (way := _proposal(side, places)):
        problems.insert(0, f"`map: {json.dumps(way)}` would make all names match")
    if more:
        problems.insert(0, more)
    shown_ = problems[:_MOST] + ([f"and {len(problems) - _MOST} more"] if problems[_MOST:] else [])
    if len(initial.matches) > _MOST:
        taken = sum(m.what == "taken" for m in initial.matches)
        shown_.append(f"{taken} of {count(len(places))} of the model match (`optrun validate FILE --json` lists all)")
    error = UnmatchedError("; ".join(shown_))
    error.initial = initial
    raise error


def _proposal(side: Side, places: Mapping[str, Tensor]) -> dict[str, str | None] | None:
    theirs = {name: tuple(tensor.shape) for name, tensor in side.found.items()}
    return proposed(theirs, {name: tuple(place.shape) for name, place in places.items()})


def converted(side: Side, name: str, place: Tensor) -> Tensor:
    """Return a tensor of the file in the type of its place.

    Raises:
        UsageError: torch has no way from one to the other, or a finite value becomes infinite.
    """
    tensor, path = side.found[name], shown(side.path)
    if tensor.dtype == place.dtype:
        return tensor
    try:
        result = tensor.to(place.dtype)
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"{side.origins[name]} of {path} is {_type(tensor)}: {error}") from error
    if kind_of(result) != "whole" and torch.isfinite(result).sum() < torch.isfinite(_wide(tensor)).sum():
        raise UsageError(f"{side.origins[name]} of {path} has values that are infinite as {_type(place)}")
    if kind_of(result) == "whole" and place.dtype != torch.bool and not torch.equal(result.to(tensor.dtype), tensor):
        raise UsageError(f"{side.origins[name]} of {path} has values that {_type(place)} cannot hold")
    return result


def _wide(tensor: Tensor) -> Tensor:
    """Return a tensor in a type that torch can ask for infinities."""
    return tensor.float() if tensor.element_size() == 1 and tensor.is_floating_point() else tensor


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
