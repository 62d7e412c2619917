"""Twenty processes that start on one run directory: one trains, the others are told so and change nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import lives
from .processes import WAIT_SECS, Case, Child, ForkServer
from .sweep import rows_of, weights_of

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


def make_folder(path: Path) -> Path:
    path.mkdir()
    (path / "same.yaml").write_text(CONFIG)
    (path / "slow.py").write_text(HOOK)
    return path


def start_together(server: ForkServer, folder: Path, *args: str, **variables: str) -> Child:
    case = Case(lives.together, (NUM_PROCESSES, args), folder=folder, variables=variables, timeout=WAIT_SECS)
    return server.begin(case)


def codes_in(folder: Path) -> dict[int, int]:
    """Return the exit codes of those that have ended, by number."""
    found = {int(path.name.partition("-")[2]): path.read_text() for path in folder.glob("code-*")}
    return {number: int(text) for number, text in found.items() if text}


def wait_until(condition: Callable[[], Any], starter: Child) -> None:
    deadline = time.monotonic() + WAIT_SECS
    while not condition():
        assert starter.poll() is None, "the processes have ended"
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


def content_of(run_dir: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(run_dir.rglob("*")) if path.is_file()}


def contend(server: ForkServer, folder: Path, *args: str) -> None:
    """Let twenty processes want the same run directory: one waits in it for the end of all the others."""
    starter = start_together(server, folder, *args, WAIT="1")
    run_dir = folder / "runs/same"
    try:
        wait_until(lambda: list(folder.glob("trains-*")), starter)
        wait_until(lambda: len(codes_in(folder)) >= NUM_PROCESSES // 2, starter)
        before = content_of(run_dir)
        wait_until(lambda: len(codes_in(folder)) == NUM_PROCESSES - 1, starter)
        assert content_of(run_dir) == before  # the one that trains waits: whatever changed, another one did
    finally:
        (folder / "go").touch()
        assert starter.wait() == 0, starter.outcome().output
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


def optrun(server: ForkServer, folder: Path, *args: str) -> None:
    ended = server.run(lives.cli_life, folder=folder, arguments=list(args), root=folder / "runs")
    assert ended.code == 0, ended.output


@pytest.fixture(scope="module")
def undisturbed(server, tmp_path_factory) -> Path:
    folder = make_folder(tmp_path_factory.mktemp("locks") / "alone")
    optrun(server, folder, "train", "same.yaml", "--name", "same")
    return folder / "runs/same"


def test_of_twenty_processes_one_trains_and_the_others_change_nothing(server, tmp_path, undisturbed):
    folder = make_folder(tmp_path / "a")
    contend(server, folder, "train", "same.yaml", "--name", "same")
    assert weights_of(folder / "runs/same") == weights_of(undisturbed)
    assert rows_of(folder / "runs/same") == rows_of(undisturbed)


@pytest.mark.slow
def test_of_twenty_that_resume_one_does(server, tmp_path, undisturbed):
    folder = make_folder(tmp_path / "a")
    optrun(server, folder, "train", "same.yaml", "train.steps=5", "--name", "same")
    contend(server, folder, "resume", "same", "train.steps=12", "--allow-change")
    assert weights_of(folder / "runs/same") == weights_of(undisturbed)
    assert rows_of(folder / "runs/same") == rows_of(undisturbed)


@pytest.mark.slow
def test_twenty_runs_without_a_name_get_twenty_folders(server, tmp_path, undisturbed):
    folder = make_folder(tmp_path / "a")
    starter = start_together(server, folder, "train", "same.yaml", "-q")
    assert starter.wait() == 0, starter.outcome().output
    assert set(codes_in(folder).values()) == {0}
    names = sorted(path.name for path in (folder / "runs").iterdir())
    assert names == [f"same-{number:04d}" for number in range(1, NUM_PROCESSES + 1)]
    for name in names[:3]:
        assert rows_of(folder / "runs" / name) == rows_of(undisturbed)
