"""What a trained model says of rows: those of a split, or of a file that is read as the run's data was."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..components.data import AnyData, Batch, Dataset, Fitted, LoadedPart, PartInMemory, in_evaluation
from ..components.data.tree import batch_size
from ..components.selected import Selector
from ..components.weighted import unweighted
from ..config.located import located
from ..config.paths import input_files
from ..errors import DataError, UsageError
from ..registry.argument_checks import check_arguments
from ..registry.calls import Calling
from ..run_directory.run import Run
from ..run_directory.run_dir import RunDir
from ..system import storage
from ..system.json_text import encode_json
from ..system.places import absolute, held_places, shown
from ..system.raised import refusing_exits
from ..system.switches import held_switches
from ..system.visible import spreadsheet_text
from .configured_data import make_splits
from .configured_stream import no_split
from .export import writable
from .inference import Inference
from .predicted_columns import PredictedColumns
from .record import RunRecord, refuse_changes
from .trained_model import TrainedModel, load_trained

log = logging.getLogger("optrun")

FORMATS = (".csv", ".parquet", ".jsonl", ".npz")
_MOST_COLUMNS = 1024  # of a table


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says, row by row.

    Args:
        run: its name.
        step: of the checkpoint.
        weights: their name.
        of: the split, or the file.
        columns: by name, all of one length: `row`, `file` where rows are files, `prediction`, and others.
        part: which part of the model's outputs was predicted, as `of` names it; empty where it is all of them.
    """

    run: str
    step: int
    weights: str
    of: str
    columns: Mapping[str, np.ndarray]
    part: str = ""

    def __len__(self) -> int:
        return len(self.columns["row"])

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def write(self, output: str | Path, *, force: bool = False) -> Path:
        """Write them as a table, or as arrays, and return where.

        Args:
            output: a .csv, .parquet or .jsonl, one line a row; or an .npz, one array a column.
            force: replace a file that is there.

        Raises:
            UsageError: another kind of file; it is there; or there are too many columns for a table.
            StorageError: it cannot be written.
        """
        check_output(output, force)
        path = absolute(output)
        storage.write_atomic(path, _written(self._table(path.suffix), path.suffix))
        return path

    def _table(self, suffix: str) -> dict[str, np.ndarray]:
        """Return the columns; for a table each of one number a row."""
        if suffix == ".npz":
            return dict(self.columns)
        found: dict[str, np.ndarray] = {}
        for name, values in self.columns.items():
            if values.ndim == 1:
                found[name] = values
                continue
            flat = values.reshape(len(values), -1)
            found |= {f"{name}_{number}": column for number, column in enumerate(flat.T)}
        if len(found) > _MOST_COLUMNS:
            raise UsageError(f"{len(found)} columns are no table: write an .npz")
        return found


def check_output(output: str | Path, force: bool) -> None:
    """Refuse a file that could not be written, before there is anything to write.

    Raises:
        UsageError: it is of no kind that is known, or is there.
    """
    if Path(output).suffix not in FORMATS:
        raise UsageError(f"{shown(output)}: expected a file that ends with {', '.join(FORMATS)}")
    writable(output, force)


@held_places()
@held_switches()
@refusing_exits()
def predict(
    run: Run | RunDir | str | Path,
    data: str | Path | None = None,
    *,
    split: str | None = None,
    checkpoint: str | int = "best",
    weights: str | None = None,
    of: Selector | None = None,
    allow_code: bool = False,
    allow_change: bool = False,
    root: Path | None = None,
) -> Predictions:
    """Return what the model of a run says of a split of its data, or of rows from a file.

    Rows are read and prepared as those for training were, by what the run took from these. Classes come by name, with
    their probabilities where the loss is cross-entropy, else with their scores; values in original units.

    Args:
        run: see `resume`.
        data: a file or folder of the kind that the run's data set reads; targets are not looked at, and need not be
            there.
        split: `train`, `val` or `test` of the run's own data; the default where no data is given is `test`.
        checkpoint: see `Run.load_model`.
        weights: see `Run.load_model`.
        of: which part of the model's outputs, where it gives several: a key, an index or a path, as `loss.of`; by
            default the one that the loss or a metric compares with targets, or else the only tensor there is beside
            the loss, or the one called `logits`.
        allow_code: see `resume`.
        allow_change: predict a split of data files that are not those that the run was made with.
        root: the folder of the run directories.

    Raises:
        UsageError: there is no such split, checkpoint or average; the data set reads no file; there is no output to
            predict with, or several.
        DataError: the file is missing, lacks columns, or cannot be read.
    """
    if data is not None and split is not None:
        raise UsageError("a file or a split: one of the two")
    trained = load_trained(run, checkpoint, weights, None if weights else True, allow_code, root)
    if trained.facts.task == "none":
        raise UsageError(f"{trained.run_dir.name} learns no targets: there is nothing to predict")
    part, dataset = _part(trained, split or "test", allow_change) if data is None else _rows(trained, str(data))
    columns: dict[str, np.ndarray] = {"row": part.positions.numpy()}
    if dataset.names:
        columns["file"] = np.array([dataset.names[row] for row in part.positions.tolist()], dtype=np.str_)
    inference = trained.inference(of)
    outputs, targets, name = _outputs(trained, part, inference)
    if len(outputs) != len(part):
        raise UsageError(
            f"the model gives {len(outputs)} predictions for {len(part)} examples, as its batches have not one row for "
            f"each (data.collate): take `Run({str(trained.run_dir.path)!r}).load_model()` and batches of your own"
        )
    said = PredictedColumns(trained, inference.compared, outputs)
    columns |= said.predictions()
    if data is None and targets is not None:
        columns |= said.targets(targets)
    where = str(data) if data is not None else split or "test"
    return Predictions(trained.run_dir.name, trained.step, trained.weights, where, columns, name)


