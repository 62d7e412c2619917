"""Training rows that all have the same target: refused at what names it, or at what splits the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from optrun.experiments import build, load_config
from optrun.experiments.components.data import BEFORE, Fitted
from optrun.experiments.components.data import registry as data_sets
from optrun.experiments.config import ConfigError

RANDOM = np.random.default_rng(5)
OPTIMIZER = {"name": "sgd", "lr": 0.1}
OWN = """
import torch
from torch import nn
from optrun.experiments import Dataset

def loss(outputs, targets):
    return outputs.square().mean()

def data():
    return Dataset(torch.randn(20, 2), torch.zeros(20, 1), "values", 1)

class Residual(nn.Linear):
    def __init__(self):
        super().__init__(2, 1)
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPTRUN_THREADS", "1")
    monkeypatch.setenv("OPTRUN_DATA_DIR", str(tmp_path / "kept"))
    Path("own.py").write_text(OWN)


def table(targets: list[Any]) -> dict[str, Any]:
    rows = [f"{first},{second},{target}" for (first, second), target in zip(inputs(len(targets)), targets, strict=True)]
    Path("table.csv").write_text("\n".join(["a,b,y", *rows]) + "\n")
    return {"name": "csv", "path": "table.csv", "target": "y"}


def inputs(count: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, 2))


def of_arrays(targets: Any, **parts: Any) -> dict[str, Any]:
    targets = np.asarray(targets)
    np.savez("arrays.npz", x_train=inputs(len(targets)), y_train=targets, **parts)
    return {"name": "arrays", "path": "arrays.npz"}


def of_folder(targets: Any) -> dict[str, Any]:
    Path("arrays").mkdir()
    np.save("arrays/x.npy", inputs(len(targets)))
    np.save("arrays/y.npy", np.asarray(targets))
    return {"name": "arrays", "path": "arrays"}


