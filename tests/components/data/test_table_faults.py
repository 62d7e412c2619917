"""What is wrong with a table is told at once: every column of a kind, count and first rows, at the key that decides."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optrun.experiments import build, load_config
from optrun.experiments.components.data import make_data, split
from optrun.experiments.components.data.table_file import LISTED
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import DataError, ExitCode, FaultsError

ROWS = 12
# What is wrong with a column of 12 cells: kind, the good cells, the bad ones by row, the key that decides.
NUMBERS = [f"{number * number / 3 - 5:.3f}" for number in range(ROWS)]
LONG = [str(1_700_000_000_000_000_000 + number) for number in range(ROWS)]
NAMES = ["ant", "bee", "cat"] * 4
KINDS: dict[str, tuple[list[str], list[str], str, dict[str, Any]]] = {
    "gap among numbers": (NUMBERS, [""], "missing", {}),
    "gap among numbers, as a category": (NUMBERS, [""], "missing", {"missing": "category"}),
    "gap among categories": (NAMES, [""], "missing", {}),
    "gap among categories, as a mean": (NAMES, [""], "missing", {"missing": "mean"}),
    "no number": (NUMBERS, ["1_0", "5 %", "one"], "categorical", {}),
    "no number, of any column": (NUMBERS, ["x"], "categorical", {"missing": "mean"}),
    "infinite": (NUMBERS, ["inf"], "", {}),
    "too large": (NUMBERS, ["1e39"], "", {}),
    "constant": (["7"] * ROWS, ["7"], "inputs", {}),
    "empty": ([""] * ROWS, [""], "inputs", {"missing": "mean"}),
    "empty, refused": ([""] * ROWS, [""], "inputs", {}),
    "coarse": ([str(1_700_000_000 + number) for number in range(ROWS)], ["1700000000"], "scaling", {"scaling": "none"}),
    "digits": (LONG, LONG[::-1], "inputs", {}),
}
TYPED = {key: kind for key, kind in KINDS.items() if not key.startswith(("no number", "infinite"))}
OF_CELLS = re.compile(r"in all (\d+) cells")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def columns_of(kind: str, count: int) -> dict[str, list[str]]:
    """Return a good column, bad ones (the first with one bad cell, each of the others with one more), and a target."""
    good, bad, _, _ = KINDS[kind]
    columns: dict[str, list[str]] = {"fine": [str(number % 5) for number in range(ROWS)]}
    for number in range(count):
        cells = list(good)
        for row in range(min(number + 1, ROWS - 2)):
            cells[2 + row % (ROWS - 2)] = bad[row % len(bad)]
        columns[f"c{number}"] = cells
    return {**columns, "y": NUMBERS}


def write(columns: dict[str, list[str]], suffix: str) -> str:
    path = f"t.{suffix}"
    rows = zip(*columns.values(), strict=True)
    if suffix == "arff":
        kinds = ["string" if NAMES[0] in cells else "numeric" for cells in columns.values()]
        header = [f"@attribute {name} {kind}" for name, kind in zip(columns, kinds, strict=True)]
        Path(path).write_text("\n".join([*header, "@data", *map(",".join, rows)]) + "\n")
        return path
    if suffix == "csv":
        Path(path).write_text("\n".join([",".join(columns), *map(",".join, rows)]) + "\n")
        return path
    typed = {}
    for name, cells in columns.items():
        try:
            typed[name] = pa.array([(int(c) if c.isdigit() else float(c)) if c else None for c in cells])
        except (ValueError, pa.ArrowInvalid):
            typed[name] = pa.array([cell or None for cell in cells])
    pq.write_table(pa.table(typed), path)
    return path


def built(data: dict[str, Any]) -> None:
    parts = {"model": "logistic", "loss": "mse", "optimizer": {"name": "sgd", "lr": 0.1}, "train": {"steps": 1}}
    build(load_config({"data": data, **parts}))


CASES = [
    pytest.param(suffix, kind, count, id=f"{suffix}-{kind}-{count}")
    for suffix, kinds in (("csv", KINDS), ("parquet", TYPED), ("arff", TYPED))
    for kind in kinds
    for count in (1, 2, LISTED + 4)
]


@pytest.mark.parametrize(("suffix", "kind", "count"), CASES)
def test_all_columns_of_a_kind_are_told_at_once_at_their_key(suffix: str, kind: str, count: int) -> None:
    _, _, key, args = KINDS[kind]
    columns = columns_of(kind, count)
    data = {"name": suffix, "path": write(columns, suffix), "target": "y", "task": "values", **args}
    with pytest.raises(DataError) as caught:
        built(data)
    error = caught.value
    assert isinstance(error, ConfigError)
    assert error.exit_code == ExitCode.DATA
    (problem,) = error.problems
    assert problem.key == (f"data.{key}" if key else "data")
    named = {name for name in columns if f"'{name}'" in problem.message}
    assert named == {f"c{number}" for number in range(count)} - {
        f"c{number}" for number in range(LISTED + ("in all" not in problem.message), count)
    }
    assert len(problem.message) < 1200, "bounded"
    if count > LISTED:
        assert re.search(r"and [34] (more columns|columns more)|and 3 more", problem.message)
    if (said := OF_CELLS.search(problem.message)) is not None:
        assert int(said[1]) == sum(min(number + 1, ROWS - 2) for number in range(count))
        place = {"csv": "lines 4", "parquet": "rows 3", "arff": f"lines {len(columns) + 4}"}[suffix]
        assert place in problem.message
    if key == "missing" and count > 1 and "{" in problem.message and count <= LISTED:
        way = re.search(r"missing: (\{.*?\})`", problem.message)
        assert way is not None
        said_by_it = dict(pair.split(": ") for pair in way[1].strip("{}").split(", "))
        assert (
            len(make_data(suffix, **{**{k: v for k, v in data.items() if k != "name"}, "missing": said_by_it})) == ROWS
        )


@pytest.mark.parametrize("suffix", ["csv", "parquet", "arff"])
@pytest.mark.parametrize("missing", ["refuse", "mean", "category", {"b": "category"}, {"a": "mean"}])
def test_one_change_of_missing_mends_all_gaps(suffix: str, missing: Any) -> None:
    columns = {"a": ["", *NUMBERS[1:]], "b": [*NAMES[:3], "", *NAMES[4:]], "c": [*NUMBERS[:5], "", "", *NUMBERS[7:]]}
    path = write({**columns, "y": NUMBERS}, suffix)
    with pytest.raises(FaultsError) as caught:
        make_data(suffix, path=path, target="y", task="values", missing=missing)
    ((key, message),) = caught.value.faults
    way = re.search(r"missing: (\{.*?\})`", message)
    assert key == "missing"
    assert way is not None
    mended = dict(pair.split(": ") for pair in way[1].strip("{}").split(", "))
    assert mended == {"a": "mean", "b": "category", "c": "mean"}
    assert len(make_data(suffix, path=path, target="y", task="values", missing=mended)) == ROWS


def test_several_kinds_are_several_problems_of_one_error() -> None:
    rows = ["x,k,big,y", "1,a,2,1", "one,,1e39,2", ",b,3,", "2,a,4,3"]
    Path("t.csv").write_text("\n".join(rows) + "\n")
    data = {"name": "csv", "path": "t.csv", "target": "y", "task": "values", "categorical": ["k"]}
    with pytest.raises(DataError) as caught:
        built(data)
    assert isinstance(caught.value, ConfigError)
    found = {problem.key: problem.message for problem in caught.value.problems}
    assert set(found) == {"data.categorical", "data.missing", "data", "data.target"}
    assert "in all 2 cells of 2 columns: 'x' in line 4, 'k' in line 3" in found["data.missing"]
    assert "t.csv:3: column 'big' has '1e39', too large" in found["data"]


def test_columns_rows_and_names_that_are_wrong_are_told_at_once() -> None:
    path = write({"a": NUMBERS, "b": NAMES, "y": NUMBERS}, "csv")

    def told(**args: Any) -> dict[str, str]:
        with pytest.raises(FaultsError) as caught:
            make_data("csv", **{"path": path, "target": "y", "task": "values", **args})
        return dict(caught.value.faults)

    assert told(target="yy", inputs=("a", "bb", "z")) == {
        "target": "t.csv has no column 'yy'. Did you mean 'y'? Its first line names: a, b, y",
        "inputs": "t.csv has no columns 'bb', 'z'. Did you mean 'b' for 'bb'? Its first line names: a, b, y",
    }
    assert set(told(categorical=("bb",), missing={"aa": "mean"})) == {"categorical", "missing"}
    said = told(target="b", task="classes", classes=("ant",))["classes"]
    assert said == "t.csv:3: 'bee' in column 'b' is none of the classes ant, nor is 'cat'"
    write({"a": NUMBERS, "b": ["", *NAMES[1:4], *[""] * 8]}, "csv")
    said = told(target="b", task="classes")["target"]
    assert said == "t.csv:2: no class in column 'b'; in all 9 cells: lines 2, 6, 7 and 6 more"
    Path("t.csv").write_text("a,y\n1,2\n1\n1,2,3\n1,2\n1\n1\n")
    with pytest.raises(DataError, match=r"t\.csv:3: expected 2 cells .* got 1; in all 4 rows: lines 3 \(1 cells\), 4"):
        make_data("csv", path="t.csv", target="y", task="values")
    times = pa.array([0, 1], pa.timestamp("s"))
    pq.write_table(pa.table({"d": times, "e": times, "x": [1.0, 2.0], "y": [1.0, 3.0]}), "t.parquet")
    with pytest.raises(FaultsError, match=r"column 'd' holds timestamp\[ms\], .*, and so it is with 'e': leave it out"):
        make_data("parquet", path="t.parquet", target="y", task="values")


def test_categories_that_are_new_are_told_of_all_columns() -> None:
    write({"a": NAMES, "b": NAMES[1:] + NAMES[:1], "c": NAMES, "y": NUMBERS}, "csv")
    fitted = split(make_data("csv", path="t.csv", target="y", task="values")).fitted
    write({"a": ["yak", *NAMES[1:]], "b": ["", *NAMES[1:]], "c": NAMES, "y": NUMBERS}, "csv")
    args: dict[str, Any] = {"path": "t.csv", "target": "y", "task": "values", "missing": "category"}
    with pytest.raises(FaultsError) as caught:
        fitted.applied(make_data("csv", fitted=fitted, **args))
    said = "column 'a' has 'yak', which no training row has, column 'b' has nothing, which no training row has"
    assert caught.value.faults == (("unseen", f"t.csv:2: {said} (`unseen: ignore` makes it none of the categories)"),)


def test_json_has_every_problem() -> None:
    write({"a": ["", *NUMBERS[1:]], "y": NUMBERS}, "csv")
    data = {"name": "csv", "path": "t.csv", "target": "y", "task": "values"}
    with pytest.raises(ConfigError) as caught:
        built(data)
    (kept,) = json.loads(json.dumps([problem.as_dict() for problem in caught.value.problems]))
    assert kept["key"] == "data.missing"
