"""How the runs of a comparison share a machine: chosen, recorded, kept, refused."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal

import pytest

from optrun.experiments.comparison import engines
from optrun.experiments.comparison.compare import compare
from optrun.experiments.comparison.engines import Engine
from optrun.experiments.comparison.entries import make_entries
from optrun.experiments.comparison.probing import DEPENDENT, Probed
from optrun.experiments.comparison.runner import Runner
from optrun.experiments.comparison.sweep import sweep
from optrun.experiments.comparison.worker import LOOK_AT, PROBE, TIME
from optrun.experiments.errors import UsageError
from optrun.experiments.run_directory.run import Run

OPTIONS = {"seeds": 3, "tune": 3, "jobs": 1}


def ledger(found):
    return json.loads((found.path / "comparison.json").read_text())


def runs_of(found):
    return [Run(found.path.parent / run["path"]) for run in ledger(found)["runs"]]


def test_runs_in_a_batch_come_to_what_they_come_to_in_processes(base):
    batched = compare(["sgd", "mom"], engine="batched", name="batched", **OPTIONS)
    alone = compare(["sgd", "mom"], engine="processes", name="alone", **OPTIONS)
    assert ledger(batched)["engine"] == {"name": "batched"}
    assert ledger(alone)["engine"] == {"name": "processes"}
    assert {run.env.get("engine") for run in runs_of(batched)} == {"batched"}
    assert {run.env.get("engine") for run in runs_of(alone)} == {None}
    assert not {run.path.name for run in runs_of(batched)} & {run.path.name for run in runs_of(alone)}  # other keys
    for one, other in zip(runs_of(batched), runs_of(alone), strict=True):
        assert one.result["final"] == pytest.approx(other.result["final"], abs=2e-3)
    assert ledger(batched)["pairing"]["seeds"] == ledger(alone)["pairing"]["seeds"]  # they start alike, bit for bit


def answering(monkeypatch, answer):
    """Let `answer` stand for what workers find out about batches: (is_compiled, may_compile) -> Probed."""
    ask = Runner._ask
    monkeypatch.setattr(engines, "_LEAST_SECS", 0.0)
    monkeypatch.setattr(
        Runner, "_ask", lambda self, order, *rest: answer(*rest[1:]) if order == PROBE else ask(self, order, *rest)
    )


def test_a_comparison_keeps_its_engine_and_is_not_probed_again(base, monkeypatch):
    first = compare(["sgd", "mom"], engine="batched", name="it", **OPTIONS)
    monkeypatch.setattr(engines, "chosen", lambda *asked: pytest.fail("it has an engine"))
    monkeypatch.setattr(engines, "asked_for", lambda *asked: pytest.fail("it has an engine"))
    again = compare(["sgd", "mom"], name="it", **OPTIONS)
    assert ledger(again)["engine"] == {"name": "batched"}
    assert all(run["cached"] for run in ledger(again)["runs"])
    assert [run["path"] for run in ledger(again)["runs"]] == [run["path"] for run in ledger(first)["runs"]]


def test_a_new_comparison_takes_the_engine_of_the_runs_that_are_there(base):
    compare(["sgd", "mom"], engine="batched", name="first", **OPTIONS)
    more = compare(["sgd", "mom"], name="second", seeds=4, tune=3, jobs=1)
    assert ledger(more)["engine"] == {"name": "batched"}
    assert sum(not run["cached"] for run in ledger(more)["runs"]) == 2


def test_runs_of_a_batch_whose_worker_was_killed_are_each_tried_by_themselves(base):
    killed = []

    def see(event):
        if event["kind"] == "progress" and not killed:
            killed.append(event)
            for process in multiprocessing.active_children():
                os.kill(process.pid, signal.SIGKILL)

    longer = ["train.epochs=400", "log.every=20 steps"]
    told = []
    options = {"seeds": 3, "tune": None, "jobs": 1, "engine": "batched"}
    found = compare(["sgd", "mom"], longer, name="killed", on_event=lambda e: (told.append(e), see(e)), **options)
    assert killed
    assert len([event for event in told if event["kind"] == "retried"]) == 6
    straight = compare(["sgd", "mom"], longer, name="straight", fresh=True, **options)
    for one, other in zip(runs_of(found), runs_of(straight), strict=True):
        assert one.result["final"] == other.result["final"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("optimizer.name=lbfgs", "evaluates the batch itself"),
        ("train.accumulate=2", "train.accumulate"),
        ("updates=[batch_norm]", "batch norm"),
        ("hooks=[norms]", "looks into single steps"),
    ],
)
def test_what_cannot_be_batched_is_refused_with_the_reason(base, change, reason):
    with pytest.raises(UsageError, match=reason) as refused:
        compare(["sgd", "mom"], [f"mom:{change}"], engine="batched", **OPTIONS)
    assert "entry 'mom'" in str(refused.value)
    assert "--engine" in str(refused.value)


def test_auto_says_why_it_takes_processes(base, monkeypatch):
    monkeypatch.setattr(engines, "_LEAST_SECS", 0.0)
    plans = []
    options = {"seeds": 4, "tune": None, "jobs": 1}
    found = compare(["sgd", "mom"], ["mom:train.accumulate=2"], on_event=plans.append, **options)
    engine = next(event["plan"]["engine"] for event in plans if event["kind"] == "plan")
    assert engine["name"] == "processes"
    assert "train.accumulate" in engine["why"]
    assert ledger(found)["engine"] == engine


@pytest.mark.parametrize(("gain", "name"), [(0.9, "processes"), (1.9, "batched")])
def test_auto_goes_by_what_it_measures(base, monkeypatch, gain, name):
    answering(monkeypatch, lambda compiled, may: Probed(num_missing=60) if compiled else Probed(gain=gain))
    found = compare(["sgd", "mom"], seeds=4, tune=None, jobs=1)
    assert ledger(found)["engine"]["name"] == name
    assert ledger(found)["engine"]["gain"] == gain


def test_bits_that_would_depend_on_other_runs_are_no_batch(base, monkeypatch):
    answering(monkeypatch, lambda compiled, may: Probed({"mom": DEPENDENT}))
    found = compare(["sgd", "mom"], seeds=4, tune=None, jobs=1)
    assert ledger(found)["engine"]["name"] == "processes"
    with pytest.raises(UsageError, match="its bits would depend"):
        compare(["sgd", "mom"], seeds=4, tune=None, jobs=1, engine="batched", name="other")


def test_a_short_comparison_is_not_probed(base, monkeypatch):
    monkeypatch.setattr(engines, "_probed", lambda *given, **more: pytest.fail("too short"))
    assert ledger(compare(["sgd", "mom"], **OPTIONS))["engine"] == Engine("processes").as_dict()


def test_a_sweep_is_trained_in_a_batch_too(base):
    found = sweep("mom", "optimizer.lr", "0.01,0.1,1.0", engine="batched", jobs=1)
    assert {run.env["engine"] for run in runs_of(found)} == {"batched"}
    assert len(runs_of(found)) == 6


@pytest.mark.parametrize(
    ("secs", "stored", "configured", "compiled", "asked"),
    [
        (60.0, True, None, True, [(True, False)]),  # what is there costs nothing
        (60.0, False, None, False, [(True, False), (False, False)]),
        (600.0, False, None, True, [(True, False), (False, False), (True, True)]),  # it pays
        (600.0, False, False, False, [(False, False)]),  # somebody has said no
        (60.0, False, True, True, [(True, True)]),  # or yes
    ],
)
def test_graphs_are_compiled_where_that_pays(tmp_path, secs, stored, configured, compiled, asked):
    said = [] if configured is None else [f"train.compile={configured}"]
    entries, probes = make_entries(["sgd", "mom"], said, tmp_path), []

    def ask(order, *given):
        if order == TIME:
            return secs / 10
        if order == LOOK_AT:
            return Probed(work=1000.0)
        probes.append(given[1:])
        is_compiled, may_compile = given[1:]
        if is_compiled and not (may_compile or stored):
            return Probed(num_missing=60)
        return Probed(gain=3.0 if is_compiled else 2.0)

    found = engines.chosen(entries, 20, 2, ask)
    assert probes == asked
    assert found.name == "batched"
    assert found.gain == (3.0 if compiled else 2.0)
    assert found.key == ("batched, compiled" if compiled and configured is None else "batched")


def test_a_batch_that_runs_are_there_of_is_left_where_other_entries_cannot_be_in_it(base):
    compare(["sgd", "mom"], engine="batched", name="first", **OPTIONS)
    changed = ["mom:train.accumulate=2"]
    found = compare(["sgd", "mom"], changed, name="second", **OPTIONS)
    assert ledger(found)["engine"]["name"] == "processes"
    assert {run["state"] for run in ledger(found)["runs"]} == {"done"}
    with pytest.raises(UsageError, match="accumulate"):
        compare(["sgd", "mom"], changed, name="third", engine="batched", **OPTIONS)


@pytest.mark.slow
def test_compiled_graphs_are_part_of_what_a_run_is(base, monkeypatch):
    monkeypatch.setattr(engines, "_compiling_secs", lambda probed: -1.0)
    found = compare(["sgd", "mom"], engine="batched", name="compiled", **OPTIONS)
    assert ledger(found)["engine"] == {"name": "batched", "compiled": True}
    assert {(run.env["engine"], run.env["compiled"]) for run in runs_of(found)} == {("batched", True)}
    as_it_is = compare(["sgd", "mom"], ["train.compile=false"], engine="batched", name="as-it-is", **OPTIONS)
    assert ledger(as_it_is)["engine"] == {"name": "batched"}
    assert not {run.path.name for run in runs_of(found)} & {run.path.name for run in runs_of(as_it_is)}
    for one, other in zip(runs_of(found), runs_of(as_it_is), strict=True):
        assert one.result["final"] == pytest.approx(other.result["final"], abs=2e-3)
