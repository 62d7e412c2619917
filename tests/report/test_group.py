"""Reading comparison.json and the runs that it names."""

from __future__ import annotations

import json
import shutil

import pytest

from optrun.experiments.errors import DataError, NothingMatchedError
from optrun.experiments.report.group import Group
from optrun.experiments.report.results import Results
from optrun.experiments.run_directory.comparison_file import find_groups, is_group


def test_values_by_entry_and_seed(write_group):
    group = Group(write_group({"a": [0.9, None, 0.8], "b": [0.7, 0.71, 0.72]}))
    assert group.values() == {"a": {0: 0.9, 1: None, 2: 0.8}, "b": {0: 0.7, 1: 0.71, 2: 0.72}}
    assert group.values("val/accuracy")["b"] == {0: 0.7, 1: 0.71, 2: 0.72}
    assert group.missing() == []


def test_a_group_is_found_by_folder_file_and_object(write_group):
    folder = write_group({"a": [0.9]})

    class HasPath:
        path = folder

    assert Group(folder / "comparison.json").path == Group(HasPath()).path == folder
    assert find_groups(folder.parent) == [folder]
    assert not is_group(folder.parent)


def test_no_group(tmp_path):
    with pytest.raises(NothingMatchedError, match=r"has no comparison\.json"):
        Group(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": "optrun/comparison@9"}'])
def test_a_damaged_or_newer_file_is_refused(tmp_path, content):
    (tmp_path / "comparison.json").write_text(content)
    with pytest.raises(DataError, match=r"comparison\.json"):
        Group(tmp_path)


@pytest.mark.parametrize("has_key", [False, True])
def test_a_done_run_without_its_value_is_unmeasured_and_neither_diverged_nor_failed(write_group, has_key):
    folder = write_group({"a": [0.9], "b": [0.8]})
    summary = folder / "e0-s0" / "summary.json"
    content = json.loads(summary.read_text())
    del content["final"]["test/accuracy"]
    content["final"] |= {"test/accuracy": None} if has_key else {}  # as JSON has a NaN
    summary.write_text(json.dumps(content))
    group = Group(folder)
    assert [group.result_state(record) for record in group.records] == ["unmeasured", "done"]
    assert (group.judged("a"), group.lost("a"), group.missing()) == ([], [group.records[0]], [group.records[0]])
    assert group.records[0].result_state("val/accuracy") == "done"


def test_planned_and_failed_runs_are_listed_as_missing(write_group):
    folder = write_group({"a": [0.9, 0.8], "b": [0.7, 0.6]})
    data = json.loads((folder / "comparison.json").read_text())
    data["runs"][1]["state"], data["runs"][3]["state"] = "failed", "planned"
    (folder / "comparison.json").write_text(json.dumps(data))
    shutil.rmtree(folder / "e1-s1")
    group = Group(folder)
    assert [(r.entry, r.state, r.run is None) for r in group.missing()] == [
        ("a", "failed", False),
        ("b", "planned", True),
    ]
    assert group.values() == {"a": {0: 0.9}, "b": {0: 0.7}}


def test_an_entry_without_runs_is_named(write_group):
    folder = write_group({"a": [0.9], "b": [0.7]})
    data = json.loads((folder / "comparison.json").read_text())
    data["runs"] = data["runs"][:1]
    (folder / "comparison.json").write_text(json.dumps(data))
    with pytest.raises(NothingMatchedError, match="entry 'b' has no finished"):
        Results(Group(folder))
