"""Checkpoints: one safetensors file each, whose every byte is verified before anything is loaded. No pickle.

The file is plain safetensors. Its metadata has one key, `optrun`, with JSON:

    format    the version of this layout            step       the global step
    aliases   {name: name of the tied tensor}       facts      the caller's JSON
    sections  {section: SHA-256 of its tensors}     sha256     of all of the above

A tensor's section is the first part of its name (`model/0.weight`). The file's own SHA-256 is in its name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from ..errors import CheckpointError, DivergedError, UsageError
from ..system import storage
from .checkpoint_files import CheckpointFile, checkpoint_name, list_checkpoints, parse_checkpoint_name
from .state_tree import flatten_state, unflatten_state

__all__ = [
    "CheckpointFile",
    "CheckpointVersionError",
    "flatten_state",
    "load",
    "load_latest",
    "prune",
    "save",
    "unflatten_state",
]

FORMAT = 1
MIN_KEEP = 2

_TYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.complex64: "C64",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint64: "U64", torch.uint32: "U32", torch.uint16: "U16", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
_MUST_BE_FINITE = ("model", "optimizer")


class CheckpointVersionError(CheckpointError):
    """A whole, undamaged checkpoint in a format that this version does not read."""


def save(
    folder: str | Path,
    step: int,
    tensors: Mapping[str, torch.Tensor],
    facts: Mapping[str, Any],
    require_finite: bool = False,
    may_be_infinite: Collection[str] = (),
) -> CheckpointFile:
    """Write a checkpoint durably; an older one of the same step is then deleted.

    The tensors' memory is written as it is, so that only those on another device or not contiguous are copied.

    Args:
        folder: made if missing.
        step: the global step that the state belongs to.
        tensors: by `section/name`. Names for the same memory (tied weights) are stored once.
        facts: JSON: text, numbers, lists, dicts with text keys (see `flatten_state` for anything else).
        require_finite: whether to refuse infinities and NaN in the sections `model` and `optimizer`.
        may_be_infinite: tensors to leave out of that: masks that hold infinities on purpose.

    Raises:
        DivergedError: a tensor that must be finite is not; nothing is written.
        UsageError: a name, tensor or fact cannot be stored.
        StorageError: the disk refuses; nothing is left behind.
    """
    stored, aliases = _without_ties(tensors)
    if require_finite:
        _check_finite({name: tensor for name, tensor in stored.items() if name not in may_be_infinite}, step)
    pieces = {name: _bytes_of(name, tensor) for name, tensor in stored.items()}
    header = {
        "format": FORMAT,
        "step": step,
        "aliases": aliases,
        "facts": _json_facts(facts),
        "sections": _digest_sections(stored, pieces),
    }
    file = [
        _file_header(stored, {**header, "sha256": _digest_json(header)}),
        *(pieces[name] for name in _order(stored)),
    ]
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
            f"{path} cannot be verified: the name of a checkpoint is `step-<step>-<SHA-256>.safetensors`. If it was "
            "renamed, give it its own name back"
        )
    try:
        content = storage.read_bytes(path)
    except storage.MissingFileError as error:
        raise CheckpointError(f"there is no checkpoint {path}") from error
    is_whole = hashlib.sha256(content).hexdigest() == parsed[1]
    try:
        header, tensors = _parse(content)
        _verify(header, tensors, parsed[0])
        if not is_whole:
            raise _Damage("the header or the padding", "its bytes do not match the SHA-256 in its name")
    except _Damage as damage:
        raise CheckpointError(f"{path} is damaged ({damage.where}): {damage.what}") from damage
    except _OtherVersion as error:
        if is_whole:
            raise CheckpointVersionError(f"{path} {error}") from error
        raise CheckpointError(f"{path} is damaged (the header): {error}") from error
    return {**tensors, **{alias: tensors[name] for alias, name in header["aliases"].items()}}, header["facts"]


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
            where = error.__cause__.where if isinstance(error.__cause__, _Damage) else "the header"
            storage.rename(file.path, file.path.with_name(file.path.name + ".bad"))
            damaged.append(f"checkpoint step {file.step} is damaged ({where}), kept as {file.path.name}.bad")
            continue
        for line in damaged:
            report(f"{line}: using step {file.step}")
        return file, tensors, facts
    for line in damaged:
        report(f"{line}: no earlier one is left")
    return None


def prune(folder: str | Path, keep: int, protect: Collection[int] = ()) -> list[CheckpointFile]:
    """Delete all but the newest `keep` checkpoints and those of the steps in `protect`; return the deleted ones.

    Every checkpoint in the folder is durable, since it gets its name last; so the newer ones are safe by now.

    Raises:
        UsageError: `keep` is below 2: a single copy could be damaged.
        StorageError: a file cannot be deleted.
    """
    if keep < MIN_KEEP:
        raise UsageError(f"checkpoint.keep is {keep}, but at least {MIN_KEEP} must be kept: one may be damaged")
    older = list_checkpoints(folder)[:-keep]
    deleted = [file for file in older if file.step not in protect]
    for file in deleted:
        storage.remove(file.path)
    return deleted


class _Damage(Exception):
    def __init__(self, where: str, what: str):
        super().__init__(f"{where}: {what}")
        self.where, self.what = where, what


class _OtherVersion(Exception):
    pass


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
    if tensor.dtype not in _TYPES:
        raise UsageError(f"cannot store '{name}': safetensors has no type for {tensor.dtype}")


def _check_finite(tensors: Mapping[str, torch.Tensor], step: int) -> None:
    for name, tensor in tensors.items():
        if name.partition("/")[0] not in _MUST_BE_FINITE or not (tensor.is_floating_point() or tensor.is_complex()):
            continue
        values = tensor.float() if tensor.element_size() == 1 else tensor  # float8 has no isfinite
        if not torch.isfinite(values).all():
            bad = int((~torch.isfinite(values)).sum())
            raise DivergedError(f"step {step}: {name} has {bad} of {tensor.numel()} values that are infinite or NaN")


def _json_facts(facts: Mapping[str, Any]) -> Any:
    try:
        text = json.dumps(facts, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the facts of a checkpoint must be JSON: {error}; `flatten_state` takes anything") from error
    return json.loads(text)


def _bytes_of(name: str, tensor: torch.Tensor) -> memoryview:
    plain = tensor.resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    if plain.numel() == 0:
        return memoryview(b"")
    return plain.view(torch.uint8).numpy().data


def _digest_sections(tensors: Mapping[str, torch.Tensor], pieces: Mapping[str, memoryview]) -> dict[str, str]:
    digests: dict[str, Any] = {}
    for name in sorted(tensors):
        digest = digests.setdefault(name.partition("/")[0], hashlib.sha256())
        description = [name, _TYPES[tensors[name].dtype], list(tensors[name].shape)]
        digest.update(json.dumps(description).encode() + b"\n")
        digest.update(pieces[name])
    return {section: digest.hexdigest() for section, digest in digests.items()}


def _digest_json(header: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()


def _order(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Return the names in the order of their data: wide types first, so that each begins at a multiple of its width."""
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))


