"""Metrics of targets that are learned scaled: in the units of the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optrun.experiments import build, evaluate, load_config, resume, train, trained_model
from optrun.experiments.config import ConfigError

RANDOM = np.random.default_rng(2)
INPUTS = RANDOM.normal(size=(60, 2))
TARGETS = np.column_stack([INPUTS @ [300, 20] + 7_000, 1_700_000_000 + np.round(INPUTS @ [500, -900])])
METRICS = ["mae", "mse", "rmse", "r2"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPTRUN_THREADS", "1")
    rows = np.hstack([INPUTS, TARGETS]).tolist()
    lines = [",".join(map(repr, row)) for row in rows]
    Path("table.csv").write_text("\n".join(["a,b,price,time", *lines]) + "\n")


def config(target: Any, **data: Any) -> dict[str, Any]:
    table = {"name": "csv", "path": "table.csv", "target": target, "task": "values", "inputs": ["a", "b"], **data}
    return {
        "data": {"target_scaling": "standard", "batch_size": 8, **table},
        "model": {"name": "mlp", "hidden": [4]},
        "loss": "mse",
        "metrics": METRICS,
        "optimizer": {"name": "adam", "lr": 0.03},
        "train": {"steps": 30},
        "eval": {"every": "10 steps"},
    }


def truth(predicted: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Return the metrics by their definitions, in double precision."""
    errors = predicted - target
    spread = ((target - target.mean(0)) ** 2).sum(0)
    return {
        "mae": float(np.abs(errors).mean()),
        "mse": float((errors**2).mean()),
        "rmse": float(np.sqrt((errors**2).mean())),
        "r2": float((1 - (errors**2).sum(0) / spread).mean()),
    }


@pytest.mark.parametrize("target", ["price", "time", ["price", "time"]])
def test_metrics_are_of_the_file_and_the_loss_of_scaled_targets(target: Any) -> None:
    wanted = config(target)
    run = train(wanted, name="run")
    splits = build(load_config(wanted)).splits
    assert splits.test is not None
    scaled = trained_model("run")(splits.test.inputs[:]).detach().double().numpy()
    columns = [["price", "time"].index(name) for name in ([target] if isinstance(target, str) else target)]
    own = TARGETS[:, columns]
    train_rows = own[splits.train.positions]
    expected = truth(scaled * train_rows.std(0) + train_rows.mean(0), own[splits.test.positions])
    final = run.dir.read_json("summary.json")["final"]  # type: ignore[index]
    for name, value in expected.items():
        assert final[f"test/{name}"] == pytest.approx(value, rel=1e-5), name
    loss = ((scaled - (own[splits.test.positions] - train_rows.mean(0)) / train_rows.std(0)) ** 2).mean()
    assert final["test/loss"] == pytest.approx(loss, rel=1e-5)
    assert {name: evaluate("run")[f"test/{name}"] for name in METRICS} == {
        name: final[f"test/{name}"] for name in METRICS
    }
    rows = [json.loads(line) for line in run.dir.metrics_path.read_text().splitlines()]
    assert [row["val/mae"] for row in rows if "val/mae" in row][-1] == pytest.approx(final["val/mae"])
    assert resume("run", {"train.steps": 32}, allow_change=True).dir.read_json("summary.json")["steps"] == 32  # type: ignore[index]


def test_the_batch_size_of_evaluation_does_not_matter() -> None:
    found = []
    for size in (1, 5, 512):
        run = train(config(["price", "time"], eval_batch_size=size), name=f"run{size}")
        found.append(run.dir.read_json("summary.json")["final"])  # type: ignore[index]
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-6)


def test_what_is_not_scaled_is_left_alone() -> None:
    run = train(config("price", target_scaling="none"), name="run")
    final = run.dir.read_json("summary.json")["final"]  # type: ignore[index]
    assert final["test/mse"] == pytest.approx(final["test/loss"])
    diabetes = train({**config("price"), "data": "diabetes"}, ["train.steps=1"], name="standard")  # in deviations
    final = diabetes.dir.read_json("summary.json")["final"]  # type: ignore[index]
    assert final["test/mse"] == pytest.approx(final["test/loss"])


def test_own_metrics_are_given_original_units() -> None:
    Path("own.py").write_text(
        "def relative(outputs, targets):\n    return ((outputs - targets) / targets).abs().mean(1)\n"
    )
    run = train({**config("time"), "metrics": ["mae", "./own.py:relative"]}, name="run")
    final = run.dir.read_json("summary.json")["final"]  # type: ignore[index]
    assert final["test/relative"] == pytest.approx(final["test/mae"] / 1.7e9, rel=1e-4)


def test_outputs_that_cannot_be_brought_back_are_refused() -> None:
    Path("net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__(); self.inner = torch.nn.Linear(2, 3)\n"
        "    def forward(self, x):\n"
        "        return self.inner(x)\n"
        "def loss(outputs, targets):\n"
        "    return outputs.square().mean()\n"
    )
    wanted = {**config(["price", "time"]), "model": "./net.py:Net", "loss": "./net.py:loss", "metrics": ["mae"]}
    with pytest.raises(
        ConfigError, match=r"metrics\.0.*expected outputs of shape \(examples, 2\) to bring back"
    ) as caught:
        build(load_config(wanted))
    assert "`target_scaling: none` leaves all as it is" in str(caught.value)
