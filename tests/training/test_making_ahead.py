"""Runs whose batches a thread makes ahead: where that is so, and that nothing else changes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from optrun.experiments import Batches, Hook, build, load_config, resume, train, trained_model
from optrun.experiments.training import attempt, making_ahead
from optrun.experiments.training.making_ahead import make_ahead

OWN_HOOK = """
from optrun.experiments import Hook

class Mine(Hook):
    name = "mine"

def brighter(inputs, generator):
    return inputs * 1.1
"""


@pytest.fixture
def images(tmp_path: Path) -> str:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    np.save(folder / "inputs.npy", rng.integers(0, 256, (200, 3, 32, 32), dtype=np.uint8))
    np.save(folder / "targets.npy", np.arange(200) % 10)
    (tmp_path / "own.py").write_text(OWN_HOOK)
    return str(folder)


def config(images: str, **parts: Any) -> dict[str, Any]:
    data = {"name": "arrays", "path": images, "batch_size": 48, "augment": ["crop", "flip", "standardise"]}
    return {
        "name": "ahead",
        "data": {**data, **parts.pop("data", {})},
        "model": {"name": "mlp", "hidden": [8], "dropout": 0.5},
        "loss": "cross_entropy",
        "metrics": ["accuracy"],
        "optimizer": {"name": "mom", "lr": 0.01},
        "train": {"steps": 12, **parts.pop("train", {})},
        "checkpoint": {"every": "5 steps"},
        **parts,
    }


@pytest.fixture(autouse=True)
def _several_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making_ahead.os, "cpu_count", lambda: 2)


def chosen(config: dict[str, Any], hooks: list[Hook] | None = None) -> bool:
    experiment = build(load_config(config))
    make_ahead(experiment, [*experiment.hooks, *(hooks or [])])
    batches = experiment.batches
    assert isinstance(batches, Batches)
    return batches._ahead is not None


def test_where_it_is_so(images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(config(images))
    assert chosen(config(images, data={"augment": []})), "they are gathered from bytes"
    assert not chosen(config(images, data={"batch_size": 21})), "64,512 numbers"
    assert not chosen(config(images, data={"augment": [f"{tmp_path}/own.py:brighter"]}))
    assert not chosen(config(images, hooks=[f"{tmp_path}/own.py:Mine"]))

    class Local(Hook):
        name = "local"

    assert not chosen(config(images), [Local()])
    assert not chosen({**config(images), "data": {"name": "digits", "batch_size": 1437}})
    monkeypatch.setattr(making_ahead.multiprocessing, "parent_process", lambda: "the one that compares")
    assert not chosen(config(images))
    monkeypatch.undo()
    monkeypatch.setattr(making_ahead.os, "cpu_count", lambda: 1)
    assert not chosen(config(images))


def weights(run: Any) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in trained_model(run, checkpoint="last").state_dict().values()]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_nothing_else_changes(accumulate: int, images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = config(images, train={"accumulate": accumulate})
    threads: list[str] = []
    seen = making_ahead.make_ahead

    def noted(experiment: Any, hooks: Any) -> None:
        seen(experiment, hooks)
        before = experiment.batches.close
        experiment.batches.close = lambda: (threads.extend(t.name for t in threading.enumerate()), before())

    monkeypatch.setattr(attempt, "make_ahead", noted)
    ahead = train(ours, root=tmp_path / "ahead")
    assert any(name.startswith("optrun batches") for name in threads)
    assert not any(thread.name.startswith("optrun batches") for thread in threading.enumerate())
    monkeypatch.setattr(attempt, "make_ahead", lambda *_: None)
    plain = train(ours, root=tmp_path / "plain")
    assert all(map(torch.equal, weights(ahead), weights(plain)))
    half = train({**ours, "train": {**ours["train"], "steps": 7}}, root=tmp_path / "half")
    monkeypatch.setattr(attempt, "make_ahead", seen)
    whole = resume(half.path, {"train.steps": 12}, allow_change=True)
    assert all(map(torch.equal, weights(whole), weights(plain)))


def test_bad_batches_are_skipped_as_ever(images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = np.load(f"{images}/inputs.npy").astype(np.float32)
    inputs[::70] = np.nan
    np.save(f"{images}/inputs.npy", inputs)
    ours = config(images, data={"augment": ["crop", "flip"]}, train={"steps": 6}, stop={"on_nan": "skip"})
    runs = []
    for place, of_ours in enumerate((making_ahead.make_ahead, lambda *_: None)):
        monkeypatch.setattr(attempt, "make_ahead", of_ours)
        runs.append(train(ours, root=tmp_path / str(place)))
    skipped = [run.summary["skipped"] for run in runs]
    assert skipped[0] == skipped[1] > 0
    assert all(map(torch.equal, *map(weights, runs)))
