"""Weights of examples by name: which are taken, drawn by as they say, and what is refused with its place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, StackDataset, Subset, TensorDataset

from optrun.experiments import Dataset, make_data
from optrun.experiments.components.data.sampling import Sampling, by_class
from optrun.experiments.components.data.weights import weights_by_class, weights_of_source
from optrun.experiments.errors import ArgumentsError, DataError, FaultsError, UsageError


def weighted(*weights: float) -> Dataset:
    return Dataset(torch.zeros(3, 2), torch.zeros(3, 1), "values", 1, weights={"w": torch.tensor(weights)})


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ((1.0, -2.0, 1.0), "row 1: weights 'w' must be finite and at least 0, got -2"),
        ((1.0, 1.0, float("nan")), "row 2: weights 'w' must be finite and at least 0, got nan"),
        ((float("inf"), 1.0, 1.0), "row 0: .* got inf"),
        ((0.0, 0.0, 0.0), "are all 0"),
        ((1.0, 1.0), r"shape \(3,\), got \(2,\)"),
    ],
)
def test_impossible_weights_are_refused_with_their_row(weights, words):
    with pytest.raises(DataError, match=words):
        weighted(*weights)


def test_weights_that_nobody_named_are_refused_with_those_there():
    assert weighted(1, 2, 0).weights_called("w").tolist() == [1, 2, 0]
    with pytest.raises(UsageError, match="no weights called 'v': there is w"):
        weighted(1, 2, 0).weights_called("v")
    with pytest.raises(UsageError, match=r"comes without weights .*data\.weights"):
        make_data("iris").weights_called("w")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (TensorDataset(torch.zeros(3), torch.tensor([2.0, 0.0, 5.0])), 1),
        (StackDataset(x=torch.zeros(3), w=[2, 0, 5]), "w"),
        (StackDataset(torch.zeros(3), [2, 0, 5]), 1),
        (ConcatDataset([StackDataset(x=[0], w=[2]), StackDataset(x=[0, 0], w=[0, 5])]), "w"),
        (Subset(StackDataset(x=[0, 0, 0, 0], w=[5, 7, 0, 2]), [3, 2, 0]), "w"),
    ],
)
def test_a_part_of_a_data_set_of_torchs_is_taken_by_name_or_place(source, name):
    assert weights_of_source(name, source).tolist() == [2, 0, 5]


def test_what_a_data_set_of_torchs_does_not_have_is_refused():
    source = StackDataset(x=torch.zeros(3), w=["a", "b", "c"])
    with pytest.raises(DataError, match="must be numbers, got a list"):
        weights_of_source("w", source)
    with pytest.raises(UsageError, match="has no weights 'v'"):
        weights_of_source("v", source)
    with pytest.raises(DataError, match="example 1: weights 'w' must be finite"):
        weights_of_source("w", StackDataset(x=torch.zeros(2), w=[1.0, -1.0]))


def test_examples_are_drawn_as_often_as_their_weights_say():
    """An example with a share p of the weights is drawn n p times, give or take sqrt(n p)."""
    weights = torch.tensor([0.0, 1.0, 2.0, 7.0], dtype=torch.float64)
    sampling = Sampling(weights=weights)
    drawn = torch.cat([sampling.order(5, epoch, 4) for epoch in range(2500)]).bincount(minlength=4).double()
    assert drawn[0] == 0
    expected = 10_000 * weights / 10
    assert ((drawn - expected).abs() <= 5 * expected.sqrt()).all()
    assert torch.equal(sampling.order(5, 3, 4), sampling.order(5, 3, 4))
    assert any(not torch.equal(sampling.order(5, 0, 4), sampling.order(5, epoch, 4)) for epoch in range(1, 9))


def test_weights_by_class_are_those_of_each_example():
    targets = torch.tensor([2, 0, 1, 2, -100])
    assert by_class((1.0, 0.0, 3.0), targets).weights.tolist() == [3, 1, 0, 3, 0]
    with pytest.raises(ArgumentsError, match="2 numbers, and the targets are 0 to 2"):
        by_class((1.0, 0.0), targets)
    with pytest.raises(ArgumentsError, match="class of each example"):
        by_class((1.0, 0.0), None)


def test_classes_are_named_as_the_data_names_them():
    names = ("cat", "dog", "eel")
    assert weights_by_class({"eel": 3, "cat": 1, "dog": 2}, names, 3) == (1, 2, 3)
    assert weights_by_class({"1": 2, "0": 1}, (), 2) == (1, 2)
    assert weights_by_class([1, 2, 3], names, 3) == (1, 2, 3)
    for given, words in [
        ({"cat": 1, "dog": 1}, "'eel' has no weight"),
        ({"cat": 1, "dog": 1, "eels": 1}, "'eels' is no class of the data; did you mean 'eel'"),
        ([1, 2], "2 numbers for 3 classes"),
    ]:
        with pytest.raises(ArgumentsError, match=words):
            weights_by_class(given, names, 3)


def test_a_column_of_a_table_weighs_and_is_no_input(tmp_path):
    (tmp_path / "t.csv").write_text("a,w,y\n1,2,x\n2,0,z\n3,5,x\n", encoding="utf-8")
    args = {"path": str(tmp_path / "t.csv"), "target": "y", "task": "classes"}
    made = make_data("csv", **args, weights="w")
    assert (made.columns, made.weights_called("w").tolist()) == (("a",), [2, 0, 5])
    assert make_data("csv", **args).columns == ("a", "w")
    assert made.sha256() != make_data("csv", **args, inputs=("a",)).sha256()
    for column, words in [("y", "cannot be a weight"), ("v", "no column 'v'")]:
        with pytest.raises(FaultsError, match=words):
            make_data("csv", **args, weights=column)
    for cell, words in [
        ("-1", "'w' holds weights, and has '-1'"),
        ("", "every row needs a weight"),
        ("much", "is a number"),
    ]:
        (tmp_path / "t.csv").write_text(f"a,w,y\n1,2,x\n2,{cell},z\n3,5,x\n", encoding="utf-8")
        with pytest.raises(FaultsError, match=rf"t\.csv:3: column .*{words}"):
            make_data("csv", **args, weights="w")


def test_a_column_of_a_parquet_table_weighs(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    table = pa.table({"a": [1.0, 2.0], "w": [1, 3], "y": [0.0, 1.0]})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    made = make_data("parquet", path=str(tmp_path / "t.parquet"), target="y", task="values", weights=("w",))
    assert (made.columns, made.weights_called("w").tolist()) == (("a",), [1, 3])


def test_arrays_weigh_by_a_name_of_the_file(tmp_path):
    inputs, targets = np.zeros((4, 2)), np.array([0, 1, 0, 1])
    np.savez(tmp_path / "one.npz", x=inputs, y=targets, w=[1, 0, 2, 3])
    assert make_data("arrays", path=str(tmp_path / "one.npz"), weights="w").weights["w"].tolist() == [1, 0, 2, 3]
    parts = {"x_train": inputs, "y_train": targets, "x_val": inputs[:2], "y_val": targets[:2]}
    np.savez(tmp_path / "two.npz", **parts, w_train=[1, 0, 2, 3], w_val=[4, 5])
    made = make_data("arrays", path=str(tmp_path / "two.npz"), weights="w")
    assert made.weights["w"].tolist() == [1, 0, 2, 3, 4, 5]
    np.savez(tmp_path / "two.npz", **parts, w_train=[1, 0, 2, 3])
    with pytest.raises(DataError, match="expected weights as val_w or w_val"):
        make_data("arrays", path=str(tmp_path / "two.npz"), weights="w")
    (tmp_path / "folder").mkdir()
    for name, array in {"x": inputs, "y": targets, "w": np.array([1.0, 0, 2, -3])}.items():
        np.save(tmp_path / "folder" / f"{name}.npy", array)
    with pytest.raises(DataError, match="weights 'w' must be finite and at least 0, got -3"):
        make_data("arrays", path=str(tmp_path / "folder"), weights="w")
