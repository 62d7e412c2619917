"""Warm start: initial weights from another run, or from a file or folder of named tensors."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from ...errors import UsageError
from ...registry.arguments import InputFile
from ...run_directory import checkpoints
from ...run_directory.checkpoint_files import parse_checkpoint_name
from ...run_directory.lookup import find_run
from ...run_directory.run import Run
from ...run_directory.run_dir import is_run
from ...system.places import shown
from ..averaging import saved_averages
from ..trained import LOSS, Trained
from . import readers, register_init
from .matching import InitialWeights, Match, Side, check_fit, converted, matched
from .names import COUNTERS, renamed, some, unwrapped
from .readers.folders import shard_note

log = logging.getLogger("optrun")

_MOST_LINES = 12  # of what was taken over otherwise than under its own name; --json lists all


def _fingerprint(args: Mapping[str, Any]) -> str:
    return readers.digest(_file(args["from"], args["checkpoint"]))


@register_init(
    "warm_start",
    source="tf.train.warm_start and init_from_checkpoint (TensorFlow 1)",
    fingerprint=_fingerprint,
    takes_loss=True,
    example={"from": "mom-0001", "checkpoint": "best", "map": {"head.*": None}, "only": ["blocks.*"]},
)
def warm_start(
    model: nn.Module | Trained,
    *,
    from_: Annotated[str, InputFile(readers.SUFFIXES, readers.is_weights_folder)],
    checkpoint: Literal["last", "best"] | int = "last",
    weights: str = "raw",
    part: str | None = None,
    map: dict[str, str | None] | None = None,
    only: tuple[str, ...] | None = None,
    fresh: tuple[str, ...] | None = None,
) -> InitialWeights:
    """Take over weights and buffers by name from another run, or from a file or folder of named tensors.

    Every tensor of the model must be found, and every tensor of the source must find its place; `only`, `fresh` and
    `map` say otherwise where that is meant. Optimizer, step and metrics start anew. The tensors of a loss, `loss.…`,
    are taken over with the model's where the source has some and this run's loss too. A file is read by what is in it,
    and nothing in it is executed: torch's (`.pt`, `.pth`, `.ckpt`, `.bin`), `.safetensors`, `.npz`, an index of shards,
    a folder as Hugging Face's libraries write it. Prefixes of wrappers (`module.`, `_orig_mod.`) are left out of names,
    and so is the attribute of a LightningModule that all names begin with.

    Args:
        model: whose parameters and buffers are set; with the loss, its own too.
        from: a run (a name, the beginning of one, `@1` for the latest, a path), or a file or folder of weights.
        checkpoint: which one of a run: last, best, or a step.
        weights: raw or training for those that the run trained; an average that it kept: ema of the update `ema`,
            average (or ax) of asgd, average (or x) and z of schedule_free.
        part: which part of a file is meant that holds several: model_state_dict; a `.` is all of it, names joined with
            dots. Left out, the one part that is the weights.
        map: names in the source to names in the model; a `*` on both sides stands for the same text, and null leaves a
            tensor of the source out: {"fc.*": "head.*", "aux.*": null}. The first pattern that matches counts.
        only: patterns of the model's names to set; all others keep their own start.
        fresh: patterns of the model's names that keep their own start, such as the head for other classes: ["head.*"].

    Raises:
        UsageError: a name finds no place, shapes differ, or several parts of a file could be meant; the message lists
            them.
        DataError: the file is missing, is none, or is one that only executing it could read.
        CheckpointError: the checkpoint is damaged.

    Source: tf.train.warm_start and tf.train.init_from_checkpoint, TensorFlow 1.
    """
    path = _file(from_, checkpoint)
    places, of_loss = _tensors(model.state_dict()), model.loss_state() if isinstance(model, Trained) else {}
    contents = _read(path, weights, part, with_loss=bool(of_loss))
    named = _named(contents, places, map or {})
    if of_loss and not any(name.startswith(LOSS) for name in named.origins):
        log.info("%s has nothing of a loss: %s stays as it starts", path, some(of_loss))
        places = {name: place for name, place in places.items() if name not in of_loss}
    chosen = _chosen(places, only, fresh)
    side = named.without({name for name in places if name not in chosen}, is_partial=only is not None, of=chosen)
    kept = [
        Match(side.origins.get(n), n, tuple(places[n].shape), "keeps its own start") for n in places if n not in chosen
    ]
    rows = [*matched(side, chosen, _tied(chosen, side)), *kept, *side.beside]
    initial = InitialWeights(shown(path), contents.part, tuple(rows), side.notes)
    is_free = only is None and fresh is None
    check_fit(initial, side, chosen, may_choose=is_free, is_mapped=bool(map), more=shard_note(path))
    new = {name: converted(side, name, place) for name, place in chosen.items() if name in side.found}
    _refuse_untied(chosen, new, path)
    _refuse_not_finite(side, new, {n for n, each in model.named_parameters() if each.requires_grad}, path)
    with torch.no_grad():
        for name, value in new.items():
            chosen[name].copy_(value)
    for line in _lines(initial, contents):
        log.info("%s", line)
    return initial


def _named(contents: readers.Contents, places: Mapping[str, Tensor], map: Mapping[str, str | None]) -> Side:
    """Return the contents of a file under the names that they would have in the model.

    Raises:
        UsageError: two names would become one, or a pattern matches nothing.
    """
    clean, wrappers = unwrapped(contents.tensors, places, map, contents.owner)
    targets = renamed({**clean, **{name: name for name in contents.unusable}}, map, contents.path)
    origins = {new: raw for raw, new in targets.items() if new is not None}
    beside = [
        Match(raw, None, _shape(contents.tensors.get(raw)), "left out by map")
        for raw, new in targets.items()
        if new is None
    ]
    counters = [name for name in COUNTERS if wrappers and name in origins and name not in places]
    beside += [Match(origins.pop(name), None, (), "left out", "a counter of the wrapper") for name in counters]
    unusable = {new: contents.unusable[raw] for new, raw in origins.items() if raw in contents.unusable}
    beside += [Match(origins[new], None, (), "no tensor", why) for new, why in unusable.items() if new not in places]
    found = {new: contents.tensors[raw] for new, raw in origins.items() if raw in contents.tensors}
    notes = [*contents.notes, *([f"without {', and without '.join(wrappers)}"] if wrappers else [])]
    return Side(contents.path, found, origins, unusable, tuple(beside), tuple(notes))


def _file(source: str, checkpoint: str | int) -> Path:
    """Return the file or folder that holds the weights.

    Raises:
        NothingMatchedError: it is no path of one, and no run.
    """
    path = Path(source).expanduser()
    if source.endswith(readers.SUFFIXES) or path.is_file() or (not is_run(path) and readers.is_weights_folder(path)):
        return path
    if path.is_dir() and not is_run(path) and ("/" in source or source.startswith((".", "~"))):
        return path  # whose reader says what is wrong with it
    return Run(find_run(source)).checkpoint(checkpoint).path


def _read(path: Path, weights: str, part: str | None, with_loss: bool) -> readers.Contents:
    if parse_checkpoint_name(path.name) is not None:
        if part is not None:
            raise UsageError(f"part: {shown(path)} is a checkpoint of a run, of which `weights` chooses")
        return readers.Contents(path, _read_checkpoint(path, weights, with_loss))
    if weights not in ("raw", "training"):
        raise UsageError(
            f"{shown(path)} is no checkpoint of a run, so that it has no averages for `weights: {weights}`"
        )
    return readers.read(path, part)


def _read_checkpoint(path: Path, weights: str, with_loss: bool) -> dict[str, Tensor]:
    tensors, facts = checkpoints.load(path)
    state = dict(checkpoints.unflatten_state(tensors, facts["state"]["model"]))
    if with_loss and "loss" in facts["state"]:
        of_loss = checkpoints.unflatten_state(tensors, facts["state"]["loss"])
        state |= {f"{LOSS}{name}": value for name, value in of_loss.items()}
    optimizer, updates = (checkpoints.unflatten_state(tensors, facts["state"][n]) for n in ("optimizer", "updates"))
    known = saved_averages(state, optimizer, updates)
    if weights not in known:
        raise UsageError(f"{path} has no averaged weights called '{weights}': it has {', '.join(known)}")
    state |= {name: average for name, average in known[weights].items() if name in state}
    return _tensors(state)


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a state, without what modules keep in it besides."""
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _shape(tensor: Tensor | None) -> tuple[int, ...]:
    return () if tensor is None else tuple(tensor.shape)


