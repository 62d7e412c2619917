"""Tables from parquet files: the file's own types, against pyarrow's numbers and a pipeline of scikit-learn's."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optrun.experiments import Dataset, load_config, predict, train
from optrun.experiments.components.data import make_data, split
from optrun.experiments.errors import DataError, OptrunError

RANDOM = np.random.default_rng(7)
SIZES = RANDOM.normal(100, 5, 60)
KINDS = np.array(["ant", "bee", "cat, the"])[RANDOM.integers(0, 3, 60)]
ZIPS = RANDOM.choice([10, 9, 101], 60)
FLAGS = RANDOM.random(60) < 0.5
TARGETS = np.arange(60) * 0.5


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPTRUN_THREADS", "1")


def write(path: str = "t.parquet", **columns: Any) -> str:
    pq.write_table(pa.table(columns), path)
    return path


def made(target: str = "y", task: str = "values", /, **columns: Any) -> Dataset:
    """Return the data of a table with the target `y`, unscaled."""
    columns = {"y": list(range(len(next(iter(columns.values()))))), **columns}
    return make_data("parquet", path=write(**columns), target=target, task=task, scaling="none")


def column(cells: Any, **args: Any) -> Dataset:
    table = write(a=cells, y=list(range(len(cells))))
    return make_data("parquet", path=table, target="y", task="values", scaling="none", **args)


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (pa.array([3, -1, 7], pa.int8()), [3, -1, 7]),
        (pa.array([3, 2**63 + 2**50, 7], pa.uint64()), [3, 2**63 + 2**50, 7]),
        (pa.array([1.5, -0.1, 3.0], pa.float32()), np.array([1.5, -0.1, 3.0], np.float32)),
        (pa.array([1.5, -0.25, 3.0], pa.float16()), [1.5, -0.25, 3.0]),
        (pa.array([1.1, 2.2, 1e30]), [1.1, 2.2, 1e30]),
        (pa.array([True, False, True]), [1, 0, 1]),
        (pa.array([decimal.Decimal("1.10"), decimal.Decimal("-2.25"), decimal.Decimal(0)]), [1.1, -2.25, 0]),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_what_the_file_says_are_numbers_are_those_numbers(cells: Any, numbers: Any) -> None:
    dataset = column(cells)
    np.testing.assert_array_equal(dataset.inputs[:, 0].numpy(), np.asarray(numbers, np.float64).astype(np.float32))
    assert not dataset.encoding


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_what_the_file_says_is_text_is_a_category_even_where_it_has_digits(kind: Any) -> None:
    encoding = column(pa.array(["10", "9", "101", "9"]).cast(kind)).encoding
    assert encoding.categories == {"a": ("9", "10", "101")}


def test_classes_of_every_type_have_names_in_order() -> None:
    for cells, names in (
        (["b", "a", "b"], ("a", "b")),
        ([10, 9, 10], ("9", "10")),
        ([True, False, True], ("false", "true")),
        (pa.array(["b", "a", "b"]).dictionary_encode(), ("a", "b")),
    ):
        dataset = made("k", "classes", a=[1.0, 2.0, 4.0], k=cells)
        assert dataset.class_names == names
        assert [dataset.class_names[number] for number in dataset.targets] == [names[1], names[0], names[1]]


def holed(cells: Any, every: int = 7) -> list[Any]:
    return [None if number % every == 3 else cell for number, cell in enumerate(np.asarray(cells).tolist())]


@pytest.mark.parametrize("scaling", ["standard", "none"])
@pytest.mark.parametrize("method", ["one_hot", "codes"])
def test_as_scikit_learn_does_it(method: Any, scaling: Any) -> None:
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    path = write(size=holed(SIZES), kind=holed(KINDS), zip=pa.array(ZIPS, pa.int16()), flag=FLAGS, y=TARGETS)
    dataset = make_data(
        "parquet",
        path=path,
        target="y",
        task="values",
        scaling=scaling,
        categories=method,
        categorical=("kind", "zip"),
        missing={"size": "mean", "kind": "category"},
    )
    splits = split(dataset, val=0.2, test=0.2)
    train_rows = splits.train.positions.numpy()
    frame = pq.read_table(path)  # the truth: pyarrow's own reading, then scikit-learn
    expected = []
    for name in ("size", "kind", "zip", "flag"):
        cells = frame[name].to_pylist()
        if name in ("kind", "zip"):
            values = np.array([["" if cell is None else cell] for cell in cells], dtype=object)
            encoder = OneHotEncoder(sparse_output=False) if method == "one_hot" else OrdinalEncoder()
            expected.append(encoder.fit(values[train_rows]).transform(values) + (method == "codes"))
            continue
        numbers = np.array([[np.nan if cell is None else float(cell)] for cell in cells])
        numbers = SimpleImputer().fit(numbers[train_rows]).transform(numbers)
        if scaling == "standard":
            numbers = StandardScaler().fit(numbers[train_rows]).transform(numbers)
        expected.append(numbers)
    whole = np.hstack(expected)
    for part in (splits.train, splits.val, splits.test):
        np.testing.assert_allclose(part.inputs.numpy(), whole[part.positions], rtol=1e-5, atol=1e-5)


def test_a_table_is_the_same_from_csv_and_from_parquet() -> None:
    write(size=SIZES, kind=KINDS, y=TARGETS)
    rows = (f'{size!r},"{kind}",{y!r}\n' for size, kind, y in zip(SIZES.tolist(), KINDS, TARGETS.tolist(), strict=True))
    Path("t.csv").write_text("size,kind,y\n" + "".join(rows))
    options: Any = {"target": "y", "task": "values", "target_scaling": "standard"}
    one, other = (split(make_data(name, path=f"t.{name}", **options), val=0.2) for name in ("csv", "parquet"))
    assert one.fitted.as_dict() == other.fitted.as_dict()
    assert one.dataset.sha256() == other.dataset.sha256()


def test_predict_reads_other_rows_alike() -> None:
    path = write(size=SIZES, kind=KINDS, flag=FLAGS, y=SIZES * 2)
    run = train(
        {
            "data": {"name": "parquet", "path": path, "target": "y", "task": "values", "target_scaling": "standard"},
            "model": {"name": "mlp", "hidden": []},
            "loss": "mse",
            "optimizer": {"name": "adam", "lr": 0.01},
            "train": {"epochs": 1},
        }
    )
    whole = predict(
        run, write("all.parquet", y=SIZES, flag=FLAGS, kind=KINDS, size=SIZES, day=[datetime.date.today()] * 60)
    )
    few = predict(run, write("few.parquet", kind=KINDS[:3], flag=FLAGS[:3], size=SIZES[:3]))
    np.testing.assert_array_equal(few["prediction"], whole["prediction"][:3])
    with pytest.raises(DataError, match="'fly'"):
        predict(run, write("new.parquet", kind=["fly"], flag=[True], size=[100.0]))
    with pytest.raises(
        DataError, match="lacks the columns 'kind', 'flag', which the model was trained with; its columns"
    ):
        predict(run, write("lacks.parquet", size=SIZES))


DAY = datetime.datetime(2020, 1, 2)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([DAY, DAY], "column 'a' holds timestamp[us], which is neither number nor category: leave it out by `inputs`"),
        ([DAY.date()] * 2, "holds date32[day], which is neither number nor category"),
        ([DAY.time()] * 2, "holds time64[us]"),
        ([datetime.timedelta(1)] * 2, "holds duration[us]"),
        ([[1, 2], [3]], "holds list<"),
        ([{"x": 1}] * 2, "holds struct<"),
        ([b"a", b"b"], "holds binary, which is neither"),
        (pa.array([DAY, DAY]).dictionary_encode(), "holds timestamp[us]"),
        (pa.array([b"a", b"b"]).dictionary_encode(), "holds dictionary<values=binary"),
        ([1.0, None], "t.parquet, row 2: column 'a' needs numbers, got nothing (`missing: mean` puts the mean there)"),
        ([1.0, float("nan")], "t.parquet, row 2: column 'a' needs numbers, got 'nan'"),
        ([1, None], "t.parquet, row 2: column 'a' needs numbers, got nothing"),
        ([True, None], "t.parquet, row 2: column 'a' needs numbers, got nothing"),
        (["x", None], "t.parquet, row 2: column 'a' has nothing where it needs a category (`missing: {a: category}`"),
        (["x", ""], "t.parquet, row 2: column 'a' has nothing where it needs a category"),
        ([1.0, float("inf")], "t.parquet, row 2: column 'a' needs numbers, got 'inf'"),
        ([1.0, 1e39], "t.parquet, row 2: column 'a' has '1e+39', too large for single precision"),
        (pa.nulls(2), "column 'a' has no number: leave it out by `inputs`"),
        ([2**60 + each for each in range(9)], "column 'a' has numbers with more digits than double precision keeps"),
    ],
)  # fmt: skip
def test_cells_that_are_neither_are_refused_with_a_way_out(cells: Any, message: str) -> None:
    with pytest.raises(DataError) as raised:
        column(cells)
    assert message in str(raised.value)


def test_columns_that_are_not_asked_for_may_hold_anything() -> None:
    path = write(a=[1.0, 2.0], day=[DAY, DAY], y=[1.0, 2.0])
    dataset = make_data("parquet", path=path, target="y", task="values", inputs=("a",), scaling="none")
    assert dataset.inputs.tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"target": "z"}, "t.parquet has no column 'z'. Its columns are: a, k, y"),
        ({"target": "k"}, "row 1: column 'k' holds text and needs numbers, got '1' (names of classes need"),
        ({"target": "y", "categorical": ()}, "row 1: column 'k' holds text and needs numbers, got '1' (`inputs` names"),
        ({"target": "y", "inputs": ("y",)}, "y cannot be input and target"),
    ],
)  # fmt: skip
def test_columns_that_do_not_serve_are_refused(args: dict[str, Any], message: str) -> None:
    path = write(a=[1.0, 2.0], k=["1", "2"], y=[1.0, 2.0])
    with pytest.raises(DataError) as raised:
        make_data("parquet", path=path, task="values", **args)
    assert message in str(raised.value)


def test_the_index_of_a_frame_is_an_input_only_where_it_is_asked_for() -> None:
    table = pa.table({"a": [1.0, 2.0], "y": [3.0, 4.0], "id": [7, 8]})
    about = {"index_columns": ["id"], "columns": [], "column_indexes": []}  # as pandas writes `set_index("id")`
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(about)}), "t.parquet")
    options: Any = {"path": "t.parquet", "target": "y", "task": "values", "scaling": "none"}
    assert make_data("parquet", **options).columns == ("a",)
    assert make_data("parquet", inputs=("id", "a"), **options).columns == ("id", "a")


def test_files_that_are_no_tables_are_refused() -> None:
    Path("folder").mkdir()
    Path("text.parquet").write_text("a,y\n1,2\n")
    whole = Path(write(a=SIZES, k=KINDS, y=TARGETS)).read_bytes()
    pq.write_table(pa.table({"a": pa.array([], pa.float64())}), "empty.parquet")
    pq.write_table(pa.table([pa.array([1.0]), pa.array([2.0])], names=["a", "a"]), "twice.parquet")
    pq.write_table(
        pa.table({"k": pa.array([b"\xff"]).view(pa.binary()).cast(pa.string(), safe=False)}), "bytes.parquet"
    )
    for name, message in {
        "gone.parquet": "no file gone",
        "folder": "is a folder",
        "text.parquet": "cannot be read as a parquet file",
        "empty.parquet": "the file has no rows",
        "twice.parquet": "several columns are called a",
        "bytes.parquet": "cannot be read as a parquet file: ",
    }.items():
        with pytest.raises(DataError, match=message):
            make_data("parquet", path=name, target="y", task="values")
    refused = 0
    for number in range(300):  # cut off, or one byte changed: refused, or read as what it then says
        place = int(RANDOM.integers(len(whole)))
        changed = bytes([whole[place] ^ (1 << int(RANDOM.integers(8)))])
        damaged = whole[:place] if number % 2 else whole[:place] + changed + whole[place + 1 :]
        Path("damaged.parquet").write_bytes(damaged)
        try:
            make_data("parquet", path="damaged.parquet", target="y", task="values")
        except OptrunError:
            refused += 1
    assert refused >= 150  # whatever is cut off


def test_a_configuration_names_it() -> None:
    path = write(a=SIZES, k=KINDS)
    data = {"name": "parquet", "path": path, "target": "k", "task": "classes"}
    config = load_config(
        {"data": data, "model": "mlp", "loss": "cross_entropy", "optimizer": "sgd", "train": {"steps": 1}}
    )
    dataset = make_data(config.data.component, **config.data.args)
    assert isinstance(dataset, Dataset)
    assert dataset.num_outputs == 3
