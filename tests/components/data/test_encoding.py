"""Categories and missing cells: fitted to the training rows, as scikit-learn does it; what is unseen is named."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from optrun.experiments import Dataset, build, evaluate, load_config, resume, train
from optrun.experiments.components.data import Fitted, Splits, make_data, split
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import DataError, OptrunError
from optrun.experiments.training.load import stored_fitted

NAMES = ("ant", "bee", "cat, the")
RANDOM = np.random.default_rng(5)
ROWS = [
    {
        "size": f"{RANDOM.normal(100, 5):.3f}",
        "kind": NAMES[RANDOM.integers(3)],
        "zip": str(RANDOM.choice([10, 9, 101])),
        "age": f"{RANDOM.normal(40, 9):.2f}",
        "y": f"{number * 0.5}",
    }
    for number in range(60)
]


def holed(rows: list[dict[str, str]], *columns: str) -> list[dict[str, str]]:
    """Return rows of which every seventh lacks some cells."""
    return [{**row, **dict.fromkeys(columns if number % 7 == 3 else (), "")} for number, row in enumerate(rows)]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPTRUN_THREADS", "1")


def write(rows: list[dict[str, str]], path: str = "table.csv") -> None:
    lines = [",".join(f'"{cell}"' for cell in row.values()) for row in rows]
    Path(path).write_text("\n".join([",".join(rows[0]), *lines]) + "\n")


def made(rows: list[dict[str, str]], **args: Any) -> Dataset:
    write(rows)
    return make_data("csv", path="table.csv", target="y", task="values", **args)


def parts(splits: Splits) -> list[Any]:
    return [part for part in (splits.train, splits.val, splits.test) if part is not None]


def by_scikit_learn(rows: list[dict[str, str]], train: np.ndarray, method: str, scaling: str) -> np.ndarray:
    """Return the inputs as a pipeline of scikit-learn's makes them, fitted to the training rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # joblib, where semaphores are forbidden
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
    columns = []
    for name in ("size", "kind", "zip", "age"):
        if name in ("kind", "zip"):
            key = int if name == "zip" else str
            names = [sorted({rows[row][name] for row in train}, key=lambda each: key(each or "0"))]
            if method == "one_hot":
                encoder: Any = OneHotEncoder(categories=names, handle_unknown="ignore", sparse_output=False)
            else:
                encoder = OrdinalEncoder(categories=names, handle_unknown="use_encoded_value", unknown_value=-1)
            cells = np.array([[row[name]] for row in rows], dtype=object)
            found = encoder.fit(cells[train]).transform(cells)
            columns.append(found if method == "one_hot" else found + 1)
            continue
        numbers = np.array([[float(row[name] or "nan")] for row in rows])
        scaler = StandardScaler() if scaling == "standard" else FunctionTransformer()
        columns.append(make_pipeline(SimpleImputer(), scaler).fit(numbers[train]).transform(numbers))
    return np.hstack(columns)


@pytest.mark.parametrize("scaling", ["standard", "none"])
@pytest.mark.parametrize("method", ["one_hot", "codes"])
@pytest.mark.parametrize("holes", [(), ("age",), ("kind",), ("age", "kind")])
@pytest.mark.parametrize("cut", [{}, {"subset": 9}, {"split_seed": 3, "test": 0.5}])
def test_as_scikit_learn_does_it(holes: tuple[str, ...], method: Any, scaling: str, cut: dict[str, Any]) -> None:
    rows = holed(ROWS, *holes)
    policies = {"age": "mean", "kind": "category"}
    missing = {name: policies[name] for name in holes}
    dataset = made(
        rows, scaling=scaling, categories=method, categorical=("kind", "zip"), missing=missing, unseen="ignore"
    )
    splits = split(dataset, **cut)
    expected = by_scikit_learn(rows, splits.train.positions.numpy(), method, scaling)
    for part in parts(splits):
        assert part.inputs.dtype == torch.float32
        np.testing.assert_allclose(part.inputs.numpy(), expected[part.positions], rtol=1e-5, atol=1e-5)
    assert len(splits.dataset.columns) == expected.shape[1]


