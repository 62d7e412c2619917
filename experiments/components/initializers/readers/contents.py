"""The contents of a file of weights, and why a value in one cannot be a weight."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_PACKED = re.compile(r"bits\w+|float4\w*|u?int[1-7]")  # types whose entries are parts of bytes


@dataclass(frozen=True)
class Contents:
    """Named tensors, as a file or folder has them.

    Args:
        path: the file or folder.
        tensors: by name, on the CPU.
        unusable: names of values that no model can take over, each with the reason.
        part: which part of a container they are; empty for the whole.
        beside: the other parts of it, by name, in words.
        owner: the attribute of the module that saved them and that all names begin with, where a format has one.
        notes: what is worth knowing about the choice of the part.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    unusable: Mapping[str, str] = field(default_factory=dict)
    part: str = ""
    beside: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""
    notes: tuple[str, ...] = ()


def why_unusable(value: Any) -> str | None:
    """Return why a value cannot become a weight or a buffer; None where it can."""
    if not isinstance(value, Tensor):
        return described_value(value)
    name = str(value.dtype).removeprefix("torch.")
    if value.is_quantized:
        return f"a quantised tensor ({name}): save `.dequantize()` of it"
    if value.is_nested:
        return "a nested tensor"
    if value.layout != torch.strided:
        return f"a sparse tensor ({str(value.layout).removeprefix('torch.')}): save `.to_dense()` of it"
    if value.is_meta:
        return "a tensor without data (on the device meta)"
    return f"a tensor of packed values ({name})" if _PACKED.fullmatch(name) else None


def described_value(value: Any) -> str:
    """Return what a value that is no tensor is, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool | int | float | str) and len(text := repr(value)) <= 40:
        return f"the {_KINDS.get(type(value), type(value).__name__)} {text}"
    if isinstance(value, Collection) and not isinstance(value, str | bytes | bytearray):
        kind = "mapping" if isinstance(value, Mapping) else type(value).__name__
        return f"a {kind} of {len(value)}"
    return f"a {_KINDS.get(type(value), type(value).__name__)}"


_KINDS: dict[type[Any], str] = {str: "text", int: "number", float: "number", bool: "switch"}


def count(tensors: int) -> str:
    """Return `1 tensor` or `7 tensors`."""
    return f"{tensors:,} tensor{'' if tensors == 1 else 's'}"
