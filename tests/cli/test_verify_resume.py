"""`optrun verify-resume`, as a user types it."""

from __future__ import annotations

import json
import re

import pytest

from optrun.experiments.studies.resume import check
from optrun.experiments.system.processes import Processes

from ..robustness.processes import forked

HOOK = """
from optrun.experiments import Hook

class Counter(Hook):
    def __init__(self):
        self.count = 0

    def after_run(self, ctx, values):
        self.count += 1
        print("this is talk")
        ctx.session.write_row(count=self.count)
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork instead of starting interpreters."""
    monkeypatch.setattr(Processes, "call", lambda self, function, *args: forked(function, *args))
    monkeypatch.setattr(check, "_num_jobs", lambda *_: 1)


@pytest.fixture
def counting(folder) -> str:
    (folder / "counter.py").write_text(HOOK)
    (folder / "counting.yaml").write_text("extends: tiny.yaml\nhooks: ['./counter.py:Counter']\n")
    return "counting.yaml"


def test_an_exact_run_is_proved_by_its_hashes(optrun, folder, quick):
    done = optrun("verify-resume", "tiny.yaml", "optimizer=mom", "--at", "1,6")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[:3] == [
        "tiny: 8 steps in one go, and in two processes",
        "  stopped after 1  equal",
        "  stopped after 6  equal",
    ]
    assert lines[3] == "SHA-256 after step 8, the same in all runs (--json has them in full)"
    names = ["weights", "optimizer state", "updates", "hooks", "counters", "random states", "metric rows"]
    assert [re.split(r"  +", line.strip())[0] for line in lines[4:]] == names
    assert all(re.fullmatch(r".* [0-9a-f]{16}", line) for line in lines[4:])
    assert [path.name for path in folder.iterdir()] == ["tiny.yaml"]


def test_what_differs_is_named_with_its_usual_cause(optrun, quick, counting):
    done = optrun("verify-resume", counting, "--at", "3", "--steps", "6")
    assert done.code == 1
    expected = """\
counting: 6 steps in one go, and in two processes
  stopped after 3  differs at step 4: rows/3 at step 4/count
first: stopped after 3, after it was resumed, at step 4 (equal at step 3)
  what        rows/3 at step 4/count
  in one go   4
  in parts    1
  often since a hook writes values that go by the clock, the process, or
              something that its state_dict leaves out
"""
    assert done.out.endswith(expected)


def test_json_has_all_of_it(optrun, quick, counting):
    done = optrun("verify-resume", counting, "--steps", "3", "--every", "--json")
    assert done.code == 1
    found = done.json
    assert found["schema"] == "optrun/verify-resume@1"
    assert (found["equal"], found["num_steps"], found["save_points"]) == (False, 3, [1, 2])
    assert [each["save_point"] for each in found["differences"]] == [1, 2]
    assert found["first"] == found["differences"][0]
    assert {found["first"][name] for name in ("section", "name")} == {"rows", "1 at step 2/count"}
    assert (found["first"]["expected"], found["first"]["found"]) == (2, 1)
    assert all(len(value) == 64 for value in found["digests"].values())


@pytest.mark.slow
def test_what_hooks_print_is_talk(shell, counting):
    """In processes of their own: stdout has the document alone."""
    process = shell("verify-resume", counting, "--steps", "3", "--at", "1", "--json")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert json.loads(out)["first"]["found"] == 1
    assert err.decode().count("this is talk") == 3 + 1 + 1  # in one go, until the stop, until the first difference


def test_mistakes_are_located(optrun):
    for args, message in (
        (["tiny.yaml", "--at", "1,x"], "--at: expected steps such as 1,10,20, got '1,x'"),
        (["tiny.yaml", "--steps", "99"], "the run ends at step 12"),
        (["tiny.yaml", "--every", "--at", "2"], "leave --at out"),
        (["tiny.yaml", "optimizer.lrr=1"], "did you mean 'lr'?"),
        ([], "which one?"),
    ):
        done = optrun("verify-resume", *args)
        assert (done.code, done.out) == (2, "")
        assert message in done.err