def test_names_of_columns_and_description() -> None:
    dataset = made(ROWS, categorical=("kind", "zip"))
    assert dataset.description == "60 rows of table.csv; categories: kind of 3, zip of 3"
    kinds = ("kind=ant", "kind=bee", "kind=cat, the")
    assert split(dataset).dataset.columns == ("size", *kinds, "zip=9", "zip=10", "zip=101", "age")
    assert split(made(ROWS)).dataset.columns == ("size", *kinds, "zip", "age")
    assert split(made(ROWS, categories="codes")).dataset.columns == ("size", "kind", "zip", "age")


@pytest.mark.parametrize("method", ["one_hot", "codes"])
def test_no_other_row_has_a_say(method: Any) -> None:
    rows = holed(ROWS, "age")
    args: dict[str, Any] = {"missing": "mean", "categories": method, "unseen": "ignore"}
    before = split(made(rows, **args))
    changed = [dict(row) for row in rows]
    for part in parts(before)[1:]:
        for row in part.positions.tolist():
            changed[row] |= {"age": "1000", "kind": "a yak"}
    after = split(made(changed, **args))
    assert before.train.inputs.equal(after.train.inputs)  # type: ignore[union-attr]
    assert before.fitted == after.fitted


# ---- unseen and missing ----------------------------------------------------------------------------------------------


def test_categories_that_no_training_row_has_are_refused_by_name() -> None:
    test_rows = split(made(ROWS)).test.positions.tolist()  # type: ignore[union-attr]
    rows = [dict(row) for row in ROWS]
    rows[test_rows[1]]["kind"], rows[test_rows[0]]["kind"] = "yak", "zebu"
    message = (
        rf"table\.csv:{test_rows[0] + 2}: column 'kind' has 'yak', 'zebu', which no training row has \(`unseen: ig"
    )
    with pytest.raises(DataError, match=message):
        split(made(rows))
    splits = split(made(rows, unseen="ignore"))
    assert splits.test.inputs[:2, 1:4].tolist() == [[0, 0, 0]] * 2  # type: ignore[union-attr]
    codes = split(made(rows, unseen="ignore", categories="codes"))
    assert codes.test.inputs[:2, 1].tolist() == [0, 0]  # type: ignore[union-attr]
    assert codes.train.inputs[:, 1].unique().tolist() == [1, 2, 3]  # type: ignore[union-attr]
    for number, row in enumerate(test_rows):
        rows[row]["kind"] = f"kind {number}"
    with pytest.raises(DataError, match=r"'kind 11', 'kind 2' and 7 more, which no training row has"):
        split(made(rows))


