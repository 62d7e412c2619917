"""The finished runs of a comparison, analysed: differences either way round, times to target, one Holm family."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scipy import stats

from optrun.experiments.report.group import Group
from optrun.experiments.report.results import Results
from optrun.experiments.report.rows import comparison_rows, run_rows

A = [0.90, 0.92, 0.91, 0.93, 0.90, 0.94]
B = [0.95, 0.96, 0.97, 0.95, 0.96, 0.98]


def test_a_row_is_seen_from_its_entry_whatever_the_order_of_the_pair(write_group):
    results = Results(Group(write_group({"a": A, "b": B})))
    assert results.reference == "b"
    row = comparison_rows(results)[1]
    expected = stats.ttest_rel(A, B)
    interval = expected.confidence_interval(0.95)
    assert row["entry"] == "a"
    assert row["difference"] == pytest.approx(sum(A) / 6 - sum(B) / 6)
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((interval.low, interval.high))
    assert row["p"] == pytest.approx(expected.pvalue)
    assert row["better_share"] == 0
    flipped = results.against("b", "a")
    assert flipped.difference == pytest.approx(-row["difference"])
    assert flipped.share_interval == pytest.approx((1 - row["better_high"], 1 - row["better_low"]))
    assert [d for _, d in flipped.differences] == pytest.approx([b - a for a, b in zip(A, B, strict=True)])


def test_the_times_to_target_are_in_the_family_of_the_correction(write_group):
    """Two tests, so that the smaller p is doubled, and no p is printed as if it stood alone."""
    times_a, times_b = [3, 4, 3, 4, 3, 3], [2, 2, 1, 2, 1, 2]
    entries = {"a": list(zip(A, times_a, strict=True)), "b": list(zip(B, times_b, strict=True))}
    results = Results(Group(write_group(entries)))
    against = results.against("b", "a")
    ratio = stats.gmean([x / y for x, y in zip(times_a, times_b, strict=True)])
    assert against.ratio is not None
    assert against.ratio.ratio == pytest.approx(ratio)
    raw = [against.ratio.p, against.pair.result.p]
    adjusted = [against.ratio_p, against.pair.adjusted.p]
    assert min(adjusted) == pytest.approx(2 * min(raw))
    assert max(adjusted) == pytest.approx(max(*raw, 2 * min(raw)))
    assert results.against("a", "b").ratio.ratio == pytest.approx(1 / ratio)  # type: ignore[union-attr]


def test_no_ratio_where_a_run_missed(write_group):
    results = Results(Group(write_group({"a": [0.9, 0.7, 0.9], "b": [0.95, 0.96, 0.97]})))
    against = results.against("b", "a")
    assert against.ratio is not None
    assert against.ratio.ratio is None
    assert "1 of 3" in against.ratio.withheld
    assert results.times["a"].num_reached == 2
    row = next(row for row in comparison_rows(results) if row["entry"] == "a")
    assert (row["reached"], row["epochs_median"], row["times_sooner"]) == (2, 3.0, None)
    assert results.times["a"].epochs[1] == 4.0  # the whole budget


def test_a_run_that_diverged_is_counted_with_its_whole_budget(write_group):
    results = Results(Group(write_group({"a": [0.9, None], "b": [0.95, 0.96]})))
    assert results.times["a"].epochs == {0: 3.0, 1: 4.0}
    assert results.times["a"].reached == {0: True, 1: False}
    row = next(row for row in comparison_rows(results) if row["entry"] == "a")
    assert (row["n"], row["diverged"], row["mean"], row["difference"]) == (2, 1, None, None)


def test_a_target_that_the_runs_did_not_know_is_read_from_their_rows(write_group):
    target = {"metric": "val/accuracy", "value": 0.45}
    results = Results(Group(write_group({"a": [0.9, 0.9], "b": [0.9, 0.9]}, protocol={"target": target})))
    assert results.times["a"].epochs == {0: 1.0, 1: 1.0}


def rewrite(path: Path, **facts: object) -> None:
    """Change facts of a run's summary, and leave out the rows after its last step."""
    summary = json.loads((path / "summary.json").read_text()) | facts
    (path / "summary.json").write_text(json.dumps(summary))
    rows = [line for line in (path / "metrics.jsonl").read_text().splitlines() if line]
    kept = [line for line in rows if json.loads(line)["step"] <= summary["steps"]]
    (path / "metrics.jsonl").write_text("".join(f"{line}\n" for line in kept))