def _chosen(places: Mapping[str, Tensor], only: Sequence[str] | None, fresh: Sequence[str] | None) -> dict[str, Tensor]:
    """Return the tensors of the model that are to be set.

    Raises:
        UsageError: a pattern matches none of them, or nothing is left to set.
    """
    for key, patterns in (("only", only), ("fresh", fresh)):
        for glob in patterns or ():
            if not any(fnmatchcase(name, glob) for name in places):
                raise UsageError(f"{key}: '{glob}' matches none of the model's {some(places)}")
    is_in = {name: only is None or any(fnmatchcase(name, glob) for glob in only) for name in places}
    is_out = {name: any(fnmatchcase(name, glob) for glob in fresh or ()) for name in places}
    chosen = {name: place for name, place in places.items() if is_in[name] and not is_out[name]}
    if not chosen:
        raise UsageError("`only` and `fresh` leave nothing to take over: without any of it, leave `init` out")
    return chosen


def _tied(places: Mapping[str, Tensor], side: Side) -> dict[str, str]:
    """Return the names that share a tensor with one that the file has, each with that name."""
    found = {_memory(places[name]): name for name in side.found if name in places}
    return {
        name: found[_memory(place)]
        for name, place in places.items()
        if name not in side.found and place.numel() and _memory(place) in found
    }


