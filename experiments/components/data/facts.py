"""What a model has to know of its data, kept with a run: whoever has the run can use its model without the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

import torch

from ...errors import DataError
from .dataset import Task
from .loaded import LoadedData
from .stored import Pixels, Step, as_floats
from .stream_data import AnyData, StreamData

SCHEMA = "optrun/data-facts@1"
_NAMES = ("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64")
_NAMES += ("uint8", "uint16", "uint32", "uint64", "bool")
_RARE = ("num_tokens", "ignore_index")  # what most data has not
_TYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in _NAMES}


@dataclass(frozen=True)
class DataFacts:
    """What is known of a data set, apart from its examples; what was fitted to them is in `Fitted`.

    Args:
        input_shape: of one example; None where inputs are no tensor.
        input_type: of the numbers that a model is given: `float32`, `int64`, …; empty where inputs are no tensor.
        stored_type: of the numbers as they are stored; `uint8` for pixels that become numbers batch by batch.
        task: of the targets, see `Dataset`; None where nobody knows.
        num_outputs: see `Dataset`; None where nobody knows.
        class_names: one per class, or nothing.
        columns: names of the inputs, where they are columns with names, as a model is given them.
        target_columns: names of the targets, likewise.
        decode: how stored numbers become those of a model: `{"pixels": …}` with the arguments of `Pixels`,
            `{"floats": true}`, or `{"own": NAME}` for code of the user's own; empty where they are the same.
        num_tokens: see `Dataset`.
        ignore_index: see `Dataset`.
    """

    input_shape: tuple[int, ...] | None
    input_type: str
    stored_type: str
    task: Task | None
    num_outputs: int | None
    class_names: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    target_columns: tuple[str, ...] = ()
    decode: Mapping[str, Any] = field(default_factory=dict)
    num_tokens: int | None = None
    ignore_index: int | None = None

    @classmethod
    def of(cls, dataset: AnyData) -> DataFacts:
        """Return the facts of a data set, encoded and standardised as a model is given it."""
        if isinstance(dataset, LoadedData | StreamData):
            inputs = dataset.first.inputs
            kind = _name(inputs) if isinstance(inputs, torch.Tensor) else ""
            names = tuple(dataset.class_names)
            known = (dataset.input_shape, kind, kind, dataset.task, dataset.num_outputs, names)
            return cls(*known, ignore_index=dataset.ignore_index)
        kinds = ("", "")
        if isinstance(dataset.inputs, torch.Tensor):
            first = dataset.inputs[:1]
            kinds = _name(first if dataset.decode is None else dataset.decode(first)), _name(first)
        return cls(
            dataset.input_shape,
            *kinds,
            dataset.task,
            dataset.num_outputs,
            tuple(dataset.class_names),
            tuple(dataset.columns),
            tuple(dataset.target_columns),
            _decode_facts(dataset.decode),
            dataset.num_tokens,
            dataset.ignore_index,
        )

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the numbers that a model is given."""
        return _TYPES[self.input_type]

    @property
    def stored_dtype(self) -> torch.dtype:
        """Return the type of the numbers as they are stored."""
        return _TYPES[self.stored_type]

    def decoder(self) -> Step | None:
        """Return what makes a batch of stored numbers one that a model is given; None where it is that.

        Raises:
            DataError: the user's own code does, which only the data has.
        """
        if "pixels" in self.decode:
            return Pixels(**self.decode["pixels"])
        if "own" in self.decode:
            raise DataError(
                f"{self.decode['own']} makes numbers of what is stored: it comes with the data, which is gone"
            )
        return as_floats if self.decode else None

    def as_dict(self) -> dict[str, Any]:
        """Return this as JSON holds it."""
        facts = asdict(self)
        for name in _RARE:  # absent from the records of versions that did not know it
            if facts[name] is None:
                del facts[name]
        return {"schema": SCHEMA, **facts}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> DataFacts:
        """Return what `as_dict` wrote down.

        Raises:
            DataError: it is not that.
        """
        try:
            if stored["schema"] != SCHEMA:
                raise ValueError(f"schema {stored['schema']!r}")
            given = {name: stored[name] for name in cls.__dataclass_fields__ if name not in _RARE}
            given["num_tokens"] = None if stored.get("num_tokens") is None else _count(stored["num_tokens"])
            given["ignore_index"] = None if stored.get("ignore_index") is None else int(stored["ignore_index"])
            decode, shape, outputs = dict(given["decode"]), given["input_shape"], given["num_outputs"]
            if "pixels" in decode:
                pixels = decode["pixels"]
                decode["pixels"] = {
                    "mean": _numbers(pixels["mean"]), "std": _numbers(pixels["std"]), "raw": bool(pixels["raw"])
                }  # fmt: skip
            found = cls(
                **{
                    **given,
                    "input_shape": shape if shape is None else tuple(_count(each) for each in shape),
                    "num_outputs": outputs if outputs is None else _count(outputs),
                    **{name: _texts(given[name]) for name in ("class_names", "columns", "target_columns")},
                    "decode": decode,
                }
            )
            types = {*_TYPES, *([""] if shape is None else [])}
            if found.task not in (*get_args(Task), None) or not {found.input_type, found.stored_type} <= types:
                raise ValueError(f"task {found.task!r}, numbers of type {found.input_type!r}")
            if found.class_names and outputs is not None and len(found.class_names) != found.num_outputs:
                raise ValueError(f"{len(found.class_names)} names of {found.num_outputs} classes")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"the record of what the data is like is damaged: {error!r}") from error
        return found


def _decode_facts(decode: Step | None) -> dict[str, Any]:
    if decode is None:
        return {}
    if isinstance(decode, Pixels):
        return {"pixels": asdict(decode)}
    if decode is as_floats:
        return {"floats": True}
    return {"own": getattr(decode, "__qualname__", type(decode).__qualname__)}


def _name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"a count of {value!r}")
    return value


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise TypeError("names that are no text")
    return tuple(values)
