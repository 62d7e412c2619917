"""The user's own data sets of Hugging Face's `datasets`: in memory maps, or streamed."""

from __future__ import annotations

import importlib
import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from ...errors import ArgumentsError, DataError
from ...registry.arguments import Count, DataPath
from ...system import downloads, rng
from ...system.patterns import expanded
from ...system.raised import type_and_text
from . import register_data

Format = Literal["parquet", "csv", "json", "arrow", "text"]
_ENDINGS = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json", ".arrow": "arrow", ".txt": "text"}
_PARTS = {"val": ("validation", "val", "valid", "dev"), "test": ("test",)}


@register_data(
    "hf",
    source="Lhoest et al., 2021",
    example={"path": "animals", "inputs": "picture", "target": "label"},
)
def hugging_face(
    path: DataPath,
    inputs: str | tuple[str, ...],
    target: str | None = None,
    split: str = "train",
    format: Format | None = None,
    streaming: bool = False,
    buffer: Count = 1000,
) -> Any:
    """A data set of Hugging Face's `datasets` on this machine.

        streaming: examples are drawn in blocks of `buffer`, and each block in an order by (seed, epoch, block)

    A folder that `save_to_disk` has written, or files of Parquet, CSV, JSON or Arrow. Parts called `validation` (`val`,
    `valid`, `dev`) and `test` beside the one that is trained on are the validation and the test part. Nothing is
    downloaded. Names of a ClassLabel are the classes. Pictures are numbers from 0 for black to 1 for white, shape
    (channels, height, width).

    Args:
        path: the folder; or a file, or a pattern such as `train-*.parquet`.
        inputs: a column; of several, numbers make one row, and others inputs by name.
        target: the column to predict; left out, there is none.
        split: the part that is trained on, where there are several.
        format: of files; left out, by the ending of the first.
        streaming: whether it is read on and on, as a stream, and not found by number.
        buffer: examples that a stream is shuffled among; 1 keeps the order.

    Raises:
        DataError: there is no such data set, or it cannot be read.

    Source: Lhoest et al., "Datasets: a community library for natural language processing", 2021.
    """
    found: dict[str, Any] = {}
    for part, data in _read(path, split, format, streaming).items():
        columns = _Columns(_features(data), inputs, target)
        chosen = data.select_columns(columns.names).with_format("numpy")
        is_stream = part == "train" and streaming
        found[part] = StreamedRows(chosen, columns, buffer) if is_stream else MappedRows(chosen, columns)
    return found


def _read(path: str, split: str, format: Format | None, streaming: bool) -> dict[str, Any]:
    """Return the parts of a data set, that for training first; streamed, where it is of files."""
    try:
        datasets: Any = importlib.import_module("datasets")
    except ImportError as error:
        raise DataError("data 'hf' needs Hugging Face's datasets: pip install 'optrun[hf]'") from error
    where = os.path.expanduser(path)
    try:
        if os.path.isdir(where):
            found: Any = datasets.load_from_disk(where)
        else:
            found = _load_files(datasets, path, expanded(where), format, streaming)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"{path} cannot be read as a data set: {type_and_text(error)}") from error
    if not isinstance(found, datasets.DatasetDict):
        return {"train": _streamed(found, streaming)}
    if split not in found:
        raise ArgumentsError(f"{path} has no split '{split}': it has {', '.join(found)}", "split")
    others = {part: next((name for name in names if name in found), None) for part, names in _PARTS.items()}
    named = {part: name for part, name in others.items() if name is not None and name != split}
    return {"train": _streamed(found[split], streaming), **{part: found[name] for part, name in named.items()}}


def _load_files(datasets: Any, path: str, files: list[str], format: Format | None, streaming: bool) -> Any:
    if not files or not all(map(os.path.isfile, files)):
        raise DataError(f"no data set {path}: neither a folder that save_to_disk has written, nor files")
    kind = format or _ENDINGS.get(Path(files[0]).suffix.lower())
    if kind is None:
        raise ArgumentsError(f"nothing says what {files[0]} is: give one of {', '.join(_ENDINGS.values())}", "format")
    cache = str(downloads.data_dir() / "hf")
    return datasets.load_dataset(kind, data_files=files, split="train", cache_dir=cache, streaming=streaming)


def _streamed(data: Any, streaming: bool) -> Any:
    return data.to_iterable_dataset() if streaming and hasattr(data, "to_iterable_dataset") else data


def _features(data: Any) -> Mapping[str, Any]:
    """Return what the columns of a data set hold; of a stream of files, by a look at the first rows."""
    found = data.features
    return (data._resolve_features().features if found is None else found) or {}


