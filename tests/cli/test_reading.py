"""`runs`, `show`, `diff`, `rm`, `plot` and `report` over what is on disk, comparisons among it."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from optrun.experiments.run_directory.run_dir import RunDir

from .conftest import TINY


@pytest.fixture(scope="module")
def two_folder(server, tmp_path_factory) -> Path:
    """Train two runs that differ in their rate, once."""
    place = tmp_path_factory.mktemp("two")
    (place / "tiny.yaml").write_text(TINY)
    for name, rate in (("first", "0.1"), ("second", "0.2")):
        with contextlib.chdir(place):
            done = server.optrun("train", "tiny.yaml", "-q", "--name", name, f"optimizer.lr={rate}")
        _, err = done.communicate()
        assert done.returncode == 0, err
    return place


@pytest.fixture
def two(two_folder, folder) -> tuple[str, str]:
    """Have these runs in this folder."""
    shutil.copytree(two_folder / "runs", folder / "runs", dirs_exist_ok=True)
    return "first", "second"


class Keyboard(io.StringIO):
    """An input that is a terminal."""

    def isatty(self) -> bool:
        return True


# ---- runs, show ------------------------------------------------------------------------------------------------------


def test_runs_stand_below_the_name_of_their_group(study, two, optrun):
    lines = optrun("runs").out.splitlines()
    group = lines.index(f"{study}/")
    assert all(line.startswith("  ") for line in lines[group + 1 : -2])
    assert [line.split()[0] for line in lines[-2:]] == ["first", "second"]  # the latest come last
    assert max(map(len, lines)) <= 80
    rows = optrun("runs", "--json").json["runs"]
    assert {row["group"] for row in rows} == {study, None}
    assert [row["name"] for row in rows if row["group"] is None] == ["first", "second"]


def test_runs_of_one_group(study, two, optrun):
    rows = optrun("runs", "--group", study[:12], "--json").json["runs"]
    assert len(rows) >= 18
    assert {row["group"] for row in rows} == {study}
    assert len(optrun("runs", study, "--json").json["runs"]) == len(rows), "a pattern may be of the group's name"
    none = optrun("runs", "--group", "compare-tinny")
    assert none.code == 5
    assert f"Did you mean '{study}'?" in none.err


def test_show_prints_a_comparison_again_and_what_was_done(study, compared, optrun):
    done = optrun("show", study)
    assert done.code == 0
    assert compared.out.strip() in done.out
    assert "Tuned with equal budget" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    document = optrun("show", study, "--json").json
    assert document["schema"] == "optrun/show-group@1"
    assert document["name"] == study


def test_a_group_is_found_by_the_beginning_of_its_name_and_by_its_path(study, optrun):
    shown = optrun("show", study).out
    for name in ("compare-tiny", f"runs/{study}", f"runs/{study}/", f"runs/{study}/comparison.json"):
        assert optrun("show", name).out == shown
    unknown = optrun("show", study.replace("tiny", "tinny"))
    assert unknown.code == 5
    assert study in unknown.err


def test_a_beginning_that_several_groups_have_is_refused(study, optrun, folder):
    (folder / "runs/compare-tiny-2").mkdir()
    (folder / "runs/compare-tiny-2/comparison.json").write_text("{}")
    done = optrun("show", "compare-tiny")
    assert done.code == 2
    assert f"means 2 comparisons: compare-tiny-2, {study}" in done.err


def test_a_damaged_comparison_is_data_error(optrun, folder):
    (folder / "runs/compare-x").mkdir(parents=True)
    (folder / "runs/compare-x/comparison.json").write_text("{")
    for command in ("show", "report", "plot"):
        done = optrun(command, "compare-x")
        assert done.code == 4
        assert "is damaged" in done.err


# ---- diff ------------------------------------------------------------------------------------------------------------


def test_diff_shows_settings_and_results(two, optrun):
    done = optrun("diff", *two)
    assert done.code == 0
    line = next(line for line in done.out.splitlines() if "optimizer.lr" in line)
    assert line.split() == ["config", "optimizer.lr", "0.1", "0.2", "+0.1"]
    assert "result" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    document = optrun("diff", *two, "--json").json
    assert document["schema"] == "optrun/diff@1"
    assert document["differs"] is True
    assert {"section": "config", "key": "optimizer.lr", "a": 0.1, "b": 0.2, "difference": 0.1} in document[
        "differences"
    ]


def test_diff_exit_code_does_not_count_seconds(two, optrun, folder):
    assert optrun("diff", *two, "--exit-code").code == 1
    assert optrun("diff", "first", "first", "--exit-code").code == 0
    assert optrun("diff", "first", "first").out == "first and first: no difference\n"
    optrun("train", "tiny.yaml", "-q", "--name", "again")
    summary = folder / "runs/again/summary.json"
    content = json.loads(summary.read_text())
    summary.write_text(json.dumps(content | {"train_secs": content["train_secs"] + 9}))
    changed = optrun("diff", "first", "again", "--json").json
    assert "train_secs" in {row["key"] for row in changed["differences"]}
    names = {row["key"] for row in changed["differences"]} - {"train_secs", "cpu_secs"}
    assert optrun("diff", "first", "again", "--exit-code").code == bool(names)


def test_diff_of_what_is_not_there(two, optrun):
    done = optrun("diff", "first", "secnod")
    assert done.code == 5
    assert "Nearest: second" in done.err


# ---- rm --------------------------------------------------------------------------------------------------------------


def test_rm_moves_into_the_trash_and_says_how_to_get_it_back(two, optrun, folder):
    done = optrun("rm", "first", "-y")
    assert done.code == 0
    assert done.out == "runs/first -> runs/.trash/first-1\n"
    assert not (folder / "runs/first").exists()
    back = done.err.strip().removeprefix("to get it back: ")
    subprocess.run(back, shell=True, check=True, cwd=folder)
    assert optrun("show", "first").code == 0


def test_rm_dry_run_moves_nothing(two, optrun, folder):
    done = optrun("rm", "first", "second", "--dry-run")
    assert done.out == "would be moved: runs/first\nwould be moved: runs/second\n"
    assert (folder / "runs/first").exists()
    assert optrun("rm", "first", "--dry-run", "--json").json["moved"] == [{"from": "runs/first", "to": None}]


def test_rm_asks_on_a_terminal(two, optrun, folder, monkeypatch):
    monkeypatch.setattr("sys.stdin", Keyboard("n\n"))
    done = optrun("rm", "first")
    assert (done.code, "nothing was moved" in done.err) == (1, True)
    monkeypatch.setattr("sys.stdin", Keyboard(""))
    assert optrun("rm", "first").code == 1
    assert (folder / "runs/first").exists()
    monkeypatch.setattr("sys.stdin", Keyboard("y\n"))
    assert optrun("rm", "first").code == 0
    assert not (folder / "runs/first").exists()


def test_rm_needs_yes_where_nobody_can_be_asked(two, optrun, folder, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    done = optrun("rm", "first")
    assert done.code == 2
    assert "add -y" in done.err
    assert (folder / "runs/first").exists()


def test_rm_refuses_a_run_in_use_and_moves_none(two, optrun, folder):
    held = RunDir(folder / "runs/second")
    with held.lock():
        held.set_status("running")
        done = optrun("rm", "first", "second", "-y")
    assert done.code == 73
    assert "is in use by process" in done.err
    assert "Nothing was moved" in done.err
    assert (folder / "runs/first").exists()


def test_rm_takes_a_comparison_with_its_runs(study, optrun, folder):
    assert "runs)" in optrun("rm", study, "--dry-run").out
    run = RunDir(next(path.parent for path in folder.glob(f"runs/{study}/*/status.json")))
    with run.lock():
        run.set_status("running")
        assert optrun("rm", study, "-y").code == 73
    run.set_status("done")
    assert optrun("rm", study, f"runs/{study}/{run.name}", "-y", "--json").json["moved"] == [
        {"from": f"runs/{study}", "to": f"runs/.trash/{study}-1"}
    ]
    assert optrun("runs").code == 5


def test_rm_keeps_runs_that_another_comparison_uses(study, optrun, folder):
    """The other one is a copy of the first, which names the same runs: as when both have an entry in common."""
    file = json.loads((folder / f"runs/{study}/comparison.json").read_text())
    runs = [record for record in file["runs"] if record["role"] == "evaluate"]
    used = sorted(record["path"].partition("/")[2] for record in runs)
    (folder / "runs/compare-other-1a2b3c").mkdir()
    other = folder / "runs/compare-other-1a2b3c/comparison.json"
    other.write_text(json.dumps({**file, "name": "compare-other-1a2b3c", "runs": runs}))
    before = optrun("show", "compare-other-1a2b3c").out
    assert before
    dry = optrun("rm", study, "--dry-run", "--json")
    assert [(item["run"], item["used_by"]) for item in dry.json["used"]] == [
        (f"runs/{study}/{name}", ["compare-other-1a2b3c"]) for name in used
    ]
    done = optrun("rm", study, "-y")
    assert done.code == 0
    for name in used:
        assert f"runs/{study}/{name} is used by compare-other-1a2b3c: it stays" in " ".join(done.err.split())
    assert sorted(path.parent.name for path in folder.glob(f"runs/{study}/*/status.json")) == used
    assert optrun("show", "compare-other-1a2b3c").out == before
    assert optrun("rm", f"runs/{study}/{used[0]}", "-y").code == 1, "nothing was moved"
    back = next(line for line in done.err.splitlines() if line.startswith("to get it back"))
    subprocess.run(back.removeprefix("to get it back: "), shell=True, check=True, cwd=folder)
    assert optrun("show", study).code == 0
    assert optrun("rm", study, "-y", "--used").code == 0
    gone = optrun("show", "compare-other-1a2b3c")
    assert gone.code != 0
    assert not (folder / f"runs/{study}").exists()
    assert "is not there any more" in " ".join(gone.err.split())


def test_rm_of_what_is_not_there_moves_none(two, optrun, folder):
    assert optrun("rm", "first", "third", "-y").code == 5
    assert (folder / "runs/first").exists()


# ---- plot ------------------------------------------------------------------------------------------------------------


def test_plot_draws_in_the_terminal(two, optrun):
    done = optrun("plot", *two, "--y", "val/loss", "--x", "epoch")
    lines = done.out.splitlines()
    assert lines[0] == "val/loss"
    assert max(map(len, lines)) <= 80
    assert "epoch 2" in done.out
    assert [line.split()[1] for line in lines[-2:]] == ["first", "second"]


@pytest.mark.parametrize(("axis", "end"), [("step", 12), ("epoch", 2), ("examples", 240), ("gradients", 12)])
def test_plot_has_the_axes_of_the_metric_rows(two, optrun, axis, end):
    (line,) = optrun("plot", "first", "--x", axis, "--json").json["lines"]
    assert line["x"][-1] == end
    assert len(line["x"]) == len(line["y"])


def test_plot_draws_the_rate_which_is_in_the_rows(two, optrun):
    assert set(optrun("plot", "second", "--y", "lr", "--json").json["lines"][0]["y"]) == {0.2}


def test_plot_names_runs_that_have_no_such_rows(two, optrun):
    assert optrun("train", "tiny.yaml", "-q", "--name", "third", "metrics=[]").code == 0
    done = optrun("plot", "first", "third", "--y", "val/accuracy")
    assert (done.code, "not drawn, since there are no rows of val/accuracy: third" in done.err) == (0, True)
    found = optrun("plot", "first", "third", "--y", "val/accuracy", "--json").json
    assert ([line["label"] for line in found["lines"]], found["without"]) == (["first"], ["third"])


def test_plot_smooths(two, optrun):
    raw = optrun("plot", "first", "--y", "val/loss", "--json").json["lines"][0]["y"]
    smooth = optrun("plot", "first", "--y", "val/loss", "--smooth", "0.5", "--json").json["lines"][0]["y"]
    assert smooth[0] == pytest.approx(raw[0])
    assert smooth[1] == pytest.approx((0.25 * raw[0] + 0.5 * raw[1]) / 0.75)
    assert optrun("plot", "first", "--smooth", "1").code == 2


@pytest.mark.parametrize("file", ["curves.svg", "curves.png"])
def test_plot_writes_a_figure(two, optrun, folder, file):
    assert optrun("plot", *two, "-o", file, "--log", "--smooth", "0.3").out == f"{file}\n"
    start = (folder / file).read_bytes()[:60]
    assert b"<?xml" in start or start.startswith(b"\x89PNG")


def test_plot_draws_a_comparison_by_entry(study, optrun, folder):
    lines = optrun("plot", study, "--json").json["lines"]
    assert [line["label"] for line in lines] == ["sgd", "adam"], "what sets them apart"
    assert optrun("plot", study, "-o", "group.svg").code == 0
    assert (folder / "group.svg").stat().st_size > 1000


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["first", "--y", "val/acuracy"], 5, "Did you mean 'val/accuracy'?"),
        (["first", "-o", "a.pdf"], 2, "a figure ends in .png or .svg"),
        (["frist"], 5, "Nearest: first"),
    ],
)
def test_plot_refuses(two, optrun, args, code, words):
    done = optrun("plot", *args)
    assert done.code == code
    assert words in done.err


def test_a_comparison_stands_alone(study, two, optrun):
    for command in ("plot", "report"):
        done = optrun(command, study, "first")
        assert done.code == 2
        assert "one comparison at a time" in done.err


# ---- report ----------------------------------------------------------------------------------------------------------


def test_report_writes_the_page_of_a_comparison_beside_it(study, optrun, folder):
    done = optrun("report", study)
    assert done.out == f"runs/{study}/report.html\n"
    assert "<!doctype html>" in (folder / f"runs/{study}/report.html").read_text().lower()
    assert optrun("report", study, "-o", "here.md").out == "here.md\n"
    assert (folder / "here.md").read_text().startswith(f"## {study}")
    assert optrun("report", study, "-o", "-").out == (folder / "here.md").read_text()
    assert optrun("report", study, "--json").json["file"] == f"runs/{study}/report.html"


def test_report_puts_runs_side_by_side(two, optrun, folder):
    assert optrun("report", "first").out == "runs/first/report.html\n"
    assert optrun("report", *two).out == "runs/report.html\n"
    assert optrun("report", *two, "-o", "two.html").out == "two.html\n"
    assert "second" in (folder / "two.html").read_text()


def test_report_opens_the_browser(two, optrun, folder, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    optrun("report", "first", "--open")
    assert opened == [(folder / "runs/first/report.html").as_uri()]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["first", "-o", "a.md"], "give -o FILE.html"),
        (["first", "-o", "-"], "no report in Markdown"),
        (["first", "-o", "nowhere/a.html"], "there is no folder nowhere"),
    ],
)
def test_report_refuses(two, optrun, args, words):
    done = optrun("report", *args)
    assert done.code == 2
    assert words in done.err


# ---- no torch --------------------------------------------------------------------------------------------------------


def test_reading_imports_no_torch(study, two, folder):
    commands = [
        ["runs"],
        ["show", study],
        ["diff", "first", "second"],
        ["rm", "second", "--dry-run"],
        ["plot", study],
        ["report", study],
        ["report", "first"],
    ]
    code = (
        "import sys, json\nfrom optrun.cli import app, completion\n"
        "for command in json.loads(sys.argv[1]):\n    assert app.run(command) == 0, command\n"
        f"assert completion.runs_and_groups(None, None, 'comp')[0].value == '{study}'\n"
        "sys.exit('imported torch' if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(commands)], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    assert done.returncode == 0, done.stderr
