"""An entry that failed in all of its runs: the others get their verdict, by the tests that were planned."""

from __future__ import annotations

import json
import math

import pytest
from scipy import stats

from optrun.experiments.errors import NothingMatchedError
from optrun.experiments.report.conditions import parse_condition
from optrun.experiments.report.decisions import decide_all
from optrun.experiments.report.export import SUFFIXES, export
from optrun.experiments.report.group import Group
from optrun.experiments.report.report import Report
from optrun.experiments.report.results import Results
from optrun.experiments.report.words.limits import overall_limits

from ..helpers import in_turn

A = [0.90, 0.91, 0.93, 0.92, 0.90, 0.95]
B = [0.95, 0.94, 0.97, 0.96, 0.97, 0.96]
C = [0.92, 0.90, 0.95, 0.92, 0.93, 0.94]


def with_failed(folder, *names, state="failed"):
    """Let each evaluation run of the entries have failed."""
    path = folder / "comparison.json"
    data = json.loads(path.read_bytes())
    for record in data["runs"]:
        if record["entry"] in names and record["role"] == "evaluate":
            record |= {"state": state, "message": "RuntimeError: not supported here"}
    path.write_text(json.dumps(data))
    return Group(folder)


def holm(p_values, size):
    """Return Holm's adjusted p-values in a family of `size`, by its definition."""
    return [min(1.0, max((size - i) * p for i, p in enumerate(sorted(p_values)) if p <= q)) for q in p_values]


@pytest.mark.parametrize("target", [False, True])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_the_others_are_judged_in_the_family_that_was_planned(write_group, place, target):
    entries = {"a": A, "b": B, "c": C}
    names = list(entries)
    names.insert(place, "boom")
    group = with_failed(write_group({name: entries.get(name, A) for name in names}, target=target), "boom")
    results = Results(group)
    assert (list(results.lost), results.names) == (["boom"], ["a", "b", "c"])
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    p_values = [stats.ttest_rel(entries[a], entries[b]).pvalue for a, b in pairs]
    times = [ratio.p for ratio in results.ratios.values() if ratio.p is not None]
    planned = 6 + len(times) + (3 if target else 0)  # 4 entries have 6 pairs; 3 of their ratios cannot be tested
    expected = holm([*p_values, *times], planned)
    for pair, p in zip(pairs, expected[:3], strict=True):
        assert results.analysis.pair(*pair).adjusted.p == pytest.approx(p, abs=1e-12)
        assert results.analysis.pair(*pair).adjusted.num_tests == planned
    flips = [results.analysis.pair(*pair).result.sign_flip.p for pair in pairs]
    for pair, p in zip(pairs, holm(flips, 6), strict=True):
        assert results.analysis.pair(*pair).adjusted.flip_p == pytest.approx(p, abs=1e-12)
    needed = math.ceil(math.log2(2 * 6 / 0.05))  # 2 / 2^n, six times, is at most alpha
    assert f"it needs {needed} seeds to reach 0.05 over 6 pairs" in overall_limits(results.analysis)[0]


def test_with_a_baseline_the_family_has_one_test_for_each_other_entry(write_group):
    entries = {"a": A, "b": B, "c": C, "boom": A}
    folder = write_group(entries, protocol={"baseline": "a"}, target=False)
    results = Results(with_failed(folder, "boom"))
    expected = holm([stats.ttest_rel(B, A).pvalue, stats.ttest_rel(C, A).pvalue], 3)
    assert [results.analysis.pair(x, "a").adjusted.p for x in ("b", "c")] == pytest.approx(expected, abs=1e-12)


def test_every_file_is_written_and_names_the_entry_that_failed(write_group, tmp_path):
    group = with_failed(write_group({"a": A, "boom": A, "b": B}), "boom")
    report = Report(group)
    note = "Failed: boom has no result, each of its 6 evaluation runs failed (RuntimeError: not supported here)."
    assert note in str(report.said)
    for suffix in SUFFIXES:
        file = export(group, tmp_path / f"out{suffix}")
        assert file.stat().st_size > 0
        if suffix in (".md", ".html"):
            assert "boom has no result" in file.read_text()
    assert json.loads((tmp_path / "out.json").read_text())["failed_entries"] == ["boom"]
    assert (tmp_path / "out.csv").read_text().count("failed") == 6


def test_one_entry_that_is_left_has_its_result_and_no_verdict(write_group, tmp_path):
    report = Report(with_failed(write_group({"a": A, "boom": A}), "boom"))
    assert [row["entry"] for row in report.entries] == ["a"]
    assert "a stands alone" in str(report.said)
    for suffix in SUFFIXES:
        assert export(report, tmp_path / f"out{suffix}").is_file()


def test_conditions_about_it_are_not_decided_and_its_bounds_do_not_hold(write_group):
    group = with_failed(write_group({"a": A, "boom": A, "b": B}), "boom")
    texts = ["boom better than a", "boom.test/accuracy >= 0.1", "b better than a"]
    asked = [parse_condition(text, group.names, ["test/accuracy"]) for text in texts]
    found = decide_all(asked, Results(group))
    assert [decision.holds for decision in found] == [None, False, True]
    assert found[0].message == "boom has no result: each of its 6 runs failed"


def test_what_is_merely_unfinished_is_no_failure(write_group):
    group = with_failed(write_group({"a": A, "c": C, "b": B}), "c", state="planned")
    with pytest.raises(NothingMatchedError, match="entry 'c' has no finished evaluation run yet"):
        Results(group)


@pytest.mark.parametrize(("failed", "tuned"), in_turn([("a",), ("a", "b", "c")], [False, True]))
def test_without_a_baseline_or_anything_at_all_nothing_is_tested_and_every_file_is_written(
    write_group, tmp_path, failed, tuned
):
    folder = write_group({"a": A, "b": B, "c": C}, protocol={"baseline": "a"}, tuned=tuned)
    report = Report(with_failed(folder, *failed))
    why = "no entry has a result" if len(failed) > 1 else "the baseline a has no result"
    assert f"no verdict, since {why}" in report.said.headline
    assert [note.partition(" has no result")[0] for note in report.said.notes if note.startswith("Failed:")] == [
        f"Failed: {name}" for name in failed
    ]
    assert f"Nothing was tested: {why}." in report.protocol
    assert "By paired t tests" not in " ".join(report.protocol)
    for suffix in SUFFIXES:
        assert export(report, tmp_path / f"out{suffix}").stat().st_size > 0
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["failed_entries"] == list(failed)
    assert {row["entry"] for row in document["entries"]} == {"a", "b", "c"} - set(failed)
    assert not any(row["p"] for row in document["entries"])


def test_a_script_hears_that_nothing_has_a_result(write_group):
    with pytest.raises(NothingMatchedError, match="no entry has a result; mend what failed, and compare again"):
        Results(with_failed(write_group({"a": A, "b": B}), "a", "b"))
