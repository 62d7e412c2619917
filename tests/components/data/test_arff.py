"""Tables from ARFF files, against what scikit-learn's `fetch_openml` reads from the same file."""

from __future__ import annotations

import contextlib
import gzip
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optrun.experiments import Dataset
from optrun.experiments.components.data import make_data, split
from optrun.experiments.components.data.arff_table import ArffTable, read_arff
from optrun.experiments.errors import DataError, OptrunError

from .openml_home import feature, write_home

RANDOM = np.random.default_rng(11)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, path: str = "t.arff") -> str:
    Path(path).write_bytes(text.encode())
    return path


def cells(table: ArffTable, name: str) -> list[Any]:
    """Return the cells of a column as `fetch_openml` has them: None where one is missing."""
    if table.attributes[name].kind == "number":
        numbers = table.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
        return [None if np.isnan(number) else number for number in numbers.tolist()]
    return [None if text == "" else text for text in table.texts(name).to_pylist()]


def of_scikit_learn(path: str, table: ArffTable) -> dict[str, list[Any]]:
    """Return the columns of the frame that scikit-learn makes of a file."""
    from sklearn.datasets import fetch_openml

    kinds = {"number": "numeric", "text": "string", "nominal": "nominal"}
    features = [feature(each.name, kinds[each.kind]) for each in table.attributes.values()]
    content = Path(path).read_bytes()
    write_home(Path("home"), 7, content, features, table.num_rows)
    frame = fetch_openml(data_id=7, data_home="home", as_frame=True, parser="liac-arff", target_column=None).frame
    numbers = [name for name, each in table.attributes.items() if each.kind == "number"]
    found = {}
    for name in frame.columns:
        read = [None if cell is None or cell != cell or cell == "" else cell for cell in frame[name].tolist()]
        found[name] = [None if cell is None else float(cell) for cell in read] if name in numbers else read
    return found


TRICKY = r"""% a comment, with 'a quote
@RELATION 'a table, of sorts'

@attribute plain numeric
@ATTRIBUTE tabbed	REAL
@attribute 'two words' INTEGER
@attribute "double, quoted" numeric
@attribute it's string
@attribute kind {low, medium,high ,'very high', "100\%", 'it\'s', '{b}'}
@attribute digits {1,0,10}
@attribute text string
  % in between
@DATA
1,2.5,3,-4e-3,'a, b',low,1,plain
1., .5 ,+7,1E5, "say \"so\"" ,'very high', 0 ,'tab\there'
% in between
?, ?,?,?,?,?,?,?

-0,1e-310,-3,1e300,'% no comment',"100\%",10,''
5,6,7,8,'a\\b',  'it\'s'  ,1,"back\\slash, and 'single'"
9,10,11,12,'?','{b}',1,"?"
13,14,15,16,"é ü 漢","medium",'0',x
0.1,0.2,123456789012345,3.14159265358979323846,y,high,0,'\''
"""


def test_a_tricky_file_is_read_as_scikit_learn_reads_it() -> None:
    table = read_arff(write(TRICKY))
    expected = of_scikit_learn("t.arff", table)
    assert list(table.cells) == list(expected)
    for name in expected:
        assert cells(table, name) == expected[name], name
    assert table.odd == {}
    assert table.declared["kind"] == ("low", "medium", "high", "very high", "100%", "it's", "{b}")
    assert cells(table, "it's")[5] == "?"  # in quotes it is a text


CHARACTERS = "ab ,'\"\\%{}?\té1.-\n"


def quoted(text: str, number: int) -> str:
    """Return a text as a writer of ARFF does: in quotes of either kind, or bare where it may be."""
    if number % 3 == 0 and text.strip() == text and text not in ("", "?") and not set(text) & set(" ,'\"\\%{}\t\n"):
        return text
    mark = "'" if number % 2 else '"'
    escaped = text.replace("\\", "\\\\").replace(mark, f"\\{mark}").replace("\t", "\\t").replace("\n", "\\n")
    return f"{mark}{escaped}{mark}"