def pictures(*folders: str) -> dict[str, Any]:
    for folder in folders:
        path = Path("pictures", folder)
        path.mkdir(parents=True)
        for number in range(6):
            Image.fromarray(RANDOM.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(path / f"{number}.png")
    return {"name": "image_folder", "path": "pictures", "size": 4}


def of_text(content: str) -> dict[str, Any]:
    Path("text.txt").write_text(content)
    return {"name": "text", "path": "text.txt", "length": 4}


def config(data: dict[str, Any], task: str, **more: Any) -> dict[str, Any]:
    by_task: dict[str, dict[str, Any]] = {
        "values": {"model": {"name": "mlp", "hidden": []}, "loss": "mse", "metrics": ["r2"]},
        "classes": {"model": "logistic", "loss": "cross_entropy", "metrics": ["accuracy"]},
        "tokens": {"model": {"name": "lstm", "width": 4}, "loss": "next_token", "metrics": []},
    }
    tasked = {"task": task} if data["name"] == "csv" else {}
    given = {"data": {"batch_size": 8, **tasked, **data}, **by_task[task], "optimizer": OPTIMIZER}
    return {**given, "train": {"steps": 2}, "eval": {"metric": "val/loss"}, "checkpoint": {"best": False}, **more}


FROM_ELSEWHERE = {
    *("arff", "arrays", "csv", "openml", "parquet", "image_folder", "tar_shards", "hf", "none"),
    *("cifar10", "cifar100", "mnist", "fashion_mnist"),
}
CONSTANT = {
    "csv values": (lambda: table(["3.5"] * 20), "values", "data.target", "3.5"),
    "csv values, 0": (lambda: table(["0"] * 20), "values", "data.target", "0"),
    "csv values, not exact": (lambda: table(["0.1"] * 20), "values", "data.target", "0.1"),
    "csv values, scaled": (lambda: {**table(["7"] * 20), "target_scaling": "standard"}, "values", "data.target", "7"),
    "csv classes": (lambda: table(["cat"] * 20), "classes", "data.target", "class 'cat'"),
    "csv classes, of two": (lambda: {**table(["b"] * 20), "classes": ["a", "b"]}, "classes", "data.target", "'b'"),
    "csv classes, one row": (lambda: {**table(["cat"] * 20), "subset": 1}, "classes", "data.target", "class 'cat'"),
    "arrays of values": (lambda: of_arrays(np.full((20, 1), 2.5)), "values", "data.path", "2.5"),
    "arrays of two values": (lambda: of_arrays(np.tile([1.0, 2.0], (20, 1))), "values", "data.path", "(1, 2)"),
    "arrays of classes": (lambda: of_arrays(np.zeros(20, int)), "classes", "data.path", "class 0"),
    "arrays of classes, of three": (
        lambda: {**of_arrays(np.full(20, 1)), "num_classes": 3},
        *("classes", "data.path", "class 1"),
    ),
    "a folder of arrays": (lambda: of_folder(np.full((20, 1), 2.5)), "values", "data.path", "2.5"),
    "arrays, the training part": (
        lambda: of_arrays(np.zeros(20, int), x_test=inputs(4), y_test=np.array([0, 1, 0, 1])),
        *("classes", "data.path", "class 0"),
    ),
    "pictures of a class": (lambda: pictures("cat"), "classes", "data.path", "class 'cat'"),
    "pictures, the training part": (
        lambda: pictures("train/cat", "test/cat", "test/dog"),
        *("classes", "data.path", "class 'cat'"),
    ),
    "a text of a letter": (lambda: of_text("a" * 200), "tokens", "data.path", "token 97"),
    "the split": (lambda: table(["1"] * 19 + ["2"]), "values", "data.val", "1"),
    "another split": (lambda: {**table(["a"] * 19 + ["b"]), "val": 0.6}, "classes", "data.val", "'a'"),
    "a subset": (
        lambda: {**table(["a"] * 19 + ["b"]), "val": 0, "test": 0, "subset": 4},
        "classes",
        "data.subset",
        "class 'a'",
    ),
}


@pytest.mark.parametrize("case", CONSTANT)
def test_training_rows_of_one_target_are_refused_at_its_key(case: str) -> None:
    make, task, key, value = CONSTANT[case]
    with pytest.raises(ConfigError) as caught:
        build(load_config(config(make(), task)))
    problem = caught.value.problems[0]
    assert problem.key == key
    assert value in problem.message
    assert "every metric calls perfect" in problem.message or "there is nothing to predict" in problem.message


@pytest.mark.parametrize(
    ("make", "task"),
    [
        (
            lambda: {**table(["1"] * 19 + ["2"]), "split_seed": 1},
            "values",
        ),  # by another order, the odd one is among them
        (lambda: {**table(["a", "b"] * 10), "subset": 1}, "classes"),  # one row, as somebody asked for
        (lambda: of_arrays([*np.zeros(10, int), *np.ones(10, int)]), "classes"),
        (lambda: pictures("cat", "dog"), "classes"),
        (lambda: of_text("ab" * 100), "tokens"),
    ],
)
def test_other_rows_are_trained_on_without_a_word(make: Any, task: str) -> None:
    assert build(load_config(config(make(), task))).notes == []


def test_of_several_targets_a_constant_one_is_named() -> None:
    found = build(load_config(config(of_arrays(np.column_stack([np.ones(20), np.arange(20.0)])), "values"))).notes
    assert found == ["column 0 of the targets is constant over the 12 training rows: there is nothing to learn there"]


@pytest.mark.parametrize("own", ["loss", "model", "data"])
def test_where_code_of_the_users_own_takes_part_it_is_a_note(own: str) -> None:
    """A loss may go by something else, and a model may give the residual of an equation, whose target is 0."""
    given = config(table(["0"] * 20), "values")
    given[own] = {"loss": "./own.py:loss", "model": "./own.py:Residual", "data": "./own.py:data"}[own]
    (note,) = build(load_config(given)).notes
    assert note.startswith("all 20 rows have the same target, 0: ")
    name = {"loss": "loss", "model": "Residual", "data": "data"}[own]
    assert note.endswith(f"only the {own} '{name}' can know what that is for")


def test_a_model_of_ones_own_does_not_tell_one_class_from_others() -> None:
    given = config(table(["cat"] * 20), "classes", model="./own.py:Residual")
    with pytest.raises(ConfigError, match="class 'cat'"):
        build(load_config(given))


@pytest.mark.parametrize("fitted", [BEFORE, Fitted({"classes": ("cat",)})])
def test_a_run_of_before_goes_on_and_is_measured(fitted: Fitted) -> None:
    given = config({**table(["cat"] * 20), "scaling": "none"}, "classes")
    assert build(load_config(given), fitted).splits.train.targets.unique().tolist() == [0]


@pytest.mark.parametrize("name", sorted(set(data_sets.names()) - FROM_ELSEWHERE))
def test_data_that_comes_with_optrun_has_targets_that_differ(name: str) -> None:
    from optrun.experiments.components.data import make_data, split

    targets = split(make_data(name)).train.targets
    assert (targets != targets[:1]).any()
