"""The user's own arrays, from an .npz file."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ...errors import DataError
from ...registry.arguments import Count, DataPath
from ...system import storage
from . import register_data
from .dataset import Dataset
from .precision import refuse_coarse
from .stored import Pixels, as_floats

Task = Literal["classes", "values"]

_NAMES = {
    "train": (("inputs", "x", "X", "x_train"), ("targets", "y", "Y", "y_train")),
    "val": (("val_inputs", "x_val"), ("val_targets", "y_val")),
    "test": (("test_inputs", "x_test"), ("test_targets", "y_test")),
}


def array_rows(path: str, **_: Any) -> Dataset:
    """Return the inputs of another .npz file, .npy file or folder of .npy files, which need have no targets.

    Raises:
        DataError: there is no such file, or it has none.
    """
    file, known = Path(path).expanduser(), _NAMES["train"][0]
    try:
        if file.is_dir():
            archive: Any = {each.stem: each for each in file.glob("*.npy")}
        elif file.is_file():
            archive = np.load(io.BytesIO(storage.read_bytes(file)), allow_pickle=False)
        else:
            raise DataError(f"no file {path}")
        names = [] if isinstance(archive, np.ndarray) else [name for name in known if name in archive]
        if not isinstance(archive, np.ndarray) and len(names) != 1:
            there = ", ".join(sorted(archive)) or "nothing"
            raise DataError(f"{path}: expected inputs as one of {', '.join(known)}; it has {there}")
        found = archive if isinstance(archive, np.ndarray) else archive[names[0]]
        if isinstance(found, Path):
            found = np.load(found, mmap_mode="c", allow_pickle=False)
        if not file.is_dir():
            inputs = _inputs(np.asarray(found))
            return Dataset(inputs, torch.zeros(len(inputs)), "none", 1, description=f"arrays from {path}")
        _check_inputs(found)
    except (OSError, EOFError, ValueError, MemoryError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as arrays: {error}") from error
    decode = Pixels() if found.dtype == np.uint8 else as_floats
    targets = torch.zeros(len(found))
    return Dataset(
        torch.from_numpy(found), targets, "none", 1, description=f"arrays from {path}", decode=decode, mapped=True
    )


@register_data("arrays", source="numpy.savez and numpy.save", example={"path": "data.npz"}, rows=array_rows)
def arrays(
    path: DataPath,
    task: Task | None = None,
    num_classes: Count | None = None,
    weights: str | tuple[str, ...] | None = None,
) -> Dataset:
    """Arrays from an .npz file, or a folder of .npy files: `inputs` and `targets`, or `x` and `y`.

    Parts that are split already come as `x_train`, `y_train`, `x_val`, `y_val`, `x_test` and `y_test`. Inputs of
    type uint8 are taken for pixels and divided by 255; all others are used as they are, in single precision.

    The inputs of a folder stay on the disk and may be larger than memory: `inputs.npy` is mapped, and each batch reads
    its own rows. They are not searched for numbers that are not finite, and are one file, which optrun splits.

    Args:
        path: the file, as written by numpy.savez or numpy.savez_compressed; or the folder, with files by numpy.save.
        task: whether targets are class numbers or values; left out, integers are classes.
        num_classes: how many classes there are; left out, as many as the highest number says, and each must occur.
        weights: names of arrays that say how much each example weighs, for `data.sampling` and `loss.weights`; those of
            parts that are split already are called as these are: `w_train`, `w_val`, `w_test`.

    Raises:
        DataError: the file is missing, damaged, or holds something else; the message says what was expected.

    Source: the formats of numpy.savez and numpy.save; nothing pickled is ever read.
    """
    if (folder := Path(path).expanduser()).is_dir():
        return _mapped(folder, task, num_classes, _listed(weights))
    parts = _read(folder, _listed(weights))
    names = list(parts)
    lengths = [len(parts[name][0]) for name in names]
    try:
        shapes = {name: parts[name][0].shape[1:] for name in names}
        if len(set(shapes.values())) > 1:
            raise DataError(f"all parts need inputs of one shape, got {shapes}")
        inputs = _inputs(np.concatenate([parts[name][0] for name in names]))
        task, targets, num_outputs = _targets(np.concatenate([parts[name][1] for name in names]), task, num_classes)
        starts = np.cumsum([0, *lengths])
        splits = (
            {name: torch.arange(starts[i], starts[i + 1]) for i, name in enumerate(names)} if len(names) > 1 else {}
        )
        about = {"learned": {"num_classes": num_outputs} if task == "classes" else {}, "splits": splits}
        about["weights"] = {
            name: _numbers(f"weights '{name}'", np.concatenate([parts[part][2][name] for part in names]))
            for name in _listed(weights)
        }
        return Dataset(inputs, targets, task, num_outputs, description=f"arrays from {path}", **about)
    except (DataError, ValueError) as error:
        raise DataError(f"{path}: {error}") from error


_Part = tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]


def _listed(names: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names or ()


def _read(path: Path, weights: Sequence[str]) -> dict[str, _Part]:
    """Return (inputs, targets, weights by name) by part."""
    if not path.is_file():  # a pipe would be waited for without end
        raise DataError(f"no file {path}")
    try:
        with path.open("rb") as file:  # numpy would leave a damaged file open
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise DataError(f"{path} holds one bare array: expected an .npz file with `inputs` and `targets`")
            with archive:
                return _parts(path, archive, weights)
    except FileNotFoundError:
        raise DataError(f"no file {path}") from None
    except (OSError, EOFError, ValueError, MemoryError, zipfile.BadZipFile, KeyError) as error:
        if "allow_pickle" in str(error):
            problem = "holds Python objects, which are never loaded: expected arrays of numbers"
            raise DataError(f"{path} {problem}") from error
        raise DataError(f"{path} cannot be read as an .npz file of arrays: {error}") from error


def _parts(path: Path, archive: Mapping[str, np.ndarray], weights: Sequence[str]) -> dict[str, _Part]:
    parts: dict[str, _Part] = {}
    for name, (input_names, target_names) in _NAMES.items():
        inputs = [known for known in input_names if known in archive]
        targets = [known for known in target_names if known in archive]
        if not inputs and not targets and name != "train":
            continue
        if len(inputs) != 1 or len(targets) != 1:
            expected = f"one of {', '.join(input_names)} and one of {', '.join(target_names)}"
            raise DataError(f"{path}: expected {expected}; the file has {', '.join(sorted(archive)) or 'nothing'}")
        pair = archive[inputs[0]], archive[targets[0]]
        if pair[0].ndim == 0 or pair[1].ndim == 0 or len(pair[0]) != len(pair[1]):
            shapes = f"{inputs[0]} {pair[0].shape}, {targets[0]} {pair[1].shape}"
            raise DataError(f"{path}: expected as many inputs as targets, got shapes {shapes}")
        if not len(pair[0]):
            raise DataError(f"{path}: there are no examples in {inputs[0]}")
        parts[name] = (*pair, {each: _weights(path, archive, each, name) for each in weights})
    return parts


def _weights(path: Path, archive: Mapping[str, np.ndarray], name: str, part: str) -> np.ndarray:
    """Return the weights of a name for the examples of a part."""
    known = (name, f"{name}_train") if part == "train" else (f"{part}_{name}", f"{name}_{part}")
    found = [each for each in known if each in archive]
    if len(found) != 1:
        expected = f"weights as {' or '.join(known)}"
        raise DataError(f"{path}: expected {expected}; the file has {', '.join(sorted(archive)) or 'nothing'}")
    return archive[found[0]]


def _mapped(folder: Path, task: Task | None, num_classes: int | None, weights: Sequence[str]) -> Dataset:
    """Map the inputs of a folder of .npy files into memory, and read its targets and weights."""
    names = sorted(path.stem for path in folder.glob("*.npy"))
    wanted = (*_NAMES["train"], *((name,) for name in weights))
    found = [[known for known in kind if known in names] for kind in wanted]
    if [len(known) for known in found] != [1] * len(wanted) or len(names) != len(wanted):
        expected = " and ".join(f"one of {', '.join(f'{name}.npy' for name in kind)}" for kind in wanted)
        files = ", ".join(f"{name}.npy" for name in names) or "no .npy file"
        problem = f"expected {expected}, and no other; it has {files}"
        raise DataError(f"{folder} cannot be read as a folder of arrays: {problem}")
    try:
        # "c" gives pages that may be written to, in memory alone, as torch wants it; nobody does.
        arrays = [np.load(folder / f"{known[0]}.npy", mmap_mode="c", allow_pickle=False) for known in found]
    except (OSError, EOFError, ValueError, MemoryError) as error:
        raise DataError(f"{folder}: {' and '.join(names)} cannot be read as .npy files of numbers: {error}") from error
    try:
        _check_inputs(arrays[0])
        decode = Pixels() if arrays[0].dtype == np.uint8 else as_floats
        task, targets, num_outputs = _targets(np.array(arrays[1]), task, num_classes)
        inputs = torch.from_numpy(arrays[0])
        description = f"arrays from {folder}, on the disk"
        about = {"learned": {"num_classes": num_outputs} if task == "classes" else {}, "decode": decode}
        about["weights"] = {
            name: _numbers(f"weights '{name}'", np.array(found))
            for name, found in zip(weights, arrays[2:], strict=True)
        }
        return Dataset(inputs, targets, task, num_outputs, description=description, mapped=True, **about)
    except (DataError, ValueError, TypeError) as error:
        raise DataError(f"{folder}: {error}") from error


def _numbers(what: str, numbers: np.ndarray) -> torch.Tensor:
    if numbers.dtype.kind not in "iuf":
        raise DataError(f"{what} must be real numbers, got {_described(numbers)}")
    return torch.from_numpy(numbers.astype(np.float64))


def _targets(raw: np.ndarray, task: Task | None, num_classes: int | None) -> tuple[Task, torch.Tensor, int]:
    """Return the task, the targets, and how many outputs they take."""
    task = task or ("classes" if raw.dtype.kind in "iub" else "values")
    targets = _classes(raw) if task == "classes" else _values(raw)
    return task, targets, _num_classes(targets, num_classes) if task == "classes" else targets.shape[1]


def _check_inputs(inputs: np.ndarray) -> None:
    if inputs.dtype.kind not in "iubf":
        raise DataError(f"inputs must be real numbers, got {inputs.dtype}")
    if inputs.ndim < 2:
        raise DataError(
            f"inputs must have shape (examples, …), got {inputs.shape}: reshape(-1, 1) makes single numbers"
        )


def _inputs(inputs: np.ndarray) -> torch.Tensor:
    _check_inputs(inputs)
    with np.errstate(over="ignore"):
        numbers = inputs.astype(np.float32)
    _refuse_non_finite("inputs", numbers)
    return torch.from_numpy(numbers / 255 if inputs.dtype == np.uint8 else numbers)


def _values(targets: np.ndarray) -> torch.Tensor:
    if targets.dtype.kind not in "iubf" or targets.ndim > 2:
        raise DataError(f"targets must be real numbers, one or one row per example, got {_described(targets)}")
    with np.errstate(over="ignore"):
        numbers = targets.astype(np.float32).reshape(len(targets), -1)
    _refuse_non_finite("targets", numbers)
    if targets.dtype.itemsize > 4 or targets.dtype.kind != "f":
        exact = targets.astype(np.float64).reshape(len(targets), -1)
        names = [f"column {number} of the targets" for number in range(exact.shape[1])]
        refuse_coarse(exact, names, "subtract an offset, or standardise them", "path")
    return torch.from_numpy(numbers)


def _classes(targets: np.ndarray) -> torch.Tensor:
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.ndim != 1:
        raise DataError(f"class targets must be one number per example, got {_described(targets)}: try argmax(axis=1)")
    if targets.dtype.kind not in "iubf":
        raise DataError(f"class targets must be numbers from 0, got {_described(targets)}")
    _refuse_non_finite("targets", targets)
    numbers = targets.astype(np.int64)
    if (numbers != targets).any():
        raise DataError("class targets must be whole numbers; for a regression say `task: values`")
    if numbers.min() < 0:
        raise DataError(f"class numbers start at 0, got {numbers.min()}")
    return torch.from_numpy(numbers)


def _num_classes(targets: torch.Tensor, stated: int | None) -> int:
    if stated is not None:
        return stated
    present = targets.unique()
    highest = int(present[-1])
    if len(present) != highest + 1:
        absent = next(number for number, known in enumerate([*present.tolist(), -1]) if number != known)
        problem = f"class {absent} has no example, though classes go up to {highest}"
        raise DataError(f"{problem}: number them from 0 without gaps, or give `num_classes`")
    return highest + 1


def _refuse_non_finite(name: str, numbers: np.ndarray) -> None:
    if numbers.dtype.kind == "f":
        bad = ~np.isfinite(numbers.reshape(len(numbers), -1)).all(axis=1)
        if bad.any():
            raise DataError(f"{name} of {bad.sum()} examples are not finite numbers, the first in row {bad.argmax()}")


def _described(array: np.ndarray) -> str:
    return f"{array.dtype}, shape {array.shape}"
