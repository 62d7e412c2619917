"""Moving averages as TensorFlow 1.x computes them: tests/golden/tf1.json was computed by TensorFlow 2.21 itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from optrun.experiments.components.updates import make_update

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "tf1.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["ema"], ids=lambda case: f"num_updates {case['num_updates']}")
def test_ema_of_weights(case) -> None:
    """tf.train.ExponentialMovingAverage: the shadow starts at the variable, and follows each value assigned to it."""
    model = nn.Linear(1, 1, bias=False)
    values = torch.tensor(case["inputs"])
    nn.init.constant_(model.weight, values[0])
    ema = make_update("ema", model, decay=case["decay"], num_updates=case["num_updates"])
    averages = []
    with torch.no_grad():
        for value in values[1:]:
            model.weight.fill_(value)
            ema.apply()
            averages.append(ema.shadows["weight"].item())
    assert averages == pytest.approx(case["average"], abs=1e-6)


@pytest.mark.parametrize("case", GOLDEN["moving_average"], ids=lambda case: f"zero_debias {case['zero_debias']}")
@pytest.mark.parametrize("which", ["mean", "variance"])
def test_running_statistics(case, which) -> None:
    """assign_moving_average, in the place where the recipe uses it: a batch norm layer's mean and variance.

    Two examples c - s and c + s have mean c and biased variance s²; variances are shifted to stay positive, which
    both rules commute with, the average of a constant being that constant once the start is forgotten.
    """
    values = torch.tensor(case["inputs"], dtype=torch.float64)
    shift = 0.0 if which == "mean" else 5.0
    model = nn.Sequential(nn.BatchNorm1d(1, dtype=torch.float64))
    model[0].running_mean.fill_(case["initial"])
    model[0].running_var.fill_(case["initial"] + shift)
    update = make_update("tf_batch_norm", model, decay=case["decay"], zero_debias=case["zero_debias"])
    found = []
    for value in values:
        centre, spread = (value, 1.0) if which == "mean" else (0.0, (value + shift).sqrt())
        model(torch.stack([torch.as_tensor(centre - spread), torch.as_tensor(centre + spread)]).double()[:, None])
        update.apply()
        running = model[0].running_mean if which == "mean" else model[0].running_var
        found.append(running.item() - shift)
    assert found == pytest.approx(case["values"], abs=2e-6)
