"""Runs that are others than a comparison made: resumed with other settings, edited, replaced by another one's files."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil

import pytest

from optrun.experiments.comparison.compare import compare
from optrun.experiments.report.group import Group
from optrun.experiments.report.report import Report
from optrun.experiments.training.train import resume, train

TINY = """
data: {name: iris, batch_size: 30}
model: logistic
loss: cross_entropy
metrics: [accuracy]
train: {epochs: 2}
optimizer: {name: sgd, lr: LR}
"""
ASKED = {"seeds": 2, "tune": None, "jobs": 1}


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """Return a folder with a comparison, which is copied: it takes worker processes to make."""
    folder = tmp_path_factory.mktemp("once")
    for name, lr in (("p", "0.1"), ("q", "0.05")):
        (folder / f"{name}.yaml").write_text(TINY.replace("LR", lr))
    with contextlib.chdir(folder):
        compare(["p.yaml", "q.yaml"], **ASKED)
    return folder


@pytest.fixture
def made(once, tmp_path):
    """Return a comparison, and the folder of the run in it that tests change."""
    shutil.copytree(once, tmp_path, dirs_exist_ok=True)
    first = compare(["p.yaml", "q.yaml"], **ASKED, train=False)
    first.values()  # which reads the runs, before a test changes one
    path = next(
        tmp_path / "runs" / run["path"] for run in first.data["runs"] if (run["entry"], run["seed"]) == ("q", 0)
    )
    return first, path


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def resumed_otherwise(path):
    resume(path, ["optimizer.lr=3", "train.epochs=4"], allow_change=True)


def resumed_with_more_steps(path):
    resume(path, ["train.epochs=4"], allow_change=True)


def other_result(path):
    summary = json.loads((path / "summary.json").read_text())
    summary["final"]["test/accuracy"] = 0.125
    (path / "summary.json").write_text(json.dumps(summary))


def no_result(path):
    (path / "summary.json").unlink()


def other_rows(path):
    edit(path / "metrics.jsonl", '"val/loss"', '"val/loss_before"')


def other_configuration(path):
    edit(path / "config.yaml", "lr: 0.05", "lr: 0.06")


def a_copy_of_another(path):
    other = next(each for each in path.parent.iterdir() if each.name.startswith("q-s1"))
    shutil.rmtree(path)
    shutil.copytree(other, path)


def a_new_run_in_its_place(path):
    shutil.rmtree(path)
    train("q.yaml", ["seed=0", "train.epochs=1"], name=path.name, root=path.parent)


CHANGES = [
    resumed_otherwise,
    resumed_with_more_steps,
    other_result,
    no_result,
    other_rows,
    other_configuration,
    a_copy_of_another,
    a_new_run_in_its_place,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_run_is_left_out_and_made_anew(made, change, caplog):
    first, path = made
    values = first.values()
    change(path)
    before = {file.name: file.read_bytes() for file in path.iterdir() if file.is_file() and file.name != ".lock"}
    # An older comparison that names it says so, and has none of its figures.
    group = Group(first.path)
    assert [(record.entry, record.seed) for record in group.records if record.state == "changed"] == [("q", 0)]
    assert group.values() == {"p": values["p"], "q": {1: values["q"][1]}}
    report = Report(group, labels=False)
    assert f"Changed: {path.name} was changed since the comparison was made" in str(report.said)
    (row,) = [row for row in report.runs if row["entry"] == "q" and row["seed"] == 0]
    assert (row["outcome"], row["steps"], row["test/accuracy"]) == ("changed", None, None)
    assert row["message"].startswith("changed since it was made: ")
    # The comparison repeated makes it anew, in a folder of its own, and tells it once.
    with caplog.at_level(logging.WARNING, logger="optrun"):
        again = compare(["p.yaml", "q.yaml"], **ASKED)
    told = [record.message for record in caplog.records if path.name in record.message]
    assert len(told) == 1
    assert "is left as it is, and made anew" in told[0]
    assert again.path == first.path
    assert again.values() == values
    assert made_anew(again).startswith(f"{path.parent.name}/q-s0-")
    assert not made_anew(again).endswith(path.name)
    assert {name: (path / name).read_bytes() for name in before} == before
    # From then on it is found, and nothing is told any more.
    caplog.clear()
    third = compare(["p.yaml", "q.yaml"], **ASKED, train=False)
    assert third.values() == values
    assert not [record for record in caplog.records if path.name in record.message]
    assert not [record for record in third.group.records if record.state == "changed"]


def made_anew(comparison):
    """Return the path, as the file has it, of the one run that was not there before."""
    (path,) = [run["path"] for run in comparison.data["runs"] if not run["cached"]]
    return path


def test_what_does_not_change_a_run_changes_nothing(made):
    first, path = made
    resume(path)  # it is finished
    (path / "log.txt").write_text("")
    (path / "notes.txt").write_text("mine")
    shutil.rmtree(path / "checkpoints")
    assert not [record for record in Group(first.path).records if record.state == "changed"]
    again = compare(["p.yaml", "q.yaml"], **ASKED, train=False)
    assert again.values() == first.values()


def test_a_comparison_and_a_cache_without_hashes_are_read_as_they_were(made, tmp_path):
    first, path = made
    data = json.loads((first.path / "comparison.json").read_text())
    for run in data["runs"]:
        del run["sha256"]
    (first.path / "comparison.json").write_text(json.dumps(data))
    for entry in (tmp_path / "runs" / ".cache").iterdir():
        if not entry.name.endswith(".lock"):
            entry.write_text(json.loads(entry.read_text())["path"])
    (path / "config.yaml").write_text((path / "config.yaml").read_text() + "# mine\n")
    assert not [record for record in Group(first.path).records if record.state == "changed"]
    assert compare(["p.yaml", "q.yaml"], **ASKED, train=False).values() == first.values()


def test_an_entry_all_of_whose_runs_were_changed_is_out(made):
    first, path = made
    for folder in path.parent.glob("q-s*"):
        other_result(folder)
    report = Report(first.path, labels=False)
    assert "Changed: q has no result, each of its 2 evaluation runs was changed since" in str(report.said)
    assert report.group.without_result()
