"""The model of a run: its weights and averages, without the data, for every kind of model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from optrun.experiments import Run, build, train, trained_model
from optrun.experiments.components.data import DataFacts
from optrun.experiments.errors import DataError, NothingMatchedError, UsageError
from optrun.experiments.training.build import make_splits

OLD = Path(__file__).parents[1] / "fixtures" / "version_0_1" / "runs"
CONFIG: dict[str, Any] = {
    "data": {"name": "iris", "batch_size": 16},
    "model": {"name": "mlp", "hidden": [5]},
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "adam", "lr": 0.05},
    "train": {"epochs": 3},
}


def stored(run: Run) -> dict[str, torch.Tensor]:
    """Return the tensors of the last checkpoint as its file has them."""
    return load_file(run.checkpoint("last").path)


def test_a_run_gives_its_best_model_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    run = train({**CONFIG, "checkpoint": {"every": "1 epoch", "keep": 5}})
    torch.manual_seed(5)
    before = torch.get_rng_state()
    model = run.load_model()
    assert torch.equal(torch.get_rng_state(), before)  # it draws nothing of anybody's
    assert not model.training
    tensors = load_file(run.checkpoint("best").path)
    weights = [tensors[f"model/{name}"].numpy() for name, _ in model.named_parameters()]
    inputs = make_splits(build(run.config).config).test.inputs[:]  # type: ignore[union-attr]
    hidden = np.maximum(inputs.numpy() @ weights[0].T + weights[1], 0)
    np.testing.assert_allclose(model(inputs).detach().numpy(), hidden @ weights[2].T + weights[3], atol=1e-5)
    twin = trained_model(run, checkpoint="best")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"updates": [{"name": "ema", "decay": 0.8}]}, "ema"),
        ({"optimizer": {"name": "asgd", "lr": 0.05, "t0": 3}}, "average"),
        ({"optimizer": {"name": "schedule_free_sgd", "lr": 0.05}}, "x"),
        ({}, "training"),
    ],
)
def test_averages_are_taken_where_a_run_keeps_some(more: dict[str, Any], name: str) -> None:
    run = train({**CONFIG, **more})
    chosen, exact = run.load_model("last"), run.load_model("last", weights=name)
    own = run.load_model("last", averages=False)
    same = [torch.equal(a, b) for a, b in zip(chosen.parameters(), exact.parameters(), strict=True)]
    assert all(same)
    tensors = stored(run)
    assert all(torch.equal(p, tensors[f"model/{key}"]) for key, p in own.named_parameters())
    differ = [not torch.equal(a, b) for a, b in zip(chosen.parameters(), own.parameters(), strict=True)]
    assert any(differ) == (name != "training")
    if name == "ema":
        shadows = {key: value for key, value in tensors.items() if key.startswith("updates/")}
        assert {tuple(value.shape) for value in shadows.values()} >= {tuple(p.shape) for p in chosen.parameters()}
        assert all(any(torch.equal(p, value) for value in shadows.values()) for p in chosen.parameters())


def test_two_averages_are_for_the_user_to_choose() -> None:
    Path("own.py").write_text(
        "from optrun.experiments.components.updates.ema import Ema\n\nclass Slow(Ema):\n    pass\n"
    )
    run = train({**CONFIG, "updates": ["ema", {"name": "./own.py:Slow", "decay": 0.99}]})
    with pytest.raises(UsageError, match=r"keeps several averages \(ema, slow\): name the one"):
        run.load_model()
    assert run.load_model(weights="slow") is not None
    with pytest.raises(UsageError, match=r"no weights called 'slw': raw, training, ema, slow\. Did you mean 'slow'"):
        run.load_model(weights="slw")
    with pytest.raises(UsageError, match="give one of the two"):
        trained_model(run, weights="ema", averages=True)
    evaluated = train({**CONFIG, "updates": ["ema", "./own.py:Slow"], "eval": {"weights": "slow"}})
    slow = evaluated.load_model(weights="slow").parameters()
    assert all(torch.equal(a, b) for a, b in zip(evaluated.load_model().parameters(), slow, strict=True))


LAZY = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.Linear(4, num_classes))

    def forward(self, inputs):
        return self.layers(inputs)
"""


