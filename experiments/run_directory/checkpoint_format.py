"""The bytes of a checkpoint: what is written, and how each part of what is read is verified.

The file is plain safetensors. Its metadata has one key, `optrun`, with JSON:

    format    the version of this layout            step       the global step
    aliases   {name: name of the tied tensor}       facts      the caller's JSON
    sections  {section: SHA-256 of its tensors}     sha256     of all of the above

A tensor's section is the first part of its name (`model/0.weight`). The file's own SHA-256 is in its name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import safetensors
import safetensors.torch
import torch

from ..errors import UsageError

FORMAT = 1
_LONGEST = 1 << 30  # bytes of a header

TYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.complex64: "C64",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint64: "U64", torch.uint32: "U32", torch.uint16: "U16", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


class Damage(Exception):
    """A part of a checkpoint, `where`, that is not as it was written."""

    def __init__(self, where: str, what: str):
        super().__init__(f"{where}: {what}")
        self.where, self.what = where, what


class OtherVersion(Exception):
    """A format that this version does not read."""


def encode(
    step: int, tensors: Mapping[str, torch.Tensor], aliases: Mapping[str, str], facts: Mapping[str, Any]
) -> list[bytes | memoryview]:
    """Return the pieces of a checkpoint file in order; the tensors' memory is used as it is where it can be.

    Args:
        step: the global step.
        tensors: what is stored, by `section/name`, none twice.
        aliases: the names of tied tensors, each with the name that it is stored under.
        facts: JSON.

    Raises:
        UsageError: the facts are no JSON.
    """
    pieces = {name: _bytes_of(tensor) for name, tensor in tensors.items()}
    header = {
        "format": FORMAT,
        "step": step,
        "aliases": aliases,
        "facts": json_facts(facts),
        "sections": _digest_sections(tensors, pieces),
    }
    first = _file_header(tensors, {**header, "sha256": digest_json(header)})
    return [first, *(pieces[name] for name in _order(tensors))]


def decode(content: bytes, step: int) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return (tensors, facts) of a checkpoint file after each section of it has been verified.

    Args:
        content: the whole file.
        step: that its name says.

    Raises:
        Damage: something in it is not as it was written.
        OtherVersion: it has another format.
    """
    header, tensors = _parse(content)
    _verify(header, tensors, step)
    return {**tensors, **{alias: tensors[name] for alias, name in header["aliases"].items()}}, header["facts"]


def read_facts(beginning: Callable[[int], bytes]) -> dict[str, Any] | None:
    """Return the facts of a checkpoint from its header alone, unverified; None where there is no header of this format.

    Args:
        beginning: gives so many first bytes of the file.
    """
    length = int.from_bytes(beginning(8), "little")
    try:
        header = json.loads(json.loads(beginning(8 + min(length, _LONGEST))[8:])["__metadata__"]["optrun"])
        facts = header["facts"] if header["format"] == FORMAT else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None


def json_facts(facts: Mapping[str, Any]) -> Any:
    """Return facts as they are read back: a copy of their own.

    Raises:
        UsageError: they are no JSON.
    """
    try:
        text = json.dumps(facts, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the facts of a checkpoint must be JSON: {error}; `flatten_state` takes anything") from error
    return json.loads(text)


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    plain = tensor.resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    if plain.numel() == 0:
        return memoryview(b"")
    return plain.view(torch.uint8).numpy().data


def _digest_sections(tensors: Mapping[str, torch.Tensor], pieces: Mapping[str, memoryview]) -> dict[str, str]:
    digests: dict[str, Any] = {}
    for name in sorted(tensors):
        digest = digests.setdefault(name.partition("/")[0], hashlib.sha256())
        description = [name, TYPES[tensors[name].dtype], list(tensors[name].shape)]
        digest.update(json.dumps(description).encode() + b"\n")
        digest.update(pieces[name])
    return {section: digest.hexdigest() for section, digest in digests.items()}


def digest_json(header: Mapping[str, Any]) -> str:
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
        table[name] = {"dtype": TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _parse(content: bytes) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        tensors = safetensors.torch.load(content)  # checks all sizes and offsets
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RecursionError, RuntimeError) as error:
        raise Damage("the header", f"it is no whole safetensors file: {error}") from error
    try:
        header = json.loads(metadata["optrun"])
        version, sha256 = header["format"], header.pop("sha256", None)
        matches = digest_json(header) == sha256
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damage("the header", "its metadata is not optrun's") from error
    if version != FORMAT:
        raise OtherVersion(f"has format version {version}; this optrun reads version {FORMAT}")
    if not matches:
        raise Damage("section facts", "the hash of its JSON does not match")
    return header, tensors


def _verify(header: dict[str, Any], tensors: dict[str, torch.Tensor], step: int) -> None:
    pieces = {name: _bytes_of(tensor) for name, tensor in tensors.items()}
    found, expected = _digest_sections(tensors, pieces), header.get("sections")
    aliases, facts = header.get("aliases"), header.get("facts")
    if not (isinstance(expected, dict) and isinstance(aliases, dict) and isinstance(facts, dict)):
        raise Damage("the header", "its metadata is not optrun's")
    bad = [section for section in sorted({*expected, *found}) if expected.get(section) != found.get(section)]
    if bad:
        raise Damage(f"section {', '.join(bad)}", "its tensors do not match their hash")
    if any(alias in tensors or not isinstance(name, str) or name not in tensors for alias, name in aliases.items()):
        raise Damage("the header", "it ties tensors that are not there")
    if header.get("step") != step:
        raise Damage("the name", f"it says step {step}, the file was saved at step {header.get('step')}")
