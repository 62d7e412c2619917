"""Checkpoints in a folder: saved durably, loaded only when every byte of one is verified, and pruned. No pickle."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, DivergedError, UsageError
from ..system import storage
from ..system.places import shown
from .checkpoint_files import CheckpointFile, checkpoint_name, list_checkpoints, parse_checkpoint_name
from .checkpoint_format import TYPES, Damage, OtherVersion, decode, encode, json_facts, read_facts
from .state_tree import flatten_state, unflatten_state

__all__ = [
    "BY_HAND",
    "KEPT_BY",
    "CheckpointFile",
    "CheckpointVersionError",
    "flatten_state",
    "kept_by",
    "load",
    "load_latest",
    "prune",
    "save",
    "snapshot",
    "unflatten_state",
]

KEPT_BY = "kept_by"  # the fact that names the hooks which keep a checkpoint
BY_HAND = ""  # stands there for a checkpoint that no hook of ours keeps, and so none deletes

_MUST_BE_FINITE = ("model", "optimizer")


class CheckpointVersionError(CheckpointError):
    """A whole, undamaged checkpoint in a format that this version does not read."""


def snapshot(
    step: int,
    tensors: Mapping[str, torch.Tensor],
    facts: Mapping[str, Any],
    may_be_infinite: Collection[str] = (),
    copies: bool = True,
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return (tensors, facts) as they are now, for `save`, whatever becomes of the given ones.

    Args:
        step: the global step that the state belongs to.
        tensors: by `section/name`.
        facts: JSON.
        may_be_infinite: tensors that may hold infinities and NaN: masks that do so on purpose.
        copies: whether tensors are copied, to the CPU; those that share memory (tied weights) share that of the copy.

    Raises:
        DivergedError: a tensor in the sections `model` or `optimizer` is not finite.
        UsageError: a name, tensor or fact cannot be stored.
    """
    stored, aliases = _without_ties(tensors)
    _check_finite({name: tensor for name, tensor in stored.items() if name not in may_be_infinite}, step)
    if copies:
        stored = {name: tensor.to("cpu", copy=True) for name, tensor in stored.items()}
    return {**stored, **{alias: stored[name] for alias, name in aliases.items()}}, json_facts(facts)


def save(
    folder: str | Path,
    step: int,
    tensors: Mapping[str, torch.Tensor],
    facts: Mapping[str, Any],
) -> CheckpointFile:
    """Write a checkpoint durably; an older one of the same step is then deleted.

    The tensors' memory is written as it is, so that only those on another device or not contiguous are copied.

    Args:
        folder: made if missing.
        step: the global step that the state belongs to.
        tensors: by `section/name`. Names for the same memory (tied weights) are stored once.
        facts: JSON: text, numbers, lists, dicts with text keys (see `flatten_state` for anything else).

    Raises:
        UsageError: a name, tensor or fact cannot be stored.
        StorageError: the disk refuses; nothing is left behind.
    """
    stored, aliases = _without_ties(tensors)
    file = encode(step, stored, aliases, facts)
    sha256 = hashlib.sha256()
    for piece in file:
        sha256.update(piece)
    folder = Path(folder)
    storage.make_dir(folder, exist_ok=True)
    path = folder / checkpoint_name(step, sha256.hexdigest())
    storage.write_atomic(path, file)
    for older in list_checkpoints(folder):
        if older.step == step and older.path != path:
            storage.remove(older.path)
    return CheckpointFile(path, step, sha256.hexdigest())


