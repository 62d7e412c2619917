"""Tables from CSV files: what is read, and how each kind of bad table is refused."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optrun.experiments import load_config
from optrun.experiments.components.data import make_data, split
from optrun.experiments.components.data.columns import number_column
from optrun.experiments.components.data.csv_file import csv_rows
from optrun.experiments.components.data.csv_table import CsvTable, read_csv
from optrun.experiments.components.data.faults import Faults
from optrun.experiments.components.data.precision import LARGEST
from optrun.experiments.errors import ArgumentsError, DataError

TABLE = 'size,"number, of legs",kind,price\n1,4,cat,10.5\n2,4,dog,20\n\n4.5,2,bird,1e1\n3,4,cat,-3\n'


def saved(folder: Path, text: str = TABLE) -> str:
    (folder / "table.csv").write_text(text, encoding="utf-8", newline="")
    return str(folder / "table.csv")


def of_column(folder: Path, cells: list[Any], **args: Any) -> Any:
    """Return the data set of a table with the input `a` and the target `y`."""
    text = "a,y\n" + "".join(f"{cell},{number}\n" for number, cell in enumerate(cells))
    return make_data("csv", path=saved(folder, text), target="y", task="values", **args)


def numbers_in(table: CsvTable) -> list[float]:
    """Return the numbers of the column `a`."""
    faults = Faults(table)
    column = number_column(faults, "a")
    faults.refuse()
    return column.values.tolist()


def test_classes_are_numbered_in_the_order_of_their_names(tmp_path: Path) -> None:
    dataset = make_data("csv", path=saved(tmp_path), target="kind", task="classes", scaling="none")
    assert dataset.class_names == ("bird", "cat", "dog")
    assert dataset.targets.tolist() == [1, 2, 0, 1]
    assert dataset.inputs.tolist() == [[1, 4, 10.5], [2, 4, 20], [4.5, 2, 10], [3, 4, -3]]


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        (["10", "9", "2"], ("2", "9", "10")),
        (["-2", "-1", "0", "10", "2"], ("-2", "-1", "0", "2", "10")),
        (["1.5", "10", "9e-1", "-.5"], ("-.5", "9e-1", "1.5", "10")),
        (["10", "9", "b"], ("10", "9", "b")),
        (["01", "1", "0"], ("0", "01", "1")),
        (["1_0", "9"], ("1_0", "9")),
        (["nan", "NA", "1"], ("1", "NA", "nan")),
    ],
)
def test_classes_that_are_all_numbers_are_sorted_by_value(
    tmp_path: Path, cells: list[str], names: tuple[str, ...]
) -> None:
    text = "x,y\n" + "".join(f"{number},{cell}\n" for number, cell in enumerate(cells))
    dataset = make_data("csv", path=saved(tmp_path, text), target="y", task="classes")
    assert dataset.class_names == names
    assert [dataset.class_names[number] for number in dataset.targets] == cells


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
        (TABLE, {"target": "kind"}, "table.csv:2: column 'kind' needs numbers, got 'cat' (names of classes need"),
        ("x;y\n1;2\n2;3\n", {"target": "y"}, "table.csv:1: the first line names one column, 'x;y' (`delimiter: \";\"`"),
        ("x;y\n1,5;2\n2,5;3\n", {"target": "y"}, "table.csv:1: the first line names one column, 'x;y' (`delimiter"),
        ("x\ty\n1\t2\n2\t3\n", {"target": "y"}, "names one column, 'x\\ty' (`delimiter: \"\\t\"`"),
        ("x,y\n1,2\n2,3\n", {"target": "y", "delimiter": ";"}, "names one column, 'x,y' (`delimiter: \",\"`"),
        (TABLE, {"target": "price", "inputs": ("price",)}, "price cannot be input and target"),
        (TABLE, {"target": ("price", "kind"), "task": "classes"}, "expected one target for classes"),
        (TABLE, {"target": "price", "inputs": ("sise",)}, "has no column 'sise'. Did you mean 'size'?"),
        (TABLE, {"target": "price", "categorical": ("sise",)}, "`categorical` names 'sise', which is no input column."),
        (
            TABLE,
            {"target": "price", "missing": {"knd": "mean"}},
            "`missing` names 'knd', which is no input column. Did",
        ),
        ("x,y\n1,2\n,3\n", {"target": "y"}, "table.csv:3: column 'x' needs numbers, got nothing (`missing: mean` puts"),
        ("x,y\n1,2\nnan,3\n", {"target": "y"}, "table.csv:3: column 'x' needs numbers, got 'nan'"),
        ("x,y\n1,2\n2,\n", {"target": "y", "missing": "mean"}, "table.csv:3: column 'y' needs numbers, got nothing"),
        ("x,y\n1,2\n2,N/A\n", {"target": "y"}, "table.csv:3: column 'y' needs numbers, got 'N/A' (every row needs a"),
        ("x,y\n,2\nna,3\n", {"target": "y", "missing": "mean"}, "column 'x' has no number: leave it out by `inputs`"),
        ("x,y\n1,a\n2,\n", {"target": "y", "task": "classes"}, "table.csv:3: no class in column 'y'"),
        ("x,y\n1,2\n1,2,3\n", {"target": "y"}, "table.csv:3: expected 2 cells as in the first line, got 3"),
        ("x,y\n\n1,2\n\n1\n", {"target": "y"}, "table.csv:5: expected 2 cells as in the first line, got 1"),
        ('x,y\n"1\n1",2\n1\n', {"target": "y"}, "table.csv:4: expected 2 cells as in the first line, got 1"),
        ("x,x\n1,2\n", {"target": "x"}, "table.csv:1: several columns are called x"),
        ("y\n1\n", {"target": "y"}, "expected at least one input column"),
        ("x,y\n", {"target": "y"}, "the file has no rows"),
        ("", {"target": "y"}, "the file has no rows"),
        ("\n\n", {"target": "y"}, "the file has no rows"),
        ('x,y\n"1,2\n', {"target": "y"}, "cannot be read as CSV in UTF-8"),
        (
            'x,y\n1,2\n"1"1,2\n',
            {"target": "y"},
            "cannot be read as CSV in UTF-8, after line 2: ',' expected after '\"'",
        ),
        (TABLE, {"target": "price", "delimiter": "::"}, "delimiter must be one character, got '::'"),
        (TABLE, {"target": "price", "delimiter": '"'}, "delimiter must be an ASCII character, no quote"),
        (TABLE, {"target": "price", "classes": ("a",)}, "`classes` is for a target of classes"),
        (
            TABLE,
            {"target": "kind", "task": "classes", "classes": ("cat", "dog")},
            "table.csv:5: 'bird' in column 'kind'",
        ),
        (
            TABLE,
            {"target": "kind", "task": "classes", "classes": ("cat", "cat")},
            "`classes` names one twice: cat, cat",
        ),
        (
            TABLE,
            {"target": "kind", "task": "classes", "target_scaling": "standard"},
            "`target_scaling` is for a target of",
        ),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        make_data("csv", path=saved(tmp_path, text), **{"task": "values", **args})
    assert message in str(caught.value)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    for content, line in ((b"x,y\n\xff,1\n", 2), (b"\xff,y\n", 1), ("x,y\n1,2\n".encode("utf-16"), 1)):
        (tmp_path / "table.csv").write_bytes(content)
        with pytest.raises(DataError, match=f"table.csv:{line}: cannot be read as CSV in UTF-8"):
            make_data("csv", path=str(tmp_path / "table.csv"), target="y", task="values")
    with pytest.raises(DataError, match="no file "):
        make_data("csv", path=str(tmp_path / "none.csv"), target="y", task="values")
    with pytest.raises(DataError, match="is a folder or a device, no file"):
        make_data("csv", path=str(tmp_path), target="y", task="values")


# ---- numbers ---------------------------------------------------------------------------------------------------------

NO_NUMBERS = ["1_0", "1,0", "1,000", "1.000,5", "1'000", "1 000", "0x1F", "0b1", "1e", "-", "--1", "$5", "5 %", "1.2.3"]
NO_NUMBERS += ["inf", "-Infinity", "+inf", "one", "١", "1e39", "-1e39", "1e400", "1d5", "True", "12:30", "2024-01-02"]


@pytest.mark.parametrize("scaling", ["standard", "none"])
@pytest.mark.parametrize("cell", NO_NUMBERS)
def test_what_is_no_number_is_refused_at_its_line(tmp_path: Path, cell: str, scaling: str) -> None:
    cells = ["0.5", "2", f'"{cell}"', "3"]
    with pytest.raises(DataError, match=r"table\.csv:4: column 'a' (needs numbers, got|has) '"):
        of_column(tmp_path, cells, scaling=scaling, missing="mean")
    with pytest.raises(DataError, match=r"table\.csv:4: column 'a' "):
        make_data("csv", path=str(tmp_path / "table.csv"), target="a", inputs=("y",), task="values", missing="mean")


@pytest.mark.parametrize("cell", ["1_0", "1,000", "0x1F", "inf", "$5", "5 %"])
def test_a_column_of_what_was_meant_to_be_numbers_does_not_become_categories(tmp_path: Path, cell: str) -> None:
    with pytest.raises(DataError, match=r"table\.csv:2: column 'a' needs numbers, got"):
        of_column(tmp_path, [f'"{cell}"'] * 4)
    assert of_column(tmp_path, [f'"{cell}"', "b"] * 2, categorical=("a",)).encoding.categories == {
        "a": tuple(sorted([cell, "b"]))
    }


@pytest.mark.parametrize("value", ["0.1", "1.0", "1e-300", "-7e30", "0", "1234567.891"])
def test_a_constant_column_is_refused_whatever_its_value(tmp_path: Path, value: str) -> None:
    with pytest.raises(DataError, match="column 'a' is constant: leave it out by `inputs`, or say `scaling: none`"):
        of_column(tmp_path, [value] * 40)
    assert of_column(tmp_path, [value] * 40, scaling="none").inputs.unique().numel() == 1
    with pytest.raises(DataError, match="column 'a' is constant"):  # up to the last digit of double precision
        of_column(tmp_path, [value, repr(math.nextafter(float(value), 2 * float(value)))] * 20)
    with pytest.raises(ArgumentsError, match=r"column 'y' is constant, .* in every row: there is nothing to predict"):
        path = saved(tmp_path, "a,y\n" + f"1,{value}\n2,{value}\n")
        make_data("csv", path=path, target="y", task="values", target_scaling="standard")


@pytest.mark.parametrize("start", [1_700_000_000, 1_700_000_000_000, -1_700_000_000])
def test_large_targets_stay_apart_or_are_refused(tmp_path: Path, start: int) -> None:
    rows = "".join(f"{number},{start + number}\n" for number in range(40))
    path = saved(tmp_path, "a,y\n" + rows)
    with pytest.raises(DataError, match="to single precision: say `target_scaling: standard`, or subtract an offset"):
        make_data("csv", path=path, target="y", task="values")
    parts = split(make_data("csv", path=path, target="y", task="values", target_scaling="standard"))
    assert parts.dataset.targets.unique().numel() == 40
    with pytest.raises(DataError, match="say `scaling: standard`"):
        make_data("csv", path=path, target="a", task="values", inputs=("y",), scaling="none")
    saved(tmp_path, "a,y\n0,0\n" + rows)  # one small value makes the deviation so large that rounding seems small
    with pytest.raises(DataError, match="to single precision"):
        make_data("csv", path=path, target="y", task="values")
    dataset = make_data("csv", path=path, target="y", task="values", target_scaling="standard")
    with pytest.raises(DataError, match=r"table\.csv:2: column 'y' has 0, beside which the others become equal"):
        split(dataset, test=0.0, val=0.0)


def test_digits_that_double_precision_has_no_room_for(tmp_path: Path) -> None:
    cells = [1_700_000_000_000_000_000 + number for number in range(40)]
    with pytest.raises(DataError, match="column 'a' has numbers with more digits than double precision keeps apart"):
        of_column(tmp_path, cells)
    assert len(of_column(tmp_path, [10**17 * number for number in range(40)])) == 40


def test_a_value_that_flattens_its_column_is_named(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(size=60)
    ordinary = [f"{number:.3f}" for number in numbers]
    assert split(of_column(tmp_path, ordinary)).notes == ()
    assert split(of_column(tmp_path, [f"{n:.3f}" for n in np.random.default_rng(0).standard_cauchy(300)])).notes == ()
    huge = [*ordinary[:30], "1e6", *ordinary[30:]]
    (note,) = split(of_column(tmp_path, huge), test=0.0, val=0.0).notes
    assert "table.csv:32: column 'a' has 1e+06, beside which the others are" in note
    rest = float(numbers.std() / np.array(huge, float).std())
    assert f"{rest:.1g} of a standard deviation apart" in note
    assert split(of_column(tmp_path, huge, scaling="none")).notes == ()


# ---- as Python reads it ----------------------------------------------------------------------------------------------

TEXTS = st.text(st.sampled_from('ab"\n,; éß\t\u2028\r'), max_size=6)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_cells_are_those_of_pythons_reader(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 4))
    rows = data.draw(st.lists(st.lists(TEXTS, min_size=width, max_size=width), min_size=1, max_size=6))
    delimiter, end = data.draw(st.sampled_from(",;\t")), data.draw(st.sampled_from(["\n", "\r\n"]))
    file = io.StringIO(newline="")
    quoting = data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([[f"c{number}" for number in range(width)], *rows])
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    path.write_bytes(data.draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + file.getvalue().encode())
    expected = list(csv.reader(io.StringIO(file.getvalue(), newline=""), delimiter=delimiter, strict=True))[1:]
    expected = [[cell.strip() for cell in row] for row in expected if row]
    if not expected or any(len(row) != width for row in expected):  # Python writes a lone \r without quotes
        with pytest.raises(DataError, match=r"expected \d+ cells as in the first line|the file has no rows"):
            read_csv(str(path), delimiter)
        return
    table = read_csv(str(path), delimiter)
    assert [list(row) for row in zip(*(column.to_pylist() for column in table.cells.values()), strict=True)] == expected


@given(st.lists(NUMBERS, min_size=1, max_size=20), st.sampled_from(["{!r}", " {:+.17e} ", "{:.3f}", '"{:g}"']))
@settings(max_examples=60, deadline=None)
def test_numbers_are_those_of_python(tmp_path_factory: pytest.TempPathFactory, numbers: list[float], how: str) -> None:
    cells = [how.format(number) for number in numbers]
    expected = [float(cell.strip(' "')) for cell in cells]
    path = saved(tmp_path_factory.mktemp("csv"), "a,b\n" + "".join(f"{cell},1\n" for cell in cells))
    table = read_csv(path, ",")
    if max(map(abs, expected)) > LARGEST:
        with pytest.raises(DataError, match="too large for single precision"):
            numbers_in(table)
    else:
        assert numbers_in(table) == expected


# ---- decimal commas --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["{!r}", " {:+.17e} ", "{:.3f}", '"{:g}"'])
def test_numbers_with_decimal_commas_are_those_of_python(tmp_path: Path, how: str) -> None:
    generator = np.random.default_rng(0)
    numbers = generator.normal(size=150) * 10.0 ** generator.integers(-12, 12, 150)
    cells = [how.format(float(number)) for number in numbers]
    text = "a;b\n" + "".join(f"{cell.replace('.', ',')};1\n" for cell in cells)
    values = numbers_in(read_csv(saved(tmp_path, text), ";", ","))
    assert values == [float(cell.strip(' "')) for cell in cells]


@pytest.mark.parametrize("cell", ["1.234,5", "1.234", "1,234,5", "1 234,5", "1'234,5", "1_0", "1,5 %", "€1,5", "inf"])
@pytest.mark.parametrize("as_target", [False, True])
def test_with_decimal_commas_no_other_mark_stands_in_a_number(tmp_path: Path, cell: str, as_target: bool) -> None:
    path = saved(tmp_path, f"a;y\n0,5;1\n{cell};2\n3;3\n")
    names: dict[str, Any] = {"target": "a", "inputs": ("y",)} if as_target else {"target": "y"}
    with pytest.raises(DataError, match=r"table\.csv:3: column 'a' needs numbers, got '") as caught:
        make_data("csv", path=path, task="values", delimiter=";", decimal=",", **names)
    assert f"'{cell}'" in str(caught.value), "as it stands in the file"


@pytest.mark.parametrize(
    ("delimiter", "decimal", "cells", "way_out"),
    [
        (";", ".", ["2", "1,5", "", "3e1"], "needs numbers, got '1,5' (`decimal: \",\"`, if the comma is the decimal"),
        (";", ",", ["2", "1.5", "", "3e1"], "needs numbers, got '1.5' (`decimal: \".\"`, if the point is the decimal"),
        (";", ".", ["2.5", "1,5"], "needs numbers, got '1,5' (`inputs` names the columns"),
        (";", ".", ["2,5", "1.000,5"], "needs numbers, got '2,5' (`inputs` names the columns"),
        (",", ".", ["2", '"1,5"'], "needs numbers, got '1,5' (`inputs` names the columns"),
    ],
)  # fmt: skip
def test_a_column_that_the_other_mark_makes_numbers_says_so(
    tmp_path: Path, delimiter: str, decimal: str, cells: list[str], way_out: str
) -> None:
    path = saved(tmp_path, f"a{delimiter}y\n" + "".join(f"{each}{delimiter}1\n" for each in cells))
    with pytest.raises(DataError) as caught:
        make_data("csv", path=path, target="y", task="values", delimiter=delimiter, decimal=decimal, missing="mean")
    assert way_out in str(caught.value)


def test_classes_and_categories_with_decimal_commas_keep_their_names_and_are_in_order(tmp_path: Path) -> None:
    path = saved(tmp_path, "a;b;y\n10;1,5;10\n9,5;x;9,5\n-1,5;2.0;-1,5\n2;y.z;2\n")
    made = {"path": path, "target": "y", "task": "classes", "delimiter": ";", "categorical": ("a", "b")}
    dataset = make_data("csv", decimal=",", **made)
    assert dataset.class_names == ("-1,5", "2", "9,5", "10")
    assert dataset.targets.tolist() == [3, 2, 0, 1]
    assert dataset.encoding.categories == {"a": ("-1,5", "2", "9,5", "10"), "b": ("1,5", "2.0", "x", "y.z")}
    assert make_data("csv", **made).class_names == ("-1,5", "10", "2", "9,5"), "text, where no comma is a decimal mark"


def test_a_column_of_text_with_points_holds_categories_whatever_the_decimal_mark(tmp_path: Path) -> None:
    path = saved(tmp_path, "a;y\nSt. Ives;1,5\nOld, new;2\n")
    dataset = make_data("csv", path=path, target="y", task="values", delimiter=";", decimal=",")
    assert dataset.encoding.categories == {"a": ("Old, new", "St. Ives")}
    assert dataset.targets.tolist() == [[1.5], [2.0]]


def test_rows_to_predict_are_read_with_the_same_decimal_mark(tmp_path: Path) -> None:
    path = saved(tmp_path, "a;y\n1,5;1\n-2,25;2\n")
    rows = csv_rows(path, "y", delimiter=";", decimal=",", scaling="none")
    assert rows.inputs.tolist() == [[1.5], [-2.25]]


@pytest.mark.parametrize("mark", [",", "."])
def test_one_mark_cannot_stand_between_cells_and_before_decimals(tmp_path: Path, mark: str) -> None:
    with pytest.raises(ArgumentsError, match="cannot stand between cells and before decimals") as caught:
        make_data("csv", path=saved(tmp_path), target="price", task="values", delimiter=mark, decimal=mark)
    assert caught.value.names == ("decimal", "delimiter")
