"""A finished comparison that is asked for again, in interpreters of its own: the same bytes, nothing heavy imported.

The long way, which the answers are held against, is taken by the process of the tests: it has torch already, and so
looks for no answer that is kept.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import TINY, Result

COMPARE = ("compare", "mine.yaml", "other.yaml", "--seeds", "2", "--tune", "3", "-j", "2")
NET = """\
from torch import nn


def net(input_shape: tuple[int, ...], num_outputs: int):
    return nn.Linear(input_shape[0], num_outputs)
"""
#: What the console script does, and then a list of what was imported.
PROGRAM = """
import json, sys
from optrun.cli import main
try:
    main()
finally:
    with open("imported.txt", "w") as file:
        json.dump(sorted(sys.modules), file)
"""


def imported() -> set[str]:
    """Return what the last command imported, of what is heavy or the user's own."""
    names = json.loads(Path("imported.txt").read_text())
    return {name for name in names if name in ("torch", "scipy", "sklearn") or name.startswith("optrun_user_")}


def command(*args: str) -> Result:
    """Run a command line in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, *args], capture_output=True, encoding="utf-8", check=False, timeout=120
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder in which a command has made a comparison."""
    folder = tmp_path_factory.mktemp("asked")
    (folder / "net.py").write_text(NET)
    (folder / "mine.yaml").write_text(TINY.replace("model: logistic", "model: ./net.py:net"))
    (folder / "other.yaml").write_text("extends: mine.yaml\noptimizer: {name: adam, lr: 0.01}\n")
    return folder


@pytest.fixture
def known(place, monkeypatch):
    """Be in that folder, the answer kept."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("PYTHONUTF8", "1")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(place / "compiled"))  # which torch sets in this process
    if not (place / "runs").exists():
        first = command(*COMPARE)
        assert first.code == 0, first.err
        assert "torch" in imported()
    return next(path.parent for path in place.glob("runs/*/comparison.json"))


def without_times(text: str) -> str:
    """Leave out how long it took, which no two commands take alike."""
    return re.sub(r'("wall_secs": |from before in )[0-9.]+', r"\1T", text)


FORMS = {
    "plain": ((), {}),
    "narrow": ((), {"COLUMNS": "60"}),
    "wide, in colour": ((), {"COLUMNS": "120", "FORCE_COLOR": "1"}),
    "quiet": (("-q",), {}),
    "json": (("--json",), {}),
    "markdown, a gate that holds": (("--export", "-", "--gate", "mine.test/accuracy >= 0"), {}),
    "a gate that fails, no training": (("--gate", "other.test/accuracy > 1", "--no-train"), {}),
    "a gate that means nothing": (("--gate", "third.test/accuracy > 1"), {}),
    "on GitHub": (
        ("--gate", "other.test/accuracy > 1"),
        {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": "step.md"},
    ),
}


@pytest.mark.parametrize(("args", "variables"), FORMS.values(), ids=FORMS)
def test_the_same_is_said_without_torch_or_own_code(known, optrun, monkeypatch, args, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    short = command(*COMPARE, *args)
    assert imported() == set()
    page, group = (known / "report.html").read_text(), json.loads((known / "comparison.json").read_text())
    summary = Path("step.md").read_text() if "GITHUB_STEP_SUMMARY" in variables else ""
    long = optrun(*COMPARE, *args)
    assert short.code == long.code
    assert without_times(short.out) == without_times(long.out)
    assert short.err == long.err
    again = json.loads((known / "comparison.json").read_text())
    for name in ("updated", "wall_secs"):
        assert group.pop(name)
        assert again.pop(name)
    assert group == again
    assert without_times((known / "report.html").read_text()) == without_times(page)
    if summary:
        assert without_times(Path("step.md").read_text()) == 2 * without_times(summary)


def test_files_that_are_exported_are_the_same(known, optrun):
    files = ("result.md", "result.csv", "result.svg")
    exports = [part for file in files for part in ("--export", file)]
    assert command(*COMPARE, *exports).code == 0
    assert imported() == set()
    short = [without_times(Path(file).read_text()) for file in files]
    assert optrun(*COMPARE, *exports).code == 0
    assert [without_times(Path(file).read_text()) for file in files] == short


@pytest.mark.sample
def test_what_is_said_more_of_takes_the_long_way(known):
    assert command(*COMPARE, "-v").code == 0
    assert "torch" in imported()


@pytest.mark.sample
def test_a_run_that_was_removed_is_made_again(known):
    before = command(*COMPARE).out
    run = next(known.glob("mine*/summary.json")).parent
    shutil.rmtree(run)
    made = command(*COMPARE)
    assert "torch" in imported()
    assert re.search(r"^\[\d+/\d+\] mine ", made.err, re.M)
    assert curve(made.out) == curve(before)
    assert command(*COMPARE).out == made.out
    assert imported() == set()


def curve(text: str) -> str:
    """Return what is drawn, which has no times in it."""
    return text[text.index("val/accuracy, median") :]


@pytest.mark.sample
def test_a_sweep_is_read_again_likewise(known, optrun):
    sweep = ("sweep", "mine.yaml", "optimizer.lr=0.1,0.3", "--seeds", "1")
    assert command(*sweep).code == 0
    short = command(*sweep)
    assert imported() == set()
    long = optrun(*sweep)
    assert (short.code, short.out, short.err) == (long.code, long.out, long.err)
