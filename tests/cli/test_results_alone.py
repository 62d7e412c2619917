"""What the user's code prints, by whatever way, goes to stderr: stdout holds one JSON document, or results alone."""

from __future__ import annotations

import contextlib
import json
import re
import shutil

import pytest

from optrun.cli.app import cli

from .conftest import TINY

CODE = """
import atexit, ctypes, os, subprocess, sys, threading
import torch
from torch import nn
from optrun.experiments import Dataset, Hook

libc = ctypes.CDLL(None)
def talk(place):
    if "TALKS" not in os.environ: return
    print("PRINT", place)
    sys.stdout.write(f"WRITE {place}\\n")
    sys.stdout.buffer.write(f"BUFFER {place}\\n".encode())
    sys.__stdout__.write(f"ORIGINAL {place}\\n")
    os.write(1, f"DESCRIPTOR {place}\\n".encode())
    libc.printf(b"LIBRARY %s\\n", place.encode())  # which the library keeps until it is flushed, or the process ends
    subprocess.run(["echo", "PROGRAM", place])
    thread = threading.Thread(target=lambda: print("THREAD", place))
    thread.start()
    thread.join()
talk("import")
if "TALKS" in os.environ: atexit.register(print, "EXIT")
class Model(nn.Module):
    def __init__(self, input_shape: list[int], num_outputs: int):
        super().__init__()
        talk("model")
        self.net = nn.Linear(input_shape[0], num_outputs)
    def forward(self, x):
        talk("forward")
        return self.net(x)
def data() -> Dataset:
    talk("data")
    g = torch.Generator().manual_seed(0)
    return Dataset(torch.randn(30, 4, generator=g), torch.arange(30) % 3, "classes", 3)
class Talks(Hook):
    def end(self, session, outcome):
        talk("hook")
"""
CONFIG = """
data: {name: "./own.py:data", batch_size: 16}
model: {name: "./own.py:Model"}
loss: cross_entropy
metrics: [accuracy]
optimizer: {name: sgd, lr: 0.1}
hooks: ["./own.py:Talks"]
train: {steps: 2}
log: {every: 1 steps}
"""
TALKS = {"TALKS": "1"}
WAYS = ["PRINT", "WRITE", "BUFFER", "ORIGINAL", "DESCRIPTOR", "LIBRARY", "PROGRAM", "THREAD"]
#: Of each command that takes --json, arguments with which it comes to the user's code, where any do.
ARGUMENTS = {
    "compare": "own.yaml other.yaml --no-tune --seeds 1 -j 1 --margin 0.1",
    "config": "own.yaml",
    "data": "",
    "describe": "data/./own.py:data --allow-code",
    "diff": "r s",
    "eval": "r",
    "export": "r --to safetensors -o model.safetensors --checkpoint last",
    "list": "",
    "lr-find": "own.yaml --steps 5",
    "plan": "own.yaml",
    "plot": "r",
    "predict": "r --split test -o out.csv",
    "report": "r",
    "resume": "r train.steps=3 --allow-change",
    "rm": "r --yes",
    "runs": "",
    "show": "r",
    "sweep": "own.yaml optimizer.lr=0.1,0.2 --seeds 1 -j 1",
    "train": "own.yaml",
    "trajectories": "beale sgd --steps 3",
    "validate": "own.yaml",
    "verify-resume": "own.yaml --steps 2 --at 1",
}
REACHES_CODE = {
    "compare",
    "config",
    "describe",
    "eval",
    "export",
    "lr-find",
    "plan",
    "predict",
    "resume",
    "sweep",
    "train",
    "validate",
    "verify-resume",
}


def takes_json(name):
    return any("--json" in parameter.opts for parameter in cli.get_command(None, name).params)


@pytest.fixture(scope="module")
def trained_once(server, tmp_path_factory):
    """Return a folder with the user's code and two runs."""
    place = tmp_path_factory.mktemp("trained")
    (place / "own.py").write_text(CODE)
    (place / "own.yaml").write_text(CONFIG)
    (place / "other.yaml").write_text(CONFIG.replace("lr: 0.1", "lr: 0.2"))
    (place / "tiny.yaml").write_text(TINY)
    for config, name in (("own.yaml", "r"), ("tiny.yaml", "s")):
        with contextlib.chdir(place):
            done = server.optrun("train", config, "--name", name)
        _, err = done.communicate()
        assert done.returncode == 0, err
    return place


@pytest.fixture
def trained(trained_once, folder):
    """Have them in this folder."""
    shutil.copytree(trained_once, folder, dirs_exist_ok=True)


def test_every_command_that_takes_json_is_tried():
    assert {name for name in cli.list_commands(None) if takes_json(name)} == set(ARGUMENTS)


IN_NEW_INTERPRETERS = {"verify-resume"}  # three, each of which imports torch


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.sample if name in IN_NEW_INTERPRETERS else ()) for name in ARGUMENTS]
)
def test_stdout_is_one_json_document_whatever_the_users_code_prints(trained, shell, name):
    out, err = (stream.decode() for stream in shell(name, *ARGUMENTS[name].split(), "--json", env=TALKS).communicate())
    assert json.loads(out)["schema"].startswith("optrun/"), err
    assert not json.loads(out)["schema"].startswith("optrun/error"), out
    for way in WAYS:
        is_said = any(line.startswith(way) for line in err.splitlines())
        assert is_said == (name in REACHES_CODE), way


@pytest.mark.parametrize(
    "arguments", ["train own.yaml optimizer.lr=-1", "plan own.yaml train.steps=0", "runs --no-such"]
)
def test_so_is_an_error(trained, shell, arguments):
    child = shell(*arguments.split(), "--json", env=TALKS)
    out, _ = child.communicate()
    assert (child.returncode, json.loads(out)["schema"]) == (2, "optrun/error@1")


@pytest.mark.parametrize("arguments", ["config own.yaml", "train own.yaml -q", "validate own.yaml", "train --help"])
def test_results_for_people_and_scripts_alike_are_alone_on_stdout(trained, shell, arguments):
    talking, _ = shell(*arguments.split(), env=TALKS).communicate()
    silent, _ = shell(*arguments.split()).communicate()
    assert lines(talking) == lines(silent)
    assert talking


def lines(out):
    """Return lines without what differs from one run to the next."""
    return [re.sub(rb"own-\d{4}|\d+(\.\d+)? ?(ms|s)\b", b"", line) for line in out.splitlines()]
