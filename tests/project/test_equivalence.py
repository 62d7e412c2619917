"""The script that compares two versions of the code finds what differs, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "equivalence" / "same_results.py"


def same_results(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--only", "help", "--only", "killed", "--jobs", "1", *args]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=300)


def test_a_difference_is_found(tmp_path):
    recording = tmp_path / "recording.json"
    done = same_results("--record", str(recording))
    assert done.returncode == 0, done.stdout + done.stderr

    recorded = json.loads(recording.read_text())
    parts = recorded["cases"]["killed"]["parts"]
    assert "model/1.weight torch.float32 [3, 10]" in parts["weights"]
    parts["weights"] = parts["weights"].replace("model/1.weight", "model/1.weights", 1)
    recording.write_text(json.dumps(recorded))

    done = same_results("--check", str(recording), "--show")
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert "DIFFERENT  killed: weights" in lines
    assert any(line.startswith("equal      help: ") for line in lines)
    assert "1 of 2 cases are equal" in lines
    assert any(line.startswith("    -model/1.weights torch.float32") for line in lines)