@pytest.mark.parametrize("kind", ["table", "arrays", "pixels", "lazy"])
def test_a_model_is_loaded_when_the_data_is_gone(kind: str) -> None:
    drawn = np.random.default_rng(0)
    if kind == "table":
        rows = [f"{drawn.normal()},{drawn.normal()},{'xyz'[row % 3]},{'uv'[row % 2]}" for row in range(40)]
        Path("data").write_text("\n".join(["a,b,kind,color", *rows]))
        data: dict[str, Any] = {"name": "csv", "path": "data", "target": "kind", "task": "classes"}
    else:
        shape = (40, 3, 2)
        inputs = drawn.integers(0, 256, shape).astype(np.uint8) if kind == "pixels" else drawn.normal(size=shape)
        Path("data").mkdir()
        np.save("data/x.npy", inputs)
        np.save("data/y.npy", np.arange(40) % 4)
        data = {"name": "arrays", "path": "data"}
    Path("net.py").write_text(LAZY)
    model = "./net.py:Net" if kind == "lazy" else {"name": "mlp", "hidden": [3]}
    run = train({**CONFIG, "data": {**data, "batch_size": 8}, "model": model})
    expected = trained_model(run)
    inputs = make_splits(build(run.config).config).train.inputs[:5]
    Path("data").rename("elsewhere")
    found = run.load_model("last")
    assert torch.equal(found(inputs), expected(inputs))
    with pytest.raises(DataError, match=r"kept no record of .*, and the data cannot be read: .*data"):
        (run.path / "data.json").unlink()
        run.load_model("last")
    Path("elsewhere").rename("data")
    assert torch.equal(run.load_model("last")(inputs), expected(inputs))


def test_facts_are_written_and_read_back() -> None:
    run = train(CONFIG)
    facts = json.loads((run.path / "data.json").read_text())
    assert facts == {
        "schema": "optrun/data-facts@1", "input_shape": [4], "input_type": "float32", "stored_type": "float32",
        "task": "classes", "num_outputs": 3, "class_names": ["setosa", "versicolor", "virginica"],
        "columns": [], "target_columns": [], "decode": {},
    }  # fmt: skip
    assert json.loads(json.dumps(DataFacts.from_dict(facts).as_dict())) == facts


@pytest.mark.parametrize(
    ("key", "value"),
    [("schema", "optrun/other@1"), ("input_shape", [-1]), ("input_shape", [2.5]), ("input_type", "object"),
     ("stored_type", "__name__"), ("task", "guess"), ("num_outputs", -3), ("class_names", ["a"]), ("columns", "ab"),
     ("decode", {"pixels": {"mean": ["x"], "std": [], "raw": False}}), ("decode", [])],
)  # fmt: skip
def test_a_damaged_record_is_refused(key: str, value: Any) -> None:
    run = train(CONFIG, ["train.epochs=1"])
    path = run.path / "data.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(DataError, match="damaged"):
        run.load_model("last")


def test_code_that_has_changed_is_refused() -> None:
    Path("net.py").write_text(LAZY)
    run = train({**CONFIG, "model": "./net.py:Net"})
    Path("net.py").write_text(LAZY + "\n# another\n")
    with pytest.raises(UsageError, match=r"net\.py"):
        run.load_model()
    assert run.load_model(allow_code=True) is not None


def test_what_is_not_there_is_named() -> None:
    run = train({**CONFIG, "checkpoint": {"keep": 2}})
    with pytest.raises(NothingMatchedError, match="no checkpoint '7'; there are: "):
        run.load_model(7)


def test_a_run_of_the_first_version_gives_its_model() -> None:
    shutil.copytree(OLD / "finished", "runs/finished")
    run = Run("runs/finished")
    tensors = stored(run)
    model = run.load_model("last", averages=False)
    assert all(torch.equal(p, tensors[f"model/{key}"]) for key, p in model.named_parameters())
