"""Decoded images, kept beside the files that they come from, so that only the first use waits for unpacking."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import StorageError
from ...system import downloads, storage

logger = logging.getLogger("optrun")

_VERSION = 1  # of what is kept; another one is made anew


@dataclass(frozen=True, eq=False)
class Decoded:
    """Images and labels as bytes, and what goes with them.

    Args:
        images: uint8, shape (examples, channels, height, width); training first, then test.
        labels: uint8, shape (examples, columns); CIFAR-100 has two columns.
        num_train: how many are for training.
        class_names: by column.
        mean: of each channel over the training part, on the scale 0 to 1.
        std: likewise.
    """

    images: np.ndarray
    labels: np.ndarray
    num_train: int
    class_names: list[list[str]]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray, num_train: int, class_names: list[list[str]]) -> Decoded:
        """Add mean and standard deviation, from the counts of the 256 values in each channel."""
        values = np.arange(256) / 255
        means, stds = [], []
        for channel in range(images.shape[1]):
            share = (
                np.bincount(images[:num_train, channel].reshape(-1), minlength=256) / images[:num_train, channel].size
            )
            means.append(float(share @ values))
            stds.append(float(np.sqrt(share @ (values - means[-1]) ** 2)))
        contiguous = np.ascontiguousarray(images), np.ascontiguousarray(labels)
        return cls(*contiguous, num_train, class_names, tuple(means), tuple(stds))


def decoded_once(name: str, hashes: Sequence[str], decode: Callable[[], Decoded]) -> Decoded:
    """Return what `decode` makes of the files with these hashes; from the second time on, from what was kept.

    Where it cannot be kept (a shared folder that is read-only), it is decoded each time.
    """
    path = downloads.data_dir() / name / "decoded.safetensors"
    if (kept := _read(path, hashes)) is not None:
        return kept
    made = decode()
    try:
        _write(path, hashes, made)
    except StorageError as error:
        logger.warning("the decoded images of %s are not kept, and will be decoded each time: %s", name, error)
    return made


def _write(path: Path, hashes: Sequence[str], made: Decoded) -> None:
    from safetensors.numpy import save

    arrays = {"images": made.images, "labels": made.labels}
    facts = {name: getattr(made, name) for name in ("num_train", "class_names", "mean", "std")}
    about = {"version": _VERSION, "of": list(hashes), "sha256": _hash(arrays), "facts": facts}
    storage.write_derived(path, save(arrays, metadata={"optrun": json.dumps(about)}))


def _read(path: Path, hashes: Sequence[str]) -> Decoded | None:
    """Return what is kept, or None if it is not there, of other files, or damaged: then it is made again."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, "numpy") as file:
            about: dict[str, Any] = json.loads(file.metadata()["optrun"])
            if about["version"] != _VERSION or about["of"] != list(hashes):
                return None
            arrays = {name: file.get_tensor(name) for name in ("images", "labels")}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        arrays, about = {}, {"sha256": ""}
    if _hash(arrays) != about["sha256"]:
        logger.warning("%s is damaged: decoding the images again", path)
        return None
    facts = about["facts"]
    return Decoded(
        **arrays,
        num_train=facts["num_train"],
        class_names=facts["class_names"],
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
    )


def _hash(arrays: dict[str, np.ndarray]) -> str:
    found = hashlib.sha256()
    for name in sorted(arrays):
        found.update(arrays[name].data)
    return found.hexdigest()
