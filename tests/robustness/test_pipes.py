"""Pipes that nobody reads, streams that are closed, poor terminals, full disks: no traceback, the right exit code."""

from __future__ import annotations

import json
import os
import pty
import shutil
import sys
from pathlib import Path

import pytest

from .processes import OPTRUN, WAIT_SECS, environment, run, start

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs a Unix shell")

TINY = """\
data: {name: gaussian_classes, num_examples: 100, batch_size: 20}
model: logistic
loss: cross_entropy
metrics: [accuracy]
optimizer: {name: sgd, lr: 0.1}
train: {epochs: 2}
"""
COMMANDS = {
    "train": "train tiny.yaml --name new",
    "again": "train tiny.yaml --name old",
    "compare": "compare tiny.yaml other.yaml --seeds 2 --no-tune -j 1",
    "runs": "runs",
    "show": "show old",
    "report": "report old -o report.html",
    "list": "list",
    "describe": "describe adam",
    "config": "config tiny.yaml",
    "plot": "plot old",
    "help": "--help",
    "train help": "train --help",
    "validate": "validate tiny.yaml",
    "json": "show old --json",
    "error": "train no-such-file.yaml",
    "mistake": "train tiny.yaml optimizer.lr=-1",
}
EXPECTED = {"error": 2, "mistake": 2}
#: The same under every condition here but those in which the result itself cannot be written.
ENVIRONMENTS = {
    "dumb terminal": {"TERM": "dumb"},
    "C locale": {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ASCII": {"PYTHONIOENCODING": "ascii"},
    "ASCII strictly": {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C"},
    "20 columns": {"COLUMNS": "20"},
    "1 column": {"COLUMNS": "1"},
    "0 columns": {"COLUMNS": "0"},
    "columns that are none": {"COLUMNS": "x"},
    "unknown terminal": {"TERM": "no-such-terminal"},
    "no home": {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent", "MPLCONFIGDIR": "/tmp"},
}
#: Redirections of a shell, and the exit code where it is not that of the command.
REDIRECTIONS = {
    "| head -1": ("| head -1", {}),
    "a reader that has gone": ("| true", {}),
    "stdin closed": ("<&-", {}),
    "stdout closed": (">&-", {}),
    "stderr closed": ("2>&-", {}),
    "all closed": ("<&- >&- 2>&-", {}),
    "stdout full": ("> /dev/full", 74),
    "stderr full": ("2> /dev/full", {}),
    "both full": ("> /dev/full 2>&1", 74),
    "stdout and stderr to a reader that has gone": ("2>&1 | true", {}),
}
_BROKEN_PIPE = 141


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pipes")
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "other.yaml").write_text(TINY.replace("sgd, lr: 0.1", "adam, lr: 0.01"))
    code, _, err = shell("train tiny.yaml --name old", folder)
    assert code == 0, err
    return folder


@pytest.fixture
def place(prepared, tmp_path) -> Path:
    shutil.copytree(prepared, tmp_path / "work")
    return tmp_path / "work"


def shell(command: str, folder: Path, redirection: str = "", **variables: str) -> tuple[int, str, str]:
    """Run a command in a shell; return optrun's own exit code, and what was said."""
    line = f"'{sys.executable}' -m optrun.cli {command} {redirection}; exit ${{PIPESTATUS[0]}}"
    return run(["bash", "-c", line], folder, env=environment(**variables))


def check_words(out: str, err: str, what: str) -> None:
    for sign in ("Traceback", "BrokenPipe", "Exception ignored", "UnicodeEncodeError", "lost sys.std"):
        assert sign not in out + err, f"{what}: {out}{err}"


def check_environment(place: Path, name: str, condition: str) -> None:
    code, out, err = shell(COMMANDS[name], place, **ENVIRONMENTS[condition])
    what = f"{COMMANDS[name]} with {condition}"
    check_words(out, err, what)
    assert code == EXPECTED.get(name, 0), f"{what}: {err}"
    assert out or EXPECTED.get(name), what
    assert "\x1b" not in out + err, f"{what}: {out}{err}"
    if condition.startswith("ASCII"):
        assert (out + err).isascii() or name == "json", what
    if name == "json":
        assert json.loads(out)["run"] == "old"


def check_redirection(place: Path, name: str, condition: str) -> None:
    redirection, full = REDIRECTIONS[condition]
    code, out, err = shell(COMMANDS[name], place, redirection)
    what = f"{COMMANDS[name]} {redirection}"
    check_words(out, err, what)
    expected = {EXPECTED.get(name, 0)}
    if full and not EXPECTED.get(name):
        expected = {full}
    elif "|" in redirection and not EXPECTED.get(name):
        expected |= {_BROKEN_PIPE}  # when the reader goes is chance
    assert code in expected, f"{what}: {code}, {err}"
    if name == "train":
        status = json.loads((place / "runs/new/status.json").read_text())
        assert status["state"] == "done", what  # whatever became of the words, the work was done


QUICK = [
    ("train", "both full"), ("train", "C locale"), ("list", "| head -1"), ("describe", "a reader that has gone"),
    ("show", "stdout full"), ("help", "stdout closed"), ("runs", "20 columns"), ("mistake", "stderr full"),
]  # fmt: skip
ALL = [(name, condition) for name in COMMANDS for condition in (*ENVIRONMENTS, *REDIRECTIONS)]


def check(place: Path, name: str, condition: str) -> None:
    (check_environment if condition in ENVIRONMENTS else check_redirection)(place, name, condition)


@pytest.mark.sample
@pytest.mark.parametrize(("name", "condition"), QUICK)
def test_a_command_in_a_poor_place(place, name, condition):
    check(place, name, condition)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "condition"), [pair for pair in ALL if pair not in QUICK])
def test_every_command_in_every_poor_place(place, name, condition):
    check(place, name, condition)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [1, 20, 500])
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_on_a_terminal_of_any_width(place, name, columns):
    import fcntl
    import struct
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [*OPTRUN, *COMMANDS[name].split()]
    process = start(command, place, env=environment(TERM="xterm"), stdout=follower, stderr=follower)
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    assert process.wait(timeout=WAIT_SECS) == EXPECTED.get(name, 0), shown
    check_words(shown.decode("utf-8", "replace"), "", name)
