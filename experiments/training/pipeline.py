"""A model with what its run does before it and after it: raw rows go in, values in original units come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..components.data import DataFacts, Dataset, Fitted, after, in_evaluation
from ..components.data.encoding import Encoder
from ..components.data.scale import Scale
from ..components.selected import Selector
from ..errors import UsageError
from ..registry.calls import described
from .trained_model import TrainedModel


@dataclass(frozen=True)
class RawColumn:
    """One column of raw rows.

    Args:
        name: of the column.
        categories: their names, if it has some: a cell holds the number of its category from 1, or 0 for any other.
        method: how categories become numbers: `one_hot` or `codes`.
        mean: what takes the place of NaN, in a column that may lack numbers.
    """

    name: str
    categories: tuple[str, ...] = ()
    method: str = "one_hot"
    mean: float | None = None


@dataclass(frozen=True)
class RawInputs:
    """What goes into a pipeline.

    Args:
        type: of the numbers: `float64` for rows that are standardised or encoded, `uint8` for pixels.
        shape: of one example.
        columns: in order, where rows have columns with names.
    """

    type: str
    shape: tuple[int, ...]
    columns: tuple[RawColumn, ...] = ()

    @classmethod
    def of(cls, facts: DataFacts, fitted: Fitted) -> RawInputs:
        """Return the raw inputs that a run began with.

        Args:
            facts: what its data is like, as the model is given it.
            fitted: what became of the rows before.
        """
        if not fitted.encoder and "inputs" not in fitted.scales:
            columns = tuple(RawColumn(name) for name in facts.columns)
            return cls(facts.stored_type if facts.decode else facts.input_type, facts.input_shape or (), columns)
        columns = tuple(_raw_columns(facts.columns, fitted.encoder))
        return cls("float64", (len(columns),) if columns else facts.input_shape or (), columns)

    def as_dict(self) -> dict[str, Any]:
        """Return this as JSON holds it."""
        columns = [
            {"name": each.name, **({"categories": list(each.categories)} if each.categories else {})}
            for each in self.columns
        ]
        return {"type": self.type, "shape": list(self.shape), **({"columns": columns} if columns else {})}


def _raw_columns(names: Sequence[str], encoder: Encoder) -> list[RawColumn]:
    """Return the columns of raw rows: a one-hot column of categories stands in `names` once for each of them."""
    found: list[RawColumn] = []
    one_hot = {
        tuple(f"{name}={category}" for category in known): (name, known) for name, known in encoder.categories.items()
    }
    place = 0
    while place < len(names):
        name = names[place]
        made = next((each for each in one_hot if tuple(names[place : place + len(each)]) == each), None)
        if made is not None:
            found.append(RawColumn(one_hot[made][0], one_hot[made][1]))
        elif name in encoder.categories:
            found.append(RawColumn(name, encoder.categories[name], "codes"))
        else:
            found.append(RawColumn(name, mean=encoder.means.get(name)))
        place += 1 if made is None else len(made)
    return found


class _Encode(nn.Module):
    """Makes numbers of categories, and fills in what is missing."""

    def __init__(self, columns: Sequence[RawColumn]):
        super().__init__()
        self.columns = tuple(columns)

    def forward(self, rows: Tensor) -> Tensor:
        made = []
        for number, column in enumerate(self.columns):
            cells = rows[:, number : number + 1]
            if column.categories and column.method == "one_hot":
                codes = torch.arange(1, len(column.categories) + 1, dtype=rows.dtype, device=rows.device)
                cells = (cells == codes).to(rows.dtype)
            elif column.mean is not None:
                cells = torch.where(cells.isnan(), torch.full_like(cells, column.mean), cells)
            made.append(cells)
        return torch.cat(made, dim=1)


class _Scaled(nn.Module):
    """Holds a scale as buffers, in double precision."""

    mean: Tensor
    std: Tensor

    def __init__(self, scale: Scale):
        super().__init__()
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(scale, name), dtype=torch.float64))


class _Standardise(_Scaled):
    def forward(self, rows: Tensor) -> Tensor:
        return ((rows - self.mean) / self.std).to(torch.float32)


class _Undo(_Scaled):
    def forward(self, outputs: Any) -> Tensor:
        size = len(self.mean)
        if not isinstance(outputs, Tensor) or (outputs.shape[-1:] != (size,) and size != 1):
            raise UsageError(
                f"the model gives {described(outputs)}, which are no {size} values to bring back to the targets' "
                "original units"
            )
        return outputs.double() * self.std + self.mean


class _Single(nn.Module):
    def forward(self, rows: Tensor) -> Tensor:
        return rows.to(torch.float32)


class Pipeline(nn.Module):
    """A model that takes raw rows, as the run's data set reads them, and gives predictions in original units.

    Args:
        trained: of a run.
        of: which part of the outputs it gives, see `predict`.

    Raises:
        DataError: the data had code of its own make numbers of what is stored.
        UsageError: the model cannot be called without targets.
    """

    def __init__(self, trained: TrainedModel, of: Selector | None = None):
        super().__init__()
        facts, fitted = trained.facts, trained.fitted
        self.raw = RawInputs.of(facts, fitted)
        before: list[nn.Module] = [_Encode(self.raw.columns)] if fitted.encoder else []
        if "inputs" in fitted.scales:
            before.append(_Standardise(fitted.scales["inputs"]))
        elif before:
            before.append(_Single())
        self.before = nn.Sequential(*before)
        decoder = facts.decoder()
        self.steps = [*([] if decoder is None else [decoder]), *in_evaluation(trained.config.data.augment)]
        self.model, self.inference = trained.model, trained.inference(of)
        self.after = _Undo(fitted.scales["targets"]) if "targets" in fitted.scales else nn.Identity()
        self.eval()

    def forward(self, inputs: Tensor) -> Any:
        outputs = self.inference.outputs(self.model, self.numbers(inputs))
        return self.after(self.inference.predictions(outputs))

    def numbers(self, inputs: Tensor) -> Tensor:
        """Return raw rows as the model takes them."""
        numbers = self.before(inputs)
        for step in self.steps:
            numbers = step(numbers)
        return numbers

    @property
    def parts(self) -> list[str]:
        """Return what there is beside the model, in words."""
        words = {_Encode: "categories and missing numbers", _Standardise: "standardisation", _Undo: "original units"}
        found = [words[type(each)] for each in (*self.before, self.after) if type(each) in words]
        return [*found[:-1], *(["pixels or augmentations"] if self.steps else []), *found[-1:]]


def raw_rows(dataset: Dataset, fitted: Fitted, positions: Tensor) -> Tensor:
    """Return rows as a pipeline takes them, from a data set that is neither encoded nor standardised yet."""
    rows = dataset.inputs[positions]
    if not dataset.encoding and "inputs" not in dataset.standardised:
        return rows
    rows = rows.double()
    for number, name in enumerate(dataset.columns):
        if name in dataset.encoding.categories:
            code_of = {category: code for code, category in enumerate(fitted.encoder.categories[name], 1)}
            codes = torch.tensor([code_of.get(each, 0) for each in dataset.encoding.categories[name]])
            rows[:, number] = codes[rows[:, number].long()].double()
    return rows


def model_rows(trained: TrainedModel, dataset: Dataset, positions: Tensor) -> Tensor:
    """Return rows of such a data set as the model takes them, the way that the run's evaluations do."""
    rows = trained.fitted.applied(dataset).rows(positions)
    return after(rows, *in_evaluation(trained.config.data.augment))[:]


def random_rows(pipeline: Pipeline, fitted: Fitted, facts: DataFacts, count: int) -> Tensor:
    """Return made-up rows of the shape and type that a pipeline takes, the same ones each time."""
    raw, generator = pipeline.raw, torch.Generator().manual_seed(0)
    shape, kind = (count, *raw.shape), getattr(torch, raw.type)
    if facts.task == "tokens" and facts.num_outputs is not None:
        return torch.randint(facts.num_outputs, shape, generator=generator)
    if not kind.is_floating_point:
        return torch.randint(0, 128, shape, generator=generator).to(kind)
    rows = torch.randn(shape, generator=generator, dtype=kind)
    if "inputs" in fitted.scales and not fitted.encoder:
        scale = fitted.scales["inputs"]
        return rows * torch.tensor(scale.std, dtype=kind) + torch.tensor(scale.mean, dtype=kind)
    for number, column in enumerate(raw.columns):
        if column.categories:
            rows[:, number] = torch.randint(len(column.categories) + 1, (count,), generator=generator).to(kind)
    return rows
