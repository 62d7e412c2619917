"""Folders of weights as Hugging Face's libraries write them: one file, or an index of several shards."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from ....errors import DataError, UsageError
from ....system.places import shown
from .contents import Contents
from .foreign import foreign_folder

INDEX = ".index.json"
_SHARD = re.compile(r".+-\d{5}-of-(\d{5})\.(safetensors|bin)")
#: What a folder may hold, what is read first in front, each the end of a file's name.
_ENDS = (f".safetensors{INDEX}", ".safetensors", f".bin{INDEX}", ".bin")
_USUAL = ("model", "pytorch_model", "diffusion_pytorch_model")
_NO_WEIGHTS = re.compile(r"(training_args|optimizer|scheduler|scaler|rng_state\w*|tokenizer)\.bin")
_MOST = 6

Reader = Callable[[Path], Contents]


def weights_in(folder: Path) -> list[Path]:
    """Return the files in a folder that each are a whole set of weights, by the first format that there is."""
    names = sorted(each.name for each in folder.iterdir() if each.is_file())
    for end in _ENDS:
        found = [
            folder / name
            for name in names
            if name.endswith(end) and not _SHARD.fullmatch(name) and not _NO_WEIGHTS.fullmatch(name)
        ]
        usual = [each for each in found if each.name.removesuffix(end) in _USUAL]
        if found:
            return usual if len(usual) == 1 else found
    return []


def chosen_file(folder: Path) -> Path:
    """Return the one file, or the one index of shards, that is the weights of a folder.

    Raises:
        DataError: there is none.
        UsageError: there are several.
    """
    if (folder / ".metadata").is_file():
        raise DataError(
            f"{shown(folder)} is a distributed checkpoint of torch, which is not read: turn it into one file, "
            "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE.pt"
        )
    found = weights_in(folder)
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(each.name for each in found[:_MOST])
        raise UsageError(
            f"{shown(folder)} holds several sets of weights: {listed}. Name one of these files with `from`"
        )
    shards = [each.name for each in folder.iterdir() if _SHARD.fullmatch(each.name)]
    if shards:
        raise DataError(f"{shown(folder)} has shards, such as {sorted(shards)[0]}, and no index of them, *{INDEX}")
    if (what := foreign_folder(folder)) is not None:
        raise DataError(f"{shown(folder)} is {what}")
    files = sorted(each.name for each in folder.iterdir())
    has = f"it has {', '.join(files[:_MOST])}{' and more' if len(files) > _MOST else ''}" if files else "it is empty"
    raise DataError(
        f"{shown(folder)} has no model.safetensors, no pytorch_model.bin, and no index of such shards: {has}"
    )


def shards_of(index: Path) -> dict[str, list[str]]:
    """Return the names of the tensors in each shard that an index lists.

    Raises:
        DataError: it is no index, or names a file outside of its folder, or one that is not there.
    """
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        pairs = [(str(name), str(file)) for name, file in weight_map.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{shown(index)} is no index of shards: it has no `weight_map` ({error!r})") from error
    shards: dict[str, list[str]] = {}
    for name, file in pairs:
        if Path(file).name != file or file in ("", ".", ".."):
            raise DataError(f"{shown(index)} names '{file}', which is no file of its folder")
        shards.setdefault(file, []).append(name)
    if not shards:
        raise DataError(f"{shown(index)} lists no tensors")
    missing = [file for file in shards if not (index.parent / file).is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise DataError(f"{shown(index)} lists {missing[0]}{more} of {len(shards)} shards, which is not in its folder")
    return shards


def read_shards(index: Path, read_file: Reader) -> Contents:
    """Return the tensors of all shards that an index lists.

    Args:
        index: `model.safetensors.index.json`, or that of another name.
        read_file: reads one shard.

    Raises:
        DataError: a shard is missing or damaged, or has not what the index says.
    """
    tensors: dict[str, Tensor] = {}
    unusable: dict[str, str] = {}
    for file, names in shards_of(index).items():
        found = read_file(index.parent / file)
        for name in names:
            if name in found.tensors:
                tensors[name] = found.tensors[name]
            elif name in found.unusable:
                unusable[name] = found.unusable[name]
            else:
                raise DataError(f"{shown(index)} says that {name} is in {file}, which has it not")
    return Contents(index, tensors, unusable)


def shard_note(path: Path) -> str:
    """Return what to say of a file that is one of several shards; empty for any other."""
    match = _SHARD.fullmatch(path.name)
    return f"{path.name} is one of {int(match[1])} shards: name their folder, or their index" if match else ""