def _memory(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.device, tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def _refuse_untied(places: Mapping[str, Tensor], values: Mapping[str, Tensor], path: Path) -> None:
    """Refuse two values for one tensor that the model has under two names.

    Raises:
        UsageError: the file has other values under the second name.
    """
    first: dict[tuple[Any, ...], str] = {}
    for name, value in values.items():
        other = first.setdefault(_memory(places[name]), name) if value.numel() else name
        if other != name and not torch.equal(torch.nan_to_num(value), torch.nan_to_num(values[other])):
            raise UsageError(
                f"{other} and {name} are one tensor of the model, and differ in {shown(path)}: map one to null"
            )


def _refuse_not_finite(side: Side, values: Mapping[str, Tensor], trained: Collection[str], path: Path) -> None:
    """Refuse values from which no training can start; an infinity may be meant in what is not trained, such as a mask.

    Raises:
        UsageError: a tensor has a NaN, or an infinity is to be trained.
    """
    for name, value in values.items():
        if not (value.is_floating_point() or value.is_complex()):
            continue
        if number := int((~value.isfinite() if name in trained else value.isnan()).sum()):
            raise UsageError(
                f"{side.origins[name]} of {shown(path)} has {number:,} of {value.numel():,} values that are not "
                f"finite: take another file or checkpoint, or leave it to its own start by `fresh: [{name}]`"
            )


def _lines(initial: InitialWeights, contents: readers.Contents) -> list[str]:
    """Return what is said in the log: how many tensors were taken, and what was taken otherwise or not at all."""
    part = f" ({initial.part})" if initial.part else ""
    lines = [f"took {initial.num_taken} tensors from {initial.source}{part}"]
    lines += [f"  {note}" for note in initial.notes]
    if contents.beside:
        lines.append(f"  beside it: {some([f'{name} ({word})' for name, word in contents.beside.items()])}")
    special = [m for m in initial.matches if m.what != "taken" or m.note]
    lines += [f"  {line_of(match)}" for match in special[:_MOST_LINES]]
    if special[_MOST_LINES:]:
        lines.append(f"  and {len(special) - _MOST_LINES} more (`optrun plan FILE --json` lists all)")
    return lines


def line_of(match: Match) -> str:
    """Return a match as one line."""
    name = match.ours or match.theirs or ""
    from_ = f" from {match.theirs}" if match.theirs not in (None, match.ours) and match.ours else ""
    return f"{name}{from_}: {match.what}{f', {match.note}' if match.note else ''}"
