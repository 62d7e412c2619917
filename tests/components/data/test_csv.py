"""Tables from CSV files: what is read, and how each kind of bad table is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from optrun.experiments import load_config
from optrun.experiments.components.data import make_data, split
from optrun.experiments.errors import DataError

TABLE = 'size,"number, of legs",kind,price\n1,4,cat,10.5\n2,4,dog,20\n\n4.5,2,bird,1e1\n3,4,cat,-3\n'


def saved(folder: Path, text: str = TABLE) -> str:
    (folder / "table.csv").write_text(text, encoding="utf-8")
    return str(folder / "table.csv")


def test_classes_are_numbered_in_the_order_of_their_names(tmp_path: Path) -> None:
    dataset = make_data("csv", path=saved(tmp_path), target="kind", task="classes", scaling="none")
    assert dataset.class_names == ("bird", "cat", "dog")
    assert dataset.targets.tolist() == [1, 2, 0, 1]
    assert dataset.inputs.tolist() == [[1, 4, 10.5], [2, 4, 20], [4.5, 2, 10], [3, 4, -3]]
    numbered = "x,y\n1,10\n2,9\n3,2\n"
    dataset = make_data("csv", path=saved(tmp_path, numbered), target="y", task="classes")
    assert dataset.class_names == ("2", "9", "10")


def test_values_standardised_inputs_and_other_delimiters(tmp_path: Path) -> None:
    path = saved(tmp_path, TABLE.replace("number, of", "number of").replace(",", ";"))
    dataset = make_data("csv", path=path, target="price", task="values", inputs=("size",), delimiter=";")
    assert dataset.targets.tolist() == [[10.5], [20], [10], [-3]]
    parts = split(dataset, val=0.25, test=0.25)
    sizes = torch.tensor([1, 2, 4.5, 3])
    train = sizes[parts.train.positions]
    for part in (parts.train, parts.val, parts.test):
        expected = (sizes[part.positions] - train.mean()) / train.std(correction=0)
        torch.testing.assert_close(part.inputs[:, 0], expected)
    both = make_data(
        "csv", path=path, target=("price", "size"), task="values", inputs=("number of legs",), delimiter=";"
    )
    assert both.targets[1].tolist() == [20, 2]


def test_a_configuration_can_name_it(tmp_path: Path) -> None:
    config = load_config(
        {
            "data": {"name": "csv", "path": saved(tmp_path), "target": "price", "task": "values", "inputs": ["size"]},
            "model": "mlp",
            "loss": "mse",
            "optimizer": "sgd",
            "train": {"steps": 1},
        }
    )
    assert make_data(config.data.component, **config.data.args).inputs.shape == (4, 1)


@pytest.mark.parametrize(
    ("text", "args", "message"),
    [
        (TABLE, {"target": "prize"}, "has no column 'prize'. Did you mean 'price'? Its first line names: size, number"),
        (TABLE, {"target": "price"}, "table.csv:2: column 'kind' needs numbers, got 'cat' (`inputs` names the columns"),
        (TABLE, {"target": "price", "inputs": ("price",)}, "price cannot be input and target"),
        (TABLE, {"target": ("price", "kind"), "task": "classes"}, "expected one target for classes"),
        ("x,y\n1,2\n,3\n", {"target": "y"}, "table.csv:3: column 'x' needs numbers, got nothing"),
        ("x,y\n1,2\nnan,3\n", {"target": "y"}, "table.csv:3: column 'x' needs numbers, got 'nan'"),
        ("x,y\n1,a\n2,\n", {"target": "y", "task": "classes"}, "table.csv:3: no class in column 'y'"),
        ("x,y\n1,2\n1,2,3\n", {"target": "y"}, "table.csv:3: expected 2 cells as in the first line, got 3"),
        ("x,x\n1,2\n", {"target": "x"}, "table.csv:1: several columns are called x"),
        (
            "x,y\n1,2\n1,3\n",
            {"target": "y"},
            "column 'x' is constant: leave it out by `inputs`, or say `scaling: none`",
        ),
        ("y\n1\n", {"target": "y"}, "expected at least one input column"),
        ("x,y\n", {"target": "y"}, "the file has no rows"),
        ("", {"target": "y"}, "the file has no rows"),
        ('x,y\n"1,2\n', {"target": "y"}, "cannot be read as CSV in UTF-8"),
        (TABLE, {"target": "price", "delimiter": "::"}, "delimiter must be one character, got '::'"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        make_data("csv", path=saved(tmp_path, text), **{"task": "values", **args})
    assert message in str(caught.value)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(b"x,y\n\xff,1\n")
    with pytest.raises(DataError, match="cannot be read as CSV in UTF-8"):
        make_data("csv", path=str(tmp_path / "table.csv"), target="y", task="values")
    with pytest.raises(DataError, match="no file "):
        make_data("csv", path=str(tmp_path / "none.csv"), target="y", task="values")
