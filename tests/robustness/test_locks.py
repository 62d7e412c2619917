"""Twenty processes that start on one run directory: one trains, the others are told so and change nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from .processes import WAIT_SECS, environment, kill, rows_of, run, weights_of

NUM_PROCESSES = 20
CONFIG = """\
data: {name: gaussian_classes, num_examples: 100, batch_size: 20}
model: logistic
loss: cross_entropy
metrics: [accuracy]
optimizer: {name: mom, lr: 0.05}
train: {steps: 12}
checkpoint: {every: 4 steps}
hooks: [./slow.py:Waiting]
"""
# Whoever trains says so, and goes on when it is told to: all the others have come and gone by then.
HOOK = """\
import os, time
from optrun.experiments import Hook
class Waiting(Hook):
    def before_run(self, ctx):
        if ctx.step == 6 and "WAIT" in os.environ:
            open(f"trains-{os.getpid()}", "w").close()
            while not os.path.exists("go"):
                time.sleep(0.01)
"""
# One interpreter that has imported everything forks them all, so that they come at the same moment.
STARTER = """\
import os, sys, time
import optrun.experiments.training, optrun.experiments.experiment, optrun.cli.watch, optrun.cli.app, filelock
from optrun.experiments import signals
import torch
torch.set_num_threads(1)
begin = time.monotonic() + 0.3
children = []
for number in range(int(sys.argv[1])):
    if (child := os.fork()) == 0:
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{name}-{number}", os.O_CREAT | os.O_WRONLY), stream)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
        signals.install()
        time.sleep(max(0, begin - time.monotonic()))
        code = optrun.cli.app.run(sys.argv[2:])
        sys.stdout.flush()
        with open(f"code-{number}", "w") as file:
            file.write(str(code))
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
"""


def make_folder(path: Path) -> Path:
    path.mkdir()
    (path / "same.yaml").write_text(CONFIG)
    (path / "slow.py").write_text(HOOK)
    return path


def start_together(folder: Path, *args: str, wait: bool) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", STARTER, str(NUM_PROCESSES), *args]
    return subprocess.Popen(command, cwd=folder, env=environment(**({"WAIT": "1"} if wait else {})))


def codes_in(folder: Path) -> dict[int, int]:
    """Return the exit codes of those that have ended, by number."""
    found = {int(path.name.partition("-")[2]): path.read_text() for path in folder.glob("code-*")}
    return {number: int(text) for number, text in found.items() if text}


def wait_until(condition, starter: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + WAIT_SECS
    while not condition():
        assert starter.poll() is None, "the processes have ended"
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


def content_of(run_dir: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(run_dir.rglob("*")) if path.is_file()}


def contend(folder: Path, *args: str) -> None:
    """Let twenty processes want the same run directory: one waits in it for the end of all the others."""
    starter = start_together(folder, *args, wait=True)
    run_dir = folder / "runs/same"
    try:
        wait_until(lambda: list(folder.glob("trains-*")), starter)
        wait_until(lambda: len(codes_in(folder)) >= NUM_PROCESSES // 2, starter)
        before = content_of(run_dir)
        wait_until(lambda: len(codes_in(folder)) == NUM_PROCESSES - 1, starter)
        assert content_of(run_dir) == before  # the one that trains waits: whatever changed, another one did
        (folder / "go").touch()
        assert starter.wait(timeout=WAIT_SECS) == 0
    finally:
        (folder / "go").touch()
        kill([starter])
    assert len(list(folder.glob("trains-*"))) == 1
    (holder,) = list(folder.glob("trains-*"))
    codes = codes_in(folder)
    assert sorted(codes.values()) == [0] + [73] * (NUM_PROCESSES - 1)
    for number, code in codes.items():
        words = (folder / f"err-{number}").read_text()
        assert "Traceback" not in words
        if code == 73:
            assert f"in use by process {holder.name.partition('-')[2]} " in words or "only just started" in words
            assert (folder / f"out-{number}").read_text() == ""
    assert sorted(path.name for path in (folder / "runs").iterdir()) == ["same"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    folder = make_folder(tmp_path_factory.mktemp("locks") / "alone")
    code, _, err = run(["train", "same.yaml", "--name", "same"], folder)
    assert code == 0, err
    return folder / "runs/same"


def test_of_twenty_processes_one_trains_and_the_others_change_nothing(tmp_path, undisturbed):
    folder = make_folder(tmp_path / "a")
    contend(folder, "train", "same.yaml", "--name", "same")
    assert weights_of(folder / "runs/same") == weights_of(undisturbed)
    assert rows_of(folder / "runs/same") == rows_of(undisturbed)


@pytest.mark.slow
def test_of_twenty_that_resume_one_does(tmp_path, undisturbed):
    folder = make_folder(tmp_path / "a")
    assert run(["train", "same.yaml", "train.steps=5", "--name", "same"], folder)[0] == 0
    contend(folder, "resume", "same", "train.steps=12", "--allow-change")
    assert weights_of(folder / "runs/same") == weights_of(undisturbed)
    assert rows_of(folder / "runs/same") == rows_of(undisturbed)


@pytest.mark.slow
def test_twenty_runs_without_a_name_get_twenty_folders(tmp_path, undisturbed):
    folder = make_folder(tmp_path / "a")
    starter = start_together(folder, "train", "same.yaml", "-q", wait=False)
    try:
        assert starter.wait(timeout=WAIT_SECS) == 0
    finally:
        kill([starter])
    assert set(codes_in(folder).values()) == {0}
    names = sorted(path.name for path in (folder / "runs").iterdir())
    assert names == [f"same-{number:04d}" for number in range(1, NUM_PROCESSES + 1)]
    for name in names[:3]:
        assert rows_of(folder / "runs" / name) == rows_of(undisturbed)
