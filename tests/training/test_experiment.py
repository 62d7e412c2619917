"""From configuration to objects: what does not fit together is found, and said at its place."""

from __future__ import annotations

import pytest
import torch

from optrun.experiments import build, load_config
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import DataError


def base(**sections):
    return {
        "data": {"name": "digits", "batch_size": 64},
        "model": "logistic",
        "loss": "cross_entropy",
        "metrics": ["accuracy"],
        "optimizer": {"name": "sgd", "lr": 0.1},
        "train": {"steps": 4},
        **sections,
    }


def written(config, text=None):
    """Write a configuration to a file, so that errors have places."""
    from pathlib import Path

    from optrun.experiments.config import to_yaml

    Path("my.yaml").write_text(text or to_yaml(config))
    return "my.yaml"


NET = """
import torch
from torch import nn

class Lazy(nn.Module):
    def __init__(self, num_outputs):
        super().__init__()
        self.layer = nn.LazyLinear(num_outputs)
    def forward(self, inputs):
        return self.layer(inputs.flatten(1))

class WrongShape(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 10)
    def forward(self, inputs):
        return self.layer(inputs.flatten(1))

class Picky(nn.Module):
    def __init__(self, width):
        raise ValueError(f"width {width} is not a multiple of 8")

def not_a_module():
    return 3

def loss_per_example(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets, reduction="none")

def scalar_metric(outputs, targets):
    return (outputs.argmax(1) == targets).float().mean()

class NotAHook:
    pass
"""


@pytest.fixture(autouse=True)
def user_code(tmp_path):
    (tmp_path / "net.py").write_text(NET)


@pytest.mark.parametrize(
    ("changes", "key", "phrase"),
    [
        (
            {"loss": "mse", "metrics": []},
            "loss",
            "loss 'mse' is for values, but the targets of data 'digits' are classes",
        ),
        ({"metrics": ["mse"]}, "metrics.0", "metric 'mse' is for values"),
        ({"model": {"name": "./net.py:WrongShape"}}, "model", "mat1 and mat2 shapes cannot be multiplied"),
        ({"model": {"name": "./net.py:Picky", "width": 3}}, "model", "width 3 is not a multiple of 8"),
        ({"model": {"name": "./net.py:not_a_module"}}, "model", "which is not a torch.nn.Module"),
        ({"model": {"name": "logistic", "num_outputs": 3}}, "model", "has 10 classes"),
        ({"loss": "./net.py:loss_per_example"}, "loss", "must return one number"),
        ({"metrics": ["./net.py:scalar_metric"], "eval": {"mode": "max"}}, "metrics.0", "one value per example"),
        ({"updates": ["batch_norm"]}, "updates.0", "no batch norm layer"),
        ({"hooks": ["./net.py:NotAHook"]}, "hooks.0", "which is not an optrun Hook"),
        (
            {"optimizer": {"name": "sgd", "lr": 0.1, "groups": [{"match": "*.wieght", "lr": 1.0}]}},
            "optimizer",
            "wieght",
        ),
        ({"data": {"name": "digits", "subset": 100000}}, "data", "subset must be 1 to"),
        ({"data": {"name": "digits", "batch_size": 5000, "drop_last": True}}, "data", "batch_size"),
        (
            {"train": {"steps": 4, "device": "cuda:7", "soft_placement": False}},
            "train.device",
            "cuda:7 is not available",
        ),
        ({"train": {"steps": 4, "device": "abacus"}}, "train.device", "expected auto, cpu, cuda"),
    ],
)
def test_pieces_that_do_not_fit_are_located(changes, key, phrase):
    config = base(**changes)
    with pytest.raises(ConfigError) as caught:
        build(load_config(written(config)))
    (problem,) = caught.value.problems
    assert problem.key.startswith(key)
    assert phrase in str(caught.value)
    assert str(caught.value).startswith("my.yaml:"), "file, line and column"


def test_a_missing_data_file_is_a_data_error():
    with pytest.raises(DataError, match=r"nowhere\.npz"):
        build(load_config(base(data={"name": "arrays", "path": "nowhere.npz"})))


def test_a_missing_device_is_replaced_with_a_note():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    experiment = build(load_config(base(train={"steps": 4, "device": "cuda:0"})))
    assert experiment.device.type == "cpu"
    (note,) = experiment.notes
    assert note.startswith("cuda:0 is not available")


def test_lazy_modules_are_materialised_before_the_optimizer_is_made():
    experiment = build(load_config(written(base(model={"name": "./net.py:Lazy"}))))
    assert experiment.num_parameters == 64 * 10 + 10
    held = [p for group in experiment.train_op.optimizer.param_groups for p in group["params"]]
    assert sum(p.numel() for p in held) == 650


def test_building_twice_gives_the_same_initial_weights_and_another_seed_others():
    first, second, other = (build(load_config(base(model="mlp", seed=seed))) for seed in (0, 0, 1))
    states = [experiment.model.state_dict() for experiment in (first, second, other)]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name])
    assert any(not torch.equal(value, states[2][name]) for name, value in states[0].items())


def test_initial_weights_do_not_depend_on_optimizer_or_batch_size():
    first = build(load_config(base(model="mlp")))
    second = build(
        load_config(
            base(model="mlp", optimizer={"name": "adam", "lr": 0.01}, data={"name": "digits", "batch_size": 16})
        )
    )
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_test_data_is_not_read_during_training():
    """Only the end of a run may look at it."""
    experiment = build(load_config(base(train={"epochs": 2}, data={"name": "digits", "batch_size": 512})))
    steps = []
    with experiment.session() as session:
        measure = session.evaluators["test"]
        session.evaluators["test"] = lambda interrupted: steps.append(session.step) or measure(interrupted)
        while not session.should_stop():
            session.run(experiment.train_op)
    assert steps == [experiment.length.num_steps]


def test_threads_follow_the_work_not_a_clock(monkeypatch):
    from optrun.experiments.system import devices

    monkeypatch.setattr(devices.os, "cpu_count", lambda: 8)
    assert devices.choose_threads("auto", 3_000_000) == 1
    assert devices.choose_threads("auto", 7_000_000_000) == 3
    assert devices.choose_threads("auto", 10**12) == 8
    assert devices.choose_threads(5, 1) == 5
    monkeypatch.setenv("OPTRUN_THREADS", "2")
    assert devices.choose_threads("auto", 10**12) == 2


def test_work_is_counted_from_the_layers():
    from optrun.experiments.system.devices import count_work

    model = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(8 * 64, 10))
    # 64 positions x 8 channels x 9 weights, and 512 x 10, three times (forward, two in backward), for 32 examples.
    assert count_work(model, lambda: model(torch.zeros(2, 1, 8, 8)), 2, 32) == 3 * 32 * (64 * 8 * 9 + 512 * 10)
