"""Tables to predict are read by what the run knows of its columns: a row says the same alone and among any others."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optrun.experiments import Run, evaluate, predict, train
from optrun.experiments.errors import DataError
from optrun.experiments.training.load import stored_fitted

DRAWN = np.random.default_rng(3)
ROWS: list[dict[str, Any]] = [
    {
        "size": None if number % 9 == 4 else round(float(DRAWN.normal(50, 5)), 3),
        "age": round(float(DRAWN.normal(30, 5)), 3),
        "kind": None if number % 9 == 2 else str(DRAWN.choice(["ant", "bee"])),
        "zip": None if number % 9 == 6 else int(DRAWN.choice([7, 10, 101])),
        "y": number / 7,
    }
    for number in range(60)
]
POLICY = {"size": "mean", "age": "mean", "kind": "category", "zip": "category"}
SUFFIXES = ("csv", "parquet", "arff")


def write(path: str, rows: list[dict[str, Any]]) -> str:
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    if path.endswith("parquet"):
        pq.write_table(pa.table(columns), path)  # a column of nulls alone gets the type null
    elif path.endswith("arff"):
        kinds = {name: "string" if any(isinstance(row[name], str) for row in rows) else "numeric" for name in rows[0]}
        header = [f"@attribute {name} {kind}" for name, kind in kinds.items()]
        cells = (",".join("?" if cell is None else str(cell) for cell in row.values()) for row in rows)
        Path(path).write_text("\n".join([*header, "@data", *cells]) + "\n")
    else:
        cells = (",".join("" if cell is None else str(cell) for cell in row.values()) for row in rows)
        Path(path).write_text("\n".join([",".join(columns), *cells]) + "\n")
    return path


def trained(suffix: str, **data: Any) -> Run:
    table = {"name": suffix, "path": write(f"t.{suffix}", ROWS), "target": "y", "task": "values", "batch_size": 16}
    given = {**table, "categorical": ["kind", "zip"], "missing": POLICY, **data}
    parts = {"model": {"name": "mlp", "hidden": [4]}, "loss": "mse", "optimizer": {"name": "adam", "lr": 0.01}}
    return train({**parts, "data": given, "train": {"epochs": 1}})


NEW = [
    {"size": size, "age": age, "kind": kind, "zip": zip_code}
    for size, age, kind, zip_code in itertools.product((None, 48.5), (None, 31.25), (None, "bee"), (None, 101))
]


#: Each two values of these meet; the other half of all ways are slow.
WAYS = [
    pytest.param(suffix, scaling, categories, marks=() if (number + turn) % 2 == 0 else pytest.mark.slow)
    for number, suffix in enumerate(SUFFIXES)
    for turn, (scaling, categories) in enumerate(
        [("standard", "one_hot"), ("standard", "codes"), ("none", "codes"), ("none", "one_hot")]
    )
]


@pytest.mark.parametrize(("suffix", "scaling", "categories"), WAYS)
def test_each_row_says_the_same_alone_and_among_others(suffix: str, scaling: str, categories: str) -> None:
    run = trained(suffix, scaling=scaling, categories=categories)
    together = predict(run, write(f"new.{suffix}", NEW))["prediction"]
    alone = [predict(run, write(f"one.{suffix}", [row]))["prediction"][0] for row in NEW]
    np.testing.assert_allclose(alone, together, rtol=1e-6)
    means = stored_fitted(run.dir).encoder.means
    filled = [{**row, **{name: means[name] for name in means if row[name] is None}} for row in NEW]
    np.testing.assert_allclose(predict(run, write(f"full.{suffix}", filled))["prediction"], together, rtol=1e-6)
    assert len(set(together.tolist())) == len(NEW)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_column_is_of_the_runs_kind_whatever_the_new_file_has_in_it(suffix: str) -> None:
    run = trained(suffix)
    place = {"csv": "bad.csv:2", "parquet": "bad.parquet, row 1", "arff": "bad.arff:6"}[suffix]
    with pytest.raises(DataError) as caught:
        predict(run, write(f"bad.{suffix}", [{**row, "size": "big", "age": "old"} for row in NEW]))
    said = str(caught.value)
    assert f"{place}: column 'size' " in said
    assert "needs numbers, got 'big' (the model was trained on numbers there); in all 32 cells of 2 columns" in said
    assert "'age' in " in said
    with pytest.raises(DataError, match=r"column 'kind' has '3', which no training row has"):
        predict(run, write(f"bad.{suffix}", [{**row, "kind": 3} for row in NEW]))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_gap_that_the_run_had_no_policy_for_is_refused_for_all_columns(suffix: str) -> None:
    whole = [{**row, "size": row["size"] or 50.0, "zip": row["zip"] or 7} for row in ROWS]
    path = write(f"whole.{suffix}", whole)
    run = trained(suffix, path=path, missing={"kind": "category"})
    with pytest.raises(
        DataError, match=r"\(the model was trained without any: fill them in\); in all 24 cells of 3 co"
    ):
        predict(run, write(f"new.{suffix}", NEW))


def test_a_changed_file_whose_column_is_empty_is_evaluated_by_the_mean() -> None:
    run = trained("csv")
    mean = stored_fitted(run.dir).encoder.means["size"]
    write("t.csv", [{**row, "size": mean} for row in ROWS])
    expected = evaluate(run, allow_change=True)
    write("t.csv", [{**row, "size": None} for row in ROWS])
    assert evaluate(run, allow_change=True)["test/loss"] == pytest.approx(expected["test/loss"], rel=1e-6)