@pytest.mark.parametrize(
    ("holes", "missing", "message"),
    [
        (("age",), "refuse", r"table\.csv:5: column 'age' needs numbers, got nothing \(`missing: mean` puts the mean"),
        (
            ("kind",),
            "refuse",
            r"table\.csv:5: column 'kind' has nothing where it needs a category \(`missing: {kind: cat",
        ),
        (
            ("age",),
            "category",
            r"table\.csv:5: column 'age' has nothing where it needs a number .* say `missing: {age: mean}",
        ),
        (("kind",), "mean", r"table\.csv:5: column 'kind' has nothing, and categories have no mean"),
        (("age", "kind"), {"kind": "category"}, r"table\.csv:5: column 'age' needs numbers, got nothing"),
        (("y",), "mean", r"table\.csv:5: column 'y' needs numbers, got nothing \(every row needs a target\)"),
    ],
)
def test_a_cell_without_a_value_is_refused_unless_there_is_a_policy_for_it(
    holes: tuple[str, ...], missing: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        made(holed(ROWS, *holes), missing=missing)


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN", "NA", "n/a", "null", "None"])
def test_what_stands_for_a_missing_number(cell: str) -> None:
    rows = [{**row, "age": cell if number == 8 else row["age"]} for number, row in enumerate(ROWS)]
    with pytest.raises(
        DataError, match=rf"table\.csv:10: column 'age' needs numbers, got {repr(cell) if cell.strip() else 'nothing'}"
    ):
        made(rows)
    assert made(rows, missing="mean").inputs[:, 3].isnan().nonzero().tolist() == [[8]]
    rows = [{**row, "kind": cell if number == 8 else row["kind"]} for number, row in enumerate(ROWS)]
    if cell.strip():  # a country may be called NA
        assert cell in made(rows).encoding.categories["kind"]


def test_training_rows_without_a_number_have_no_mean() -> None:
    train_rows = set(split(made(ROWS)).train.positions.tolist())
    rows = [{**row, "age": "" if number in train_rows else row["age"]} for number, row in enumerate(ROWS)]
    with pytest.raises(DataError, match=r"60 rows of table\.csv; .*: column 'age' has no number in the training rows"):
        split(made(rows, missing="mean"))


# ---- runs ------------------------------------------------------------------------------------------------------------


def config(**data: Any) -> dict[str, Any]:
    table = {"name": "csv", "path": "table.csv", "target": "y", "task": "values", "batch_size": 8, **data}
    return {
        "data": table,
        "model": {"name": "mlp", "hidden": [3]},
        "loss": "mse",
        "optimizer": {"name": "adam", "lr": 0.01},
        "train": {"steps": 6},
        "checkpoint": {"every": "3 steps"},
    }


@pytest.mark.parametrize("method", ["one_hot", "codes"])
def test_a_run_keeps_what_it_took_from_its_rows(method: str) -> None:
    rows = holed(ROWS, "age", "kind")
    write(rows)
    wanted = config(categories=method, categorical=["kind", "zip"], missing={"age": "mean", "kind": "category"})
    run = train(wanted, name="run")
    kept = stored_fitted(run.dir)
    assert Fitted.from_dict(json.loads(json.dumps(kept.as_dict()))) == kept
    assert kept == build(load_config(wanted)).splits.fitted
    final = run.dir.read_json("summary.json")["final"]  # type: ignore[index]
    assert evaluate("run")["test/loss"] == final["test/loss"]
    before = build(load_config(wanted), kept).splits
    more = [*rows, *({**row, "age": "900", "zip": "9"} for row in rows)]
    write(more)
    (run.path / "fitted.json").unlink()  # then the checkpoint says it
    after = build(load_config(wanted), stored_fitted(run.dir)).splits
    assert after.fitted == kept
    assert after.dataset.columns == before.dataset.columns
    assert after.dataset.inputs[: len(rows)].equal(before.dataset.inputs)
    write([*rows, {**rows[0], "kind": "yak"}])
    with pytest.raises(OptrunError, match=r"table\.csv:62: column 'kind' has 'yak', which no training row has"):
        evaluate("run", allow_change=True)
    write([{**row, "zip": "9"} for row in rows])
    with pytest.raises(OptrunError, match=r"column 'zip' is constant|has changed"):
        build(load_config(wanted))
    write(rows)
    assert resume("run", {"train.steps": 8}, allow_change=True).dir.read_json("summary.json")["steps"] == 8  # type: ignore[index]


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("encoder"),
        lambda record: record["encoder"].pop("means"),
        lambda record: record["encoder"]["means"].update(age=float("inf")),
        lambda record: record["encoder"]["means"].update(age="old"),
        lambda record: record["encoder"]["categories"].update(kind=[1, 2]),
        lambda record: record["encoder"]["categories"].pop("kind"),
        lambda record: record.update(schema="optrun/fitted@1"),
    ],
)
def test_a_damaged_record_is_refused(change: Any) -> None:
    write(holed(ROWS, "age"))
    run = train(config(missing="mean"), name="run")
    record = json.loads((run.path / "fitted.json").read_text())
    assert record["schema"] == "optrun/fitted@2"
    change(record)
    (run.path / "fitted.json").write_text(json.dumps(record))
    with pytest.raises(OptrunError, match=r"is damaged|held numbers in the training rows|were standardised as"):
        build(load_config(config(missing="mean")), stored_fitted(run.dir))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"missing": "median"}, r"expected refuse or mean or category or a? ?mapping, got 'median'"),
        ({"missing": {"age": "median"}}, "expected refuse or mean or category, got 'median'"),
        ({"categories": "onehot"}, "expected one_hot or codes, got 'onehot'"),
        ({"unseen": "warn"}, "expected refuse or ignore, got 'warn'"),
        ({"categorical": "kind"}, "expected a list of text, got 'kind'"),
    ],
)
def test_a_policy_that_is_none_is_refused_by_the_configuration(data: dict[str, Any], message: str) -> None:
    write(ROWS)
    with pytest.raises(ConfigError, match=message):
        load_config(config(**data))


def test_the_hash_of_the_examples_covers_the_encoding() -> None:
    plain = made(ROWS)
    assert plain.sha256() == made(ROWS).sha256()
    assert plain.sha256() != made(ROWS, categories="codes").sha256()
    assert plain.sha256() != made([{**row, "kind": row["kind"].replace("ant", "auk")} for row in ROWS]).sha256()
