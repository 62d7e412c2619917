"""Tables as text, Markdown and CSV, from the same rows."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from optrun.experiments.report import style
from optrun.experiments.report.export import markdown
from optrun.experiments.report.report import Report
from optrun.experiments.report.tables.comparison_tables import cost_table, result_table, runs_table, sensitivity_table
from optrun.experiments.report.tables.table import Column, Table, csv_text, markdown_text, text_table

GOLDEN = Path(__file__).parent / "golden"
SGD = [0.900, 0.921, 0.912, 0.933, 0.904, 0.941]
MOM = [0.905, 0.915, 0.920, 0.931, 0.899, 0.945]
ADAM = [0.951, 0.962, 0.966, 0.974, 0.955, 0.983]


@pytest.fixture
def report(write_group):
    entries = {"sgd": [*zip(SGD, (4, 4, 3, 4, 4, 4), strict=True)], "mom": MOM}
    entries["adam"] = [*zip(ADAM, (2, 2, 2, 1, 2, 2), strict=True)]
    return Report(write_group(entries, tuned=True))


def golden(name: str, text: str) -> None:
    path = GOLDEN / name
    assert text == path.read_text(encoding="utf-8"), f"if this is meant, write it to {path}"


def test_what_is_cut_still_differs():
    names = [f"entry-{number:02d}-with-a-name" for number in range(24)]
    cut = style.shortened_apart(names, 8)
    assert len(set(cut)) == 24
    assert max(map(len, cut)) <= 8
    assert style.shortened_apart(["a" * 20 + "1", "b" * 20 + "1"], 8) == ["aaa…aaa1", "bbb…bbb1"]
    alike = ["x" * 9 + "1" + "x" * 9 + "1", "x" * 9 + "2" + "x" * 9 + "1", "x" * 9 + "2" + "x" * 9 + "2"]
    assert len(set(style.shortened_apart(alike, 3))) == 3  # wider than asked rather than the same
    assert style.shortened_apart([], 8) == []
    assert style.shortened_apart(["same name here", "same name here"], 8) == ["sam…here", "sam…here"]


def test_rounding_is_no_difference(write_group):
    """Right answers of 45: 159 in all for both, but the mean of the differences is 2.8e-17 in floating point."""
    a, b = ([right / 45 for right in counts] for counts in ([43, 35, 37, 44], [40, 34, 41, 44]))
    report = Report(write_group({"a": a, "b": b}, target=False))
    (difference,) = [row["difference"] for row in report.entries if row["difference"] is not None]
    assert 0 < abs(difference) < 1e-15
    text = "\n".join(text_table(result_table(report, verdicts=True)))
    assert " 0.000 ±" in text or " 0.00 ±" in text
    assert "e-17" not in text + str(report.said)


def test_the_text_of_a_comparison(report):
    tables = [result_table(report), cost_table(report), sensitivity_table(report)]
    text = "\n\n".join("\n".join(text_table(table)) for table in tables)
    assert max(map(len, text.splitlines())) <= 80
    golden("tables.txt", f"{text}\n")


def test_the_markdown_of_a_comparison(report):
    golden("comparison.md", markdown(report))


def test_long_names_are_cut_in_the_middle_to_80_columns(write_group):
    names = [f"adam:optimizer.lr=3e-3,schedule.name=cosine,variant={i}" for i in range(3)]
    report = Report(write_group({name: [0.9, None, 0.91] for name in names}))
    for table in (result_table(report), cost_table(report)):
        lines = text_table(table)
        assert max(map(len, lines)) <= 80
        assert all(any(line.count(f"variant={i}"[-3:]) for line in lines) for i in range(3))
        assert "…" in lines[1]


def test_diverged_runs_show_in_every_table(write_group):
    report = Report(write_group({"calm": [0.9, 0.91, 0.92], "wild": [None, 0.8, None]}))
    rows = text_table(result_table(report, verdicts=True))
    assert "3 (2 div.)" in rows[2]
    assert "withheld" in rows[2]
    assert "undecided: diverged" in rows[2]
    assert "(1/3)" in text_table(cost_table(report))[2]


def test_all_diverged(write_group):
    report = Report(write_group({"calm": [0.9, 0.91, 0.92], "wild": [None, None, None]}))
    assert "  diverged" in text_table(result_table(report))[2]
    assert "none (0/3)" in text_table(cost_table(report))[2]


def test_csv_reads_back_as_the_rows(report):
    rows = runs_table(report).rows
    read = list(csv.DictReader(io.StringIO(csv_text(rows), newline="")))
    assert len(read) == len(rows) == 36
    for row, back in zip(rows, read, strict=True):
        for key, value in row.items():
            if isinstance(value, bool):
                assert back[key] == str(value).lower()
            elif isinstance(value, int | float):
                assert float(back[key]) == value
            else:
                assert back[key] == (value or "")


def test_csv_holds_no_formula_and_no_nan():
    text = csv_text([{"name": "=1+1", "value": float("nan"), "note": 'a "b", c\nd'}])
    assert text == 'name,value,note\r\n\'=1+1,,"a ""b"", c\nd"\r\n'


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a|b", r"a\|b"), ("<script>", "&lt;script&gt;"), ("a_b*c`", r"a\_b\*c\`"), ("two\nlines", "two lines")],
)
def test_markdown_shows_text_as_it_is(text, shown):
    assert markdown_text(text) == shown


def test_a_table_without_rows_is_its_heading():
    table = Table("t", "t", [Column("a", str, "a"), Column("b", str, "b")])
    assert text_table(table) == ["a  b"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.0, "0"),
        (12, "12"),
        (123456, "123,456"),
        (0.123456, "0.1235"),
        (1e-9, "1e-09"),
        (float("inf"), "inf"),
    ],
)
def test_numbers(value, text):
    assert style.number(value) == text


@pytest.mark.parametrize(
    ("value", "decimals", "sign", "text"),
    [(0.5, 3, False, "0.500"), (-0.0001, 2, False, "0.00"), (0.5, 1, True, "+0.5"), (1e-9, 3, False, "1e-09")],
)
def test_decimals(value, decimals, sign, text):
    assert style.decimal(value, decimals, sign) == text


def test_decimals_follow_the_uncertainty():
    assert style.num_decimals(0.0051, 0.9) == 4
    assert style.num_decimals(12.3, 500) == 0
    assert style.num_decimals(None, 0) == 4


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0, "p < .001"),
        (0.00099, "p < .001"),
        (0.001, "p = .001"),
        (0.0044, "p = .004"),
        (0.047, "p = .047"),
        (0.33, "p = .33"),
        (0.994, "p = .99"),
        (0.9951, "p = .995"),
        (1.0, "p = 1"),
    ],
)
def test_p(p, text):
    assert style.p_text(p) == text


def test_p_by_name():
    assert style.p_text(0.02, "adjusted p") == "adjusted p = .020"


def test_significant_digits_and_counts():
    written = [style.significant(x) for x in (0.0012345, 1.0, 123.4, -0.5, 0)]
    assert written == ["0.00123", "1", "123", "-0.5", "0"]
    assert [style.many(n, "seed") for n in (0, 1, 2)] == ["0 seeds", "1 seed", "2 seeds"]
