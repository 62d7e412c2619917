"""The small tables that come with scikit-learn: three classifications, two regressions."""

from __future__ import annotations

import functools
import gzip
import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from ...errors import DataError
from . import register_data
from .dataset import Dataset, Scaled

Scaling = Literal["standard", "none"]

# Of each table, inputs then targets, in double precision, line by line.
_SHA256 = {
    "iris": "6e592aace77bce225cd6af938de731a5798c8c30ee9cc5f1cd6abdea81e3bb25",
    "wine": "b6ff7c6847be41ee158bdf2267e98a97e1d240566564154aba1c0cc61f551fc3",
    "breast_cancer": "54cbf95e148c6eed11e8b2ac1637b5f44a8053293412279de71c47b345e9eb50",
    "diabetes": "839c546b0b4ac02c2e6cbe5e5c92313cefa993446c9733e9b49477cc3f96e104",
    "linnerud": "e3f94834150c2f52842eeb76a23eb6bc1f8916099c1acb22ed767266eb86eee2",
}


@register_data("iris", source="Fisher, 1936, doi:10.1111/j.1469-1809.1936.tb02137.x, CC BY 4.0", bundled=("iris.csv",))
def iris(scaling: Scaling = "standard") -> Dataset:
    """150 irises of 3 species, 4 lengths each, without any download.

        standard: (x - mean) / std, of each column over the training rows; none: x, in cm

    Args:
        scaling: which of these.

    Raises:
        DataError: scikit-learn's copy is missing or changed.

    Source: Fisher, "The use of multiple measurements in taxonomic problems", 1936; the copy in scikit-learn.
    """
    table = _table("iris", ("iris.csv",))
    return _classes(table, scaling, ("setosa", "versicolor", "virginica"), "150 irises, 3 species (Fisher, 1936)")


@register_data(
    "wine",
    source="Aeberhard and Forina, 1992, UCI repository, doi:10.24432/C5PC7J, CC BY 4.0",
    bundled=("wine_data.csv",),
)
def wine(scaling: Scaling = "standard") -> Dataset:
    """178 wines of 3 growers, 13 measurements each, without any download.

        standard: (x - mean) / std, of each column over the training rows; none: x

    Args:
        scaling: which of these.

    Raises:
        DataError: scikit-learn's copy is missing or changed.

    Source: Aeberhard and Forina, "Wine", UCI machine learning repository, 1992; the copy in scikit-learn.
    """
    table = _table("wine", ("wine_data.csv",))
    return _classes(table, scaling, ("class_0", "class_1", "class_2"), "178 wines, 3 growers (UCI, 1992)")


@register_data(
    "breast_cancer",
    source="Wolberg et al., 1993, UCI repository, doi:10.24432/C5DW2B, CC BY 4.0",
    bundled=("breast_cancer.csv",),
)
def breast_cancer(scaling: Scaling = "standard") -> Dataset:
    """569 tumours, malignant or benign, 30 measurements each, without any download.

        standard: (x - mean) / std, of each column over the training rows; none: x

    Args:
        scaling: which of these.

    Raises:
        DataError: scikit-learn's copy is missing or changed.

    Source: Wolberg, Mangasarian, Street and Street, "Breast cancer Wisconsin (diagnostic)", UCI machine learning
    repository, 1993; the copy in scikit-learn.
    """
    table = _table("breast_cancer", ("breast_cancer.csv",))
    return _classes(table, scaling, ("malignant", "benign"), "569 tumours, malignant or benign (UCI, 1993)")


@register_data(
    "diabetes",
    source="Efron et al., 2004, doi:10.1214/009053604000000067",
    bundled=("diabetes_data_raw.csv.gz", "diabetes_target.csv.gz"),
    unit_targets=lambda args: args["scaling"] == "standard",
)
def diabetes(scaling: Scaling = "standard") -> Dataset:
    """442 patients, 10 measurements each, and how far diabetes went in a year; a regression, without any download.

        standard: (x - mean) / std, of each column over the training rows, the target too; none: x

    Facts, once it is split: `target_mean` and `target_std`, which turn standardised targets back.

    Args:
        scaling: which of these.

    Raises:
        DataError: scikit-learn's copy is missing or changed.

    Source: Efron, Hastie, Johnstone and Tibshirani, "Least angle regression", 2004; the copy in scikit-learn.
    """
    table = _table("diabetes", ("diabetes_data_raw.csv.gz", "diabetes_target.csv.gz"))
    return _values(table, 1, scaling, "442 patients, the progress of diabetes (Efron et al., 2004)")


