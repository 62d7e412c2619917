"""Data in memory: inputs, targets, and what a model and a loss have to know about them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch

from ...errors import ArgumentsError, DataError, FaultsError, UsageError
from ...registry.calls import described
from .encoding import Encoding
from .part import PartInMemory
from .scale import Scale, is_constant
from .stored import Examples, Step, Stored, Tree
from .table_file import listed
from .tree import mapped, named_tensors, num_rows
from .weights import refuse_odd_weights, weights_called

Task = Literal["classes", "values", "tokens", "none"]
Scaled = Literal["inputs", "targets"]  # parts of a data set that can be standardised
_PIECE = 1 << 24  # bytes
_SEVERAL = "where an example has several, return the tensors as they are, `(inputs, {'kind': kinds, 'size': sizes})`"
_OF_ONE_TENSOR = {
    "mapped": "let a data set of torch's read them by number",
    "columns": "give them as a mapping, by name",
    "encoding": "encode them before",
    "num_tokens": "give it to the model, `model.num_tokens`",
}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples in memory.

    Args:
        inputs: shape (examples, *input_shape), floating point, or, with `decode`, as they are stored; tokens are int64,
            shape (examples, length). Several tensors, of any type, stand in a mapping, tuple, list or data class; so do
            their rows in a batch.
        targets: by task: `classes`: class numbers, int64, shape (examples,), or (examples, …) where an example has
            several, such as the pixels of a picture; `values`: floating point, shape (examples,
            num_outputs); `tokens`: the token that follows each, int64, shape (examples, length); `none`: ignored.
        task: which of these.
        num_outputs: how many outputs a model needs: classes, values per example, or the size of the vocabulary.
        class_names: one name per class, or nothing.
        description: what it is and where it comes from, in one sentence.
        splits: positions of the parts that come with the data, by `train`, `val` or `test`; the rest is split by
            `split`.
        facts: what is known about the data, such as the loss of the best model.
        decode: what makes a batch of stored inputs floating point: bytes stay bytes in memory.
        mapped: whether the inputs are a memory map, of which only batches are ever read.
        in_order: whether neighbours belong together (pieces of one text), so that parts must be stretches.
        standardised: which of `inputs` and `targets` `split` brings to mean 0 and standard deviation 1 over the
            training rows; they are columns then, shape (examples, columns), of any precision.
        columns: names of the inputs, where they are columns with names.
        encoding: how columns of categories, and missing numbers, become numbers in `split`.
        unscaled: positions of columns that stay as they are where the inputs are standardised.
        target_columns: names of the targets, where they are columns with names.
        original_units: whether metrics are of targets as they were before they were standardised.
        target_scale: that brings them back, once `split` has standardised them.
        place_of: what a message calls the row at a position, such as its file and line; left out, its number.
        names: of the examples, such as that of the file which each is in; nothing where they have none.
        learned: arguments of the function that made this which it found out from the rows, such as the classes: given
            them, it reads other rows alike.
        num_tokens: size of the vocabulary, where inputs are tokens, int64, shape (examples, length), and targets are
            something else, such as classes.
        ignore_index: the class number, or token, that stands where there is no target, such as at padding; it counts in
            no loss and no metric. None where there is none.
        weights: by name, how much each example weighs, shape (examples,), not negative: `data.sampling` draws by them,
            `loss.weights` lets examples count by them. They do nothing unless they are named there.

    Raises:
        DataError: these do not fit together.
        UsageError: inputs or targets consist of something else than tensors, or not of as many rows as each other.
    """

    inputs: Any
    targets: torch.Tensor
    task: Task
    num_outputs: int
    class_names: tuple[str, ...] = ()
    description: str = ""
    splits: Mapping[str, torch.Tensor] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    decode: Step | None = None
    mapped: bool = False
    in_order: bool = False
    standardised: tuple[Scaled, ...] = ()
    columns: tuple[str, ...] = ()
    encoding: Encoding = field(default_factory=Encoding)
    unscaled: tuple[int, ...] = ()
    target_columns: tuple[str, ...] = ()
    original_units: bool = False
    target_scale: Scale | None = None
    place_of: Callable[[int], str] | None = None
    learned: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    num_tokens: int | None = None
    ignore_index: int | None = None
    weights: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Return the shape of the inputs of one example; None where they are several tensors."""
        return tuple(self.inputs.shape[1:]) if isinstance(self.inputs, torch.Tensor) else None

    def __len__(self) -> int:
        return len(self.targets)

    def rows(self, positions: torch.Tensor) -> Examples:
        """Return the inputs at some positions: a tensor, or what becomes one batch by batch; or several tensors."""
        if not isinstance(self.inputs, torch.Tensor):
            rows = mapped(self.inputs, lambda tensor: tensor[positions])
            return Tree(rows, (self.decode,) if self.decode else ())
        if self.decode is None and not self.mapped:
            return self.inputs[positions]
        return Stored(self.inputs, positions, (self.decode,) if self.decode else (), mapped=self.mapped)

    def part(self, positions: torch.Tensor) -> PartInMemory:
        """Return some of the examples, by their numbers."""
        return PartInMemory(self.rows(positions), self.targets[positions], positions)

    def weights_called(self, name: str | int) -> torch.Tensor:
        """Return the weights of a name, float64, shape (examples,).

        Raises:
            UsageError: there are none of this name.
        """
        return weights_called(name, self.weights)

    def sha256(self) -> str:
        """Return a hash of all inputs and targets, read piece by piece, and of what is standardised among them."""
        found = hashlib.sha256()
        if self.standardised:
            found.update(f"standardised over the training rows: {', '.join(self.standardised)}".encode())
        if self.encoding:
            found.update(json.dumps(["encoded by the training rows", asdict(self.encoding)], sort_keys=True).encode())
        for place, tensor in (*named_tensors("", self.inputs), ("", self.targets)):
            found.update(place.encode())
            for rows in tensor.split(max(1, _PIECE * len(tensor) // max(1, tensor.nbytes))):
                found.update(rows.contiguous().view(torch.uint8).numpy().tobytes())
        for name, weights in self.weights.items():
            found.update(name.encode() + weights.numpy().tobytes())
        return found.hexdigest()

    def column(self, part: str, number: int) -> str:
        """Return what a message calls a column of `inputs` or `targets`: its name in quotes, or its number from 0."""
        names = self.columns if part == "inputs" else self.target_columns
        return f"'{names[number]}'" if names else str(number)

    def place(self, row: int) -> str:
        """Return what a message calls the row at a position."""
        return f"row {row}" if self.place_of is None else self.place_of(row)

    def refuse_empty(self) -> None:
        """Refuse columns whose mean stands in where a number is missing, and that have none.

        Raises:
            FaultsError: there are some.
        """
        numbers = zip(self.columns, self.inputs.T, strict=True) if self.encoding.fills else ()
        if empty := [f"'{name}'" for name, column in numbers if bool(column.isnan().all())]:
            nor = f", nor have {listed(empty[1:], 'columns')}" if empty[1:] else ""
            message = f"{self.description}: column {empty[0]} has no number{nor}: leave it out by `inputs`"
            raise FaultsError(("inputs", message))

    def refuse_constant(self) -> None:
        """Refuse columns that are to be standardised and have the same value in every row.

        Raises:
            FaultsError: of the inputs.
            ArgumentsError: of the targets.
        """
        for part in self.standardised:
            columns = getattr(self, part).numpy()
            if not (constant := is_constant(columns).nonzero()[0].tolist()):
                continue
            found = f"{self.description}: column {self.column(part, constant[0])} is constant"
            others = listed([self.column(part, number) for number in constant[1:]], "columns")
            if part == "targets":
                found += f", {columns[0, constant[0]]:g} in every row{f', and so is {others}' if others else ''}"
                raise ArgumentsError(f"{found}: there is nothing to predict", "target")
            found += f", and so is {others}" if others else ""
            way_out = "leave it out by `inputs`, or say `scaling: none`"
            raise FaultsError(("inputs" if self.columns else "", f"{found}: {way_out}"))

    def __post_init__(self) -> None:
        inputs: Any = self.inputs
        targets: Any = self.targets
        num_inputs = num_rows("inputs", inputs)
        if not isinstance(targets, torch.Tensor):
            texts = isinstance(targets, list | tuple) and any(isinstance(each, str) for each in targets)
            texts |= getattr(getattr(targets, "dtype", None), "kind", "") in ("U", "S", "O")
            way = "number the classes from 0 (int64), and name them by `class_names`" if texts else _SEVERAL
            raise UsageError(f"targets must be one tensor, got {described(targets)}: {way}")
        if not isinstance(inputs, torch.Tensor):
            self._refuse_what_is_of_one_tensor()
        elif self.task == "tokens":
            _check_tokens("inputs", inputs, self.num_outputs)
        elif self.num_tokens is not None:
            _check_tokens("inputs", inputs, self.num_tokens)
        elif inputs.dim() < 2 or not (inputs.is_floating_point() or (self.decode and not inputs.is_complex())):
            tokens = inputs.dim() == 2 and inputs.dtype == torch.int64
            way = ": if they are tokens, say how many there are by `num_tokens`" if tokens else ""
            raise DataError(f"inputs must be floating point, shape (examples, …), got {_shape(inputs)}{way}")
        if num_inputs != len(targets):
            raise DataError(f"{num_inputs} inputs do not match {len(targets)} targets")
        if not num_inputs:
            raise DataError("there are no examples")
        for name, weights in self.weights.items():
            refuse_odd_weights(f"weights '{name}'", weights, num_inputs, self.place)
        if self.task == "classes":
            if targets.dim() < 1 or targets.shape[1:] == (1,) or targets.dtype != torch.int64:
                expected = "int64, shape (examples,), or (examples, …) with several for each"
                raise DataError(f"class targets must be {expected}, got {_shape(targets)}")
            known = targets if self.ignore_index is None else targets[targets != self.ignore_index]
            if not known.numel():
                raise DataError(f"all targets are the ignored {self.ignore_index}: there is nothing to learn")
            low, high = int(known.min()), int(known.max())
            if low < 0 or high >= self.num_outputs:
                wrong = (targets < 0) | (targets >= self.num_outputs)
                wrong &= torch.ones_like(wrong) if self.ignore_index is None else targets != self.ignore_index
                where = tuple(wrong.nonzero()[0].tolist())
                raise DataError(
                    f"class numbers must be 0 to {self.num_outputs - 1}, got {low} to {high}: "
                    f"{self.place(where[0])} has {int(targets[where])}. "
                    "More classes need a larger number of them; what stands where there is nothing to learn is the "
                    "`ignore_index`"
                )
        elif self.task == "tokens":
            _check_tokens("targets", targets, self.num_outputs, self.ignore_index)
            if isinstance(inputs, torch.Tensor) and targets.shape != inputs.shape:
                raise DataError(f"targets must be tokens of the shape of the inputs, got {_shape(targets)}")
        elif self.task == "none":
            pass
        elif not targets.is_floating_point() or targets.shape != (num_inputs, self.num_outputs):
            expected = f"floating point, shape ({num_inputs}, {self.num_outputs})"
            raise DataError(f"targets must be {expected}, got {_shape(targets)}")
        for part in self.standardised:
            tensor: torch.Tensor = getattr(self, part)
            if tensor.dim() != 2 or not tensor.is_floating_point() or self.decode or self.mapped:
                raise DataError(f"{part} that are standardised must be columns in memory, got {_shape(tensor)}")
        if self.class_names and len(self.class_names) != self.num_outputs:
            raise DataError(f"{len(self.class_names)} class names do not match {self.num_outputs} classes")

    def _refuse_what_is_of_one_tensor(self) -> None:
        ways = {name: way for name, way in _OF_ONE_TENSOR.items() if getattr(self, name)}
        if "inputs" in self.standardised:
            ways["standardised"] = "standardise them before, and leave 'inputs' out of it"
        for name, way in ways.items():
            raise UsageError(f"`{name}` is about inputs that are one tensor, got {described(self.inputs)}: {way}")


def _check_tokens(name: str, tokens: torch.Tensor, size: int, ignore_index: int | None = None) -> None:
    if tokens.dim() != 2 or tokens.dtype != torch.int64:
        raise DataError(f"{name} must be tokens: int64, shape (examples, length), got {_shape(tokens)}")
    tokens = tokens if ignore_index is None else tokens[tokens != ignore_index]
    if tokens.numel() and not (int(tokens.min()) >= 0 and int(tokens.max()) < size):
        raise DataError(f"{name} must be tokens from 0 to {size - 1}, got {int(tokens.min())} to {int(tokens.max())}")


def _shape(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}, shape {tuple(tensor.shape)}"
