"""Command lines in this process (`optrun`), or as a user has them, in one of their own (`shell`)."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from optrun.cli.app import run

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
def shell() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Return a function that starts `optrun` as a process of its own."""
    started = []

    def start(*args: str, env: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[bytes]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-m", "optrun.cli", *args]
        process = subprocess.Popen(command, env={**os.environ, **(env or {})}, **{**pipes, **options})
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


OTHER = TINY.replace("sgd, lr: 0.1", "adam, lr: 0.01")


@pytest.fixture
def other(folder: Path) -> str:
    """Return a second configuration, which differs from tiny.yaml in its optimizer."""
    (folder / "other.yaml").write_text(OTHER)
    return "other.yaml"


@pytest.fixture(scope="session")
def compared_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Run one small comparison, once: 3 rates on 2 seeds, then 3 seeds, of two entries."""
    place = tmp_path_factory.mktemp("compared")
    (place / "tiny.yaml").write_text(TINY)
    (place / "other.yaml").write_text(OTHER)
    kept = {name: value for name, value in os.environ.items() if name not in _VARIABLES and name[:7] != "OPTRUN_"}
    args = ["compare", "tiny.yaml", "other.yaml", "--seeds", "3", "--tune", "3"]
    done = subprocess.run(
        [sys.executable, "-m", "optrun.cli", *args],
        cwd=place,
        env={**kept, "PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return place, Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def compared(compared_folder: tuple[Path, Result]) -> Result:
    """Return what that comparison said."""
    return compared_folder[1]


@pytest.fixture
def study(compared_folder: tuple[Path, Result], folder: Path, other: str) -> str:
    """Have that comparison in this folder, and return its name."""
    shutil.copytree(compared_folder[0] / "runs", folder / "runs")
    return next(path.parent.name for path in folder.glob("runs/*/comparison.json"))
