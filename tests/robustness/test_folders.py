"""Folders of runs from which something is missing, or that are no runs: no command mixes, hides or calls it a bug.

The truth of `train --name` is the run that nobody touched: where the command says 0, weights and result are its.
"""

from __future__ import annotations

import itertools
import json
import shutil

import pytest

from optrun.cli.app import run
from optrun.experiments.run_directory.checkpoint_files import list_checkpoints
from optrun.experiments.run_directory.checkpoints import load
from optrun.experiments.training.train import train

slow = pytest.mark.slow

SMALL = {
    "data": {"name": "iris", "batch_size": 32},
    "model": "logistic",
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "mom", "lr": 0.1},
    "train": {"steps": 6},
    "log": {"every": "2 steps"},
    "eval": {"every": "3 steps"},
    "checkpoint": {"every": "3 steps"},
}
YAML = json.dumps(SMALL)
FILES = ["status.json", "summary.json", "config.yaml", "env.json", "origins.json", "metrics.jsonl", "checkpoints"]
DAMAGES = {
    "gone": lambda path: shutil.rmtree(path) if path.is_dir() else path.unlink(),
    "empty": lambda path: [each.write_bytes(b"") for each in ([path] if path.is_file() else path.iterdir())],
    "damaged": lambda path: [each.write_bytes(b"{\x00") for each in ([path] if path.is_file() else path.iterdir())],
    "a folder": lambda path: (DAMAGES["gone"](path), path.mkdir()),
    "a dangling link": lambda path: (DAMAGES["gone"](path), path.symlink_to("nowhere")),
}
COMMANDS = {
    "train": ["train", "small.yaml", "--name", "r"],
    "train other": ["train", "small.yaml", "--name", "r", "optimizer.lr=0.3"],
    "train fresh": ["train", "small.yaml", "--name", "r", "--fresh"],
    "resume": ["resume", "r"],
    "eval": ["eval", "r"],
    "show": ["show", "r"],
    "runs": ["runs"],
    "diff": ["diff", "r", "whole"],
    "plot": ["plot", "r"],
    "report": ["report", "r"],
    "rm": ["rm", "-y", "r"],
    "compare": ["compare", "run:r", "run:whole"],
}
OTHERS = {
    "a file": lambda path: path.write_text("mine"),
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a link to a run": lambda path: path.symlink_to("whole"),
    "an empty folder": lambda path: path.mkdir(),
    "only a lock": lambda path: (path.mkdir(), (path / ".lock").touch()),
    "only a log": lambda path: (path.mkdir(), (path / "log.txt").write_text("x\n")),
    "the files of a killed start": lambda path: (path.mkdir(), (path / "config.yaml").write_text("seed: 3\n")),
    "another tool's folder": lambda path: (path.mkdir(), (path / "events.out").write_text("x")),
    "a comparison": lambda path: (path.mkdir(), (path / "comparison.json").write_text("{}")),
}
CASES = list(itertools.product(FILES, DAMAGES, ("done", "killed"), COMMANDS))
CASES = [case for case in CASES if (case[0], case[2]) != ("summary.json", "killed")]  # which has none
DAILY = [case for case in CASES if case[0] in ("status.json", "summary.json") and case[1] == "gone"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder with a finished run, and one that was killed after step 3."""
    folder = tmp_path_factory.mktemp("made")
    whole = train(SMALL, name="whole", root=folder)
    killed = folder / "killed"
    shutil.copytree(whole.path, killed)
    _, last = list_checkpoints(killed / "checkpoints")
    last.path.unlink()
    (killed / "summary.json").unlink()
    status = json.loads((killed / "status.json").read_text())
    (killed / "status.json").write_text(json.dumps({**status, "state": "running", "pid": 2**22}))
    return folder


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made / "whole", tmp_path / "runs" / "whole")
    (tmp_path / "small.yaml").write_text(YAML)
    return tmp_path / "runs"


def weights(folder):
    tensors, _ = load(list_checkpoints(folder / "checkpoints")[-1])
    return {name: tensor.tolist() for name, tensor in tensors.items() if name.startswith("model")}


def answer(command, capsys):
    capsys.readouterr()
    code = int(run(COMMANDS[command]))
    _, err = capsys.readouterr()
    assert "Traceback" not in err
    assert code in (0, 1, 2, 4, 5, 6, 74), err  # 6: what has no result is called that
    assert code in (0, 1) or "error" in err or ":" in err
    return code, err


@pytest.mark.parametrize(
    ("file", "damage", "state", "command"), [*DAILY, *(pytest.param(*case, marks=slow) for case in CASES)]
)
def test_a_run_that_lost_something_is_whole_again_or_told(place, made, capsys, file, damage, state, command):
    shutil.copytree(made / {"done": "whole"}.get(state, state), place / "r")
    DAMAGES[damage](place / "r" / file)
    code, err = answer(command, capsys)
    if code == 0 and command in ("train", "train fresh", "resume"):
        if file != "checkpoints" or state == "killed":  # a finished run needs them no more
            assert weights(place / "r") == weights(place / "whole")
        final = json.loads((place / "r" / "summary.json").read_text())["final"]
        assert final == json.loads((place / "whole" / "summary.json").read_text())["final"]
    if command == "train other":
        assert code != 0, err  # two configurations are never mixed


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("other", OTHERS)
def test_what_is_no_run_is_never_taken_for_one(place, capsys, other, command):
    OTHERS[other](place / "r")
    before = sorted((path.name, path.is_symlink()) for path in place.rglob("*") if "r/" not in str(path))
    code, err = answer(command, capsys)
    may_begin = other in ("an empty folder", "only a lock", "only a log", "the files of a killed start")
    if command.startswith("train"):
        assert code == (0 if may_begin or (other == "a link to a run" and command == "train") else 2), err
    if code == 2 and not may_begin:
        assert before == sorted((path.name, path.is_symlink()) for path in place.rglob("*") if "r/" not in str(path))
    assert json.loads((place / "whole" / "status.json").read_text())["state"] == "done"
