"""Text as bytes, for models that predict the next one."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

import numpy as np
import torch

from ...errors import DataError
from ...registry.arguments import Count, DataPath
from ...system import storage
from . import register_data
from .dataset import Dataset

_VOCABULARY = 256


@register_data("text", source="the reference pages of Python's own help(), pydoc_data.topics, PSF licence")
def text(path: DataPath | None = None, length: Count = 128) -> Dataset:
    """The bytes of a text, each predicted from those before it; no path reads the pages that come with Python.

        inputs = bytes 0 to length - 1 of a block,   targets = bytes 1 to length of it

    The text is cut into blocks of length + 1 bytes that do not overlap; what is left at the end is not used. Parts
    are stretches: training first, then validation, the test part last, so that no byte is in two of them. In memory
    a byte of text takes 16.

    Args:
        path: a file of text, or of any bytes; left out, the reference pages of Python's `help()`, about 470 kB, which
            differ from version to version of Python.
        length: bytes per example.

    Raises:
        DataError: the file is missing or too short.

    Source: the pages are part of Python's documentation; predicting bytes: Graves, "Generating sequences with recurrent
    neural networks", 2013.
    """
    content, name = _read(path)
    num_blocks = len(content) // (length + 1)
    if num_blocks < 3:
        needs = f"3 blocks of {length + 1} bytes (length + 1) for training, validation and test"
        raise DataError(f"{name} has {len(content)} bytes, too few for {needs}: give a smaller length")
    used = np.frombuffer(content, np.uint8, num_blocks * (length + 1))
    blocks = torch.from_numpy(used.astype(np.int64)).reshape(num_blocks, length + 1)
    found = hashlib.sha256(content).hexdigest()
    return Dataset(
        blocks[:, :-1],
        blocks[:, 1:],
        "tokens",
        _VOCABULARY,
        description=f"{name}, {len(content):,} bytes in blocks of {length}, SHA-256 {found}",
        facts={"sha256": found, "num_bytes": len(content)},
        in_order=True,
    )


def _read(path: str | None) -> tuple[bytes, str]:
    if path is not None:
        try:
            return storage.read_bytes(Path(path).expanduser()), path
        except storage.MissingFileError:
            raise DataError(f"no file {path}") from None
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise DataError("this Python comes without its reference pages: give the `path` of a text") from error
    pages = "\n\n".join(topics[name] for name in sorted(topics))
    return pages.encode(), f"the reference pages of Python {platform.python_version()}"
