"""Warm start: initial weights from another run, or from a file of named arrays."""

from __future__ import annotations

import hashlib
import logging
import re
import zipfile
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ...errors import DataError, UsageError, nearest
from ...registry.arguments import InputFile
from ...run_directory import checkpoints
from ...run_directory.checkpoint_files import parse_checkpoint_name
from ...run_directory.lookup import find_run
from ...run_directory.run import Run
from ...system.places import shown
from ..averaging import saved_averages
from ..trained import LOSS, Trained
from . import register_init

log = logging.getLogger("optrun")

_FILES = (".npz", ".safetensors")


def _fingerprint(args: Mapping[str, Any]) -> str:
    path = _file(args["from"], args["checkpoint"])
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


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
    from_: Annotated[str, InputFile(_FILES)],
    checkpoint: Literal["last", "best"] | int = "last",
    weights: str = "raw",
    map: dict[str, str | None] | None = None,
    only: tuple[str, ...] | None = None,
) -> None:
    """Take over weights and buffers by name from another run, or from an .npz or .safetensors file.

    Every tensor of the model must be found, and every tensor of the source must find its place; `only` and `map` say
    otherwise where that is meant. Optimizer, step and metrics start anew. The tensors of a loss, `loss.…`, are taken
    over with the model's where the source has some and this run's loss too.

    Args:
        model: whose parameters and buffers are set; with the loss, its own too.
        from: a run (a name, the beginning of one, `@1` for the latest, a path), or a file of named arrays.
        checkpoint: which one of a run: last, best, or a step.
        weights: raw or training for those that the run trained; an average that it kept: ema of the update `ema`,
            average (or ax) of asgd, average (or x) and z of schedule_free.
        map: names in the source to names in the model; a `*` on both sides stands for the same text, and null leaves a
            tensor of the source out: {"fc.*": "head.*", "aux.*": null}. The first pattern that matches counts.
        only: patterns of the model's names to set; all others keep their own start.

    Raises:
        UsageError: a name finds no place, or shapes differ; the message lists them.
        DataError: the file is missing or is none.
        CheckpointError: the checkpoint is damaged.

    Source: tf.train.warm_start and tf.train.init_from_checkpoint, TensorFlow 1.
    """
    path = _file(from_, checkpoint)
    places, of_loss = model.state_dict(), model.loss_state() if isinstance(model, Trained) else {}
    found = _renamed(_read(path, weights, with_loss=bool(of_loss)), map or {}, path)
    if of_loss and not any(name.startswith(LOSS) for name in found):
        log.info("%s has nothing of a loss: %s stays as it starts", path, _some(of_loss))
        places = {name: place for name, place in places.items() if name not in of_loss}
    if only is not None:
        for glob in only:
            if not any(fnmatchcase(name, glob) for name in places):
                raise UsageError(f"only: '{glob}' matches none of the model's {_some(places)}")
        places = {name: place for name, place in places.items() if any(fnmatchcase(name, glob) for glob in only)}
        found = {name: value for name, value in found.items() if name in places}
    _check_fit(places, found, path, "`only`" if only is None else "")
    with torch.no_grad():
        for name, place in places.items():
            place.copy_(found[name])
    log.info("took %d tensors from %s", len(places), shown(path))


def _file(source: str, checkpoint: str | int) -> Path:
    """Return the file that holds the weights."""
    path = Path(source).expanduser()
    if path.suffix in _FILES:
        if not path.is_file():
            raise DataError(f"no file {path}")
        return path
    return Run(find_run(source)).checkpoint(checkpoint).path


def _read(path: Path, weights: str, with_loss: bool) -> dict[str, Tensor]:
    if path.suffix == ".npz":
        return _read_arrays(path)
    if parse_checkpoint_name(path.name) is not None:
        return _read_checkpoint(path, weights, with_loss)
    if weights not in ("raw", "training"):
        raise UsageError(f"{path} is no checkpoint of a run, so that it has no averages for `weights: {weights}`")
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise DataError(f"{path} cannot be read as safetensors: {error}") from error


def _read_arrays(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: torch.from_numpy(np.array(archive[name], order="C")) for name in archive.files}
    except (
        OSError, EOFError, ValueError, TypeError, AttributeError, MemoryError, zipfile.BadZipFile, KeyError
    ) as error:  # fmt: skip
        raise DataError(f"{path} cannot be read as an .npz file of arrays: {error}") from error


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
    return state


def _renamed(tensors: Mapping[str, Tensor], names: Mapping[str, str | None], path: Path) -> dict[str, Tensor]:
    """Return the tensors under the model's names."""
    renamed: dict[str, Tensor] = {}
    origins: dict[str, str] = {}
    used = set()
    for old, tensor in tensors.items():
        new: str | None = old
        for pattern, target in names.items():
            if (texts := _stars(pattern, old)) is not None:
                used.add(pattern)
                new = None if target is None else _filled(pattern, target, texts)
                break
        if new is None:
            continue
        if new in renamed:
            raise UsageError(f"{origins[new]} and {old} of {path} would both become {new}")
        renamed[new], origins[new] = tensor, old
    if unused := [pattern for pattern in names if pattern not in used]:
        guess = nearest(unused[0], list(tensors))
        hint = f"; the nearest is '{guess}'" if guess else f"; it has {_some(tensors)}"
        raise UsageError(f"map: '{unused[0]}' matches nothing in {path}{hint}")
    return renamed


def _stars(pattern: str, name: str) -> tuple[str, ...] | None:
    """Return what each `*` of the pattern stands for in `name`, or None where they do not match."""
    match = re.fullmatch("(.*)".join(re.escape(part) for part in pattern.split("*")), name, re.DOTALL)
    return match.groups() if match else None


def _filled(pattern: str, target: str, texts: tuple[str, ...]) -> str:
    if target.count("*") not in (0, len(texts)):
        raise UsageError(f"map: '{pattern}' and '{target}' need as many * on both sides")
    parts = target.split("*")
    return parts[0] + "".join(text + part for text, part in zip(texts, parts[1:], strict=False))


def _check_fit(places: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path, way_out: str) -> None:
    problems = []
    if missing := [name for name in places if name not in found]:
        hint = f" (name them with `map`, or leave them to the model with {way_out})" if way_out else ""
        problems.append(f"{path} has nothing for {_some(missing)} of the model{hint}")
    if homeless := [name for name in found if name not in places]:
        problems.append(
            f"the model has no place for {_some(homeless)} of {path} (rename them in `map`, or map to null)"
        )
    for name in (name for name in places if name in found):
        if found[name].shape != places[name].shape:
            problems.append(f"{name} has shape {tuple(found[name].shape)} there, {tuple(places[name].shape)} here")
        elif found[name].is_floating_point() != places[name].is_floating_point():
            problems.append(f"{name} is {found[name].dtype} there, {places[name].dtype} here")
    if problems:
        raise UsageError("; ".join(problems[:6]) + (f"; and {len(problems) - 6} more" if problems[6:] else ""))


def _some(names: Mapping[str, Any] | Sequence[str], most: int = 5) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