def _part(trained: TrainedModel, split: str, allow_change: bool) -> tuple[PartInMemory | LoadedPart, AnyData]:
    """Return a split of the run's own data."""
    record, config = RunRecord(trained.run_dir), trained.config
    if not allow_change:
        changed = [each for each in record.changes(config) if each.kind == "data"]
        refuse_changes(trained.run_dir.name, "--allow-change", changed)
    splits = make_splits(config, trained.fitted)
    if not allow_change:
        refuse_changes(trained.run_dir.name, "--allow-change", record.example_changes(config, splits.dataset))
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    found = parts.get(split)
    if not isinstance(found, PartInMemory | LoadedPart):
        there = [name for name, part in parts.items() if isinstance(part, PartInMemory | LoadedPart)]
        raise UsageError(no_split(trained.run_dir.name, split, there, splits.dataset))
    return found, splits.dataset


def _rows(trained: TrainedModel, path: str) -> tuple[PartInMemory, Dataset]:
    """Return the rows of a file, read as the run's data set reads its own."""
    config, fitted = trained.config, trained.fitted
    component = config.data.component
    files = list(input_files(component))
    name = "path" if "path" in files else files[0] if len(files) == 1 else None
    if name is None:
        raise UsageError(
            f"data '{config.data.name}' reads no file that could be another one: give a split of it (--split test)"
        )
    if not Path(path).expanduser().exists():
        raise DataError(f"no file {path}")
    args = {**fitted.arguments_of(component, config.data.args), name: path}
    check_arguments(component, args)
    with located(config, "data"):
        dataset = component.facts.get("rows", component.make)(**args)
        dataset = _applied(fitted, dataset)
    found, wanted = dataset.input_shape, trained.facts.input_shape
    if found != wanted:
        raise DataError(f"{path} has inputs of shape {found}, and {trained.run_dir.name} was trained on {wanted}")
    everything = torch.arange(len(dataset))
    return PartInMemory(dataset.rows(everything), dataset.targets, everything), dataset


def _applied(fitted: Fitted, dataset: Dataset) -> Dataset:
    """Return a data set prepared by what was fitted, its inputs alone."""
    inputs = tuple(part for part in dataset.standardised if part == "inputs")
    return fitted.applied(replace(dataset, standardised=inputs))


def _outputs(
    trained: TrainedModel, part: PartInMemory | LoadedPart, inference: Inference
) -> tuple[Tensor, Tensor | None, str]:
    """Return the outputs for all rows, on the CPU, their targets, where they are one tensor, and the part's name."""
    config = trained.config
    examples = part.to(trained.device).after(*in_evaluation(config.data.augment))
    found: list[Tensor] = []
    targets: list[Any] = []
    name = ""
    with located(config), torch.set_grad_enabled(config.eval.gradients), _autocast(trained):
        for batch in examples.batches(config.data.eval_batch_size):
            with Calling("model", "the forward pass of the model"):
                outputs = inference.outputs(trained.model, batch.inputs)
            found.append(_predicted(inference, outputs, batch))
            name = inference.name_of_part(outputs)
            targets.append(inference.targets(unweighted(batch.targets)))
    if not all(isinstance(each, Tensor) for each in targets):
        return torch.cat(found), None, name
    return torch.cat(found), torch.cat(targets).cpu(), name


def _predicted(inference: Inference, outputs: Any, batch: Batch) -> Tensor:
    """Return the part of the outputs that is predicted, on the CPU.

    Raises:
        UsageError: it is no tensor with a row for each example.
    """
    part = inference.predictions(outputs)
    if not isinstance(part, Tensor) or not part.dim() or len(part) != batch_size(batch.inputs, batch.targets):
        raise inference.refusal(outputs, part)
    return part.detach().cpu().float() if part.dtype == torch.bfloat16 else part.detach().cpu()


@contextlib.contextmanager
def _autocast(trained: TrainedModel) -> Iterator[None]:
    is_bf16 = trained.config.train.precision == "bf16"
    with torch.autocast(trained.device.type, torch.bfloat16) if is_bf16 else contextlib.nullcontext():
        yield


def _written(columns: Mapping[str, np.ndarray], suffix: str) -> bytes:
    content = io.BytesIO()
    if suffix == ".npz":
        np.savez(content, allow_pickle=False, **columns)
    elif suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({name: values.tolist() for name, values in columns.items()}), content)
    elif suffix == ".jsonl":
        rows = zip(*(values.tolist() for values in columns.values()), strict=True)
        content.writelines(encode_json(dict(zip(columns, row, strict=True))) for row in rows)
    else:
        content.write(_csv(columns))
    return content.getvalue()


def _csv(columns: Mapping[str, np.ndarray]) -> bytes:
    """Return a CSV file, RFC 4180; a text that a spreadsheet would take for a formula gets a `'` before it."""
    import csv

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(map(spreadsheet_text, columns))
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    writer.writerows([spreadsheet_text(cell) if isinstance(cell, str) else repr(cell) for cell in row] for row in rows)
    return text.getvalue().encode()
