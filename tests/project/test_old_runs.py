"""Runs, checkpoints and comparisons of version 0.1.0 still list, show, evaluate, resume and report.

They lie in `tests/fixtures/version_0_1`, whose README.md says what each is and how it was made.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from optrun.cli.app import run

from ..robustness.processes import ForkServer

FIXTURE = Path(__file__).parents[1] / "fixtures" / "version_0_1"
COMPARISON = next(FIXTURE.glob("runs/compare-*")).name
SWEEP = next(FIXTURE.glob("runs/sweep-*")).name
COMPARE = ("compare", "iris.yaml", "rprop.yaml", "--tune", "3", "--jobs", "1")


@dataclass
class Result:
    """What a command left: its exit code and its words."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the folder in which version 0.1.0 left its runs, and work there."""
    folder = tmp_path / "old"
    shutil.copytree(FIXTURE, folder)
    for path in [*folder.glob("runs/stopped/*.json"), folder / "runs/stopped/config.yaml"]:
        path.write_text(path.read_text().replace("/project/", f"{folder}/"))  # a run knows where its own.py is
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OPTRUN_THREADS", "1")
    monkeypatch.setenv("COLUMNS", "100")
    return folder


@pytest.fixture
def optrun(old: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Return a function that runs a command line in this process, in that folder."""

    def call(*args: str) -> Result:
        capsys.readouterr()
        code = run(args)
        return Result(code, *capsys.readouterr())

    return call


@pytest.fixture(params=["0.1.0", "0.2.0"])
def same_machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that torch and the cores are those of the machine that made the runs, which their keys depend on.

    They do not depend on the version of optrun, which is pretended as well.
    """
    import torch

    env = json.loads((FIXTURE / "runs/finished/env.json").read_text())
    monkeypatch.setattr(torch, "__version__", env["torch"])
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: request.param if name == "optrun" else version(name)
    )


@pytest.fixture
def shell(server: ForkServer, old: Path) -> Callable[..., Result]:
    """Return a function that runs a command line in a process of its own, as a user's own code needs it."""

    def call(*args: str) -> Result:
        process = server.optrun(*args, variables={"OPTRUN_THREADS": "1", "COLUMNS": "100"})
        out, err = process.communicate()
        return Result(process.returncode, out.decode(), err.decode())

    return call


def assert_holds(found: Any, stored: Any, place: str = "") -> None:
    """Check that JSON says what was stored; keys may have been added, and last digits are a processor's own."""
    if isinstance(stored, dict):
        assert isinstance(found, dict), place
        assert list(stored) == [key for key in found if key in stored], place
        for key, value in stored.items():
            assert_holds(found[key], value, f"{place}.{key}")
    elif isinstance(stored, list):
        assert len(found) == len(stored), place
        for number, value in enumerate(stored):
            assert_holds(found[number], value, f"{place}[{number}]")
    elif isinstance(stored, float):
        assert math.isclose(found, stored, rel_tol=1e-6, abs_tol=1e-9), f"{place}: {found} != {stored}"
    else:
        assert found == stored, place


# ---- reading -----------------------------------------------------------------------------------------------------


def test_they_are_listed(optrun, old):
    listed = optrun("runs", "--json")
    assert listed.code == 0
    runs = {run["name"]: run for run in listed.json["runs"]}
    states = {name: run["status"] for name, run in runs.items() if run["group"] is None}
    assert states == {"finished": "done", "killed": "interrupted", "stopped": "interrupted"}
    assert sum(run["group"] == COMPARISON for run in runs.values()) == 22
    assert sum(run["group"] == SWEEP for run in runs.values()) == 1  # the other two are among the comparison's
    assert all(run["status"] == "done" for run in runs.values() if run["group"])
    stored = json.loads((old / "tables/show.json").read_text())
    assert runs["finished"]["final"] == stored["summary"]["final"]
    assert COMPARISON in optrun("runs").out


def test_they_are_shown(optrun, old):
    assert_holds(optrun("show", "finished", "--json").json, json.loads((old / "tables/show.json").read_text()))
    killed = optrun("show", "killed")
    assert (killed.code, "interrupted" in killed.out) == (0, True)
    for group in (COMPARISON, SWEEP):
        assert optrun("show", group).code == 0


def test_they_are_compared_with_each_other(optrun):
    differences = optrun("diff", "finished", "killed", "--json").json["differences"]
    assert {"optimizer.name", "schedule.name", "train.steps"} <= {found["key"] for found in differences}


def test_a_checkpoint_is_measured(optrun, old):
    assert_holds(optrun("eval", "finished", "--json").json, json.loads((old / "tables/eval.json").read_text()))


def test_a_checkpoint_of_own_code_is_measured(shell):
    """Its record is in its own folder, and so no reason to execute anything: the user is asked, once."""
    asked = shell("eval", "stopped", "--split", "val", "--json")
    assert (asked.code, "--allow-code" in asked.err) == (2, True), asked
    for allowed in (["--allow-code"], []):
        done = shell("eval", "stopped", "--split", "val", "--json", *allowed)
        assert done.code == 0, done.err
        assert done.json["step"] == 9


