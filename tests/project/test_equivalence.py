"""The script that compares two versions of the code finds what differs, and nothing else."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPT = Path(__file__).parents[1] / "equivalence" / "same_results.py"


def same_results(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--only", "help", "--only", "optimizer-adamw", "--jobs", "1", *args]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=300)


def recording(**parts: str) -> dict[str, object]:
    return {"definition": "a hash", "parts": parts, "wrong": []}


def test_a_part_that_differs_or_is_missing_is_named_and_shown(monkeypatch, capsys):
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    report = runpy.run_path(str(SCRIPT))["_report"]
    for name in set(sys.modules) - before:  # beside the script, and named as others might be
        monkeypatch.delitem(sys.modules, name)
    old = {
        "help": recording(output="Usage\n"),
        "killed": recording(weights="a 1\nb 2\n", rows="{}"),
        "names": recording(weights="a 1\n"),
        "redefined": {**recording(output="x"), "definition": "another hash"},
    }
    new = {
        "help": recording(output="Usage\n"),
        "killed": recording(weights="a 1\nc 2\n", rows="{}"),
        "names": recording(),
        "redefined": recording(output="x"),
    }
    cases = [SimpleNamespace(name=name) for name in old]
    assert report({"old": old, "new": new}, cases, show=True) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("equal      help: 1 parts, sha256 ")
    assert [line for line in lines if line.startswith("DIFFERENT")] == [
        "DIFFERENT  killed: weights",
        "DIFFERENT  names: weights",
        "DIFFERENT  redefined: the recording is of another definition of the case; record it again",
    ]
    assert {"    -b 2", "    +c 2", "    -a 1"} <= set(lines)
    assert lines[-1] == "1 of 4 cases are equal"
    assert report({"old": new, "new": new}, cases, show=False) == 0


@pytest.mark.sample  # three commands, twice, each in a process that imports optrun anew
def test_a_difference_is_found(tmp_path):
    file = tmp_path / "recording.json"
    done = same_results("--record", str(file))
    assert done.returncode == 0, done.stdout + done.stderr

    recorded = json.loads(file.read_text())
    parts = recorded["cases"]["optimizer-adamw"]["parts"]
    assert "model/head.weight torch.float32 [10, 64]" in parts["weights"]
    parts["weights"] = parts["weights"].replace("model/head.weight", "model/head.weights", 1)
    file.write_text(json.dumps(recorded))

    done = same_results("--check", str(file), "--show")
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert "DIFFERENT  optimizer-adamw: weights" in lines
    assert any(line.startswith("equal      help: ") for line in lines)
    assert "1 of 2 cases are equal" in lines
    assert any(line.startswith("    -model/head.weights torch.float32") for line in lines)
