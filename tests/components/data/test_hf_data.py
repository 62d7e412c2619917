"""Data sets of Hugging Face's `datasets`: read by number or streamed, their classes, their parts, their place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from optrun.experiments import make_data, resume, train
from optrun.experiments.components.data import LoadedData, StreamData, split
from optrun.experiments.components.data.stream import StreamBatches
from optrun.experiments.errors import ArgumentsError, DataError
from optrun.experiments.run_directory.checkpoint_files import list_checkpoints
from optrun.experiments.run_directory.checkpoints import load

datasets: Any = pytest.importorskip("datasets", reason="the extra `hf` is not installed")

SIZE = 44


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("OPTRUN_DATA_DIR", str(tmp_path / "kept"))
    datasets.disable_progress_bars()


def table(size: int = SIZE) -> Any:
    features = datasets.Features(
        {
            "width": datasets.Value("float32"),
            "height": datasets.Value("float64"),
            "ids": datasets.Sequence(datasets.Value("int64")),
            "price": datasets.Value("float64"),
            "name": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    rows = {
        "width": [number / size for number in range(size)],
        "height": [(number * 7 % 13) / 13 for number in range(size)],
        "ids": [[number, 1] for number in range(size)],
        "price": [float(number) for number in range(size)],
        "name": [f"n{number}" for number in range(size)],
        "label": [number % 2 for number in range(size)],
    }
    return datasets.Dataset.from_dict(rows, features=features)


def made(path: Any, **args: Any) -> Any:
    return make_data("hf", path=str(path), **{"inputs": ("width", "height"), "target": "label", **args})


def test_a_saved_data_set_is_read_by_number(tmp_path):
    table().save_to_disk(tmp_path / "saved")
    data = made(tmp_path / "saved")
    assert isinstance(data, LoadedData)
    assert (len(data), data.class_names, data.task, data.input_shape) == (SIZE, ("cat", "dog"), "classes", (2,))
    assert torch.equal(data.targets, torch.arange(SIZE) % 2)
    batch = data.part(torch.tensor([3, 5])).examples(0, 2)
    assert torch.allclose(batch.inputs, torch.tensor([[3 / SIZE, 21 % 13 / 13], [5 / SIZE, 35 % 13 / 13]]))
    assert batch.targets.tolist() == [1, 1]
    values = made(tmp_path / "saved", inputs=("ids", "width"), target="price")
    assert (values.task, values.num_outputs) == ("values", 1)
    first = values.source[2]
    assert (first[0]["ids"].tolist(), first[1].tolist()) == ([2, 1], [2.0])
    for wrong, message in (
        ({"target": "name"}, "holds texts"),
        ({"inputs": "depth"}, "no column 'depth': there are width"),
    ):
        with pytest.raises(ArgumentsError, match=message):
            made(tmp_path / "saved", **wrong)


def test_parts_come_with_it_and_pictures_are_numbers(tmp_path):
    pictures = [Image.fromarray(np.full((4, 5, 3), 50 * number, np.uint8)) for number in range(4)]
    rows = {"picture": pictures, "label": [0, 1, 0, 1]}
    features = datasets.Features({"picture": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    one = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": one, "validation": one, "test": one}).save_to_disk(tmp_path / "saved")
    data = made(tmp_path / "saved", inputs="picture")
    assert split(data).sizes() == {"train": 4, "val": 4, "test": 4}
    assert data.input_shape == (3, 4, 5)
    assert torch.allclose(data.part(torch.tensor([2])).examples(0, 1).inputs, torch.full((1, 3, 4, 5), 100 / 255))
    with pytest.raises(ArgumentsError, match="no split 'dev': it has train, validation, test"):
        made(tmp_path / "saved", inputs="picture", split="dev")


@pytest.mark.parametrize("kind", ["parquet", "csv", "json"])
def test_files_are_read_and_streamed(tmp_path, kind):
    plain = table().remove_columns("ids")
    for part in range(2):
        getattr(plain.shard(2, part, contiguous=True), f"to_{kind}")(str(tmp_path / f"part-{part}.{kind}"))
    path = tmp_path / f"part-{{0..1}}.{kind}"
    assert len(made(path)) == SIZE
    data = made(path, streaming=True, buffer=8)
    assert isinstance(data, StreamData)
    assert data.knows_place
    batches = StreamBatches(data, batch_size=SIZE, seed=1)
    rows = [batches.batch(position).inputs for position in range(2)]
    expected = torch.tensor([[number / SIZE, (number * 7 % 13) / 13] for number in range(SIZE)])
    for read in rows:
        assert torch.allclose(read[read[:, 0].argsort()], expected)
        assert torch.allclose(read[:8][read[:8, 0].argsort()], expected[:8])  # a block
    assert not torch.equal(rows[0], rows[1])  # another order each epoch
    with pytest.raises(DataError, match="no data set"):
        made(tmp_path / f"gone-*.{kind}")


@pytest.mark.parametrize(("workers", "stop"), [(0, 3), (0, 4), (0, 7), pytest.param(2, 7, marks=pytest.mark.slow)])
def test_a_streamed_run_is_resumed_to_the_same_bits(tmp_path, workers, stop):
    for part in range(2):
        table().shard(2, part, contiguous=True).to_parquet(str(tmp_path / f"part-{part}.parquet"))
    given = {
        "data": {
            "name": "hf", "path": str(tmp_path / "part-*.parquet"), "inputs": ["width", "height"], "target": "label",
            "streaming": True, "buffer": 10, "batch_size": 6, "workers": workers, "val": 0, "test": 0,
        },
        "model": "logistic",
        "loss": "cross_entropy",
        "optimizer": {"name": "mom", "lr": 0.1},
        "train": {"steps": 12},
        "eval": {"every": "50%", "metric": "val/loss"},
    }  # fmt: skip
    whole = train(given, name="whole", root=tmp_path)
    assert whole.summary["stream"]["resumes_by"] == "state"
    train({**given, "train": {"steps": stop}}, name="parts", root=tmp_path)
    resumed = resume("parts", {"train.steps": 12}, allow_change=True, root=tmp_path)
    first, second = (load(list_checkpoints(run.dir.checkpoints_path)[-1])[0] for run in (whole, resumed))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert whole.summary["stream"]["hashes"] == resumed.summary["stream"]["hashes"]