@pytest.mark.parametrize("group", ["compare-iris-rprop", "sweep-iris-lr"])
@pytest.mark.parametrize("suffix", ["md", "csv", "json"])
def test_tables_say_what_they_said(optrun, old, group, suffix):
    stored = (old / f"tables/{group}.{suffix}").read_text()
    assert optrun("report", group, "-o", f"new.{suffix}").code == 0
    written = (old / f"new.{suffix}").read_text()
    if suffix == "json":
        assert_holds(json.loads(written), json.loads(stored))
    else:
        assert written == stored


@pytest.mark.parametrize("group", ["compare-iris-rprop", "sweep-iris-lr"])
def test_a_page_is_written(optrun, old, group):
    assert optrun("report", group, "-o", "page.html").code == 0
    assert group in (old / "page.html").read_text()


# ---- resuming ----------------------------------------------------------------------------------------------------


def state_of(run: Path) -> dict[str, Any]:
    """Return the weights and the optimizer's state in a run's last checkpoint."""
    with safe_open(max(run.glob("checkpoints/*.safetensors")), "pt") as file:
        return {
            name: file.get_tensor(name) for name in sorted(file.keys()) if name.startswith(("model/", "optimizer/"))
        }


def digest(state: dict[str, Any]) -> str:
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in state.values())).hexdigest()


def rows_of(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "time"} for row in rows]


@pytest.mark.parametrize("name", ["killed", "stopped"])
def test_they_resume_as_if_nothing_had_come_in_between(old, shell, name):
    """A run that this version makes in one go says whether this processor computes the bits that the old one did."""
    config = "long.yaml" if name == "killed" else "own.yaml"
    whole = shell("train", config, "--name", "whole", "--quiet")
    assert whole.code == 0, whole.err
    resumed = shell("resume", name, "--quiet")
    assert resumed.code == 0, resumed.err

    expected, found = state_of(old / "runs/whole"), state_of(old / "runs" / name)
    assert list(found) == list(expected)
    stored = json.loads((old / "tables/weights.json").read_text())[name]
    if digest(expected) == stored:
        assert digest(found) == stored
        assert rows_of(old / "runs" / name) == rows_of(old / "runs/whole")
    else:
        for tensor_name, tensor in found.items():
            assert tensor.numpy() == pytest.approx(expected[tensor_name].numpy(), rel=1e-3, abs=1e-4), tensor_name
        steps = [row["step"] for row in rows_of(old / "runs" / name)]
        assert steps == [row["step"] for row in rows_of(old / "runs/whole")]


# ---- comparisons -------------------------------------------------------------------------------------------------


def runs_below(folder: Path) -> dict[Path, float]:
    return {path: path.stat().st_mtime for path in folder.glob("runs/*/*/status.json")}


def ledger(old: Path, group: str) -> dict[str, Any]:
    return json.loads((old / "runs" / group / "comparison.json").read_text())


def test_a_repeated_comparison_trains_nothing(optrun, old, same_machine):
    before, runs = ledger(old, COMPARISON), runs_below(old)
    repeated = optrun(*COMPARE, "--seeds", "3", "--no-train", "--json")  # refuses if a run is not found
    assert repeated.code == 0, repeated.err
    assert repeated.json["name"] == COMPARISON
    assert optrun(*COMPARE, "--seeds", "3", "--quiet").code == 0

    after = ledger(old, COMPARISON)
    assert runs_below(old) == runs
    assert [path.name for path in (old / "runs").glob("compare-*")] == [COMPARISON]
    assert all(run["cached"] for run in after["runs"])
    assert [run["path"] for run in after["runs"]] == [run["path"] for run in before["runs"]]
    assert after["looks"] == before["looks"]
    assert [look["seeds"] for look in after["looks"]] == [2, 3]
    for part in ("created", "entries", "pairing", "protocol"):
        assert_holds(after[part], before[part], part)


def test_a_new_look_stands_after_the_old_ones(optrun, old, same_machine):
    before, runs = ledger(old, COMPARISON), runs_below(old)
    repeated = optrun(*COMPARE, "--seeds", "2", "--no-train", "--json")
    assert repeated.code == 0, repeated.err
    assert repeated.json["exploratory"] is False, "these are the seeds of the first look, which was planned"

    *earlier, latest = ledger(old, COMPARISON)["looks"]
    assert earlier == before["looks"]
    assert (latest["seeds"], latest["set"], latest["exploratory"]) == (2, [0, 1], False)
    assert runs_below(old) == runs


def test_a_repeated_sweep_trains_nothing(optrun, old, same_machine):
    before, runs = ledger(old, SWEEP), runs_below(old)
    repeated = optrun("sweep", "iris.yaml", "optimizer.lr=0.03,0.3,3", "--seeds", "1", "--jobs", "1", "--json")
    assert repeated.code == 0, repeated.err
    assert repeated.json["name"] == SWEEP

    after = ledger(old, SWEEP)
    assert runs_below(old) == runs
    assert all(run["cached"] for run in after["runs"])
    for entry in before["entries"]:
        entry["overrides"] = {}  # 0.1.0 noted the first of the values there, as if it had been given
    assert_holds(after["entries"], before["entries"])
