"""Exported models: held against forward passes by hand, other readers, and a process that knows nothing of optrun."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from sklearn.preprocessing import StandardScaler

from optrun.experiments import Run, build, train, trained_model
from optrun.experiments.errors import DataError, UsageError
from optrun.experiments.training import export_formats
from optrun.experiments.training.build import make_splits
from optrun.experiments.training.export import export_model

from ..robustness.processes import ForkServer

DRAWN = np.random.default_rng(3)
A, B = DRAWN.normal(50, 5, 60), DRAWN.normal(-3, 0.1, 60)
COLORS = np.array(["red", "blue", "green"])[np.arange(60) % 3]
PRICES = 1e6 + 3000 * A + 500 * (COLORS == "red")


@pytest.fixture
def table() -> Run:
    """Return a run on a table with categories, a gap and scaled targets."""
    rows = zip(map(repr, A.tolist()), map(repr, B.tolist()), COLORS, map(repr, PRICES.tolist()), strict=True)
    lines = [",".join([a, "" if number == 7 else b, c, p]) for number, (a, b, c, p) in enumerate(rows)]
    Path("t.csv").write_text("\n".join(["a,b,color,price", *lines]))
    data = {"name": "csv", "path": "t.csv", "target": "price", "task": "values", "missing": "mean"}
    return train(
        {
            "data": {**data, "target_scaling": "standard", "batch_size": 16},
            "model": {"name": "mlp", "hidden": [6]},
            "loss": "mse",
            "metrics": ["mae"],
            "optimizer": {"name": "adam", "lr": 0.02},
            "train": {"epochs": 4},
            "updates": [{"name": "ema", "decay": 0.8}],
        }
    )


def by_hand(run: Run, weights: list[np.ndarray]) -> np.ndarray:
    """Return what the network says of every row of the table, by its definition, in the units of the file."""
    rows = make_splits(build(run.config).config).train.positions.numpy()
    b = B.copy()
    b[7] = np.delete(B, 7)[np.isin(np.delete(np.arange(60), 7), rows)].mean()
    scaled = StandardScaler().fit(np.column_stack([A, b])[rows]).transform(np.column_stack([A, b]))
    inputs = np.column_stack([scaled, *[name == COLORS for name in ("blue", "green", "red")]])
    hidden = np.maximum(inputs @ weights[0].T + weights[1], 0)
    undo = StandardScaler().fit(PRICES[rows, None])
    return undo.inverse_transform(hidden @ weights[2].T + weights[3])


RAW = np.column_stack([A, B, 1 + np.array([["blue", "green", "red"].index(each) for each in COLORS])])
RAW[7, 1] = np.nan


def test_a_program_takes_raw_rows_in_another_process(table: Run, server: ForkServer) -> None:
    done = export_model(table, "model.pt2", to="program", checkpoint="last")
    assert (done["weights"], done["checked"]["of"], done["checked"]["examples"]) == ("ema", "data", 8)
    assert [each["name"] for each in done["inputs"]["columns"]] == ["a", "b", "color"]
    np.save("rows.npy", RAW)
    code = (
        "import numpy, torch\n"
        "model = torch.export.load('model.pt2').module()\n"
        "rows = torch.from_numpy(numpy.load('rows.npy'))\n"
        "numpy.save('all.npy', model(rows).detach()); numpy.save('one.npy', model(rows[3:4]).detach())\n"
    )
    process = server.new_python(code)
    assert (process.communicate(), process.returncode)[1] == 0
    weights = [each.detach().double().numpy() for each in table.load_model("last").parameters()]
    expected = by_hand(table, weights)
    np.testing.assert_allclose(np.load("all.npy"), expected, rtol=1e-7)
    np.testing.assert_allclose(np.load("one.npy"), expected[3:4], rtol=1e-7)


def test_onnx_takes_raw_rows(table: Run) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    export_model(table, "model.onnx", to="onnx", checkpoint="last", weights="training")
    model = onnx.load("model.onnx")
    assert {each.key: each.value for each in model.metadata_props}["optrun.run"] == table.name
    weights = [each.detach().double().numpy() for each in table.load_model("last", averages=False).parameters()]
    found = ReferenceEvaluator(model).run(None, {"inputs": RAW})[0]
    np.testing.assert_allclose(found, by_hand(table, weights), rtol=1e-7)


def test_weights_are_read_by_their_own_libraries(table: Run) -> None:
    expected = table.load_model("last", averages=False).state_dict()
    chosen: dict[str, Any] = {"checkpoint": "last", "weights": "training"}
    export_model(table, "w.pt", to="torch", **chosen)
    done = export_model(table, "w.safetensors", to="safetensors", **chosen)
    assert done["checked"]["largest_difference"] == 0
    loaded = torch.load("w.pt", weights_only=True)
    with safe_open("w.safetensors", "pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        texts = file.metadata()
    for each in (loaded, found):
        assert each.keys() == expected.keys()
        assert all(torch.equal(each[name], expected[name]) for name in expected)
    assert (texts["run"], texts["step"], texts["model"]) == (table.name, str(done["step"]), "mlp")
    assert texts["metric"] == "val/mae"
    assert json.loads(texts["arguments"])["hidden"] == [6]


@pytest.mark.parametrize("to", ["program", "safetensors"])
def test_made_up_rows_serve_where_the_data_is_gone(table: Run, to: str) -> None:
    expected = export_model(table, "with", to=to, checkpoint="last")
    Path("t.csv").unlink()
    done = export_model(table, "without", to=to, checkpoint="last")
    assert done["checked"]["of"] == "random"
    assert "no file" in done["checked"]["reason"]
    assert {**done, "file": 0, "checked": 0} == {**expected, "file": 0, "checked": 0}


@pytest.mark.parametrize("to", ["torch", "safetensors", "program"])
def test_what_is_not_the_model_is_removed(table: Run, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("model").write_text("mine")
    kind = type(export_formats.FORMATS[to])
    whole = kind.read

    def read(self: Any, path: Path, trained: Any) -> Any:
        call = whole(self, path, trained)
        return lambda inputs: call(inputs) * 1.01

    monkeypatch.setattr(kind, "read", read)
    with pytest.raises(DataError, match=r"differs from the model by up to .*more than 0\.0001 .*the file is removed"):
        export_model(table, "model", to=to, checkpoint="last", force=True)
    assert Path("model").read_text() == "mine"
    assert not [path for path in Path().iterdir() if path.name.startswith(".tmp")]
    export_model(table, "model", to=to, checkpoint="last", force=True, tolerance=1e3)


NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_outputs: int):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.last = nn.Linear(4, num_outputs)

    def forward(self, inputs):
        hidden = self.second(self.first(inputs))
        if {asks}:
            hidden = hidden * 2
        return self.last(hidden)
"""
IRIS: dict[str, Any] = {
    "data": {"name": "iris", "batch_size": 16},
    "model": "./net.py:Net",
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "adam", "lr": 0.02},
    "train": {"epochs": 2},
}


