"""Runs on data sets and DataLoaders of torch's: the same bits as in memory, whoever makes the examples, and resumed."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from optrun.experiments import Batches, StopAtStepHook, load_config, train, trained_model
from optrun.experiments.components.data import workers
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import DataError, UsageError
from optrun.experiments.run_directory.checkpoint_files import list_checkpoints
from optrun.experiments.run_directory.run_dir import RunDir
from optrun.experiments.training.build import build
from optrun.experiments.training.session.saved_state import load_state
from tests.helpers import linear_problem, run_steps, small_train_op

OWN = """
import random
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset
from optrun.experiments import Dataset as InMemory

def examples(size=60):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(size, 4, generator=generator)
    return inputs, inputs[:, :3].argmax(dim=1)

class Flowers(Dataset):
    classes = ["a", "b", "c"]

    def __init__(self, noise: float = 0.0, fails_at: int = -1, dies_at: int = -1):
        self.inputs, self.targets = examples()
        self.noise, self.fails_at, self.dies_at = noise, fails_at, dies_at

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, number):
        if number == self.fails_at:
            raise ValueError("a broken picture")  # line 25
        if number == self.dies_at and torch.utils.data.get_worker_info() is not None:
            import os
            os._exit(3)
        inputs = self.inputs[number]
        if self.noise:
            inputs = inputs + self.noise * (torch.randn(4) + random.random() + np.random.rand())
        return inputs, self.targets[number]

def in_memory():
    return InMemory(*examples(), "classes", 3)

def loader(batch_size: int = 7):
    return DataLoader(Flowers(), batch_size=batch_size, shuffle=True)

def sized_loader():
    return DataLoader(Flowers(), batch_size=8, shuffle=True)

def bare():
    return [(torch.ones(4), 1) for _ in range(40)]

def swapped(batch):
    return torch.stack([x for x, _ in batch]) + 1, torch.stack([y for _, y in batch])

class Own:
    def __iter__(self):
        return iter(())
"""

MADE = {
    "model": "logistic",
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "mom", "lr": 0.1},
    "train": {"epochs": 3},
    "log": {"every": "2 steps"},
    "checkpoint": {"every": "3 steps"},
}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(OWN, encoding="utf-8")
    return tmp_path


def config(name: str, **args) -> dict:
    return MADE | {"data": {"name": f"./mine.py:{name}", "batch_size": 8, **args}}


def bits(run) -> tuple:
    """Return the weights, the optimizer's state and the rows of a run."""
    return bits_in(run.path)


def bits_in(folder: Path) -> tuple:
    state = load_state(list_checkpoints(RunDir(folder).checkpoints_path)[-1])
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return _plain(state.sections), [{key: value for key, value in row.items() if key != "time"} for row in rows]


def _plain(value):
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def test_examples_made_one_by_one_give_the_bits_of_data_in_memory(own):
    expected = bits(train(config("in_memory")))
    assert bits(train(config("Flowers"))) == expected
    assert bits(train(config("Flowers", workers=1))) == expected
    assert bits(train(config("loader"))) == expected
    own_size = {**MADE, "data": {"name": "./mine.py:sized_loader"}}
    assert bits(train(own_size)) == expected


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(own, workers):
    expected = bits(train(config("Flowers", noise=0.5)))
    assert expected != bits(train(config("Flowers", noise=0.4)))
    made = config("Flowers", noise=0.5, workers=workers)
    for stop_at in (1, 7):
        folder = own / f"stopped-{stop_at}"
        _session(made, folder, StopAtStepHook(last_step=stop_at))
        assert _session(made, folder) == 15
        assert bits_in(folder) == expected


def _session(made: dict, folder: Path, *hooks) -> int:
    """Build everything anew and train in a folder; return the last step."""
    experiment = build(made)
    with experiment.session(folder, hooks) as session:
        while not session.should_stop():
            session.run(experiment.train_op)
    return experiment.train_op.global_step


def test_the_model_of_such_a_run_is_had_without_its_data(own):
    run = train(config("Flowers", noise=0.5))
    model = trained_model(run)
    assert model(torch.zeros(2, 4)).shape == (2, 3)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_example_that_fails_is_told_at_the_data_with_the_users_own_line(own, workers):
    with pytest.raises(ConfigError, match=r"a broken picture \(.*mine.py:25") as caught:
        train(config("Flowers", fails_at=41, workers=workers))
    problem = caught.value.problems[0]
    assert problem.key == "data"
    assert "example 41 of the data" in str(caught.value) + str(getattr(caught.value, "__notes__", ""))


def test_a_worker_that_ends_is_an_error_of_the_data(own):
    with pytest.raises(DataError, match="a worker process of the data died, with exit code 3"):
        train(config("Flowers", dies_at=41, workers=1, val=0, test=0) | {"metrics": []})


