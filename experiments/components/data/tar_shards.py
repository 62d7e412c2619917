"""The user's own examples in tar archives, a file for each part of an example, as WebDataset has them."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...errors import ArgumentsError, DataError
from ...registry.arguments import Count, DataPath
from ...system.patterns import expanded
from . import register_data
from .pictures import FORMATS, Color, pixels
from .tar_index import Shard, ShardFiles, index_of

_INTEGERS = ("cls", "cls2", "index", "count", "id")
_TEXTS = ("txt", "text")
_PICKLES = ("pyd", "pickle", "pkl", "pth", "pt", "ten", "tenbin", "mp", "msg", "cbor")
_PARTS = ("train", "val", "test")


@register_data(
    "tar_shards",
    source="Aizman, Maltby and Breuel, 2019",
    example={"path": "shards-{000..001}.tar", "inputs": "npy", "target": "cls"},
)
def tar_shards(
    path: DataPath,
    inputs: str | tuple[str, ...],
    target: str | None = None,
    size: Count | None = None,
    color: Color = "rgb",
    classes: tuple[str, ...] | None = None,
    val_path: DataPath | None = None,
    test_path: DataPath | None = None,
) -> ShardedExamples:
    """Examples in tar archives, each part of one a file: `0001.png`, `0001.cls`.

    Archives are files on this machine, so each file in them is found once and then read by itself: examples are drawn
    in any order and split, and a run goes on bit for bit, as with a folder of files. Where they are is kept in the data
    folder (OPTRUN_DATA_DIR).

    A file is read by the last part of its name:

        png, jpg, webp, …: a picture, shape (channels, height, width), from 0 for black to 1 for white
        npy: an array; npz: several, by name
        cls, cls2, index, count, id: a whole number; txt: a text; json: what it holds

    Args:
        path: the archives: one, a folder of `.tar` files, or a pattern such as `train-{000..146}.tar` or `train-*.tar`.
        inputs: what follows the first dot of a file's name, or several of these, which make inputs by name. `json.size`
            is an entry of the JSON, where no file is called so.
        target: likewise; left out, there is none. Whole numbers of `cls` and texts of JSON are classes.
        size: height and width that pictures are scaled to; left out, they stay as they are.
        color: of pictures, `rgb` for three channels, `gray` for one.
        classes: their names in the order of their numbers.
        val_path: the archives of the validation part; left out, it is split off.
        test_path: those of the test part, likewise.

    Raises:
        DataError: an archive is missing, damaged or compressed; an example lacks a file, or has one twice; or a file is
            not what its name says.

    Source: Aizman, Maltby and Breuel, "High performance I/O for large scale deep learning", 2019: WebDataset.
    """
    given = {"train": path, "val": val_path, "test": test_path}
    shards = {part: [index_of(each) for each in _archives(where)] for part, where in given.items() if where is not None}
    wanted = (inputs,) if isinstance(inputs, str) else inputs
    if not wanted:
        raise ArgumentsError("inputs must name at least one ending, such as png", "inputs")
    return ShardedExamples(shards, inputs, target, _Decoder(size, color), classes)


def _archives(pattern: str) -> list[str]:
    """Return the archives that a path names.

    Raises:
        DataError: there are none.
    """
    where = os.path.expanduser(pattern)
    try:
        found = sorted(map(str, Path(where).glob("*.tar"))) if os.path.isdir(where) else expanded(where)
    except ValueError as error:
        raise DataError(f"{pattern}: {error}") from error
    if not found:
        raise DataError(f"{pattern} names no tar archive")
    return found


class ShardedExamples:
    """A map-style data set of examples in tar archives.

    Args:
        shards: the archives of each part.
        inputs: see `tar_shards`.
        target: see `tar_shards`.
        decoder: of files.
        classes: see `tar_shards`.
    """

    def __init__(
        self,
        shards: dict[str, list[Shard]],
        inputs: str | tuple[str, ...],
        target: str | None,
        decoder: _Decoder,
        classes: tuple[str, ...] | None,
    ):
        all_shards = [shard for part in shards.values() for shard in part]
        self._files, self._decoder = ShardFiles(all_shards), decoder
        self._inputs, self._target = inputs, target
        counts = [len(shard.keys) for shard in all_shards]
        self._starts = np.cumsum([0, *counts])
        for shard in all_shards:
            if not shard.keys:
                raise DataError(f"{shard.path} has no files")
        names = (inputs,) if isinstance(inputs, str) else inputs
        self._places = {name: _Places(name, all_shards) for name in (*names, *([target] if target else []))}
        self.description = f"{sum(counts):,} examples of {len(all_shards)} tar archives"
        self.splits = _splits(shards)
        self._numbers: dict[Any, int] | None = None
        if target is None:
            self.task: str | None = "none"
        else:
            self._name_classes(target, classes)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, number: int) -> Any:
        names = self._inputs
        whole = self._read(names, number) if isinstance(names, str) else {n: self._read(n, number) for n in names}
        made = _tensor(whole)
        if self._target is None:
            return made, torch.zeros(())
        found = self._read(self._target, number)
        if self._numbers is not None:
            found = self._class_of(found, number)
        return made, _tensor(found)

    def _read(self, name: str, number: int) -> Any:
        """Return a part of an example.

        Raises:
            DataError: its file cannot be read; with archive and name.
        """
        shard = int(np.searchsorted(self._starts, number, "right")) - 1
        row, places = number - int(self._starts[shard]), self._places[name]
        column, where = places.columns[shard], self._files.shards[shard]
        content = self._files.read(shard, int(where.offsets[row, column]), int(where.sizes[row, column]))
        file = Path(where.path) / f"{where.keys[row]}.{places.ending}"
        found = self._decoder(file, content)
        return found if places.entry is None else _entry(file, found, places.entry)

    def _name_classes(self, target: str, classes: tuple[str, ...] | None) -> None:
        """Find the classes of all examples, where their targets are such: whole numbers, or texts."""
        places, self.task = self._places[target], None
        is_small = places.ending in (*_INTEGERS, *_TEXTS) or places.entry is not None
        if not is_small:
            return
        found = [self._read(target, number) for number in range(len(self))]
        if all(isinstance(value, float | int) and not isinstance(value, bool) for value in found) and any(
            isinstance(value, float) for value in found
        ):
            self.task, self.num_outputs = "values", 1
            return
        if not all(isinstance(value, str) or type(value) is int for value in found):
            return
        if all(type(value) is int for value in found):
            most = max(found) + 1 if classes is None else len(classes)
            self._numbers = {number: number for number in range(most)}
        else:
            classes = tuple(sorted({str(value) for value in found})) if classes is None else classes
            self._numbers = {name: number for number, name in enumerate(classes)}
        self.task, self.num_outputs = "classes", len(self._numbers)
        self.class_names = classes or ()
        self.targets = torch.tensor([self._class_of(value, number) for number, value in enumerate(found)])

    def _class_of(self, found: Any, number: int) -> int:
        assert self._numbers is not None
        if found not in self._numbers:
            shard = int(np.searchsorted(self._starts, number, "right")) - 1
            where = self._files.shards[shard]
            key = where.keys[number - int(self._starts[shard])]
            raise DataError(f"{where.path}: the {self._target} of {key} is {found!r}, which is none of the classes")
        return self._numbers[found]


class _Places:
    """Where the files of one name are: their ending, the column of it in each archive, and an entry of the JSON.

    Raises:
        ArgumentsError: no file is called so.
        DataError: an example has none.
    """

    def __init__(self, name: str, shards: Sequence[Shard]):
        lower, self.entry = name.lower().removeprefix("."), None
        self.ending = lower
        if not any(lower in shard.endings for shard in shards):
            for end in range(len(lower)):
                if lower[end : end + 1] == "." and lower[:end].rpartition(".")[2] == "json":
                    self.ending, self.entry = lower[:end], name.removeprefix(".")[end + 1 :]
                    break
        self.columns: list[int] = []
        for shard in shards:
            if self.ending not in shard.endings:
                listed = ", ".join(shard.endings[:8]) or "no files"
                raise ArgumentsError(
                    f"{shard.path} has no file that ends in .{self.ending}: it has {listed}", "inputs", "target"
                )
            column = shard.endings.index(self.ending)
            missing = np.flatnonzero(shard.offsets[:, column] < 0)
            if len(missing):
                key = shard.keys[int(missing[0])]
                more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
                raise DataError(f"{shard.path}: {key} has no .{self.ending}{more}")
            self.columns.append(column)


class _Decoder:
    """Makes of the bytes of a file what its name says. Nothing pickled is read.

    Args:
        size: of pictures; None leaves them.
        color: of pictures.
    """

    def __init__(self, size: int | None, color: Color):
        self.size = size
        self.color: Color = color

    def __call__(self, file: Path, content: bytes) -> Any:
        ending = file.name.rpartition(".")[2].lower()
        if ending in _PICKLES:
            raise DataError(f"{file} is of a kind that may run code when it is read: write .npy, .json or .png instead")
        if f".{ending}" in FORMATS:
            found = pixels(file, self.size, self.color, content)
            return found.astype(np.float32) / 255 if found.dtype == np.uint8 else found
        reader = _READERS.get(ending)
        if reader is None:
            known = ", ".join([*_READERS, "png", "jpg", "…"])
            raise DataError(f"{file}: nothing reads .{ending}: known are {known}")
        try:
            return reader(content)
        except (ValueError, EOFError, OSError, KeyError) as error:
            raise DataError(f"{file} cannot be read as {ending}: {error}") from error


def _integer(content: bytes) -> int:
    return int(content.decode("utf-8").strip())


def _text(content: bytes) -> str:
    return content.decode("utf-8").strip("\n")


def _array(content: bytes) -> np.ndarray:
    return np.load(io.BytesIO(content), allow_pickle=False)


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


_READERS: dict[str, Callable[[bytes], Any]] = {
    **dict.fromkeys(_INTEGERS, _integer),
    **dict.fromkeys(_TEXTS, _text),
    "npy": _array,
    "npz": _arrays,
    "json": json.loads,
}


def _entry(file: Path, found: Any, name: str) -> Any:
    for step in name.split("."):
        if not isinstance(found, dict) or step not in found:
            raise DataError(f"{file} has no entry '{name}'")
        found = found[step]
    return found


def _tensor(value: Any) -> Any:
    """Return numbers as tensors, those of any precision in single precision; texts stay."""
    if isinstance(value, dict):
        return {name: _tensor(each) for name, each in value.items()}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        tensor = torch.from_numpy(np.ascontiguousarray(value))
        return tensor.float() if tensor.is_floating_point() else tensor
    if isinstance(value, list) and value and all(isinstance(each, int | float) for each in value):
        return torch.tensor(value)
    if isinstance(value, float):
        return torch.tensor([value])
    return torch.tensor(value) if isinstance(value, int) else value


def _splits(shards: dict[str, list[Shard]]) -> dict[str, torch.Tensor]:
    """Return the positions of the parts, where there are several."""
    if len(shards) == 1:
        return {}
    ends = np.cumsum([0, *(sum(len(shard.keys) for shard in part) for part in shards.values())]).tolist()
    return {part: torch.arange(ends[place], ends[place + 1]) for place, part in enumerate(shards)}
