"""A user's own function that makes data to be standardised or encoded: its run goes on, others are noticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from optrun.experiments import evaluate, resume, train
from optrun.experiments.components.data import make_data, split
from optrun.experiments.errors import UsageError
from optrun.experiments.run_directory.checkpoints import list_checkpoints, load

TABLE = ["a,b,kind", *(f"{('red', 'blue', '')[n % 3]},{n * 0.5},{('ox', 'ant', 'bee')[n % 3]}" for n in range(30))]
MADE = {
    "standardised": 'make_data("iris", scaling="standard")',
    "as it is": 'make_data("iris", scaling="none")',
    "targets too": 'make_data("diabetes", scaling="standard")',
    "encoded": 'make_data("csv", path="table.csv", target="kind", task="classes", missing={"a": "category"})',
}
OWN = """
from dataclasses import replace
from optrun.experiments import make_data

def mine():
    made = {made}
    return replace(made, inputs=made.inputs * {factor})
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("table.csv").write_text("\n".join(TABLE) + "\n")
    return tmp_path


def begun(made: str, name: str, steps: int) -> None:
    """Train for some steps on what a function in a file makes."""
    Path("own.py").write_text(OWN.format(made=made, factor=1))
    values = "diabetes" in made
    config = {
        "data": {"name": "./own.py:mine", "batch_size": 16},
        "model": {"name": "mlp", "hidden": [4]} if values else "logistic",
        "loss": "mse" if values else "cross_entropy",
        "metrics": [] if values else ["accuracy"],
        "optimizer": {"name": "sgd", "lr": 0.1},
        "train": {"steps": steps, "threads": 1},
    }
    train(config, name=name)


def weights(name: str) -> dict[str, list[float]]:
    state = load(list_checkpoints(Path("runs", name, "checkpoints"))[-1])[0]
    return {key: tensor.tolist() for key, tensor in state.items() if key.startswith("model")}


@pytest.mark.parametrize("how", MADE)
def test_it_goes_on_as_one_that_was_not_interrupted(how: str) -> None:
    begun(MADE[how], "whole", 6)
    begun(MADE[how], "cut", 3)
    recorded = json.loads(Path("runs/cut/env.json").read_text())["examples"]
    made = eval(MADE[how], {"make_data": make_data})
    assert recorded == split(made).dataset.sha256(), "as runs of earlier versions recorded it"
    resume("cut", ["train.steps=6"], allow_change=True)
    assert weights("cut") == weights("whole") != {}
    assert evaluate("cut") == {**evaluate("whole"), "run": "cut"}


@pytest.mark.parametrize("how", ["as it is", "targets too"])
def test_other_examples_are_noticed(how: str) -> None:
    begun(MADE[how], "run", 3)
    Path("own.py").write_text(OWN.format(made=MADE[how], factor=0.9))
    with pytest.raises(UsageError, match=r"the examples that .*own\.py:mine makes are others"):
        resume("run", allow_code=True)
