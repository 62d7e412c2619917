"""Arrays on the disk: never loaded as a whole, trained on like others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from optrun.experiments import Batches, build, load_config
from optrun.experiments.components.data import make_data, split
from optrun.experiments.errors import DataError

from ...robustness.processes import ForkServer

PIXELS = np.random.default_rng(0).integers(0, 256, (50, 1, 4, 4), dtype=np.uint8)
CLASSES = np.arange(50) % 3


def saved(folder: Path, **arrays: Any) -> str:
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return str(folder)


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64, np.int16])
def test_batches_are_those_of_the_same_arrays_in_memory(tmp_path: Path, kind: type) -> None:
    inputs = PIXELS.astype(kind)
    mapped = split(make_data("arrays", path=saved(tmp_path / "mine", x=inputs, y=CLASSES)))
    np.savez(tmp_path / "mine.npz", x=inputs, y=CLASSES)
    loaded = split(make_data("arrays", path=str(tmp_path / "mine.npz")))
    for part in ("train", "val", "test"):
        there, here = getattr(mapped, part), getattr(loaded, part)
        assert there.inputs[:].equal(here.inputs)
        assert there.targets.equal(here.targets)
    for position in (0, 3, 5):
        one, two = (Batches(s.train.inputs, s.train.targets, batch_size=8).batch(position) for s in (mapped, loaded))
        assert one.inputs.equal(two.inputs)
        assert one.inputs.dtype == torch.float32


def test_an_experiment_trains_and_measures_on_them(tmp_path: Path) -> None:
    def final(path: str) -> dict[str, float]:
        config = load_config(
            {
                "data": {"name": "arrays", "path": path, "batch_size": 8},
                "model": "logistic",
                "loss": "cross_entropy",
                "metrics": ["accuracy"],
                "optimizer": {"name": "sgd", "lr": 0.1},
                "train": {"steps": 5},
            }
        )
        experiment = build(config)
        with experiment.session() as session:
            while not session.should_stop():
                session.run(experiment.train_op)
        return session.final

    np.savez(tmp_path / "mine.npz", x=PIXELS, y=CLASSES)
    assert final(saved(tmp_path / "mine", x=PIXELS, y=CLASSES)) == final(str(tmp_path / "mine.npz"))


def test_a_file_larger_than_what_is_allowed_is_never_loaded(tmp_path: Path, server: ForkServer) -> None:
    num = 200_000  # 0.8 GB of numbers; a sparse file takes no room on the disk
    big = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (num, 1000))
    big[::1000, 0] = np.arange(num)[::1000]
    del big
    np.save(tmp_path / "y.npy", np.arange(num) % 2)
    code = f"""
import resource
from optrun.experiments.components.data import Batches, make_data, split
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
splits = split(make_data("arrays", path={str(tmp_path)!r}))
batches = Batches(splits.train.inputs, splits.train.targets, batch_size=64)
for position in range(20):
    batch = batches.batch(position)
    known = batches.order(0)[64 * position : 64 * position + 64]
    rows = splits.train.positions[known]
    for row, first in zip(rows.tolist(), batch.inputs[:, 0].tolist()):
        assert first == (row if row % 1000 == 0 else 0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    out, err = server.new_python(code).communicate()
    assert not err
    grown = int(out) * (1 if sys.platform == "darwin" else 1024)
    assert grown < 200e6, "a quarter of the file"


def test_bad_folders_are_refused(tmp_path: Path) -> None:
    def refusal(folder: Path) -> str:
        with pytest.raises(DataError) as caught:
            make_data("arrays", path=str(folder))
        assert str(folder) in str(caught.value)
        return str(caught.value)

    assert "it has x.npy" in refusal(Path(saved(tmp_path / "a", x=PIXELS)))
    assert "and no other" in refusal(Path(saved(tmp_path / "b", x_train=PIXELS, y_train=CLASSES, x_test=PIXELS)))
    assert "50 inputs do not match 49 targets" in refusal(Path(saved(tmp_path / "c", x=PIXELS, y=CLASSES[1:])))
    assert "inputs must have shape" in refusal(Path(saved(tmp_path / "d", x=CLASSES, y=CLASSES)))
    assert "inputs must be real numbers" in refusal(Path(saved(tmp_path / "e", x=PIXELS * 1j, y=CLASSES)))
    np.save(tmp_path / "e" / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "cannot be read as .npy files of numbers" in refusal(tmp_path / "e")
    (tmp_path / "e" / "x.npy").write_bytes(b"\x93NUMPY")
    assert "cannot be read as .npy files of numbers" in refusal(tmp_path / "e")


def test_the_hash_of_the_examples_is_that_of_all_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    from optrun.experiments.components.data import dataset

    made = make_data("arrays", path=saved(tmp_path / "mine", x=PIXELS, y=CLASSES))
    expected = hashlib.sha256(PIXELS.tobytes() + CLASSES.astype(np.int64).tobytes()).hexdigest()
    assert made.sha256() == expected
    monkeypatch.setattr(dataset, "_PIECE", 100)
    assert made.sha256() == expected
