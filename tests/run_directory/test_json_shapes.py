"""The shape of a run's JSON files: what a real run writes is right, and what no reader could use is named."""

from __future__ import annotations

import json

import pytest

from optrun.experiments import train
from optrun.experiments.run_directory.json_shapes import misfit, row_misfit


def test_what_a_run_writes_fits() -> None:
    run = train("mom", {"train.steps": 2, "train.epochs": None, "data.subset": 64})
    for name in ("summary.json", "status.json", "env.json"):
        content = json.loads((run.path / name).read_text())
        assert content
        assert misfit(name, content) is None
    assert all(row_misfit(row) is None for row in run.rows)


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ({"metric": {}}, "metric.name: is missing"),
        ({"metric": {"name": "val/loss", "mode": "min"}}, "metric.target: is missing"),
        ({"metric": []}, "metric: expected an object"),
        ({"best": {"val/loss": "1.0"}}, "best.val/loss: expected a number"),
        ({"target_reached": {"step": "1"}}, "target_reached.step: expected a number"),
        ({"curve": [1, "2"]}, "curve.1: expected a number"),
        ({"steps": True}, "steps: expected a whole number"),
        ({"config": {"optimizer": {"lr": "0.1"}}}, "config.optimizer.lr: expected a number"),
    ],
)
def test_what_does_not_is_named(content, wrong) -> None:
    assert misfit("summary.json", content) == wrong


def test_a_row_has_numbers_where_it_stands() -> None:
    assert row_misfit({"step": 3, "epoch": None}) is None
    assert row_misfit({"loss": None}) is None
    assert row_misfit({"step": None}) == "step: expected a number"
    assert row_misfit({"step": True}) == "step: expected a number"
