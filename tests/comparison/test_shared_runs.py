"""Comparisons that are made at once and share runs: each run is made once, by whichever comes first."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from optrun.experiments.comparison.compare import compare

SLOW = """
import time
from optrun.experiments import Hook

class Slow(Hook):
    def before_run(self, ctx):
        time.sleep(0.05)
"""
TINY = """
data: {name: iris, batch_size: 30}
model: logistic
loss: cross_entropy
metrics: [accuracy]
train: {epochs: 2}
optimizer: {name: sgd, lr: LR}
"""
ASKED = {"seeds": 2, "tune": None, "jobs": 1}


@pytest.fixture
def files(tmp_path):
    for name, lr in (("p", "0.1"), ("q", "0.05"), ("r", "0.2")):
        (tmp_path / f"{name}.yaml").write_text(TINY.replace("LR", lr))
    return tmp_path


def lines_of(data):
    return [(run["entry"], run["seed"], run["state"], run["path"].partition("/")[0]) for run in data["runs"]]


def claims(files):
    return list((files / "runs" / ".cache").glob("*.lock"))


def test_two_comparisons_begun_together_make_each_run_once(files, server):
    (files / "slow.py").write_text(SLOW)
    for name in "pqr":
        with (files / f"{name}.yaml").open("a") as file:
            file.write("hooks: ['./slow.py:Slow']\n")

    def start(*targets):
        return server.optrun("compare", *targets, "--no-tune", "--seeds", "2", "-j", "1")

    both = [start("p.yaml", "q.yaml"), start("q.yaml", "r.yaml")]
    said = [process.communicate(timeout=120)[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    groups = [json.loads(path.read_text()) for path in (files / "runs").glob("compare-*/comparison.json")]
    made = [run["path"] for group in groups for run in group["runs"] if not run["cached"]]
    there = [f"{path.parent.parent.name}/{path.parent.name}" for path in (files / "runs").glob("*/*/summary.json")]
    assert len(made) == len(set(made)) == 6, "three entries, two seeds"
    assert sorted(there) == sorted(made)
    shared = [{run["path"] for run in group["runs"] if run["entry"] == "q"} for group in groups]
    assert shared[0] == shared[1]
    assert not claims(files)


@pytest.fixture
def held(files):
    """Return a function that begins a process which holds a run, as another comparison in the middle of it does."""
    begun = []

    def hold(key):
        path = files / "runs" / ".cache" / f"{key}.lock"
        code = f"import filelock, time; l = filelock.FileLock({str(path)!r}); l.acquire(); print(1, flush=True)"
        begun.append(subprocess.Popen([sys.executable, "-c", f"{code}; time.sleep(60)"], stdout=subprocess.PIPE))
        begun[-1].stdout.readline()
        return begun[-1]

    yield hold
    for process in begun:
        process.kill()
        process.communicate()


def key_of(files, data, entry, seed):
    path = next(run["path"] for run in data["runs"] if (run["entry"], run["seed"]) == (entry, seed))
    entries = {name.name: json.loads(name.read_text())["path"] for name in (files / "runs" / ".cache").iterdir()}
    return next(key for key, value in entries.items() if value == path)


def test_a_run_that_another_comparison_makes_is_waited_for_after_the_others_and_taken(files, held):
    first = compare(["p.yaml", "q.yaml"], **ASKED)
    key = key_of(files, first.data, "q", 0)
    known = files / "runs" / ".cache" / key
    entry = known.read_bytes()
    known.unlink()  # not made yet
    other, events = held(key), []

    def see(event):
        events.append(event)
        waits = [each for each in events if each["kind"] == "waiting"]
        if event["kind"] == "waiting" and len(waits) == 2:
            known.write_bytes(entry)  # made
            other.kill()
            other.wait()

    again = compare(["q.yaml", "r.yaml"], **ASKED, on_event=see)
    waited = [event for event in events if event["kind"] == "waiting"]
    assert {(event["entry"], event["seed"], event["holder"]) for event in waited} == {("q", 0, "another comparison")}
    ends = [(event["entry"], event["seed"], event["cached"]) for event in events if event["kind"] == "finished"]
    assert ends == [("q", 1, True), ("r", 0, False), ("r", 1, False), ("q", 0, True)], (
        "the others were not kept waiting"
    )
    assert again.values()["q"] == first.values()["q"]
    assert not claims(files)


def test_a_run_whose_maker_is_killed_is_made(files, held):
    first = compare(["p.yaml", "q.yaml"], **ASKED)
    key = key_of(files, first.data, "q", 0)
    (files / "runs" / ".cache" / key).unlink()
    other, waited = held(key), []

    def see(event):
        if event["kind"] == "waiting":
            waited.append(time.monotonic())
            os.kill(other.pid, signal.SIGKILL)
            other.wait()

    again = compare(["q.yaml", "r.yaml"], **ASKED, on_event=see)
    assert len(waited) == 1
    assert {line[3] for line in lines_of(again.data) if line[:2] == ("q", 0)} == {again.path.name}
    assert again.values()["q"] == first.values()["q"]


def test_an_entry_against_itself_is_made_twice(files):
    found = compare(["p.yaml", "p.yaml"], **ASKED)
    assert len({run["path"] for run in found.data["runs"] if not run["cached"]}) == 4
    assert not claims(files)
