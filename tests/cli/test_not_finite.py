"""A run that ended well with final values that are not finite is named as such wherever it is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import TINY, Result

OWN = """\
import torch


def bad(outputs, targets, value):
    return torch.full((len(targets),), float(value))
"""
NAMES = {"nan": "nan", "inf": "inf", "-inf": "-inf"}
Optrun = Callable[..., Result]


@pytest.fixture(params=["nan", *(pytest.param(name, marks=pytest.mark.sample) for name in ("inf", "-inf"))])
def value(folder: Path, request: pytest.FixtureRequest) -> str:
    """Write a configuration whose metric `bad` is never finite, and return as what."""
    (folder / "own.py").write_text(OWN)
    metric = f"{{name: './own.py:bad', value: '{request.param}'}}"
    text = TINY.replace("metrics: [accuracy]", f"metrics: [accuracy, {metric}]").replace("epochs: 2", "epochs: 1")
    (folder / "bad.yaml").write_text(f"{text}eval: {{metric: val/accuracy}}\n")
    judged = "eval: {metric: val/bad, mode: max}\n"
    (folder / "judged.yaml").write_text(text + judged)
    return NAMES[request.param]


def test_a_run_names_it_at_its_end_and_wherever_it_is_listed(
    value: str, folder: Path, optrun: Optrun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))
    done = optrun("train", "bad.yaml", "--name", "one")
    named = {"val/bad": value, "test/bad": value}
    said = f"not finite: val/bad {value}, test/bad {value}"
    assert done.code == 0
    assert f"warning: one is done with final values that are {said}" in done.err
    assert f"  {said}\n" in done.out
    assert f"| {value} |" in (folder / "summary.md").read_text()
    assert json.loads((folder / "runs/one/summary.json").read_text())["not_finite"] == named
    assert said in (folder / "runs/one/log.txt").read_text()
    assert f"  {said}\n" in optrun("show", "one").out
    assert optrun("show", "one", "--json").json["summary"]["not_finite"] == named
    assert f"val/bad {value} (+1)" in optrun("runs").out
    assert optrun("runs", "--json").json["runs"][0]["not_finite"] == named
    assert f"val/bad={value}" in optrun("train", "bad.yaml", "--name", "two", "-q").out
    assert optrun("report", "one", "-o", "one.html").code == 0
    assert f"({said})" in (folder / "one.html").read_text()


def test_a_difference_shows_it(value: str, optrun: Optrun) -> None:
    optrun("train", "bad.yaml", "--name", "one")
    optrun("train", "bad.yaml", "metrics=[accuracy]", "--name", "two")
    line = next(line for line in optrun("diff", "one", "two").out.splitlines() if " val/bad " in line)
    assert line.split() == ["result", "val/bad", value, "-"]
    optrun("train", "bad.yaml", "metrics.1.value='1'", "--name", "three")
    rows = {row["key"]: row for row in optrun("diff", "one", "three", "--json").json["differences"]}
    assert rows["val/bad"] == {"section": "result", "key": "val/bad", "a": value, "b": 1.0, "difference": None}
    optrun("train", "bad.yaml", "--name", "four")
    assert "val/bad" not in optrun("diff", "one", "four").out


def test_a_comparison_names_it_and_no_gate_on_it_passes(value: str, optrun: Optrun) -> None:
    compare = ["compare", "bad.yaml", "--optimizers", "sgd,adam", "--seeds", "2", "-j", "1"]
    gates = [f"sgd.val/bad {operator} 0" for operator in (">=", "<=", ">", "<")]
    asked = [part for gate in gates for part in ("--gate", gate)]
    done = optrun(*compare, "--no-tune", "--name", "beside", *asked)
    assert done.code == 1
    assert "Not finite: the final val/bad of sgd in 2 runs and adam in 2 runs." in done.out
    for gate in gates:
        line = f"gate {gate}: does not hold. 2 of 2 runs unmeasured (no finite val/bad): no mean"
        assert line in " ".join((done.out + done.err).split())
    assert "Not finite: the final test/bad" in optrun("report", "beside").out + optrun("show", "beside").out
    judged: list[Any] = ["--metric", "test/bad", "--margin", "0.1", "--gate", "sgd better than adam"]
    done = optrun(*compare, "--no-tune", "--name", "judged", *judged, "--json")
    assert done.code == 6
    assert [gate["holds"] for gate in done.json["gates"]] == [None]
    assert "no verdict, since no entry has a result" in done.json["headline"]
    assert any("there is no finite test/bad" in note for note in done.json["notes"])


def test_sweeps_and_tuning_name_it_and_choose_nothing_by_it(value: str, optrun: Optrun) -> None:
    values = ["optimizer.lr=0.1,0.01", "--seeds", "1", "-j", "1"]
    done = optrun("sweep", "bad.yaml", *values)
    assert done.code == 0
    assert "Not finite: the final val/bad of bad in 2 runs." in done.out
    done = optrun("sweep", "judged.yaml", *values)
    assert done.code == 6
    assert "judged: every trial is unmeasured." in done.out
    tuned = ["--optimizers", "sgd,adam", "--seeds", "1", "--tune", "3", "-j", "1"]
    done = optrun("compare", "judged.yaml", *tuned, "--metric", "test/bad", "--margin", "0.1")
    assert done.code == 6
    assert "there is no finite val/bad" in " ".join(done.out.split())
