"""A metric that is not a finite number is never the best, and where no value is one, there is no best."""

from __future__ import annotations

import json
import math

import pytest

from optrun.cli.texts.run_text import result_lines
from optrun.experiments import Run, train
from optrun.experiments.config.goal import Goal
from optrun.experiments.errors import NothingMatchedError

OWN = """
import torch

class Measured:
    def __init__(self, values: list[float | None]):
        self.values, self.calls = values, 0

    def __call__(self, outputs, targets):
        self.is_whole = len(targets) == 30  # a part of the data, and not what is tried out before
        return torch.zeros(len(targets))

    def finish(self, means):
        if not self.is_whole:
            return 0.0
        value = self.values[min(self.calls, len(self.values) - 1)]
        self.calls += 1
        return float("nan") if value is None else value
"""


def finished(folder, values, mode, *more):
    """Train with a metric that takes these values, one for each evaluation."""
    (folder / "own.py").write_text(OWN)
    target = {
        "data": {"name": "iris", "batch_size": 64},
        "model": "logistic",
        "loss": "cross_entropy",
        "metrics": [{"name": f"{folder}/own.py:Measured", "values": values}],
        "optimizer": {"name": "sgd", "lr": 0.1},
        "train": {"steps": 8, "threads": 1},
        "eval": {"every": "2 steps", "mode": mode},
        "checkpoint": {"every": "3 steps"},
    }
    return train(target, more, name="run", root=folder)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_where_no_value_is_finite_there_is_no_best(tmp_path, mode):
    run = finished(tmp_path, [None], mode)
    assert (run.summary["best"], run.summary["curve"], run.summary["final"]["val/Measured"]) == (None, [], None)
    assert "no best: it was never a finite number" in "\n".join(result_lines("run", run.summary))
    assert "best" not in repr(run._facts())
    assert [file.step for file in run.checkpoints] == [6, 8]
    with pytest.raises(NothingMatchedError, match="no checkpoint 'best'"):
        run.checkpoint("best")


@pytest.mark.parametrize(("mode", "best"), [("max", 4), ("min", 6)])
def test_what_is_finite_is_the_best_whatever_stands_around_it(tmp_path, mode, best):
    run = finished(tmp_path, [None, 3.0, 1.0, None], mode)
    assert run.summary["best"]["step"] == run.checkpoint("best").step == best
    assert f"best {3.0 if mode == 'max' else 1.0:.4f} at step {best}" in "\n".join(result_lines("run", run.summary))


def test_a_plateau_and_early_stopping_take_it_for_no_improvement(tmp_path):
    stopping = ["stop.patience=2", "schedule={name: plateau, metric: val/Measured, patience: 0, factor: 0.5}"]
    run = finished(tmp_path, [2.0, None, None, 1.0], "max", *stopping)
    assert (run.state, run.summary["message"]) == ("stopped", "val/Measured has not improved in 2 evaluations")
    assert run.summary["steps"] == 6


def test_a_result_of_an_earlier_version_that_calls_nan_the_best_is_read_as_none(tmp_path):
    run = finished(tmp_path, [None], "max")
    summary = {**run.summary, "best": {"val/Measured": None, "step": 4}}
    (run.path / "summary.json").write_text(json.dumps(summary))
    run = Run(run.path)
    assert run.best_step is None
    assert "best" not in repr(run._facts())
    assert "no best" in "\n".join(result_lines("run", run.summary))


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_best_of_some_leaves_nan_out(mode):
    goal = Goal("val/own", mode)
    assert goal.best([math.nan, 2.0, math.nan], lambda value: value) == 2.0
    assert goal.best([math.nan], lambda value: value) is None
    assert not any(goal.is_better(value, other) for value in (math.nan, math.inf, -math.inf) for other in (None, 1.0))