def test_tied_weights_are_there_under_each_name() -> None:
    Path("net.py").write_text(NET.format(asks="False"))
    run = train(IRIS)
    export_model(run, "w.safetensors", to="safetensors")
    with safe_open("w.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("first.weight"), file.get_tensor("second.weight"))


def test_a_model_that_cannot_be_followed_is_told_at_its_place() -> None:
    Path("net.py").write_text(NET.format(asks="hidden.sum() > 0"))
    run = train(IRIS)
    with pytest.raises(UsageError, match=r"model: torch\.export does not follow this model .*choose --to torch"):
        export_model(run, "model.pt2", to="program")
    assert not Path("model.pt2").exists()
    export_model(run, "model.pt", to="torch")


KINDS: dict[str, tuple[Any, Any, str]] = {
    "pictures": (
        {"name": "image_folder", "path": "p", "size": 8, "augment": ["flip", "standardise"]},
        {"name": "mlp", "hidden": [4]},
        "cross_entropy",
    ),
    "pixels on disk": ({"name": "arrays", "path": "p"}, {"name": "mlp", "hidden": [3]}, "cross_entropy"),
    "tokens": ({"name": "text", "path": "p", "length": 6}, {"name": "lstm"}, "next_token"),
    "table": ({"name": "diabetes"}, "logistic", "mse"),
}


@pytest.mark.parametrize(("data", "model", "loss"), KINDS.values(), ids=KINDS)
def test_each_kind_of_data_has_a_program(data: Any, model: Any, loss: str) -> None:
    from PIL import Image

    name = data["name"]
    pixels = DRAWN.integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    if name == "image_folder":
        for number, each in enumerate(pixels):
            folder = Path("p") / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(each).save(folder / f"{number}.png")
    elif name == "arrays":
        Path("p").mkdir()
        np.save("p/x.npy", pixels.reshape(24, -1))
        np.save("p/y.npy", np.arange(24) % 3)
    elif name == "text":
        Path("p").write_bytes(bytes(DRAWN.integers(0, 256, 400, dtype=np.uint8)))
    changed = {"data": {"batch_size": 8, **data}, "model": model, "loss": loss, "metrics": []}
    run = train({**IRIS, **changed, "train": {"epochs": 1}, "eval": {"metric": "val/loss"}})
    done = export_model(run, "model.pt2", to="program", checkpoint="last")
    assert done["checked"]["of"] == "data"
    program = torch.export.load("model.pt2").module()
    given = {
        "image_folder": lambda: torch.from_numpy(pixels[:5].transpose(0, 3, 1, 2).copy()),
        "arrays": lambda: torch.from_numpy(pixels[:5].reshape(5, -1)),
        "text": lambda: torch.arange(30).reshape(5, 6),
        "diabetes": lambda: torch.rand(5, 10, dtype=torch.float64) + 20,
    }[name]()
    found, own = program(given).detach(), trained_model(run)
    if name == "image_folder":
        x = given.float() / 255
        x = (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True, correction=0)
    elif name == "arrays":
        x = given.float() / 255
    elif name == "text":
        x = given
    else:
        kept = json.loads((run.path / "fitted.json").read_text())["scales"]
        x = ((given - torch.tensor(kept["inputs"]["mean"])) / torch.tensor(kept["inputs"]["std"])).float()
    expected = own(x).detach()
    if name == "diabetes":
        expected = expected * kept["targets"]["std"][0] + kept["targets"]["mean"][0]
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=1e-4, atol=1e-4)


def test_what_cannot_be_is_refused_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree("runs", ignore_errors=True)
    Path("there").write_text("mine")
    for message, options in {
        r"no format 'pickle': torch, safetensors, onnx, program": {"to": "pickle", "output": "x"},
        r"there is there: choose another name, or add --force": {"to": "torch", "output": "there"},
        r"no folder .*nowhere": {"to": "torch", "output": "nowhere/x"},
        r"torch holds weights alone: preprocessing is for onnx and program": {
            "to": "torch",
            "output": "x",
            "preprocessing": True,
        },
    }.items():
        with pytest.raises(UsageError, match=message):
            export_model("any", options.pop("output"), **options)  # type: ignore[arg-type]
    monkeypatch.setattr(export_formats.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs onnx and onnxscript.*pip install 'optrun\[onnx\]'"):
        export_model("any", "x.onnx", to="onnx")