def test_times_count_up_to_the_planned_length_however_early_runs_stop(write_group):
    """`stop.at_target` ends three runs at once; the fourth, which misses, is watched for the 4 epochs that it has."""
    folder = write_group({"soon": [(0.9, 2), (0.9, 2)], "late": [(0.9, 3), 0.7]})
    for name, epochs in (("e0-s0", 2), ("e0-s1", 2), ("e1-s0", 3)):
        rewrite(folder / name, outcome="stopped", steps=5 * epochs, batches=5 * epochs, epochs=float(epochs))
    times = Results(Group(folder)).times
    assert (times["soon"].epochs, times["late"].epochs) == ({0: 2.0, 1: 2.0}, {0: 3.0, 1: 4.0})
    means = [times[name].mean for name in ("soon", "late")]
    assert [(mean.horizon, mean.mean) for mean in means if mean is not None] == [(4.0, 2.0), (4.0, 3.5)]


def test_a_run_that_diverged_in_its_first_step_is_counted_with_the_planned_length(write_group):
    folder = write_group({"a": [0.9, None], "b": [0.95, 0.96]}, diverged_at=1)
    assert json.loads((folder / "e0-s1/summary.json").read_text())["epochs"] == 0.0
    times = Results(Group(folder)).times
    assert times["a"].epochs == {0: 3.0, 1: 4.0}
    assert (times["b"].mean.horizon, times["b"].mean.mean) == (4.0, 3.0)


def test_the_last_evaluation_counts_which_has_no_row(write_group):
    target = {"metric": "val/accuracy", "value": 0.93}
    folder = write_group({"a": [0.9, 0.9], "b": [0.9, 0.9]}, protocol={"target": target})
    rewrite(folder / "e0-s0", final={"val/accuracy": 0.94, "test/accuracy": 0.9}, epochs=4.2, steps=21, batches=21)
    times = Results(Group(folder)).times["a"]
    assert (times.reached, times.epochs[0]) == ({0: True, 1: False}, 4.2)


def test_only_pairs_with_the_baseline_are_made(write_group):
    entries = {"a": A, "b": B, "c": [value - 0.01 for value in A]}
    results = Results(Group(write_group(entries, protocol={"baseline": "a"})))
    assert results.reference == "a"
    assert {(pair.a, pair.b) for pair in results.analysis.pairs} == {("b", "a"), ("c", "a")}
    assert set(results.ratios) == {("b", "a"), ("c", "a")}


def test_costs_are_means_over_the_runs(write_group):
    results = Results(Group(write_group({"a": [0.9, 0.8], "b": [0.9, 0.8]}, gradients={"b": 2})))
    rows = {row["entry"]: row for row in comparison_rows(results)}
    assert (rows["a"]["gradient_evaluations"], rows["b"]["gradient_evaluations"]) == (20, 40)
    assert (rows["a"]["examples"], rows["a"]["cpu_secs"]) == (1280, 2.0)


def test_every_run_has_a_row(write_group):
    group = Group(write_group({"a": [0.9, None]}, tuned=True))
    rows = run_rows(group.records, ["val/accuracy"])
    assert [(row["role"], row["outcome"]) for row in rows].count(("tune", "diverged")) == 1
    assert rows[-1] | {"entry": "a", "seed": 1, "outcome": "diverged", "val/accuracy": None, "lr": 0.1} == rows[-1]
    assert len(rows) == 8
