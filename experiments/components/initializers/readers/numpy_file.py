"""Files of numpy.savez: arrays by name, read without pickle."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ....errors import DataError
from ....system.places import shown
from .contents import Contents

_NAMELESS = {"V1": "float8", "V2": "bfloat16"}  # types that numpy has no name for, as it stores their bytes


def read_npz(path: Path) -> Contents:
    """Return the arrays of an .npz file as tensors; those that torch has no type for are unusable.

    Raises:
        DataError: it is damaged, or holds pickled objects.
    """
    tensors: dict[str, Tensor] = {}
    unusable: dict[str, str] = {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in archive.files:
                array = np.asarray(archive[name])
                if (reason := _reason(array)) is None:
                    native = array.astype(array.dtype.newbyteorder("="), order="C", copy=True)
                    tensors[name] = torch.from_numpy(native)
                else:
                    unusable[name] = reason
    except (
        OSError, EOFError, ValueError, TypeError, AttributeError, MemoryError, zipfile.BadZipFile, KeyError,
        NotImplementedError, RuntimeError, SyntaxError, IndexError, OverflowError, zipfile.LargeZipFile,
    ) as error:  # fmt: skip
        raise DataError(f"{shown(path)} cannot be read as an .npz file of arrays: {error}") from error
    return Contents(path, tensors, unusable)


def _reason(array: np.ndarray) -> str | None:
    """Return why torch has no tensor for an array; None where it has one."""
    kind = array.dtype
    if kind.kind == "V" and kind.names is None:
        meant = f", perhaps {_NAMELESS[size]}" if (size := f"V{kind.itemsize}") in _NAMELESS else ""
        return f"an array of void ({size}): numpy has no name for its type{meant}; save it as float32"
    try:
        torch.from_numpy(np.zeros(0, kind.newbyteorder("=")))
    except TypeError:
        return f"an array of {kind}, which torch has no type for"
    return None
