"""Components that a script or a notebook registers reach the processes that train."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

from optrun.experiments import load_config, register_model, register_optimizer
from optrun.experiments.comparison.shipping import Shipment, main_left_out, pack
from optrun.experiments.components.registries import REGISTRIES
from optrun.experiments.errors import UsageError

TINY = {
    "data": {"name": "iris", "batch_size": 32},
    "model": "logistic",
    "loss": "cross_entropy",
    "optimizer": {"name": "sgd", "lr": 0.1},
    "train": {"epochs": 1},
}
CELL = """
import torch
RATE = 0.25
class Mine(torch.optim.SGD):
    def __init__(self, params, *, lr: float = 0.1):
        super().__init__(params, lr=lr * RATE)
"""
SCRIPT = """
import torch
from optrun.experiments import compare, register_optimizer

factor = 1.0

@register_optimizer("of_the_script", source="own", centre_lr=0.1)
class Mine(torch.optim.SGD):
    def __init__(self, params, *, lr: float = 0.1):
        super().__init__(params, lr=lr * factor)

def run():
    options = dict(tune=None, seeds=2, metric="test/loss", margin=0.1, jobs=1)
    done = compare(["tiny.yaml", "tiny.yaml"], {"tiny-2:optimizer": "of_the_script"}, **options)
    losses = done.values()
    print(sum(record["cached"] for record in done.data["runs"]), losses["tiny"] == losses["tiny-2"])

run()
run()
factor = 0.5
run()

from optrun.experiments import evaluate, resume, train
options = {"optimizer": "of_the_script", "train.epochs": 1}
train("tiny.yaml", options, name="alone")
again = train("tiny.yaml", options, name="alone")
factor = 0.25
for ask in (lambda: train("tiny.yaml", options, name="alone"), lambda: resume("alone"), lambda: evaluate("alone")):
    try:
        ask()
    except Exception as error:
        print(type(error).__name__, "optimizer 'of_the_script' is registered with other" in str(error))
print(resume("alone", allow_code=True).state, evaluate("alone", allow_code=True)["step"])
"""


@pytest.fixture
def own():
    """Return a class that no other process can import, registered for the time of a test."""
    cell = types.ModuleType("__main__")
    exec(compile(CELL, "cell", "exec", dont_inherit=True), vars(cell))
    register_optimizer("of_a_cell", source="own", centre_lr=0.5)(cell.Mine)
    yield cell.Mine
    REGISTRIES["optimizer"]._components.pop("of_a_cell", None)


def test_a_class_of_a_cell_is_sent_by_value(own):
    shipment = pack([load_config({**TINY, "optimizer": "of_a_cell"})])
    assert shipment.modules == ()
    del REGISTRIES["optimizer"]._components["of_a_cell"]  # as in a new process
    shipment.unpack()
    arrived = REGISTRIES["optimizer"].get("of_a_cell")
    assert (arrived.facts["centre_lr"], arrived.source) == (0.5, "own")
    made = arrived.make([torch.zeros(1)], lr=1.0)
    assert made.param_groups[0]["lr"] == 0.25


def test_what_can_be_imported_is_named(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text(
        "from torch import nn\nfrom optrun.experiments import register_model\n"
        "register_model('of_a_module')(lambda input_shape, num_outputs: nn.Linear(4, num_outputs))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import my_models  # pyright: ignore[reportMissingImports]  # noqa: F401

    shipment = pack([load_config({**TINY, "model": "of_a_module"})])
    assert shipment == Shipment(("my_models",))
    del REGISTRIES["model"]._components["of_a_module"]
    del sys.modules["my_models"]
    shipment.unpack()
    assert REGISTRIES["model"].get("of_a_module").make([4], 3).out_features == 3
    del REGISTRIES["model"]._components["of_a_module"]


def test_nothing_is_sent_where_all_is_found_by_name():
    assert pack([load_config("mom"), load_config(TINY)]) == Shipment()


def test_what_cannot_be_sent_is_refused_with_a_way_out(tmp_path):
    handle = (tmp_path / "log").open("w")
    cell = types.ModuleType("__main__")
    vars(cell)["handle"] = handle
    exec(compile("def made(input_shape): return handle", "cell", "exec", dont_inherit=True), vars(cell))
    register_model("with_a_file")(cell.made)
    try:
        with handle, pytest.raises(UsageError, match=r"model 'with_a_file' cannot be sent .*name it \./file\.py:Name"):
            pack([load_config({**TINY, "model": "with_a_file"})])
    finally:
        del REGISTRIES["model"]._components["with_a_file"]


def test_processes_that_start_do_not_run_the_script_of_the_user():
    from multiprocessing.spawn import get_preparation_data

    main = sys.modules["__main__"]
    with main_left_out():
        prepared = get_preparation_data("worker")
    assert not {"init_main_from_name", "init_main_from_path"} & prepared.keys()
    assert sys.modules["__main__"] is main


@pytest.mark.sample  # an interpreter for the script, and one for each worker
def test_a_script_without_a_guard_from_stdin_compares_what_it_registers(tmp_path):
    Path(tmp_path / "tiny.yaml").write_text(json.dumps(TINY))

    done = subprocess.run([sys.executable, "-"], input=SCRIPT, capture_output=True, text=True, cwd=tmp_path)
    # Nothing is there; all is there; `tiny` is, but a global that the other entry uses has changed.
    assert (done.returncode, done.stdout.splitlines()[:3]) == (0, ["0 True", "4 True", "2 False"]), done.stderr
    # And a single run is not taken for what it is no more.
    refused = [line.split() for line in done.stdout.splitlines()[3:6]]
    assert [told for _, told in refused] == ["True"] * 3
    assert done.stdout.splitlines()[6:] == ["done 3"]