def test_a_worker_of_which_only_the_pipes_have_ended_yet_is_waited_for(monkeypatch):
    worker = multiprocessing.get_context("fork").Process(target=_end_slowly)
    worker.start()

    def cut_off():
        raise ConnectionResetError("what a batch that the worker was sending ends with")

    stream = SimpleNamespace(_workers=[worker], _shutdown_workers=lambda: None)
    monkeypatch.setattr(workers, "_begun", lambda *_: stream)
    monkeypatch.setattr(workers, "next", lambda _: cut_off(), raising=False)
    with pytest.raises(DataError, match="a worker process of the data died, with exit code 3"):
        next(workers.Reading(lambda place: (None, ()), 1, {}))


def _end_slowly():
    os.closerange(3, 256)
    time.sleep(0.3)
    os._exit(3)


@pytest.mark.parametrize(
    ("data", "key", "words"),
    [
        ({"name": "iris", "workers": 2}, "data.workers", "in memory"),
        ({"name": "iris", "collate": "./mine.py:swapped"}, "data.collate", "in memory"),
        ({"name": "./mine.py:bare"}, "data", "give model.num_outputs"),
        ({"name": "./mine.py:Own"}, "data", "a data set with __getitem__ and __len__"),
        ({"name": "./mine.py:bare", "sampling": "balanced"}, "data.sampling", "class of each example"),
        ({"name": "./mine.py:sized_loader", "batch_size": 9}, "data.batch_size", "a batch_size of 8, not 9"),
        ({"name": "torch.utils.data:DataLoader"}, "data.name", "no subclass"),
    ],
)
def test_what_cannot_be_is_refused_at_its_key(own, data, key, words):
    model = "logistic" if key != "data.sampling" else {"name": "./mine.py:net"}
    (own / "mine.py").write_text(OWN + "\ndef net():\n    return torch.nn.Linear(4, 3)\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=words) as caught:
        build(MADE | {"data": data, "model": model})
    assert caught.value.problems[0].key.startswith(key)


def test_a_collate_function_of_the_users_own_is_called(own):
    made = build(config("Flowers", collate="./mine.py:swapped"))
    plain = build(config("Flowers"))
    assert torch.equal(made.train_op.data.batch(3).inputs, plain.train_op.data.batch(3).inputs + 1)


def test_classes_are_balanced_in_memory_as_well(own):
    inputs = torch.zeros(60, 4)
    targets = (torch.arange(60) < 6).long()
    (own / "few.py").write_text(
        "import torch\nfrom optrun.experiments import Dataset\n\ndef few():\n"
        "    return Dataset(torch.zeros(60, 4), (torch.arange(60) < 6).long(), 'classes', 2)\n",
        encoding="utf-8",
    )
    batches = build(
        MADE | {"data": {"name": "./few.py:few", "sampling": "balanced", "batch_size": 36, "val": 0.2, "test": 0.2}}
    ).train_op.data
    drawn = torch.cat([batches.batch(position).targets for position in range(20)])
    assert len(inputs) == len(targets)
    assert 0.4 < drawn.double().mean() < 0.6
    in_order = build(MADE | {"data": {"name": "iris", "sampling": "sequential", "batch_size": 90}}).train_op.data
    assert torch.equal(in_order.batch(0).inputs, in_order.batch(1).inputs)


def test_random_draws_that_nothing_can_repeat_are_noted(own):
    (own / "mine.py").write_text(OWN.replace("torch.randn(4)", "np.random.default_rng().random()"), encoding="utf-8")
    assert any("bit for bit" in note for note in build(config("Flowers", noise=1.0)).notes)
    assert not any("bit for bit" in note for note in build(config("Flowers")).notes)


def test_a_session_takes_a_dataloader():
    inputs, targets = linear_problem(48)
    plain = small_train_op(data=Batches(inputs, targets, batch_size=10, seed=3), seed=3)
    run_steps(plain, 12)
    data = TensorDataset(inputs, targets)
    for num_workers in (0, 1):
        loaded = small_train_op(data=DataLoader(data, batch_size=10, shuffle=True, num_workers=num_workers), seed=3)
        run_steps(loaded, 12)
        assert torch.equal(loaded.model.weight, plain.model.weight)
        assert loaded.data._reading is None  # its workers have ended
    with pytest.raises(UsageError, match="batch_sampler"):
        small_train_op(data=DataLoader(data, batch_sampler=[[0, 1]]))


def test_a_comparison_pairs_entries_on_loaded_data(own):
    from optrun.experiments.comparison.fingerprints import fingerprint

    first, second = (fingerprint(build(load_config(config("Flowers", noise=0.5)))) for _ in range(2))
    assert first == second
    other = fingerprint(build(load_config(config("Flowers", noise=0.5) | {"seed": 1})))
    assert other["order"] != first["order"]
    assert np.isfinite(first["initial_loss"])