class _Columns:
    """Makes pairs (inputs, target) of rows.

    Args:
        features: what each column holds.
        inputs: see `hugging_face`.
        target: see `hugging_face`.

    Raises:
        ArgumentsError: there is no such column, or it holds what is no target.
    """

    def __init__(self, features: Mapping[str, Any], inputs: str | tuple[str, ...], target: str | None):
        given = (inputs,) if isinstance(inputs, str) else inputs
        self.names: list[str] = list(dict.fromkeys([*given, *([target] if target else [])]))
        for name in self.names:
            if name not in features:
                key = "target" if name == target else "inputs"
                raise ArgumentsError(f"there is no column '{name}': there are {', '.join(features)}", key)
        self.inputs, self.target = inputs, target
        self.is_row = not isinstance(inputs, str) and all(_is_number(features[name]) for name in given)
        self.pictures = {name for name in given if type(features[name]).__name__ == "Image"}
        self.facts: dict[str, Any] = {"task": "none"} if target is None else self._of_target(features[target])

    def _of_target(self, feature: Any) -> dict[str, Any]:
        if type(feature).__name__ == "ClassLabel":
            return {"task": "classes", "num_outputs": feature.num_classes, "class_names": tuple(feature.names)}
        kind = str(getattr(feature, "dtype", ""))
        if _is_number(feature) and kind.startswith("float"):
            return {"task": "values", "num_outputs": 1}
        if kind in ("string", "large_string"):
            message = f"column '{self.target}' holds texts: make classes of them by its class_encode_column"
            raise ArgumentsError(message, "target")
        return {"task": "classes"} if _is_number(feature) else {"task": None}

    def pair(self, row: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return a row as inputs and target."""
        target = torch.zeros(()) if self.target is None else _tensor(row[self.target])
        if self.facts["task"] == "values":
            target = target.float().reshape(1)
        if isinstance(self.inputs, str):
            return self._input(self.inputs, row), target
        if self.is_row:
            return torch.tensor([float(row[name]) for name in self.inputs]), target
        return {name: self._input(name, row) for name in self.inputs}, target

    def _input(self, name: str, row: Mapping[str, Any]) -> Any:
        value = _tensor(row[name])
        if name not in self.pictures:
            return value
        value = value[..., None] if value.dim() == 2 else value
        return value.movedim(-1, 0).float() / (255 if value.dtype == torch.uint8 else 65535)


class MappedRows:
    """A map-style data set of pairs (inputs, target).

    Args:
        data: of `datasets`, with the columns alone.
        columns: that make pairs.
    """

    def __init__(self, data: Any, columns: _Columns):
        self.data, self._columns = data, columns
        self.description = f"{len(data):,} rows of a data set of Hugging Face's"
        for name, value in columns.facts.items():
            setattr(self, name, value)
        if columns.facts["task"] == "classes" and columns.target is not None and len(data):
            alone = data.select_columns([columns.target])  # pictures beside it are not decoded
            self.targets = torch.as_tensor(np.asarray(alone[:][columns.target])).long()
            if not hasattr(self, "num_outputs"):
                self.num_outputs = int(self.targets.max()) + 1

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, number: int) -> tuple[Any, Any]:
        return self._columns.pair(self.data[number])

    def __getitems__(self, numbers: list[int]) -> list[tuple[Any, Any]]:
        found = self.data[numbers]
        rows = zip(*(found[name] for name in self._columns.names), strict=True)
        return [self._columns.pair(dict(zip(self._columns.names, row, strict=True))) for row in rows]


class StreamedRows(IterableDataset[Any]):
    """A stream of pairs (inputs, target), shuffled block by block.

    Its place is that of the block in `datasets`, and how much of the block was read: a block is read again to go on
    within it, in the same order, where a buffer of `datasets` would be lost.

    Args:
        data: an iterable data set of `datasets`, with the columns alone.
        columns: that make pairs.
        buffer: rows of a block.
    """

    def __init__(self, data: Any, columns: _Columns, buffer: int):
        self.data, self._columns, self._buffer = data, columns, buffer
        self.description = "rows of a data set of Hugging Face's, streamed"
        for name, value in columns.facts.items():
            setattr(self, name, value)
        self._seed = self._epoch = 0
        self._place: dict[str, Any] = {"state": None, "block": 0, "taken": 0}

    def set_seed(self, seed: int) -> None:
        self._seed = seed

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        info, place = get_worker_info(), dict(self._place)
        self.data.load_state_dict(place["state"])  # None begins anew
        keys = rng.Stream(self._seed, "blocks")
        rows = iter(self.data)
        while block := list(itertools.islice(rows, self._buffer)):
            key = keys.key(self._epoch, info.id if info else 0, place["block"])
            order = torch.randperm(len(block), generator=torch.Generator().manual_seed(key)).tolist()
            while place["taken"] < len(block):
                place = {**place, "taken": place["taken"] + 1}
                self._place = place
                yield self._columns.pair(block[order[place["taken"] - 1]])
            place = {"state": self.data.state_dict(), "block": place["block"] + 1, "taken": 0}
        self._place = {"state": None, "block": 0, "taken": 0}

    def state_dict(self) -> dict[str, Any]:
        return self._place

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._place = state


def _is_number(feature: Any) -> bool:
    kind = str(getattr(feature, "dtype", ""))
    return kind.startswith(("int", "uint", "float"))


def _tensor(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        tensor = torch.as_tensor(np.array(value) if isinstance(value, np.ndarray) else value.item())
        return tensor.float() if tensor.is_floating_point() else tensor
    return value
