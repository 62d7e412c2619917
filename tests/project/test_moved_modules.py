"""Files of users import modules from where they once were, and runs that were made with such files must resume."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import optrun.experiments as api

USER_FILE = '''\
"""Names as earlier documents had them."""

import optrun.experiments.arguments
import torch
from optrun.experiments import data
from optrun.experiments.arguments import Count, Positive
from optrun.experiments.data.batches import Mixed
from optrun.experiments.errors import UsageError


def net(input_shape: tuple[int, ...], num_outputs: int, width: Count = 4) -> torch.nn.Module:
    layers = torch.nn.Linear(*input_shape, width), torch.nn.ReLU(), torch.nn.Linear(width, num_outputs)
    return torch.nn.Sequential(*layers)


def swap(inputs: torch.Tensor, generator: torch.Generator, *, weight: Positive = 0.9) -> data.Mixed:
    return Mixed(inputs, torch.randperm(len(inputs), generator=generator), torch.full((len(inputs),), weight))
'''
CONFIG = """\
data: {name: gaussian_classes, num_examples: 100, batch_size: 10, augment: ["./mine.py:swap"]}
model: ./mine.py:net
loss: cross_entropy
optimizer: {name: mom, lr: 0.1}
train: {steps: 4}
"""


def python(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], cwd=folder, capture_output=True, text=True, check=True, timeout=300)


def test_a_run_made_with_a_file_that_uses_old_names_resumes(tmp_path, server):
    (tmp_path / "mine.py").write_text(USER_FILE)
    (tmp_path / "mine.yaml").write_text(CONFIG)
    trained = server.optrun("train", "mine.yaml", "--name", "run")
    _, err = trained.communicate()
    assert trained.returncode == 0, err
    out, err = server.optrun("resume", "run", "--allow-change", "train.steps=6").communicate()
    assert b"done after 6 steps" in out
    told = [line for line in err.decode().splitlines() if "Warning" in line]
    assert [line.partition("mine.py:")[2].partition(";")[0] for line in told] == [
        "3: FutureWarning: optrun.experiments.arguments is now optrun.experiments.registry.arguments",
        "5: FutureWarning: optrun.experiments.data is now optrun.experiments.components.data",
    ]


def test_an_old_name_is_the_module_itself(server):
    """In a process of its own, since what is imported once stays imported."""
    program = "import importlib, warnings\nwarnings.simplefilter('ignore')\n"
    for old, new in api._MOVED.items():
        program += f"assert importlib.import_module('optrun.experiments.{old}') is importlib.import_module("
        program += f"'optrun.experiments.{new}'), '{old}'\n"
    program += (
        "import optrun.experiments.data.batches, optrun.experiments.arguments, optrun.experiments as api\n"
        "from optrun.experiments.components.data import batches\n"
        "assert api.data.batches is batches and batches.__spec__.name == batches.__name__\n"
        "assert api.arguments.Count is api.Count and api.data.Mixed is api.Mixed\n"
    )
    process = server.new_python(program)
    _, err = process.communicate()
    assert process.returncode == 0, err.decode()


def test_each_old_name_warns_once_and_a_child_process_not_at_all(tmp_path):
    (tmp_path / "child.py").write_text("def work():\n    import optrun.experiments.arguments\n")
    (tmp_path / "main.py").write_text(
        "import multiprocessing, child\n"
        "if __name__ == '__main__':\n"
        "    child.work()\n    child.work()\n"
        "    process = multiprocessing.get_context('spawn').Process(target=child.work)\n"
        "    process.start()\n    process.join()\n    assert process.exitcode == 0\n"
    )
    told = python(tmp_path, "main.py").stderr
    assert told.count("FutureWarning") == 1
    assert "child.py:2: FutureWarning: optrun.experiments.arguments is now" in told


def test_what_never_was_is_still_not_found():
    with pytest.raises(ModuleNotFoundError, match=r"optrun\.experiments\.nothing"):
        __import__("optrun.experiments.nothing")
    with pytest.raises(ModuleNotFoundError, match=r"components\.data\.nothing"), pytest.warns():
        __import__("optrun.experiments.data.nothing")


def test_no_room_has_an_old_name():
    rooms = {name for name in os.listdir(Path(api.__file__).parent) if not name.startswith("_")}
    assert not {name.removesuffix(".py") for name in rooms} & set(api._MOVED)
