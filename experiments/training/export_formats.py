"""The formats that a model is exported to: how each is written, and read back as a function of inputs."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
import json
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..system import storage
from ..system.raised import type_and_text
from .trained_model import TrainedModel

Call = Callable[[Tensor], Any]
INPUTS = "inputs"  # the name of what a program takes


class Format(ABC):
    """One format.

    Attributes:
        is_program: whether it holds the calculation as well, and not the weights alone.
        needs: packages beside torch.
    """

    is_program = False
    needs: tuple[str, ...] = ()

    def check_installed(self) -> None:
        """Refuse a format whose packages are not installed.

        Raises:
            UsageError: one is not.
        """
        missing = [name for name in self.needs if importlib.util.find_spec(name) is None]
        if missing:
            raise UsageError(
                f"this format needs {' and '.join(missing)}, not installed here: pip install 'optrun[onnx]', or choose "
                "--to program, torch or safetensors, which need nothing more"
            )

    @abstractmethod
    def written(self, trained: TrainedModel, module: nn.Module, example: Tensor, about: Mapping[str, Any]) -> bytes:
        """Return the content of the file.

        Args:
            trained: the run's model.
            module: what is exported: the model alone, or in a pipeline.
            example: inputs of that.
            about: what the file says of itself.

        Raises:
            UsageError: it cannot be written so.
        """

    @abstractmethod
    def read(self, path: Path, trained: TrainedModel) -> Call:
        """Return what a file holds, as a function."""


class _Weights(Format):
    """Weights by name, which are checked in a model that is made anew."""

    def read(self, path: Path, trained: TrainedModel) -> Call:
        fresh = trained.untrained()
        fresh.load_state_dict(self.weights(path))
        return functools.partial(trained.inference().outputs, fresh.eval())

    @abstractmethod
    def weights(self, path: Path) -> Mapping[str, Any]:
        """Return what the file holds."""


class _Torch(_Weights):
    def written(self, trained: TrainedModel, module: nn.Module, example: Tensor, about: Mapping[str, Any]) -> bytes:
        content = io.BytesIO()
        torch.save(dict(module.state_dict()), content)
        return content.getvalue()

    def weights(self, path: Path) -> Mapping[str, Any]:
        return torch.load(io.BytesIO(storage.read_bytes(path)), map_location="cpu", weights_only=True)


class _Safetensors(_Weights):
    def written(self, trained: TrainedModel, module: nn.Module, example: Tensor, about: Mapping[str, Any]) -> bytes:
        from safetensors.torch import save

        state = module.state_dict()
        if others := [name for name, value in state.items() if not isinstance(value, Tensor)]:
            raise UsageError(f"{others[0]} is no tensor, and safetensors holds nothing else: choose --to torch")
        texts = {"format": "pt", "optrun": json.dumps(about)}
        texts |= {name: str(about[name]) for name in ("run", "step", "weights", "metric", "value")}
        texts["model"] = str(about["model"]["name"])
        texts["arguments"] = json.dumps({name: each for name, each in about["model"].items() if name != "name"})
        # Tied tensors are there under each of their names, so that whoever reads them needs no list of them.
        return save({name: value.detach().clone().contiguous() for name, value in state.items()}, metadata=texts)

    def weights(self, path: Path) -> Mapping[str, Any]:
        from safetensors.torch import load

        return load(storage.read_bytes(path))


class _Program(Format):
    is_program = True

    def written(self, trained: TrainedModel, module: nn.Module, example: Tensor, about: Mapping[str, Any]) -> bytes:
        content = io.BytesIO()
        with _quiet():
            program = _captured(module, example)
            torch.export.save(program, content, extra_files={"optrun.json": json.dumps(about)})
        return content.getvalue()

    def read(self, path: Path, trained: TrainedModel) -> Call:
        with _quiet():
            return torch.export.load(io.BytesIO(storage.read_bytes(path))).module()


class _Onnx(Format):
    is_program = True
    needs = ("onnx", "onnxscript")

    def written(self, trained: TrainedModel, module: nn.Module, example: Tensor, about: Mapping[str, Any]) -> bytes:
        with _quiet():
            program = _captured(module, example)
            try:
                made: Any = torch.onnx.export(program, dynamo=True, verbose=False, input_names=[INPUTS])
                model = made.model_proto
            except torch.onnx.errors.OnnxExporterError as error:
                raise UsageError(f"torch.onnx cannot write this model: {_first_line(error)}") from error
        for name, value in about.items():
            entry = model.metadata_props.add()
            entry.key, entry.value = f"optrun.{name}", value if isinstance(value, str) else json.dumps(value)
        if model.ByteSize() >= 1 << 31:
            raise UsageError("a model of 2 GiB or more does not fit into one file of ONNX: choose --to program")
        return model.SerializeToString()

    def read(self, path: Path, trained: TrainedModel) -> Call:
        content = storage.read_bytes(path)
        if importlib.util.find_spec("onnxruntime") is not None:
            runtime = importlib.import_module("onnxruntime")
            session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
        else:
            model = importlib.import_module("onnx").load_from_string(content)
            session = importlib.import_module("onnx.reference").ReferenceEvaluator(model)
        return lambda inputs: [torch.from_numpy(found) for found in session.run(None, {INPUTS: inputs.numpy()})]


def _captured(module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """Return a module as a program that takes any number of examples.

    Raises:
        UsageError: it does what torch.export does not follow.
    """
    two = torch.cat([example, example])[: max(2, len(example))]  # of one example torch would make a constant
    try:
        return torch.export.export(module, (two,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    except Exception as error:
        raise UsageError(
            f"torch.export does not follow this model ({_first_line(error)}): choose --to torch or safetensors, which "
            "hold its weights alone"
        ) from error


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in type_and_text(error).splitlines() if line.strip()), type(error).__name__)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch says of its own inside from the user's terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [each.level for each in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for each in loggers:
            each.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)


FORMATS: dict[str, Format] = {"torch": _Torch(), "safetensors": _Safetensors(), "onnx": _Onnx(), "program": _Program()}
