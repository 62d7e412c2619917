"""The tables of scikit-learn, as its own functions give them; standardised; refused when changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import datasets

from optrun.experiments.components.data import make_data, split, tables
from optrun.experiments.errors import DataError

NAMES = ["iris", "wine", "breast_cancer", "diabetes", "linnerud"]


def theirs(name: str) -> Any:
    return getattr(datasets, f"load_{name}")(**({"scaled": False} if name == "diabetes" else {}))


@pytest.mark.parametrize("name", NAMES)
def test_they_are_scikit_learns(name: str) -> None:
    bunch, dataset = theirs(name), make_data(name, scaling="none")
    np.testing.assert_array_equal(dataset.inputs.numpy(), bunch.data.astype(np.float32))
    np.testing.assert_array_equal(dataset.targets.numpy().reshape(bunch.target.shape), bunch.target)
    if dataset.task == "classes":
        assert dataset.class_names == tuple(bunch.target_names)


@pytest.mark.parametrize("name", NAMES)
def test_they_are_standardised_when_they_are_split(name: str) -> None:
    bunch, dataset = theirs(name), make_data(name)
    np.testing.assert_array_equal(dataset.inputs.numpy(), bunch.data)
    splits = split(dataset)
    train = splits.train.inputs.double().numpy()
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(train.std(0), 1, atol=1e-6)
    if dataset.task == "values":
        whole = splits.dataset
        back = whole.targets.numpy() * whole.facts["target_std"] + whole.facts["target_mean"]
        np.testing.assert_allclose(back.reshape(bunch.target.shape), bunch.target, rtol=1e-5)
        np.testing.assert_allclose(splits.train.targets.numpy().std(0), 1, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_changed_ones_are_refused_and_moved_ones_are_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = make_data(name)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_file", lambda self: False)
        assert make_data(name).inputs.equal(expected.inputs)
    numbers = tables._numbers
    monkeypatch.setattr(tables, "_numbers", lambda path: numbers(path) + 1e-9)
    with pytest.raises(DataError, match=f"{name} data is not the published one"):
        make_data(name)