def _file_header(tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> bytes:
    table: dict[str, Any] = {"__metadata__": {"optrun": json.dumps(header, allow_nan=False)}}
    end = 0
    for name in _order(tensors):
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.element_size()
        table[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _parse(content: bytes) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        tensors = safetensors.torch.load(content)  # checks all sizes and offsets
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RecursionError, RuntimeError) as error:
        raise _Damage("the header", f"it is no whole safetensors file: {error}") from error
    try:
        header = json.loads(metadata["optrun"])
        version, sha256 = header["format"], header.pop("sha256", None)
        matches = _digest_json(header) == sha256
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _Damage("the header", "its metadata is not optrun's") from error
    if version != FORMAT:
        raise _OtherVersion(f"has format version {version}; this optrun reads version {FORMAT}")
    if not matches:
        raise _Damage("section facts", "the hash of its JSON does not match")
    return header, tensors


def _verify(header: dict[str, Any], tensors: dict[str, torch.Tensor], step: int) -> None:
    pieces = {name: _bytes_of(name, tensor) for name, tensor in tensors.items()}
    found, expected = _digest_sections(tensors, pieces), header.get("sections")
    aliases, facts = header.get("aliases"), header.get("facts")
    if not (isinstance(expected, dict) and isinstance(aliases, dict) and isinstance(facts, dict)):
        raise _Damage("the header", "its metadata is not optrun's")
    bad = [section for section in sorted({*expected, *found}) if expected.get(section) != found.get(section)]
    if bad:
        raise _Damage(f"section {', '.join(bad)}", "its tensors do not match their hash")
    if any(alias in tensors or not isinstance(name, str) or name not in tensors for alias, name in aliases.items()):
        raise _Damage("the header", "it ties tensors that are not there")
    if header.get("step") != step:
        raise _Damage("the name", f"it says step {step}, the file was saved at step {header.get('step')}")
