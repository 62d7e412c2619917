"""Command lines in this process (`optrun`), in one of their own (`shell`), or in a new interpreter (`interpreter`)."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from optrun.cli.app import run

from ..robustness import processes
from ..robustness.processes import Child, ForkServer

TINY = """\
# A classifier of one layer, trained in an instant.
data: {name: gaussian_classes, num_examples: 200, batch_size: 20}
model: logistic
loss: cross_entropy
metrics: [accuracy]
optimizer: {name: sgd, lr: 0.1}
train: {epochs: 2}
"""

#: What a terminal, a colour wish or a CI around these tests would change.
_VARIABLES = ("CI", "COLUMNS", "NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "TERM")


@dataclass
class Result:
    """What a command left: its exit code and its words."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with one small configuration in it."""
    monkeypatch.chdir(tmp_path)
    for name in [*_VARIABLES, *(name for name in os.environ if name.startswith("OPTRUN_"))]:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


@pytest.fixture
def optrun(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Result]]:
    """Return a function that runs a command line in this process."""
    logger = logging.getLogger("optrun")
    before = logger.handlers, logger.propagate, logger.level

    def call(*args: str) -> Result:
        capsys.readouterr()
        code = run(args)
        return Result(code, *capsys.readouterr())

    yield call
    logger.handlers, logger.propagate = before[:2]
    logger.setLevel(before[2])


@pytest.fixture
def shell(server: ForkServer) -> Iterator[Callable[..., Child]]:
    """Return a function that starts `optrun` as a process of its own, its imports done."""
    with contextlib.ExitStack() as stack:

        def start(*args: str, env: dict[str, str] | None = None, **streams: int) -> Child:
            process = server.optrun(*args, variables=env, **streams)
            stack.callback(process.close)
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture
def interpreter() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Return a function that starts `optrun` in a new interpreter; this takes seconds."""
    with contextlib.ExitStack() as stack:

        def start(*args: str, env: dict[str, str] | None = None, **streams: int) -> subprocess.Popen[bytes]:
            process = processes.start(
                [*processes.OPTRUN, *args], Path.cwd(), env={**os.environ, **(env or {})}, **streams
            )
            stack.callback(processes.kill, process)
            return process

        yield start


OTHER = TINY.replace("sgd, lr: 0.1", "adam, lr: 0.01")


@pytest.fixture
def other(folder: Path) -> str:
    """Return a second configuration, which differs from tiny.yaml in its optimizer."""
    (folder / "other.yaml").write_text(OTHER)
    return "other.yaml"


@pytest.fixture(scope="session")
def compared_folder(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Run one small comparison, once: 3 rates on 2 seeds, then 3 seeds, of two entries."""
    place = tmp_path_factory.mktemp("compared")
    (place / "tiny.yaml").write_text(TINY)
    (place / "other.yaml").write_text(OTHER)
    with contextlib.chdir(place):
        done = server.optrun("compare", "tiny.yaml", "other.yaml", "--seeds", "3", "--tune", "3")
    out, err = (stream.decode() for stream in done.communicate())
    assert done.returncode == 0, err
    return place, Result(done.returncode, out, err)


@pytest.fixture
def compared(compared_folder: tuple[Path, Result]) -> Result:
    """Return what that comparison said."""
    return compared_folder[1]


@pytest.fixture
def study(compared_folder: tuple[Path, Result], folder: Path, other: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have that comparison in this folder, and return its name."""
    monkeypatch.setenv("PYTHONHASHSEED", "0")  # as the server has it, or its runs were made otherwise
    shutil.copytree(compared_folder[0] / "runs", folder / "runs")
    return next(path.parent.name for path in folder.glob("runs/*/comparison.json"))
