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


# ---- layers that a step does not reach, or uses twice ----------------------------------------------------------------

BATCH_NORM = json.loads((Path(__file__).parents[2] / "golden" / "tf1_batch_norm.json").read_text())
INPUTS = torch.tensor(BATCH_NORM["inputs"])


class Reached(nn.Module):
    """Uses each of its layers as often in a step as the golden figures' layers were used."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.BatchNorm1d(2) for _ in BATCH_NORM["uses"])

    def forward(self, step: int) -> None:
        for layer, uses in zip(self.layers, BATCH_NORM["uses"].values(), strict=True):
            for use in range(uses[step]):
                layer(INPUTS[step, use])


def statistics(model: Reached, update, steps) -> dict[str, dict[str, list]]:
    """Return mean and variance of each layer after each of the steps."""
    found: dict[str, dict[str, list]] = {name: {"mean": [], "variance": []} for name in BATCH_NORM["uses"]}
    for step in steps:
        model(step)
        with torch.no_grad():
            update.apply()
        for name, layer in zip(found, model.layers, strict=True):
            found[name]["mean"].append(layer.running_mean.tolist())
            found[name]["variance"].append(layer.running_var.tolist())
    return found


def assert_alike(found, expected) -> None:
    for name in BATCH_NORM["uses"]:
        for kind in ("mean", "variance"):
            torch.testing.assert_close(
                torch.tensor(found[name][kind]), torch.tensor(expected[name][kind]), rtol=2e-6, atol=2e-6, msg=name
            )


def made(rule: str):
    model = Reached()
    decay, zero_debias = BATCH_NORM["decay"], rule.endswith("zero_debias")
    return model, make_update("tf_batch_norm", model, decay=decay, zero_debias=zero_debias)


@pytest.mark.parametrize("rule", BATCH_NORM["rules"])
def test_each_layer_is_updated_as_often_as_it_is_used(rule) -> None:
    model, update = made(rule)
    found = statistics(model, update, range(len(INPUTS)))
    assert_alike(found, BATCH_NORM["rules"][rule]["layers"])
    uses = [sum(each) for each in BATCH_NORM["uses"].values()]
    assert [int(layer.num_batches_tracked) for layer in model.layers] == uses


@pytest.mark.parametrize("rule", BATCH_NORM["rules"])
def test_a_restored_update_goes_on_as_tensorflows(rule) -> None:
    model, update = made(rule)
    statistics(model, update, range(BATCH_NORM["saved_after"]))
    again, restored = made(rule)
    again.load_state_dict(model.state_dict())
    restored.load_state_dict(update.state_dict())
    found = statistics(again, restored, range(BATCH_NORM["saved_after"], len(INPUTS)))
    straight = BATCH_NORM["rules"][rule]["layers"]
    rest = {name: {kind: each[kind][BATCH_NORM["saved_after"] :] for kind in each} for name, each in straight.items()}
    assert_alike(found, rest)


@pytest.mark.parametrize("rule", BATCH_NORM["rules"])
def test_statistics_of_other_training_are_gone_on_from(rule) -> None:
    """Restored without the rest, TensorFlow's go on from there only where nothing is corrected for the start."""
    saved_after = BATCH_NORM["saved_after"]
    model, update = made(rule)
    statistics(model, update, range(saved_after))
    again, warm = made(rule)
    again.load_state_dict(model.state_dict())
    taken = again.layers[0].running_mean.tolist()
    found = statistics(again, warm, range(saved_after, len(INPUTS)))
    theirs = BATCH_NORM["rules"][rule]["only statistics restored"]
    value = INPUTS[saved_after, 0].mean(0).tolist()
    if rule.endswith("zero_debias"):
        assert theirs["every step"]["mean"][0] == pytest.approx(value, abs=1e-5)  # nothing is left of what was taken
    else:
        assert_alike(found, theirs)
    moved = [0.9 * old + 0.1 * new for old, new in zip(taken, value, strict=True)]
    assert found["every step"]["mean"][0] == pytest.approx(moved, abs=1e-5)
    assert found["never"]["mean"][-1] == again.layers[-1].running_mean.tolist()


def test_micro_batches_are_one_batch_and_uses_are_two() -> None:
    """Each use is updated by the statistics of all its micro-batches, whichever of them reach the layer."""
    model, update = made("zero_debias")
    whole, other = made("zero_debias")
    layer = model.layers[0]
    parts = torch.cat([INPUTS[0, 0], INPUTS[2, 0]]).split([3, 5])
    for part in parts:
        layer(part)
        layer(part * 2)
        update.next_micro_batch()
    layer(INPUTS[0, 1])  # a first use, in a micro-batch that has no second one
    whole.layers[0](torch.cat([INPUTS[0, 0], INPUTS[2, 0], INPUTS[0, 1]]))
    whole.layers[0](torch.cat([INPUTS[0, 0], INPUTS[2, 0]]) * 2)
    with torch.no_grad():
        update.apply()
        other.apply()
    torch.testing.assert_close(layer.running_mean, whole.layers[0].running_mean)
    torch.testing.assert_close(layer.running_var, whole.layers[0].running_var)
    assert int(layer.num_batches_tracked) == 2


def test_forward_passes_that_a_checkpointed_backward_repeats_count_once() -> None:
    from torch.utils.checkpoint import checkpoint

    model, update = made("zero_debias")
    inputs = INPUTS[0, 0].clone().requires_grad_()
    checkpoint(model.layers[0], inputs, use_reentrant=False).square().sum().backward()
    with torch.no_grad():
        update.apply()
    assert int(model.layers[0].num_batches_tracked) == 1
    torch.testing.assert_close(model.layers[0].running_mean, INPUTS[0, 0].mean(0))


def test_a_run_that_counted_once_for_all_layers_goes_on_so() -> None:
    """State of 0.2.0: the average of a layer reached in steps 1 and 3 of 3, divided by 1 - decay^3."""
    model, update = made("zero_debias")
    average = INPUTS[0, 0].mean(0) * (0.1 * 0.81)  # as if reached at step 1 of three
    state = update.state_dict()
    averages = {name: [average.clone(), torch.ones(2)] for name in state["averages"]}
    update.load_state_dict({"averages": averages, "count": 3})
    layer = model.layers[0]
    layer(INPUTS[1, 0])
    layer(INPUTS[1, 1])  # two uses were one batch
    with torch.no_grad():
        update.apply()
    value = INPUTS[1].flatten(0, 1).mean(0)
    torch.testing.assert_close(layer.running_mean, (average * 0.9 + value * 0.1) / (1 - 0.9**4))
    assert int(layer.num_batches_tracked) == 1
    saved = update.state_dict()
    assert saved["count"] == 4
    assert "counts" not in saved