@pytest.mark.parametrize("count", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_tables_of_any_text_are_read_as_scikit_learn_reads_them(count: int) -> None:
    for _ in range(count):
        width, rows = int(RANDOM.integers(1, 5)), int(RANDOM.integers(1, 9))
        texts = [
            ["".join(RANDOM.choice(list(CHARACTERS), RANDOM.integers(0, 7))) for _ in range(8)] for _ in range(width)
        ]
        header, columns = ["@relation r"], []
        for number, drawn in enumerate(texts):
            values = list(dict.fromkeys(text for text in drawn if text)) or ["x"]
            kind = ("string", "numeric", "nominal")[int(RANDOM.integers(3))]
            declared = ", ".join(quoted(value, place) for place, value in enumerate(values))
            header.append(f"@attribute c{number} {f'{{{declared}}}' if kind == 'nominal' else kind}")
            if kind == "numeric":
                column = [repr(float(each)) for each in RANDOM.normal(0, 10.0 ** RANDOM.integers(-20, 20), rows)]
            else:
                column = [quoted(str(each), int(RANDOM.integers(6))) for each in RANDOM.choice(values, rows)]
            columns.append([cell if RANDOM.random() < 0.8 else "?" for cell in column])
        spaces = RANDOM.choice([",", ", ", " , ", ",\t"])
        lines = [*header, "@data", *(str(spaces).join(row) for row in zip(*columns, strict=True))]
        end = str(RANDOM.choice(["\n", "\r\n"]))
        path = write(end.join(lines) + end)
        table = read_arff(path)
        assert {name: cells(table, name) for name in table.cells} == of_scikit_learn(path, table), "\n".join(lines)


def made(header: str, *rows: str, **args: Any) -> Dataset:
    text = "\n".join([*(f"@attribute {each}" for each in header.split("; ")), "@data", *rows])
    given: dict[str, Any] = {"target": "y", "task": "values", "scaling": "none", **args}
    return make_data("arff", path=write(f"@relation r\n{text}\n"), **given)


def test_categories_and_classes_are_in_the_order_of_the_file() -> None:
    rows = [f"{kind},{number},{label}" for number, (kind, label) in enumerate(zip("hlmh", "yynn", strict=True))]
    header = "size {l, m, x, h}; y numeric; good {y, maybe, n}"
    dataset = made(header, *rows, inputs=("size",))
    assert dataset.encoding.categories == {"size": ("l", "m", "h")}
    labels = made(header, *rows, inputs=("y",), target="good", task="classes")
    assert labels.class_names == ("y", "n")  # no row is `maybe`
    assert labels.targets.tolist() == [0, 0, 1, 1]
    assert (
        made(header, *rows, inputs=("y",), target="good", task="classes", classes=("n", "maybe", "y")).num_outputs == 3
    )
    coded = split(made(header, *rows, *rows, inputs=("size",), categories="codes"), val=0, test=0)
    assert coded.train.inputs[:, 0].tolist() == [float("lmh".index(kind) + 1) for kind in "hlmh" * 2]


def test_a_declared_value_that_no_training_row_has_is_refused_or_ignored_as_in_any_table() -> None:
    header, rows = "size {l, m, h}; y numeric", [f"{'lh'[number % 2]},{number}" for number in range(8)]
    fitted = split(made(header, *rows), val=0, test=0).fitted
    assert fitted.encoder.categories == {"size": ("l", "h")}
    later = [*rows, "m,9"]
    with pytest.raises(DataError, match=r"t\.arff:13: column 'size' has 'm', which no training row has"):
        fitted.applied(made(header, *later))
    assert fitted.applied(made(header, *later, unseen="ignore")).inputs[-1].tolist() == [0, 0]


def test_a_table_is_the_same_from_arff_and_from_parquet(tmp_path: Path) -> None:
    sizes, kinds = RANDOM.normal(100, 5, 60), np.array(["ant", "bee", "cat, the"])[RANDOM.integers(0, 3, 60)]
    holed = [None if number % 7 == 3 else size for number, size in enumerate(sizes.tolist())]
    pq.write_table(pa.table({"size": holed, "kind": kinds, "y": np.arange(60)}), "t.parquet")
    rows = [f"{'?' if a is None else repr(a)},'{b}',{y}" for y, (a, b) in enumerate(zip(holed, kinds, strict=True))]
    header = "@attribute size real\n@attribute kind {ant, bee, 'cat, the'}\n@attribute y integer\n@data\n"
    write(header + "\n".join(rows))
    Path("u.arff.gz").write_bytes(gzip.compress(Path("t.arff").read_bytes()))
    options: Any = {"target": "y", "task": "values", "target_scaling": "standard", "missing": "mean"}
    parts = [
        split(make_data(name, path=path, **options), val=0.2)
        for name, path in (("parquet", "t.parquet"), ("arff", "t.arff"), ("arff", "u.arff.gz"))
    ]
    assert len({part.dataset.sha256() for part in parts}) == 1
    assert all(part.fitted.as_dict() == parts[0].fitted.as_dict() for part in parts)


GOOD = "a numeric; k {x, y}; y numeric"


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (GOOD, ["1,x,2", "{0 1, 2 3}"], "t.arff:7: the row is sparse, which is not read: write each value"),
        (GOOD, ["1,x,2", "1,x,2, {5}"], "t.arff:7: the row ends with a weight, {5}: make it an attribute, which `weig"),
        (GOOD, ["1,x,2", "1,x"], "t.arff:7: expected 3 cells, one for each attribute, with commas between them; got 2"),
        (GOOD, ["1 x 2", "1,x", "1,x,2,3"], "; got 1; in all 3 rows: lines 6 (1 cells), 7 (2 cells), 8 (4 cells)"),
        (GOOD, ["1,'x,2"], "t.arff:6: a quote is not closed: 'x,2 (one inside a text is written \\')"),
        (GOOD, ["1,'x''y',2"], "t.arff:6: after 'x' expected a comma"),
        (GOOD, ["1,it's,2"], "t.arff:6: ' inside a cell: put the cell in quotes"),
        (GOOD, ["1,x,2 % note"], "t.arff:6: % inside a row: put the cell in quotes, or the comment on a line of its o"),
        (GOOD, ["1,a{b},2"], "t.arff:6: { inside a cell: put the cell in quotes"),
        (GOOD, [r"1,'\q',2"], "t.arff:6: \\q in quotes stands for no character (a backslash is written \\\\)"),
        (GOOD, [r"1,'\ud800',2"], "t.arff:6: \\ud800 in quotes stands for no character"),
        (GOOD, [], "t.arff: the file has no rows"),
        (GOOD, ["1,x,2", "one,y,3"], "t.arff:2: column 'a' is declared as one of numbers, and has 'one' in line 7 (wh"),
        (GOOD, ["1_0,x,2", "0x1F,y,3", "2,x,4"], "has '1_0' in line 6; in all 2 cells: lines 6 ('1_0'), 7 ('0x1F') (w"),
        (GOOD, ["1,x,2", "2,z,3"], "t.arff:3: column 'k' is declared to hold 'x', 'y', and has 'z' in line 7 (declare"),
        (GOOD, ["1,x,2", "?,x,3"], "t.arff:7: column 'a' needs numbers, got nothing (`missing: mean` puts the mean th"),
        (GOOD, ["1,x,2", "1,?,3"], "t.arff:7: column 'k' has nothing where it needs a category (`missing: {k: categor"),
        (GOOD, ["1,x,2", "inf,x,3"], "t.arff:7: column 'a' needs numbers, got 'inf'"),
        (GOOD, ["1,x,2", "1e39,x,3"], "t.arff:7: column 'a' has '1e+39', too large for single precision"),
        (GOOD, ["?,x,2", "?,y,3"], "t.arff:2: column 'a' has no number: leave it out by `inputs`"),
        ("a date 'yyyy'; y numeric", ["'2020',1"], "t.arff:2: column 'a' holds dates, which are neither number nor ca"),
        ("a relational; y numeric", ["1,2"], "t.arff:2: attribute 'a' is relational, which is not read: write a table"),
        ("a numeric {2}; y numeric", ["1,2"], "t.arff:2: attribute 'a' has a weight, which is not read: take it away"),
        ("a {p, q} {2}; y numeric", ["1,2"], "t.arff:2: attribute 'a' has a weight, which is not read: take it away"),
        ("a float; y numeric", ["1,2"], "t.arff:2: attribute 'a' is of type 'float', expected numeric, real, integer,"),
        ("a {p, q, p}; y numeric", ["1,2"], "t.arff:2: attribute 'a' has a value twice: p"),
        ("a {p, q; y numeric", ["1,2"], "t.arff:2: attribute 'a': expected {values, in, braces} and nothing behind th"),
        ("a {p, o'q}; y numeric", ["1,2"], "t.arff:2: ' inside a cell: put the cell in quotes"),
        ("a; y numeric", ["1,2"], "t.arff:2: expected `@attribute`, a name"),
        ("two words numeric; y numeric", ["1,2"], "t.arff:2: attribute 'two' is of type 'words numeric', expected"),
        ("a numeric; y numeric; a real", ["1,2,3"], "t.arff:4: attribute 'a' is there already, in line 2"),
        ("a numeric; z numeric", ["1,2"], "t.arff has no column 'y'. Its attributes are: a, z"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_refused_with_its_line_and_a_way_out(header: str, rows: list[str], message: str) -> None:
    with pytest.raises(DataError) as raised:
        made(header, *rows)
    assert message in str(raised.value)


def test_columns_that_are_not_asked_for_may_hold_anything() -> None:
    dataset = made("a numeric; when date; bad numeric; k {x}; y numeric", "1,now,no,z,2", "3,then,1,x,4", inputs=("a",))
    assert dataset.inputs.tolist() == [[1.0], [3.0]]


def test_whole_numbers_keep_their_digits() -> None:
    with pytest.raises(DataError, match="more digits than double precision keeps apart"):
        made("a integer; y numeric", *(f"{2**60 + number},{number}" for number in range(9)))
    labels = made("a numeric; y numeric", "1,10", "2,9", "3,101", task="classes")
    assert labels.class_names == ("9", "10", "101")


def test_files_that_are_no_tables_are_refused() -> None:
    Path("folder").mkdir()
    write("a,y\n1,2\n", "text.arff")
    write("@relation r\n@attribute a numeric\n", "half.arff")
    write("@relation r\n@data\n1\n", "bare.arff")
    write("@relation r\n@data 1\n", "same.arff")
    write("@relation r\n@attribute a numeric\n@data\n1\n", "plain.arff.gz")
    Path("latin.arff").write_bytes("@relation r\n@attribute a string\n@data\né\n".encode("latin-1"))
    for name, message in {
        "gone.arff": "no file gone",
        "folder": "is a folder",
        "text.arff": r"text.arff:1: expected @relation, @attribute or @data, got 'a,y'",
        "half.arff": "half.arff cannot be read as ARFF: no line says @data",
        "bare.arff": "bare.arff:2: the file has no attributes",
        "same.arff": "same.arff:2: expected @relation",
        "plain.arff.gz": "plain.arff.gz cannot be read as a gzip file",
        "latin.arff": "latin.arff:4: cannot be read as ARFF in UTF-8",
    }.items():
        with pytest.raises(DataError, match=message):
            make_data("arff", path=name, target="y", task="values")


def test_a_damaged_file_is_refused_or_read() -> None:
    whole, read = TRICKY.encode(), 0
    for number in range(150):  # one byte changed, or cut off
        place = int(RANDOM.integers(len(whole)))
        changed = bytes([whole[place] ^ (1 << int(RANDOM.integers(8)))])
        Path("damaged.arff").write_bytes(whole[:place] if number % 2 else whole[:place] + changed + whole[place + 1 :])
        with contextlib.suppress(OptrunError):
            make_data("arff", path="damaged.arff", target="plain", task="values", missing="mean")
            read += 1
    assert 0 < read < 150


@pytest.mark.parametrize(
    "row", [" " * 200_000 + "'", "'" + "\\" * 199_999, "," * 200_000, '"' * 200_000, "{" * 200_000]
)
def test_a_long_line_takes_no_longer_than_its_length(row: str) -> None:
    path = (
        write(f"@relation r\n@attribute a {row}\n@data\n1\n"),
        write(f"@attribute a string\n@data\n{row}\n", "u.arff"),
    )
    start = time.process_time()
    for each in path:
        with pytest.raises(DataError) as raised:
            read_arff(each)
        assert len(str(raised.value)) < 500
    assert time.process_time() - start < 2
