"""optrun as processes of their own: started, signalled, waited for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WAIT_SECS = 300
_FROM_OUTSIDE = ("CI", "COLUMNS", "NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "TERM")


def environment(**more: str) -> dict[str, str]:
    """Return the environment without what would change the output."""
    kept = {name: value for name, value in os.environ.items() if name not in _FROM_OUTSIDE and name[:7] != "OPTRUN_"}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


def start(args: Sequence[str], cwd: Path, **options: Any) -> subprocess.Popen[bytes]:
    """Start `optrun args`; its signals are those of a program in the foreground."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom optrun.cli import main\nmain()"
    )
    options = {"env": environment(), **pipes, **options}
    return subprocess.Popen([sys.executable, "-c", code, *args], cwd=cwd, **options)


def run(args: Sequence[str], cwd: Path, **options: Any) -> tuple[int, str, str]:
    """Run `optrun args` to its end; return exit code, stdout and stderr."""
    process = start(args, cwd, **options)
    out, err = process.communicate(timeout=WAIT_SECS)
    return process.returncode, (out or b"").decode("utf-8", "replace"), (err or b"").decode("utf-8", "replace")


def kill(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End what a failed test left behind."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


def rows_of(run_dir: Path) -> list[dict[str, Any]]:
    """Return the metric rows without their times, which no two runs share."""
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "time"} for line in lines]


def weights_of(run_dir: Path) -> dict[str, Any]:
    """Return the tensors of the last checkpoint as bytes, those of the random states of unused generators included."""
    from optrun.experiments.run_directory import checkpoints
    from optrun.experiments.run_directory.run_dir import list_checkpoints

    tensors, _ = checkpoints.load(list_checkpoints(run_dir / "checkpoints")[-1])
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