@register_data(
    "linnerud",
    source="Tenenhaus, 1998, La régression PLS, Editions Technip",
    bundled=("linnerud_exercise.csv", "linnerud_physiological.csv"),
    unit_targets=lambda args: args["scaling"] == "standard",
)
def linnerud(scaling: Scaling = "standard") -> Dataset:
    """20 men, 3 exercises each, and their weight, waist and pulse; a regression, without any download.

        standard: (x - mean) / std, of each column over the training rows, targets too; none: x

    Facts, once it is split: `target_mean` and `target_std`, which turn standardised targets back.

    Args:
        scaling: which of these.

    Raises:
        DataError: scikit-learn's copy is missing or changed.

    Source: Tenenhaus, "La régression PLS: théorie et pratique", 1998; the copy in scikit-learn.
    """
    table = _table("linnerud", ("linnerud_exercise.csv", "linnerud_physiological.csv"))
    return _values(table, 3, scaling, "20 men, 3 exercises, weight, waist and pulse (Tenenhaus, 1998)")


def scikit_data_folder() -> Path:
    """Return the folder of scikit-learn's data files, found without the second that its import takes.

    Raises:
        DataError: scikit-learn is not installed.
    """
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise DataError("this data comes with scikit-learn, which is not installed")
    return Path(spec.origin).parent / "datasets" / "data"


def read_bundled(name: str, files: Sequence[str]) -> np.ndarray:
    """Return the inputs and targets of scikit-learn's table side by side, in double precision.

    The files are read directly, because importing sklearn.datasets takes longer than the training; a release that
    keeps them elsewhere is asked through its public function.
    """
    paths = [scikit_data_folder() / file for file in files]
    if all(map(Path.is_file, paths)):
        return np.column_stack([_numbers(path) for path in paths])
    from sklearn import datasets

    raw = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, f"load_{name}")(**raw)
    return np.column_stack([bunch.data, bunch.target]).astype(np.float64)


def _table(name: str, files: Sequence[str]) -> np.ndarray:
    """Return inputs and targets side by side, after a look at their hash."""
    table = np.ascontiguousarray(read_bundled(name, files))
    if hashlib.sha256(table.tobytes()).hexdigest() != _SHA256[name]:
        raise DataError(f"scikit-learn's {name} data is not the published one: reinstall scikit-learn")
    return table


def _numbers(path: Path) -> np.ndarray:
    return _parsed(path, path.stat().st_mtime_ns)


@functools.cache  # many runs of a process read the same
def _parsed(path: Path, modified: int) -> np.ndarray:
    content = path.read_bytes()
    lines = (gzip.decompress(content) if path.suffix == ".gz" else content).decode().splitlines()
    has_header = not path.name.startswith(("diabetes", "digits"))
    return np.loadtxt(lines[1:] if has_header else lines, delimiter="," if "," in lines[0] else None)


def _classes(table: np.ndarray, scaling: Scaling, names: tuple[str, ...], description: str) -> Dataset:
    inputs = columns(table[:, :-1], scaling)
    targets = torch.from_numpy(table[:, -1].astype(np.int64))
    origin = f"{description}, scikit-learn's copy"
    parts = standardised(inputs=scaling)
    return Dataset(inputs, targets, "classes", len(names), class_names=names, description=origin, standardised=parts)


def _values(table: np.ndarray, num_targets: int, scaling: Scaling, description: str) -> Dataset:
    inputs, targets = columns(table[:, :-num_targets], scaling), columns(table[:, -num_targets:], scaling)
    facts = {"target_mean": [0.0] * num_targets, "target_std": [1.0] * num_targets}
    origin = f"{description}, scikit-learn's copy"
    parts = standardised(inputs=scaling, targets=scaling)
    return Dataset(inputs, targets, "values", num_targets, description=origin, facts=facts, standardised=parts)


def standardised(inputs: Scaling, targets: Scaling = "none") -> tuple[Scaled, ...]:
    """Return which parts of a data set are standardised."""
    both: tuple[tuple[Scaled, Scaling], ...] = (("inputs", inputs), ("targets", targets))
    return tuple(part for part, scaling in both if scaling == "standard")


def columns(numbers: np.ndarray, scaling: Scaling) -> torch.Tensor:
    """Return columns in single precision, or in double until they are standardised."""
    return torch.from_numpy(numbers.astype(np.float32) if scaling == "none" else numbers)
