"""The TensorFlow 1 recipe, run by configs/tf1-recipe.yaml: every cost, and what is left in the end, against TensorFlow.

tests/golden/tf1_recipe.npz and .json were computed by TensorFlow 2.21's tf.compat.v1 with MonitoredTrainingSession: the
initial weights, the examples of each batch, the cost before each update, the final weights and moving statistics.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from optrun.experiments import Hook, RunArgs, build, load_config, train
from optrun.experiments.run_directory.checkpoint_files import list_checkpoints
from optrun.experiments.training.session.saved_state import load_state

FOLDER = Path(__file__).parents[1] / "golden"
FACTS = json.loads((FOLDER / "tf1_recipe.json").read_text())
ARRAYS = np.load(FOLDER / "tf1_recipe.npz")

NAMES = {  # TensorFlow's to ours
    "conv/w": "blocks.0.conv.weight",
    "bn/gamma": "blocks.0.norm.weight",
    "bn/beta": "blocks.0.norm.bias",
    "bn/moving_mean": "blocks.0.norm.running_mean",
    "bn/moving_variance": "blocks.0.norm.running_var",
    "fc/w": "head.weight",
    "fc/b": "head.bias",
}


def in_torchs_layout(name: str, array: np.ndarray) -> np.ndarray:
    """Return an array of TensorFlow's with its axes in torch's order."""
    if name == "conv/w":  # height, width, in, out
        return array.transpose(3, 2, 0, 1)
    if name == "fc/w":  # its rows are flattened images of height, width, channels; ours of channels, height, width
        return array.reshape(4, 4, 6, 10).transpose(3, 2, 0, 1).reshape(10, 96)
    return array


@pytest.fixture
def start(tmp_path: Path) -> str:
    """Return the file of the golden initial weights under TensorFlow's names."""
    names = [name.removeprefix("init/") for name in ARRAYS if name.startswith("init/")]
    path = tmp_path / "start.npz"
    np.savez(path, **{name: in_torchs_layout(name, ARRAYS[f"init/{name}"]) for name in names})
    return str(path)


class GoldenBatches(Hook):
    """Feed the examples that TensorFlow was fed."""

    def __init__(self, inputs: torch.Tensor, targets: torch.Tensor):
        self.inputs, self.targets = inputs, targets

    def before_run(self, ctx):
        chosen = torch.from_numpy(ARRAYS["order"][ctx.step])
        return RunArgs(feed={"batch": (self.inputs[chosen], self.targets[chosen])})


def recipe_from(start: str) -> list[str]:
    names = {name: target for name, target in NAMES.items() if "moving" not in name}
    init = {"from": start, "map": names, "only": [*names.values()]}
    return [f"init={json.dumps(init)}"]


def test_cost_weights_and_statistics_are_tensorflows(start: str, tmp_path: Path) -> None:
    experiment = build(load_config("tf1-recipe", recipe_from(start)))
    feed = GoldenBatches(experiment.data.inputs, experiment.data.targets)
    with experiment.session(tmp_path / "run", [feed]) as session:
        while not session.should_stop():
            session.run(experiment.train_op)

    rows = [row for row in session.rows.rows() if "loss" in row]
    assert [row["step"] for row in rows] == list(range(1, 91))
    # A row of step k + 1 has the loss before that update and the rate that it took.
    cost = np.array([row["loss"] for row in rows])
    assert np.abs(cost - FACTS["cost"]).max() < 1e-5
    assert [row["lr"] for row in rows] == pytest.approx(FACTS["lr"], rel=1e-7)

    state = experiment.model.state_dict()
    for name, ours in NAMES.items():
        expected = torch.from_numpy(np.ascontiguousarray(in_torchs_layout(name, ARRAYS[f"final/{name}"])))
        assert (state[ours] - expected).abs().max() < 1e-5, name
    saved = load_state(list_checkpoints(tmp_path / "run" / "checkpoints")[-1]).sections
    assert all(state[name].equal(saved["model"][name]) for name in state)


def test_the_penalty_is_what_the_cost_has_beyond_the_cross_entropy(start: str) -> None:
    experiment = build(load_config("tf1-recipe", recipe_from(start)))
    experiment.initialise(experiment.model)
    penalty = experiment.train_op.l2
    assert penalty is not None
    assert penalty().item() == pytest.approx(FACTS["cost"][0] - FACTS["cross_entropy"][0], abs=1e-6)


def test_the_preset_trains_as_it_is() -> None:
    run = train("tf1-recipe")
    assert run.summary["steps"] == 90
    assert run.summary["final"]["test/accuracy"] > 0.6
    assert [row["lr"] for row in run.rows if row["step"] in (30, 31, 60, 61, 80, 81) and "lr" in row] == [
        *(0.1, 0.01, 0.01, 0.001, 0.001, 0.0001),
    ]
    assert len([*run.path.rglob("events.out.tfevents.*")]) == 1
