"""Failed, diverged, unmeasured and unfinished are four things, wherever trials and runs are counted."""

from __future__ import annotations

import json

import pytest

from optrun.cli.texts.comparison_text import sensitivity_lines
from optrun.experiments.report.group import Group
from optrun.experiments.report.page.page_data import sensitivity_data
from optrun.experiments.report.report import Report
from optrun.experiments.report.tables.comparison_tables import cost_table, n_text, sensitivity_table
from optrun.experiments.report.tables.table import text_table
from optrun.experiments.report.words.states import count_states, every_one, lost_text

RECORDED = {"failed": "failed", "unmeasured": "done", "unfinished": "running"}  # what a record's own state is


def lose(folder, entry, role, states):
    """Let the first runs of an entry in a role have come to this, as a comparison of 0.2.0 would have written it."""
    data = json.loads((folder / "comparison.json").read_bytes())
    records = [record for record in data["runs"] if (record["entry"], record["role"]) == (entry, role)]
    lost = {}
    for record, state in zip(records, states, strict=False):
        record["state"] = RECORDED[state]
        lost[record["path"]] = state
        if state == "unmeasured":
            file = folder.parent / record["path"] / "summary.json"
            summary = json.loads(file.read_bytes())
            file.write_text(json.dumps({**summary, "final": {}}))
    for trial in next(e for e in data["entries"] if e["name"] == entry)["tuning"]["trials"]:
        trial["scores"] = [None if path in lost else s for path, s in zip(trial["runs"], trial["scores"], strict=True)]
        trial["mean"] = None if None in trial["scores"] else sum(trial["scores"]) / 2
    (folder / "comparison.json").write_text(json.dumps(data))
    return Group(folder)


def test_states_are_counted_in_words():
    assert count_states(["done", "failed", "done"]) == "2 done, 1 failed"
    assert lost_text(["done", "done"]) == ""
    assert lost_text(["failed", "failed"]) == "failed"
    assert lost_text(["done", "diverged"]) == "1 of 2 diverged"
    assert lost_text(["failed", "diverged", "done"]) == "1 of 3 failed, 1 diverged"
    assert every_one(["unmeasured"] * 3, "run") == "each of its 3 runs is unmeasured"
    assert every_one(["failed"], "trial") == "its trial failed"
    assert every_one(["failed", "failed", "unmeasured"], "run") == "of its 3 runs 2 failed and 1 unmeasured"


@pytest.mark.parametrize("state", RECORDED)
def test_trials_are_called_what_they_are(write_group, state):
    folder = write_group({"a": [0.9, 0.91], "b": [0.8, 0.85]}, tuned=True)
    group = lose(folder, "a", "tune", [state])  # the first of 6; the last one diverged
    report = Report(group)
    first, _, last = [row for row in report.trials if row["entry"] == "a"]
    counts = {"failed": 0, "unmeasured": 0, "unfinished": 0}
    assert first | counts | {state: 1, "diverged": 0, "n": 2} == first
    assert last | counts | {"diverged": 1, "n": 2} == last
    header, _, *_ = text_table(sensitivity_table(report), 120)
    assert {word for word in (*counts, "diverged") if word in header} == {state, "diverged"}
    lines = sensitivity_lines(group.entry("a"), group, 80)
    assert (f"1 of 2 {state}" in lines[1], "1 of 2 diverged" in lines[3]) == (True, True)
    chart = sensitivity_data(group)
    assert [point["lost"] for point in chart["lines"][0]["points"]] == [f"1 of 2 {state}", "", "1 of 2 diverged"]
    assert f"Fewer trials: a: tuned on 5 of 6 trials (1 {state})." in report.said.notes
    assert not any(note.startswith("Fewer trials: b") for note in report.said.notes)
    assert f"6 runs spent (1 {state}: tuned on 5 of 6 trials)" in " ".join(report.protocol)
    assert [row["trial_runs_known"] for row in report.entries] == [5, 6]
    assert "5/6" in text_table(cost_table(report), 120)[1]


@pytest.mark.parametrize("state", RECORDED)
def test_evaluations_are_called_what_they_are(write_group, state):
    folder = write_group({"a": [0.9, 0.91, 0.92], "b": [0.8, None, 0.85]}, tuned=True)
    report = Report(lose(folder, "a", "evaluate", [state]))
    rows = {row["entry"]: row for row in report.entries}
    short = {"failed": "failed", "unmeasured": "unmeas.", "unfinished": "unfin."}[state]
    assert n_text(rows["a"]) == f"2/3 (1 {short})"
    assert n_text(rows["b"]) == "3 (1 div.)"
    assert f"Incomplete: 1 of 6 evaluation runs take no part (1 {state})." in report.said.notes
    assert rows["a"]["mean"] == pytest.approx(0.915)


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (["failed"] * 6, "a: every trial failed"),
        (["unmeasured"] * 6, "a: every trial is unmeasured"),
        (["failed"] * 5, "a: no value has a score for each seed (6 trials: 5 failed, 1 diverged)"),
    ],
)
def test_a_sweep_says_that_every_trial_diverged_only_where_that_is_true(write_group, states, said):
    folder = write_group({"a": [0.9, 0.91]}, tuned=True, kind="sweep", protocol={"metric": "val/accuracy"})
    lose(folder, "a", "tune", states)
    data = json.loads((folder / "comparison.json").read_bytes())
    data["entries"][0]["tuning"]["chosen"] = None
    (folder / "comparison.json").write_text(json.dumps(data))
    assert Report(folder).said.headline == said
