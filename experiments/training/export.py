"""A trained model as a file for other programs: written, read back, and held against the model before it is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..components.data import Dataset, StreamData, make_data
from ..components.data.tree import num_examples, rows, tensors
from ..components.selected import Selector
from ..config import ConfigError
from ..config.located import located
from ..errors import DataError, StorageError, UsageError
from ..registry.calls import Calling
from ..run_directory.run import Run
from ..run_directory.run_dir import RunDir
from ..system import storage
from ..system.places import absolute, held_places, shown
from ..system.raised import message_of, refusing_exits
from ..system.switches import held_switches
from .configured_data import loading_of
from .export_formats import FORMATS
from .pipeline import Pipeline, model_rows, random_rows, raw_rows
from .trained_model import TrainedModel, load_trained

_EXAMPLES = 8  # that a file is checked on
TOLERANCE = 1e-4  # of the largest output of the model


@dataclass(frozen=True, eq=False)
class _Examples:
    """What a file is held against.

    Args:
        given: inputs of what is exported.
        expected: what the run's own model makes of them.
        scale: a difference in the outputs counts in parts of this: the largest output, in its own units.
        real: whether they are of the run's data.
        reason: why they are not.
    """

    given: Any
    expected: Any
    scale: Tensor
    real: bool
    reason: str = ""

    @property
    def count(self) -> int:
        """Return how many there are."""
        return num_examples(self.given)


@held_places()
@held_switches()
@refusing_exits()
def export_model(
    run: Run | RunDir | str | Path,
    output: str | Path,
    *,
    to: str,
    checkpoint: str | int = "best",
    weights: str | None = None,
    of: Selector | None = None,
    preprocessing: bool | None = None,
    tolerance: float = TOLERANCE,
    force: bool = False,
    allow_code: bool = False,
    root: Path | None = None,
) -> dict[str, Any]:
    """Write the model of a run for other programs, and check the file against the model.

    Args:
        run: see `resume`.
        output: the file.
        to: `torch` or `safetensors` for its weights by name; `program` (torch.export) or `onnx` for weights and
            calculation, which takes any number of examples.
        checkpoint: see `Run.load_model`.
        weights: see `Run.load_model`.
        of: of a program with preprocessing: see `predict`.
        preprocessing: of a program: whether it takes raw rows, and gives values in original units, by what the run
            fitted; False for the model alone. None is True, where a file has room for it.
        tolerance: the largest difference that is let pass, in parts of the model's largest output.
        force: replace a file that is there.
        allow_code: see `resume`.
        root: the folder of the run directories.

    Returns:
        What was written: `run`, `step`, `weights`, `to`, `file`, `bytes`, `inputs`, `preprocessing`, `checked`.

    Raises:
        UsageError: there is no such format, or the model cannot be written in it; a package lacks; a file is there.
        DataError: what was read back is not the model. Nothing is left of it.
        StorageError: it cannot be written.
    """
    if to not in FORMATS:
        raise UsageError(f"no format '{to}': {', '.join(FORMATS)}")
    kind = FORMATS[to]
    kind.check_installed()
    if preprocessing and not kind.is_program:
        raise UsageError(f"{to} holds weights alone: preprocessing is for {_programs()}")
    if of is not None and (preprocessing is False or not kind.is_program):
        raise UsageError("a part of the outputs is chosen by a program with preprocessing; any other has all of them")
    path = writable(output, force)
    trained = load_trained(run, checkpoint, weights, None if weights else True, allow_code, root)
    if kind.is_program and trained.facts.input_shape is None:
        raise UsageError(
            "inputs of this run are no tensor but consist of several, and a program takes one: choose --to torch or "
            "safetensors, or export the model that run.load_model() gives by torch.export itself"
        )
    trained.model.to("cpu")
    pipeline = Pipeline(trained, of) if kind.is_program and preprocessing is not False else None
    examples = _examples(trained, pipeline)
    about = _about(trained, pipeline)
    with located(trained.config, "model"):
        content = kind.written(trained, pipeline or trained.model, examples.given, about)
    draft = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    storage.write_atomic(draft, content)
    try:
        difference = _largest_difference(kind.read(draft, trained), examples, tolerance, to)
        storage.rename(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    checked = {"examples": examples.count, "of": "data" if examples.real else "random", "reason": examples.reason}
    return {
        **about, "to": to, "file": shown(path), "bytes": len(content),
        "checked": {**checked, "largest_difference": difference, "tolerance": tolerance},
    }  # fmt: skip


def writable(output: str | Path, force: bool) -> Path:
    """Return the absolute path of a file that may be written.

    Raises:
        UsageError: it is there, or is a folder, or there is no folder for it.
    """
    path = absolute(output)
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"{shown(path)} is a folder" if path.is_dir() else f"no folder {shown(path.parent)}")
    if os.path.lexists(path) and not force:
        raise UsageError(f"{shown(path)} is there: choose another name, or add --force to replace it")
    return path


def _programs() -> str:
    return " and ".join(name for name, kind in FORMATS.items() if kind.is_program)


def _about(trained: TrainedModel, pipeline: Pipeline | None) -> dict[str, Any]:
    """Return what a file says of itself."""
    summary = Run(trained.run_dir).summary
    metric = (summary.get("metric") or {}).get("name")
    best = summary.get("best") or {}
    facts = trained.facts
    plain = {"type": facts.input_type, "shape": list(facts.input_shape or ())}
    return {
        "run": trained.run_dir.name,
        "step": trained.step,
        "weights": trained.weights,
        "metric": metric,
        "value": best.get(metric) if best.get("step") == trained.step else None,
        "model": trained.config.to_dict()["model"],
        "inputs": plain if pipeline is None else pipeline.raw.as_dict(),
        "outputs": {
            "task": facts.task, "classes": list(facts.class_names), "columns": list(facts.target_columns),
        },
        "preprocessing": None if pipeline is None else pipeline.parts,
    }  # fmt: skip


def _examples(trained: TrainedModel, pipeline: Pipeline | None) -> _Examples:
    """Return some examples of the run's data, with what its own model makes of them; or made-up ones."""
    config, fitted = trained.config, trained.fitted
    inference = trained.inference() if pipeline is None else pipeline.inference
    reason = ""
    try:
        with located(config, "data"):
            loading = loading_of(config)
            dataset = make_data(config.data.component, fitted=fitted, loading=loading, **config.data.args)
            if isinstance(dataset, StreamData):
                raw = inputs = dataset.examples(_EXAMPLES).inputs
            else:
                positions = torch.linspace(0, len(dataset) - 1, min(_EXAMPLES, len(dataset))).long()
                if isinstance(dataset, Dataset) and dataset.input_shape is not None:
                    raw, inputs = raw_rows(dataset, fitted, positions), model_rows(trained, dataset, positions)
                else:
                    raw = inputs = dataset.part(positions).examples(0, len(positions)).inputs
    except (DataError, StorageError, ConfigError) as error:
        if trained.facts.input_shape is None:
            raise
        reason = " ".join(message_of(error).split())
        made = pipeline or Pipeline(trained)
        raw = random_rows(made, fitted, trained.facts, _EXAMPLES)
        inputs = made.numbers(raw)
    with Calling("model", "the forward pass of the model"), located(config), torch.no_grad():
        outputs = inference.outputs(trained.model, inputs)
    if pipeline is not None:
        with located(config):
            outputs = inference.predictions(outputs)
    scale = torch.stack([leaf.abs().max().double() for leaf in tensors(outputs)]).max()
    if pipeline is None:
        return _Examples(inputs, outputs, scale, not reason, reason)
    if "targets" not in fitted.scales:
        return _Examples(raw, outputs, scale, not reason, reason)
    targets = fitted.scales["targets"]
    return _Examples(raw, targets.undone(outputs), scale * torch.tensor(targets.std), not reason, reason)