def load(file: CheckpointFile | str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return (tensors, facts) of a checkpoint after every byte of it has been verified.

    Tied tensors come back as the same tensor under each of their names; all are on the CPU.

    Raises:
        CheckpointError: it is damaged; the message names the file and the section.
        CheckpointVersionError: it is whole, but of another format version.
        StorageError: it cannot be read.
    """
    path = file.path if isinstance(file, CheckpointFile) else Path(file)
    parsed = parse_checkpoint_name(path.name)
    if parsed is None:
        raise CheckpointError(
            f"{shown(path)} cannot be verified: the name of a checkpoint is `step-<step>-<SHA-256>.safetensors`. If "
            "it was "
            "renamed, give it its own name back"
        )
    try:
        content = storage.read_bytes(path)
    except storage.MissingFileError as error:
        raise CheckpointError(f"there is no checkpoint {shown(path)}") from error
    is_whole = hashlib.sha256(content).hexdigest() == parsed[1]
    try:
        loaded = decode(content, parsed[0])
        if not is_whole:
            raise Damage("the header or the padding", "its bytes do not match the SHA-256 in its name")
    except Damage as damage:
        raise CheckpointError(f"{shown(path)} is damaged ({damage.where}): {damage.what}") from damage
    except OtherVersion as error:
        if is_whole:
            raise CheckpointVersionError(f"{shown(path)} {error}") from error
        raise CheckpointError(f"{shown(path)} is damaged (the header): {error}") from error
    return loaded


def load_latest(
    folder: str | Path, report: Callable[[str], None]
) -> tuple[CheckpointFile, dict[str, torch.Tensor], dict[str, Any]] | None:
    """Return the newest checkpoint that verifies, with its content, or None.

    A damaged one is renamed to `<name>.bad`, and `report` is told.

    Raises:
        CheckpointVersionError: the newest whole one has another format version; it is left as it is.
        StorageError: a file cannot be read or renamed.
    """
    damaged: list[str] = []
    for file in reversed(list_checkpoints(folder)):
        try:
            tensors, facts = load(file)
        except CheckpointVersionError:
            raise
        except CheckpointError as error:
            where = error.__cause__.where if isinstance(error.__cause__, Damage) else "the header"
            storage.rename(file.path, file.path.with_name(file.path.name + ".bad"))
            damaged.append(f"checkpoint step {file.step} is damaged ({where}), kept as {file.path.name}.bad")
            continue
        for line in damaged:
            report(f"{line}: using step {file.step}")
        return file, tensors, facts
    for line in damaged:
        report(f"{line}: no earlier one is left")
    return None


def kept_by(file: CheckpointFile) -> frozenset[str] | None:
    """Return the names of the hooks that keep a checkpoint, `BY_HAND` among them if it was saved without one.

    None, which stands for all, for what was saved before there was a record, or not for a rotation.
    """
    return _kept_by(file.path)


@functools.lru_cache(maxsize=1024)  # a checkpoint's name holds the hash of its content
def _kept_by(path: Path) -> frozenset[str] | None:
    facts = read_facts(lambda most: storage.read_bytes(path, most))
    names = [BY_HAND] if facts is None else facts.get(KEPT_BY)
    return None if names is None else frozenset(map(str, names))


def prune(
    folder: str | Path, keepers: Mapping[str, Callable[[Sequence[int]], Collection[int]]]
) -> list[CheckpointFile]:
    """Delete the checkpoints that no keeper wants any more, and return them.

    What is also kept by somebody who is not among the keepers stays: a hook that does not take part in this session,
    or a user who saved it by hand. Every checkpoint in the folder is durable, since it gets its name last; so the newer
    ones are safe by now.

    Args:
        folder: with checkpoints.
        keepers: by name, each a function of the steps of its own checkpoints, oldest first, that returns those which it
            wants.

    Raises:
        StorageError: a file cannot be read or deleted.
    """
    files = [(file, kept_by(file)) for file in list_checkpoints(folder)]
    wanted: set[int] = set()
    for name, choose in keepers.items():
        own = [file.step for file, names in files if names is None or name in names]
        wanted.update(choose(sorted(set(own))))
    deleted = [file for file, names in files if file.step not in wanted and (names or set()) <= keepers.keys()]
    for file in deleted:
        storage.remove(file.path)
    return deleted


def _without_ties(tensors: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    stored: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    first_names: dict[tuple[Any, ...], str] = {}
    for name, tensor in tensors.items():
        _check_name(name)
        _check_tensor(name, tensor)
        bits = (tensor.is_conj(), tensor.is_neg())  # lazy views of the same memory with other values
        view = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), bits)
        is_tied = tensor.numel() > 0 and first_names.setdefault(view, name) != name
        if is_tied:
            aliases[name] = first_names[view]
        else:
            stored[name] = tensor.detach()
    return stored, aliases


def _check_name(name: str) -> None:
    section, slash, rest = name.partition("/")
    if not (section and slash and rest and name.isprintable()):
        raise UsageError(f"cannot store a tensor as {name!r}: its name must be `section/name`, in printable characters")


def _check_tensor(name: str, tensor: Any) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise UsageError(f"cannot store '{name}': it is a {type(tensor).__name__}, not a tensor")
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
        kind = "without data (meta)" if tensor.is_meta else f"of layout {tensor.layout}"
        raise UsageError(f"cannot store '{name}': it is a tensor {kind}; store a dense one (`.to_dense()`)")
    if tensor.dtype not in TYPES:
        raise UsageError(f"cannot store '{name}': safetensors has no type for {tensor.dtype}")


def _check_finite(tensors: Mapping[str, torch.Tensor], step: int) -> None:
    for name, tensor in tensors.items():
        if name.partition("/")[0] not in _MUST_BE_FINITE or not (tensor.is_floating_point() or tensor.is_complex()):
            continue
        values = tensor.float() if tensor.element_size() == 1 else tensor  # float8 has no isfinite
        if torch.isfinite(values.sum()):  # all are then: nothing makes up for one that is not. A tenth of the time
            continue
        if not torch.isfinite(values).all():
            bad = int((~torch.isfinite(values)).sum())
            raise DivergedError(f"step {step}: {name} has {bad} of {tensor.numel()} values that are infinite or NaN")
