"""Predictions: held against forward passes by hand, scikit-learn's scaling, and what evaluations measure."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image
from sklearn.preprocessing import StandardScaler

from optrun.experiments import Run, build, evaluate, predict, train
from optrun.experiments.errors import DataError, UsageError
from optrun.experiments.training.build import make_splits

DRAWN = np.random.default_rng(4)
A, B = DRAWN.normal(50, 5, 60), DRAWN.normal(-3, 0.1, 60)
PRICES = np.column_stack([1e6 + 3000 * A, B * 7])
CONFIG: dict[str, Any] = {
    "model": {"name": "mlp", "hidden": [4]},
    "optimizer": {"name": "adam", "lr": 0.02},
    "train": {"epochs": 2},
}


def write_table(path: str, **columns: Any) -> None:
    rows = zip(*(map(str, values) for values in columns.values()), strict=True)
    Path(path).write_text("\n".join([",".join(columns), *map(",".join, rows)]) + "\n")


def values_run(**data: Any) -> Run:
    write_table("t.csv", a=A, b=B, price=PRICES[:, 0], size=PRICES[:, 1])
    table = {"name": "csv", "path": "t.csv", "target": ["price", "size"], "task": "values", "batch_size": 16}
    given = {**table, "target_scaling": "standard", **data}
    return train({**CONFIG, "data": given, "loss": "mse", "metrics": ["mae"]})


def test_values_come_in_the_units_of_the_file_without_a_target() -> None:
    run = values_run()
    write_table("new.csv", b=B[:3] + 0.01, note=["x", "y", "z"], a=A[:3])
    found = predict(run, "new.csv")
    rows = make_splits(build(run.config).config).train.positions.numpy()
    inputs = StandardScaler().fit(np.column_stack([A, B])[rows]).transform(np.column_stack([A[:3], B[:3] + 0.01]))
    weights = [each.detach().double().numpy() for each in run.load_model().parameters()]
    hidden = np.maximum(inputs @ weights[0].T + weights[1], 0)
    expected = StandardScaler().fit(PRICES[rows]).inverse_transform(hidden @ weights[2].T + weights[3])
    assert list(found.columns) == ["row", "prediction_price", "prediction_size"]
    np.testing.assert_allclose(
        np.column_stack([found["prediction_price"], found["prediction_size"]]), expected, rtol=1e-6
    )


def test_a_split_has_the_figures_of_its_evaluation() -> None:
    run = values_run()
    found = predict(run, checkpoint="last")
    errors = [found[f"prediction_{name}"] - found[f"target_{name}"] for name in ("price", "size")]
    assert np.abs(errors).mean() == pytest.approx(evaluate(run)["test/mae"], rel=1e-6)
    np.testing.assert_allclose(found["target_price"], PRICES[found["row"], 0], rtol=1e-6)
    assert (np.diff(found["row"]) > 0).all()


def test_classes_have_names_and_probabilities() -> None:
    write_table("t.csv", a=A, kind=np.where(np.arange(60) % 3 == 0, "=cat", "dog"))
    table = {"name": "csv", "path": "t.csv", "target": "kind", "task": "classes", "batch_size": 16}
    run = train({**CONFIG, "data": table, "loss": "cross_entropy", "metrics": ["accuracy"]})
    found = predict(run, split="val", checkpoint="last")
    right = found["prediction"] == found["target"]
    assert right.mean() == pytest.approx(evaluate(run, split="val")["val/accuracy"])
    both = np.column_stack([found["p_=cat"], found["p_dog"]])
    np.testing.assert_allclose(both.sum(1), 1)
    assert (np.array(["=cat", "dog"])[both.argmax(1)] == found["prediction"]).all()
    found.write("p.csv")
    with open("p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["prediction"] for row in rows} <= {"'=cat", "dog"}  # no spreadsheet runs it
    assert [float(row["p_dog"]) for row in rows] == found["p_dog"].tolist()


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "npz"])
def test_each_format_holds_all_of_it(suffix: str) -> None:
    found = predict(values_run())
    path = found.write(f"p.{suffix}")
    if suffix == "csv":
        rows = list(csv.DictReader(path.read_text().splitlines()))
        back = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    elif suffix == "jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        back = {name: np.array([line[name] for line in lines]) for name in lines[0]}
    elif suffix == "parquet":
        back = {name: np.array(each) for name, each in pyarrow.parquet.read_table(path).to_pydict().items()}
    else:
        back = dict(np.load(path, allow_pickle=False))
    assert list(back) == list(found.columns)
    assert all(np.array_equal(back[name], found[name]) for name in back)
    with pytest.raises(UsageError, match="is there: choose another name, or add --force"):
        found.write(path)
    found.write(path, force=True)


def test_pictures_are_called_by_their_files() -> None:
    pixels = DRAWN.integers(0, 256, (20, 6, 6, 3), dtype=np.uint8)
    for number, each in enumerate(pixels):
        folder = Path("p") / ("dark", "light")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(each // 2 if number % 2 == 0 else each).save(folder / f"{number:02d}.png")
    data = {"name": "image_folder", "path": "p", "size": 6, "batch_size": 8, "augment": ["flip", "standardise"]}
    run = train({**CONFIG, "data": data, "loss": "cross_entropy", "metrics": ["accuracy"]})
    Path("new/deep").mkdir(parents=True)
    for name in ("new/b.png", "new/deep/a.png"):
        Image.fromarray(pixels[3]).save(name)
    found = predict(run, "new")
    assert found["file"].tolist() == ["b.png", "deep/a.png"]
    x = pixels[3].transpose(2, 0, 1).reshape(-1) / 255
    weights = [each.detach().double().numpy() for each in run.load_model().parameters()]
    scores = weights[2] @ np.maximum(weights[0] @ ((x - x.mean()) / x.std()) + weights[1], 0) + weights[3]
    np.testing.assert_allclose(found["p_light"], np.exp(scores[1]) / np.exp(scores).sum(), rtol=1e-4)
    assert predict(run)["file"][0].startswith(("dark/", "light/"))
    assert predict(run, "new/b.png")["file"].tolist() == ["b.png"]


def test_arrays_need_no_targets() -> None:
    x = DRAWN.normal(size=(40, 3)).astype(np.float32)
    np.savez("t.npz", inputs=x, targets=x.sum(1) * 2)
    data = {"name": "arrays", "path": "t.npz", "batch_size": 8}
    run = train({**CONFIG, "data": data, "loss": "mse", "metrics": ["mae"], "model": "logistic"})
    weights = [each.detach().numpy() for each in run.load_model().parameters()]
    np.savez("new.npz", x=x[:5])
    np.save("bare.npy", x[:5])
    for name in ("new.npz", "bare.npy"):
        np.testing.assert_allclose(
            predict(run, name)["prediction"], (x[:5] @ weights[0].T + weights[1])[:, 0], rtol=1e-4
        )
    np.savez("other.npz", z=x)
    with pytest.raises(DataError, match=r"other\.npz: expected inputs as one of inputs, x, X, x_train; it has z"):
        predict(run, "other.npz")
    np.save("wide.npy", np.ones((2, 7)))
    with pytest.raises(DataError, match=r"wide\.npy has inputs of shape \(7,\), and .* was trained on \(3,\)"):
        predict(run, "wide.npy")


def test_columns_that_lack_or_are_unknown_are_named(caplog: pytest.LogCaptureFixture) -> None:
    run = values_run()
    write_table("lacks.csv", note=["x"], a=[1.0])
    with pytest.raises(
        DataError, match=r"lacks\.csv lacks the column 'b', which the model was trained with; its first"
    ):
        predict(run, "lacks.csv")
    write_table("more.csv", note=["x"], a=[50.0], b=[-3.0], extra=[1])
    predict(run, "more.csv")
    assert "more.csv: not read, since the model was trained without: the columns 'note', 'extra'" in caplog.text
    write_table("bad.csv", a=[50.0, "about 7"], b=[-3.0, 1])
    with pytest.raises(DataError, match=r"bad\.csv:3: column 'a'"):
        predict(run, "bad.csv")


def test_what_cannot_be_predicted_is_told() -> None:
    iris = {**CONFIG, "data": {"name": "iris"}, "loss": "cross_entropy", "metrics": ["accuracy"]}
    run = train(iris)
    assert set(predict(run)["prediction"]) <= {"setosa", "versicolor", "virginica"}
    with pytest.raises(UsageError, match=r"data 'iris' reads no file that could be another one"):
        predict(run, "new.csv")
    with pytest.raises(UsageError, match=r"no split 'tset': train, val, test"):
        predict(run, split="tset")
    with pytest.raises(UsageError, match="a file or a split"):
        predict(run, "new.csv", split="test")
    with pytest.raises(UsageError, match=r"expected a file that ends with \.csv, \.parquet, \.jsonl, \.npz"):
        predict(run).write("p.xls")
    table = values_run()
    with pytest.raises(DataError, match=r"no file gone\.csv"):
        predict(table, "gone.csv")
    Path("t.csv").write_text(Path("t.csv").read_text() + "1,2,3,4\n")
    with pytest.raises(UsageError, match=r"was made with other data:[\s\S]*--allow-change"):
        predict(table)
    predict(table, allow_change=True)
