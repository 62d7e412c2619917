"""Files of safetensors: a header in JSON, then the bytes of the tensors."""

from __future__ import annotations

from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ....errors import DataError
from ....run_directory import checkpoints
from ....system.places import shown
from .contents import Contents, why_unusable


def read_safetensors(path: Path) -> Contents:
    """Return the tensors of a safetensors file.

    Raises:
        DataError: it is damaged, has a type that torch has not, or is a renamed checkpoint of a run.
    """
    tensors: dict[str, Tensor] = {}
    unusable: dict[str, str] = {}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            if "optrun" in (file.metadata() or {}):
                checkpoints.load(path)  # raises, since it has not the name of one
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                tensor = _tensor(file, name, unusable)
                if tensor is not None:
                    tensors[name] = tensor
    except (OSError, safetensors.SafetensorError, RuntimeError, ValueError, MemoryError) as error:
        raise DataError(f"{shown(path)} cannot be read as safetensors: {error}") from error
    return Contents(path, tensors, unusable)


def _tensor(file: safetensors.safe_open, name: str, unusable: dict[str, str]) -> torch.Tensor | None:
    """Return a tensor; None where it is of a type that no weight has, which is noted."""
    try:
        tensor = file.get_tensor(name)
    except (AttributeError, KeyError, TypeError) as error:
        unusable[name] = f"a tensor of a type that torch has not ({error})"
        return None
    if (reason := why_unusable(tensor)) is not None:
        unusable[name] = reason
        return None
    return tensor
