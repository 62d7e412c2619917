"""Predictions and programs of models that give more than one tensor, or compute their loss themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from optrun.experiments import Run, export_model, predict, train
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import UsageError
from optrun.experiments.training.build import make_splits

HERE = Path(__file__)


class Outputs(nn.Module):
    """As models of several outputs are: what is compared is one of them."""

    def __init__(self, num_outputs: int):
        super().__init__()
        self.hidden, self.head = nn.LazyLinear(5), nn.Linear(5, num_outputs)

    def forward(self, rows: Tensor) -> dict[str, Any]:
        hidden = self.hidden(rows).tanh()
        return {"hidden": hidden, "heads": (self.head(hidden), None)}


class OwnLoss(Outputs):
    """Gives (logits, loss), the loss where there are targets."""

    def forward(self, rows: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Any]:  # type: ignore[override]
        logits = super().forward(rows)["heads"][0]
        return logits, None if targets is None else nn.functional.cross_entropy(logits, targets)


class NeedsTargets(OwnLoss):
    def forward(self, rows: Tensor, targets: Tensor) -> tuple[Tensor, Any]:  # type: ignore[override]
        return super().forward(rows, targets)


def trained(model: str, **parts: Any) -> Run:
    base = {"data": "iris", "optimizer": {"name": "adam", "lr": 0.02}, "train": {"epochs": 2, "threads": 1}}
    return train({**base, "model": f"{HERE}:{model}", **parts})


OF = {"of": "heads.0"}
OWN = {"loss": {"name": "output", "of": 1}}
RUNS: dict[str, dict[str, Any]] = {
    "loss": {"model": "Outputs", "loss": {"name": "cross_entropy", **OF}, "metrics": [{"name": "accuracy", **OF}]},
    "metric": {"model": "OwnLoss", **OWN, "metrics": [{"name": "accuracy", "of": 0}]},
}


def scores_of(run: Run, rows: Tensor) -> Tensor:
    """Return the scores by the layers alone."""
    model = run.load_model(checkpoint="last")
    with torch.no_grad():
        return model.head(model.hidden(rows).tanh())


@pytest.mark.parametrize("parts", RUNS.values(), ids=RUNS)
def test_classes_are_predicted_from_the_part_that_is_compared(parts: dict[str, Any]) -> None:
    run = trained(**parts)
    found = predict(run, checkpoint="last")
    splits = make_splits_of(run)
    expected = scores_of(run, splits.test.inputs[:]).argmax(1)
    names = np.array(["setosa", "versicolor", "virginica"])
    assert found["prediction"].tolist() == names[expected.numpy()].tolist()
    assert (found["prediction"] == found["target"]).mean() == pytest.approx(run.result["final"]["test/accuracy"])


def make_splits_of(run: Run) -> Any:
    from optrun.experiments import build

    return make_splits(build(run.config).config)


@pytest.mark.parametrize("to", ["program", "safetensors"])
@pytest.mark.parametrize("parts", RUNS.values(), ids=RUNS)
def test_a_program_gives_that_part(parts: dict[str, Any], to: str) -> None:
    run = trained(**parts)
    done = export_model(run, "file", to=to, checkpoint="last")
    assert done["checked"]["of"] == "data"
    if to == "program":
        kept = make_splits_of(run).fitted.scales["inputs"]
        rows = torch.rand(5, 4, dtype=torch.float64) * 5
        found = torch.export.load("file").module()(rows)
        scaled = ((rows - torch.tensor(kept.mean)) / torch.tensor(kept.std)).float()
        torch.testing.assert_close(found, scores_of(run, scaled))
        export_model(run, "alone", to=to, checkpoint="last", preprocessing=False)
        alone = torch.export.load("alone").module()(scaled)
        assert type(alone) is (dict if parts["model"] == "Outputs" else tuple)


def test_values_of_a_part_come_in_original_units() -> None:
    run = trained("Outputs", data="diabetes", loss={"name": "mse", **OF}, metrics=[{"name": "mae", **OF}])
    export_model(run, "file", to="program", checkpoint="last")
    scales = make_splits_of(run).fitted.scales
    rows = torch.rand(5, 10, dtype=torch.float64)
    scaled = ((rows - torch.tensor(scales["inputs"].mean)) / torch.tensor(scales["inputs"].std)).float()
    expected = scores_of(run, scaled).double() * scales["targets"].std[0] + scales["targets"].mean[0]
    torch.testing.assert_close(torch.export.load("file").module()(rows), expected, rtol=1e-5, atol=1e-3)


def test_what_cannot_be_called_without_targets_is_told() -> None:
    run = trained("NeedsTargets", **OWN, metrics=[])
    message = r"model: the forward of NeedsTargets needs the targets as `targets`.*give it a default, `targets=None`"
    with pytest.raises(ConfigError, match=message):
        predict(run)
    with pytest.raises(ConfigError, match=message):
        export_model(run, "file", to="program")
    assert not Path("file").exists()


class Several(OwnLoss):
    """Gives its loss and more than one other tensor."""

    def forward(self, rows: Tensor, targets: Tensor | None = None) -> dict[str, Any]:  # type: ignore[override]
        logits, loss = super().forward(rows, targets)
        return {"loss": loss, "hidden": self.hidden(rows), "scores": {"main": logits}}


class Usual(Several):
    """Calls its scores as models of others do."""

    def forward(self, rows: Tensor, targets: Tensor | None = None) -> dict[str, Any]:  # type: ignore[override]
        given = super().forward(rows, targets)
        return {"loss": given["loss"], "hidden": given["hidden"], "logits": given["scores"]["main"]}


@pytest.mark.parametrize(
    ("model", "loss", "part"),
    [
        ("OwnLoss", OWN["loss"], "0"),
        ("Usual", "output", "logits"),
        ("Usual", {"name": "output", "of": "loss"}, "logits"),
    ],
)
def test_without_a_metric_the_only_other_tensor_is_predicted_or_the_one_that_is_called_logits(
    model: str, loss: Any, part: str
) -> None:
    run = trained(model, loss=loss, metrics=[])
    found = predict(run, checkpoint="last")
    assert found.part == part
    splits = make_splits_of(run)
    scores = scores_of(run, splits.test.inputs[:]).double()
    names = np.array(["setosa", "versicolor", "virginica"])
    assert found["prediction"].tolist() == names[scores.argmax(1).numpy()].tolist()
    np.testing.assert_allclose(found["score_virginica"], scores[:, 2].numpy(), rtol=1e-5)
    export_model(run, "file", to="program", checkpoint="last")
    kept = splits.fitted.scales["inputs"]
    raw = splits.test.inputs[:4].double() * torch.tensor(kept.std) + torch.tensor(kept.mean)
    torch.testing.assert_close(torch.export.load("file").module()(raw), scores[:4].float())


def test_one_of_several_parts_is_asked_for() -> None:
    run = trained("Several", loss="output", metrics=[])
    with pytest.raises(
        UsageError, match=r"gives hidden of shape \(30, 5\), scores\.main of shape \(30, 3\), .*--of NAME"
    ):
        predict(run)
    with pytest.raises(UsageError, match=r"scores\.main of shape .*--of NAME"):
        export_model(run, "file", to="program")
    with pytest.raises(UsageError, match=r"`of: hiden` finds nothing in a dict .*choose one of hidden of shape"):
        predict(run, of="hiden")
    with pytest.raises(UsageError, match=r"chosen by a program with preprocessing"):
        export_model(run, "file", to="torch", of="hidden")
    rows = make_splits_of(run).test.inputs[:]
    found = predict(run, of="scores.main", checkpoint="last")
    assert found.part == "scores.main"
    expected = scores_of(run, rows).argmax(1).numpy()
    assert found["prediction"].tolist() == np.array(["setosa", "versicolor", "virginica"])[expected].tolist()
    hidden = predict(run, of=["hidden"], checkpoint="last")  # no scores of the classes: as it is
    expected = run.load_model(checkpoint="last").hidden(rows).detach().double().numpy()
    np.testing.assert_allclose(hidden["prediction"], expected, rtol=1e-6)
    export_model(run, "file", to="program", checkpoint="last", of="hidden")
    assert torch.export.load("file").module()(torch.rand(5, 4, dtype=torch.float64)).shape == (5, 5)


class Pairs(torch.utils.data.Dataset[Any]):
    """Examples with two inputs, as a map-style data set of one's own gives them."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> dict[str, Any]:
        left = torch.randn(3, generator=torch.Generator().manual_seed(index))
        return {"left": left, "right": left.flip(0), "label": int(left.sum() > 0)}


class Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 2)

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(torch.cat([left, right], 1))}


def test_inputs_of_several_tensors_are_predicted_and_exported_as_weights() -> None:
    of = {"of": "logits"}
    run = trained(
        "Both",
        data={"name": f"{HERE}:Pairs"},
        loss={"name": "cross_entropy", **of},
        metrics=[{"name": "accuracy", **of}],
    )
    found = predict(run, checkpoint="last")
    examples = [Pairs()[int(row)] for row in found["row"]]
    both = torch.stack([torch.cat([each["left"], each["right"]]) for each in examples])
    expected = run.load_model(checkpoint="last").head(both).detach().double()
    assert found["prediction"].tolist() == expected.argmax(1).tolist()  # the loss says that they are scores
    np.testing.assert_allclose(found["p_1"], expected.softmax(1)[:, 1].numpy(), rtol=1e-5)
    assert export_model(run, "file", to="torch", checkpoint="last")["checked"]["of"] == "data"
    with pytest.raises(UsageError, match=r"consist of several, and a program takes one: choose --to torch"):
        export_model(run, "program", to="program")
