"""Two states compared, bit by bit: whether they are equal, and where they first differ."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...run_directory.state_tree import flatten_state

_NOTHING = "(nothing)"


class Place(NamedTuple):
    """Where two states differ.

    Args:
        keys: on the way there.
        entry: index of the first one that differs, in a tensor.
        one: the value in the first state.
        other: the value in the second.
    """

    keys: tuple[Any, ...] = ()
    entry: tuple[int, ...] | None = None
    one: Any = _NOTHING
    other: Any = _NOTHING


def digest(section: str, content: Any) -> str:
    """Return the SHA-256 of a state, nested in any way: every bit of its tensors, and all of the rest."""
    tensors, skeleton = flatten_state(section, content)
    sha256 = hashlib.sha256(json.dumps(skeleton, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        sha256.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        sha256.update(_bits(tensor).numpy().data)
    return sha256.hexdigest()


def first_difference(one: Any, other: Any) -> Place | None:
    """Return where two states, nested in any way, first differ in any bit; None where they do not."""
    if isinstance(one, dict) and isinstance(other, dict):
        pairs = [(key, one.get(key, _NOTHING), other.get(key, _NOTHING)) for key in dict.fromkeys((*one, *other))]
    elif isinstance(one, list | tuple) and type(one) is type(other) and len(one) == len(other):
        pairs = [(place, *pair) for place, pair in enumerate(zip(one, other, strict=True))]
    elif isinstance(one, Tensor) and isinstance(other, Tensor):
        return _first_entry(one, other)
    else:
        return None if _is_same(one, other) else Place((), None, one, other)
    for key, left, right in pairs:
        if (found := first_difference(left, right)) is not None:
            return found._replace(keys=(key, *found.keys))
    return None


def _first_entry(one: Tensor, other: Tensor) -> Place | None:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return Place((), None, _kind(one), _kind(other))
    differ = (_bits(one) != _bits(other)).reshape(-1, one.element_size()).any(dim=1)
    if not differ.any():
        return None
    place = int(differ.nonzero()[0])
    index = tuple(int(part) for part in torch.unravel_index(torch.tensor(place), one.shape)) if one.dim() else ()
    return Place((), index, one.reshape(-1)[place].item(), other.reshape(-1)[place].item())


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _is_same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and digest("value", one) == digest("value", other)


def _bits(tensor: Tensor) -> Tensor:
    """Return the memory of a tensor as bytes, so that NaN is NaN, and 0.0 is not -0.0."""
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    return plain.view(torch.uint8) if plain.numel() else plain.new_empty(0, dtype=torch.uint8)
