"""Curves in text, and what differs between two runs."""

from __future__ import annotations

import pytest

from optrun.experiments.report.figures.terminal import curves_text
from optrun.experiments.report.learning_curves import aggregate
from optrun.experiments.report.tables.diff import diff_rows, diff_table
from optrun.experiments.report.tables.table import text_table
from optrun.experiments.run_directory.run import Run

from .conftest import write_run


def band(tmp_path, label, curve, **facts):
    run = Run(write_run(tmp_path / f"run-{label[:8]}-{len(curve)}", curve=curve, **facts))
    made = aggregate([run], "val/accuracy", label=label)
    assert made is not None
    return made


def test_a_rising_line_rises_in_ascii(tmp_path):
    lines = curves_text([band(tmp_path, "up", [0.0, 0.5, 1.0])], x="epoch", width=30, height=5, unicode=False)
    assert lines == [
        "  1 |                     ooo",
        "    |                  ooo",
        "0.5 |              oooo",
        "    |          oooo",
        "  0 |        oo",
        "    +------------------------",
        "     0                epoch 3",
        "  o up 1",
    ]


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("width", [30, 80, 133])
def test_no_line_is_wider_than_asked(tmp_path, unicode, width):
    bands = [band(tmp_path, f"{i} a name that is far too long for a terminal" * 3, [0.1, 0.9]) for i in range(9)]
    bands.append(band(tmp_path, "lost", [0.5, 0.3], outcome="diverged"))
    lines = curves_text(bands, width=width, unicode=unicode)
    assert max(map(len, lines)) <= width
    assert unicode or all(line.isascii() for line in lines)
    assert "1 of 1 diverged" in "\n".join(lines)


def test_braille_has_a_dot_for_each_place(tmp_path):
    lines = curves_text([band(tmp_path, "flat", [0.5, 0.5])], width=40, height=4)
    dots = {char for line in lines for char in line if "\u2800" < char <= "\u28ff"}
    assert dots
    assert all(char in "".join(lines) for char in "│└●")


def test_a_run_that_diverged_is_crossed(tmp_path):
    lines = curves_text([band(tmp_path, "lost", [0.5, 0.3], outcome="diverged")], width=40)
    assert "×" in "\n".join(lines[:-1])


def test_on_a_log_scale_what_is_not_above_0_is_left_out(tmp_path):
    lines = curves_text([band(tmp_path, "log", [0.0, 0.1, 1.0])], width=40, log=True, unicode=False)
    assert lines[0].lstrip().startswith("1 |")
    assert any(line.startswith("  0.1 |") for line in lines)
    assert lines[-1] == "  (log scale)"


def test_on_a_log_scale_the_legend_counts_what_is_left_out(tmp_path):
    bands = [band(tmp_path, "zeros", [0.5, 0.0, 0.0]), band(tmp_path, "whole", [0.5, 0.4])]
    assert curves_text(bands, width=60, log=True)[-3:] == [
        "  ● zeros 0, 2 values of 0 or less not drawn",
        "  ◆ whole 0.4",
        "  (log scale)",
    ]


@pytest.mark.parametrize("unicode", [True, False])
def test_as_many_lines_as_letters_and_more_have_marks_of_their_own(tmp_path, unicode):
    one = band(tmp_path, "one", [0.1, 0.9])
    legend = curves_text([one] * 60, width=60, unicode=unicode)[-60:]
    marks = [line.split()[0] for line in legend]
    assert len(set(marks)) == 60
    assert not {"×", "X"} & set(marks), "the mark of a run that diverged"


def test_no_values_leave_the_legend(tmp_path):
    assert curves_text([band(tmp_path, "none", [], outcome="diverged")]) == ["  ● none, 1 of 1 diverged"]


def test_what_differs_between_two_runs(tmp_path):
    a = Run(write_run(tmp_path / "a-0001", lr=0.1, curve=[0.5, 0.75]))
    b = Run(write_run(tmp_path / "b-0001", lr=0.2, curve=[0.5, 0.8, 0.875]))
    b.dir.write_json("env.json", {**a.env, "torch": "2.8.0"})
    rows = {row["key"]: row for row in diff_rows(a, b)}
    assert (rows["optimizer.lr"]["a"], rows["optimizer.lr"]["b"]) == (0.1, 0.2)
    assert rows["val/accuracy"]["difference"] == 0.125
    assert (rows["torch"]["section"], rows["torch"]["a"], rows["torch"]["b"]) == ("environment", "2.7.0", "2.8.0")
    assert not {"name", "seed", "optrun", "train_secs"} & rows.keys()
    assert "a-0001" in text_table(diff_table(a, b))[0]


def test_a_run_does_not_differ_from_itself(tmp_path):
    run = Run(write_run(tmp_path / "a-0001"))
    assert diff_rows(run, run) == []
