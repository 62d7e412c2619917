"""Nested state (dicts, lists, numbers, tensors) taken apart into named tensors and JSON, and put together again.

JSON stands for itself; what it cannot hold is an object with one key that begins with `$`:

    {"$tensor": name}   {"$numpy": name}   {"$number": name} (a numpy scalar)
    {"$tuple": [...]}   {"$float": "nan" | "inf" | "-inf"}
    {"$dict": [[key, value], ...]} (keys that are not text, or begin with `$`)
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError, UsageError

if TYPE_CHECKING:
    import torch

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)


def flatten_state(section: str, state: Any) -> tuple[dict[str, torch.Tensor], Any]:
    """Take `state` apart into tensors and JSON that `unflatten_state` puts together exactly.

    Args:
        section: the first part of the tensors' names.
        state: any nesting of dict, list, tuple, tensor, numpy array, number, text, bool and None. Subclasses of dict
            come back as dict.

    Returns:
        The tensors by `section/path/to/it`, not copied, and the rest as JSON.

    Raises:
        UsageError: a value is of another type; the message says where it is.
    """
    tensors: dict[str, torch.Tensor] = {}
    return tensors, _Flattener(section, tensors).encode(state, ())


def unflatten_state(tensors: Mapping[str, torch.Tensor], skeleton: Any) -> Any:
    """Put together what `flatten_state` took apart.

    Args:
        tensors: at least those that belong to `skeleton`.
        skeleton: the JSON.

    Raises:
        CheckpointError: `skeleton` names a tensor that is not there, or was not made by `flatten_state`.
    """
    if isinstance(skeleton, list):
        return [unflatten_state(tensors, item) for item in skeleton]
    if not isinstance(skeleton, dict):
        return skeleton
    if len(skeleton) == 1:
        ((kind, content),) = skeleton.items()
        if kind.startswith("$"):
            return _restore(tensors, kind, content)
    return {key: unflatten_state(tensors, value) for key, value in skeleton.items()}


class _Flattener:
    def __init__(self, section: str, tensors: dict[str, torch.Tensor]):
        self.section = section
        self.tensors = tensors

    def encode(self, value: Any, place: tuple[Any, ...]) -> Any:
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"$float": repr(value)}
        if type(value) is list:
            return [self.encode(item, (*place, index)) for index, item in enumerate(value)]
        if type(value) is tuple:
            return {"$tuple": [self.encode(item, (*place, index)) for index, item in enumerate(value)]}
        if isinstance(value, dict):
            return self._encode_dict(value, place)
        return self._encode_array(value, place)

    def _encode_dict(self, value: dict[Any, Any], place: tuple[Any, ...]) -> Any:
        items = [(key, self.encode(item, (*place, key))) for key, item in value.items()]
        if all(type(key) is str and not key.startswith("$") for key in value):
            return dict(items)
        return {"$dict": [[self.encode(key, (*place, key)), item] for key, item in items]}

    def _encode_array(self, value: Any, place: tuple[Any, ...]) -> Any:
        import numpy as np
        import torch

        if isinstance(value, torch.Tensor):
            return {"$tensor": self._add(value, place)}
        if isinstance(value, np.ndarray | np.generic):
            kind = "$numpy" if isinstance(value, np.ndarray) else "$number"
            try:
                return {kind: self._add(torch.from_numpy(np.array(value, order="C")), place)}
            except (TypeError, ValueError) as error:
                raise UsageError(f"{self._text(place)}: cannot store a numpy array of {value.dtype}") from error
        raise UsageError(
            f"{self._text(place)}: cannot store a {type(value).__name__}: state may hold dicts, lists, tuples, "
            "tensors, numpy arrays, numbers, text, bools and None"
        )

    def _add(self, tensor: torch.Tensor, place: tuple[Any, ...]) -> str:
        parts = [_UNSAFE.sub("_", str(part)) or "_" for part in place] or ["value"]
        base = name = "/".join([self.section, *parts])
        number = 2
        while name in self.tensors:
            name, number = f"{base}~{number}", number + 1
        self.tensors[name] = tensor
        return name

    def _text(self, place: tuple[Any, ...]) -> str:
        return self.section + "".join(f"[{part!r}]" for part in place)


def _restore(tensors: Mapping[str, torch.Tensor], kind: str, content: Any) -> Any:
    try:
        match kind:
            case "$tensor":
                return tensors[content]
            case "$numpy":
                return tensors[content].numpy().copy()
            case "$number":
                return tensors[content].numpy()[()]
            case "$tuple":
                return tuple(unflatten_state(tensors, content))
            case "$float":
                return float(content)
            case "$dict":
                return {unflatten_state(tensors, key): unflatten_state(tensors, value) for key, value in content}
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the stored state has {{{kind!r}: ...}} whose content is missing: {error}") from error
    raise CheckpointError(f"the stored state has the unknown kind {kind!r}: it was saved by a newer optrun")
