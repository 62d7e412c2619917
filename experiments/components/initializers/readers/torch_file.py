"""Files of torch.save: read by `weights_only`, which executes nothing that a file says."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import torch

from ....errors import DataError
from ....system.places import shown
from .containers import contents_of
from .contents import Contents

_GLOBAL = re.compile(r"GLOBAL (\S+) was not an allowed global")
_MARKS = re.compile(r"\x1b\[[0-9;]*m")
_LONGEST = 160  # characters of torch's reason


def read_torch(path: Path, part: str | None) -> Contents:
    """Return the weights in a file of torch.save.

    Args:
        path: the file, of either format.
        part: of a container.

    Raises:
        DataError: it is damaged, or holds objects that only executing its code could make.
        UsageError: nothing or too much in it could be the weights.
    """
    try:
        with warnings.catch_warnings(), path.open("rb") as file:  # of a path, torch looks at the name
            warnings.simplefilter("ignore")  # about storages of old formats
            content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read: {error.strerror or error}") from error
    except Exception as error:
        raise DataError(f"{shown(path)} {_reason(error)}") from error
    return contents_of(path, content, part)


def _reason(error: Exception) -> str:
    """Return torch's reason in one sentence, with the way out."""
    text = " ".join(_MARKS.sub("", str(error)).split())
    if "TorchScript archive" in text:
        return "is a TorchScript program, which is code and not weights alone: save its state_dict() with torch.save"
    if found := _GLOBAL.search(text):
        return (
            f"holds an object of {found[1]}, and to make it would execute code: in the program that wrote the file, "
            "save the weights alone, torch.save(model.state_dict(), …)"
        )
    text = text.partition("WeightsUnpickler error: ")[2] or text
    text = text.partition(". This file can still be loaded")[0].partition(" Please file an issue")[0]
    text = text.partition(" Check the documentation")[0].partition(" Please use `torch.serialization")[0]
    if text.startswith("Unsupported operand"):
        return "is a pickle of another program than torch, which only executing it could read: save its arrays by name"
    short = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return f"cannot be read as a file of torch.save: {short or type(error).__name__}"
