"""What kind of targets a run learns, where its data does not say so: the loss, a metric, or names of classes do."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from optrun.experiments import Run, export_model, load_config, predict, train
from optrun.experiments.components.data import DataFacts
from optrun.experiments.training.task import completed

HERE = Path(__file__)
INPUTS = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
NUMBERS = INPUTS.argmax(1)


class Bare(torch.utils.data.Dataset[Any]):
    """Says nothing of its targets."""

    targets_of = staticmethod(lambda row: int(NUMBERS[row]))

    def __len__(self) -> int:
        return len(INPUTS)

    def __getitem__(self, row: int) -> Any:
        return INPUTS[row], self.targets_of(row)


class Named(Bare):
    """Has names of classes and nothing else, as torchvision's data sets of several labels do."""

    classes = ("ant", "bee", "cow")


class Tags(Named):
    """The names are those of labels of which an example may have several."""

    targets_of = staticmethod(lambda row: (INPUTS[row] > 0).float())


class Sums(Bare):
    targets_of = staticmethod(lambda row: INPUTS[row].sum())


def own_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(outputs, targets)


CONFIG: dict[str, Any] = {
    "model": {"name": "logistic", "num_outputs": 3},
    "metrics": [],
    "optimizer": {"name": "sgd", "lr": 0.5},
    "train": {"epochs": 3, "threads": 1},
}


def trained(data: str, **parts: Any) -> Run:
    return train({**CONFIG, "data": {"name": f"{HERE}:{data}", "batch_size": 8}, **parts})


def test_the_word_of_data_comes_before_the_loss_and_that_before_metrics_and_names() -> None:
    losses = {"cross_entropy": "classes", "mse": "values", "output": None, f"{HERE}:own_loss": None}
    losses |= {"torch.nn:CrossEntropyLoss": "classes", "torch.nn:MSELoss": "values"}
    metrics = {"": None, "accuracy": "classes", "mae": "values"}
    names = ((), ("a", "b", "c"))
    words = [*itertools.product((None, "values", "tokens"), ("cross_entropy", "output"), metrics, names)]
    words += itertools.product((None,), list(losses)[1:], ("", "accuracy"), names)
    for said, loss, metric, known in words:
        chosen = [metric] if metric else []
        config = load_config({**CONFIG, "data": f"{HERE}:Bare", "loss": loss, "metrics": chosen})
        facts = DataFacts((3,), "float32", "float32", said, None, known)
        found = completed(config, facts)
        assert found.task == (said or losses[loss] or metrics[metric] or ("classes" if known else None))
        assert found.num_outputs == 3  # that of the model


@pytest.mark.parametrize("parts", [{"loss": "cross_entropy"}, {"loss": f"{HERE}:own_loss", "metrics": ["accuracy"]}])
def test_classes_come_by_name_where_the_data_has_names_alone(parts: dict[str, Any]) -> None:
    run = trained("Named", **parts)
    assert json.loads((run.path / "data.json").read_text())["task"] is None  # the data has not said so
    found = predict(run, checkpoint="last")
    model = run.load_model(checkpoint="last")
    scores = model(INPUTS[found["row"]]).detach().double()
    names = np.array(Named.classes)
    assert found["prediction"].tolist() == names[scores.argmax(1).numpy()].tolist()
    assert found["target"].tolist() == names[NUMBERS[found["row"]].numpy()].tolist()
    if parts["loss"] == "cross_entropy":
        np.testing.assert_allclose(found["p_bee"], scores.softmax(1)[:, 1].numpy(), rtol=1e-5)
    else:
        np.testing.assert_allclose(found["score_bee"], scores[:, 1].numpy(), rtol=1e-5)
    assert export_model(run, "file", to="program")["outputs"] == {"task": "classes", "classes": [*names], "columns": []}


def test_labels_of_which_an_example_may_have_several_give_columns_of_their_names() -> None:
    found = predict(trained("Tags", loss="bce", metrics=["binary_accuracy"]))
    assert list(found.columns)[1:] == [f"{kind}_{each}" for kind in ("prediction", "target") for each in Named.classes]
    assert ((found["prediction_cow"] > 0) & (found["prediction_cow"] < 1)).all()
    np.testing.assert_array_equal(found["target_bee"], (INPUTS[found["row"], 1] > 0).float().numpy())


def test_values_and_numbers_of_classes_without_names_stay_numbers() -> None:
    values = predict(trained("Sums", loss="mse", model={"name": "logistic", "num_outputs": 1}))
    assert list(values.columns) == ["row", "prediction", "target"]
    assert values["prediction"].dtype.kind == "f"
    numbers = predict(trained("Bare", loss="cross_entropy"))
    assert list(numbers.columns) == ["row", "prediction", "p_0", "p_1", "p_2", "target"]
    assert set(numbers["prediction"].tolist()) <= {0, 1, 2}


def test_a_model_with_more_outputs_than_names_calls_the_others_by_their_numbers() -> None:
    found = predict(trained("Named", loss="cross_entropy", model={"name": "logistic", "num_outputs": 4}))
    assert list(found.columns) == ["row", "prediction", "p_ant", "p_bee", "p_cow", "p_3", "target"]