def _largest_difference(call: Callable[[Any], Any], examples: _Examples, tolerance: float, to: str) -> float:
    """Return by how much what was read back differs from the model at most, on all examples at once and on one.

    Raises:
        DataError: that is too much, or it cannot be run.
    """
    largest = 0.0
    for count in {1, examples.count}:
        given = rows(examples.given, 0, count, examples.count)
        try:
            with torch.no_grad():
                found = list(tensors(call(given)))
        except Exception as error:
            raise DataError(
                f"the file was written, and read back it fails on {count} examples: {message_of(error)}. It is removed"
            ) from error
        expected = [leaf[:count] if leaf.dim() else leaf for leaf in tensors(examples.expected)]
        if [tuple(each.shape) for each in found] != [tuple(each.shape) for each in expected]:
            shapes = [", ".join(str(tuple(each.shape)) for each in leaves) for leaves in (found, expected)]
            raise DataError(f"what was read back gives outputs of shape {shapes[0]}, the model {shapes[1]}")
        for there, here in zip(found, expected, strict=True):
            off = (there.double() - here.double()).abs()
            off[there.double() == here.double()] = 0  # infinities
            if not (off <= tolerance * examples.scale).all():
                raise DataError(
                    f"read back, --to {to} differs from the model by up to {off.max():.3g}, more than {tolerance:g} of "
                    f"its largest output: the file is removed. --tolerance lets more pass"
                )
            largest = max(largest, float(off.max()))
    return largest
