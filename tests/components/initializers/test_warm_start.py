"""Initial weights from elsewhere: what is taken over, what is refused, and what a resumed run does."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from optrun.experiments import Run, compare, evaluate, resume, train, trained_model, warm_start
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import CheckpointError, DataError, NothingMatchedError, UsageError
from optrun.experiments.training.session.saved_state import load_state

SMALL = {
    "name": "small",
    "data": {"name": "digits", "subset": 128, "batch_size": 32},
    "model": {"name": "mlp", "hidden": [8]},
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "mom", "lr": 0.1},
    "train": {"steps": 4},
}
EMA = {"updates": [{"name": "ema", "decay": 0.5}]}


def net(width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, 1))


def saved(model: nn.Module, path: str = "old.npz") -> str:
    np.savez(path, **{name: value.numpy() for name, value in model.state_dict().items()})
    return path


def equal(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(a.equal(b) for a, b in pairs)


def final_state(run: Run) -> dict:
    return load_state(run.checkpoint()).sections["model"]


def test_an_npz_gives_every_parameter_and_buffer() -> None:
    old, new = net(), net()
    old[1].running_mean.fill_(7.0)
    warm_start(new, from_=saved(old))
    assert equal(old, new)


def test_plain_safetensors_do_too() -> None:
    old, new = net(), net()
    safetensors.torch.save_file(old.state_dict(), "old.safetensors")
    warm_start(new, from_="old.safetensors")
    assert equal(old, new)


def test_names_are_mapped_with_stars() -> None:
    old, new = nn.ModuleDict({"trunk": net(), "aux": nn.Linear(1, 1)}), net()
    warm_start(new, from_=saved(old), map={"trunk.*": "*", "aux.*": None})
    assert equal(old["trunk"], new)


def test_only_leaves_the_rest_as_it_is() -> None:
    old, new = net(), net()
    before = new[2].weight.clone()
    warm_start(new, from_=saved(old), only=("0.*", "1.*"))
    assert new[0].weight.equal(old[0].weight)
    assert new[2].weight.equal(before)


@pytest.mark.parametrize(
    ("options", "phrase"),
    [
        ({"map": {"0.weigth": "0.weight"}}, r"map: '0\.weigth' matches nothing in .*the nearest is '0\.weight'"),
        ({"map": {"0.weight": "0.bias"}}, r"0\.weight and 0\.bias of old\.npz would both become 0\.bias"),
        ({"map": {"0.*": "0.**"}}, "need as many"),
        ({"map": {"2.bias": None}}, r"old\.npz has nothing for 2\.bias of the model .*`map`.*`only`"),
        ({"map": {"2.bias": "head"}}, r"the model has no place for head of old\.npz"),
        ({"only": ("3.*",)}, r"only: '3\.\*' matches none of the model's 0\.weight"),
        ({"weights": "ema"}, "no averages"),
    ],
)
def test_what_does_not_fit_is_refused(options, phrase) -> None:
    path = saved(net())
    if options.get("weights"):
        safetensors.torch.save_file(net().state_dict(), path := "old.safetensors")
    with pytest.raises(UsageError, match=phrase):
        warm_start(net(), from_=path, **options)


def test_shapes_are_compared_and_nothing_is_half_set() -> None:
    new = net(4)
    before = {name: value.clone() for name, value in new.state_dict().items()}
    with pytest.raises(UsageError, match=r"0\.weight has shape \(3, 2\) there, \(4, 2\) here"):
        warm_start(new, from_=saved(net(3)))
    assert all(value.equal(before[name]) for name, value in new.state_dict().items())


def test_files_that_are_none() -> None:
    with pytest.raises(DataError, match=r"no file old\.npz"):
        warm_start(net(), from_="old.npz")
    for name in ("bad.npz", "bad.safetensors"):
        with open(name, "wb") as file:
            file.write(b"not what it says")
        with pytest.raises(DataError, match=f"{name} cannot be read"):
            warm_start(net(), from_=name)
    np.savez("objects.npz", a=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="cannot be read"):
        warm_start(net(), from_="objects.npz")
    with pytest.raises(NothingMatchedError):
        warm_start(net(), from_="no-such-run")


def test_a_run_starts_from_another_one() -> None:
    first = train(SMALL)
    second = train(
        {**SMALL, "name": "second", "init": {"from": "small-0001"}, "optimizer": {"name": "sgd", "lr": 1e-9}}
    )
    before, after = final_state(first), final_state(second)
    assert max((before[name] - after[name]).abs().max() for name in before) < 1e-6
    assert second.summary["steps"] == 4
    assert second.config["init"] == {
        "name": "warm_start",
        "from": "small-0001",
        "checkpoint": "last",
        "weights": "raw",
        "part": None,
        "map": None,
        "only": None,
        "fresh": None,
    }


AVERAGING = {
    "asgd": {"lr": 0.1, "t0": 1, "lambd": 0.0},
    "schedule_free_sgd": {"lr": 0.5, "momentum": 0.8},
    "schedule_free_adamw": {"lr": 0.01, "betas": [0.8, 0.999]},
}


def weights_by_hand(state: dict, optimizer: str, name: str) -> dict[str, torch.Tensor]:
    """Return a run's weights of a name, from the letters of the rules: y = (1 - m) z + m x."""
    training, kept = state["model"], state["optimizer"]["state"]
    if name in ("training", "y"):
        return training
    if optimizer == "asgd":
        return {key: kept[key]["ax"] for key in training}
    z = {key: kept[key]["z"] for key in training}
    return z if name == "z" else {key: (training[key] - 0.2 * z[key]) / 0.8 for key in training}


@pytest.mark.parametrize("optimizer", AVERAGING)
def test_each_kind_of_weights_can_be_measured_used_and_begun_at(optimizer) -> None:
    run = train({**SMALL, "optimizer": {"name": optimizer, **AVERAGING[optimizer]}, "train": {"steps": 8}})
    state = load_state(run.checkpoint()).sections
    names = ["ax"] if optimizer == "asgd" else ["x", "y", "z"]
    losses = {}
    for name in ("training", "average", *names):
        expected = weights_by_hand(state, optimizer, name)
        model, new = trained_model(run, weights=name), trained_model(run)
        warm_start(new, from_=str(run.path), weights=name)
        for key, value in expected.items():
            torch.testing.assert_close(model.state_dict()[key], value, msg=f"{name} {key}")
            torch.testing.assert_close(new.state_dict()[key], value, msg=f"{name} {key}")
        losses[name] = evaluate(run, weights=name)["test/loss"]
    assert losses["average"] == losses[names[0]] == evaluate(run)["test/loss"] != losses["training"]
    with pytest.raises(ConfigError, match="`updates` has no ema"):
        evaluate(run, weights="ema")
    with pytest.raises(UsageError, match=r"called 'swa': it has raw, training, .*average"):
        warm_start(trained_model(run), from_=str(run.path), weights="swa")


def test_weights_that_a_run_does_not_keep_are_refused_where_they_are_named() -> None:
    with pytest.raises(ConfigError, match=r"no weights called 'averge'(.|\n)*did you mean 'average'") as caught:
        train({**SMALL, "optimizer": "asgd", "eval": {"weights": "averge"}})
    assert caught.value.problems[0].key == "eval.weights"
    with pytest.raises(ConfigError, match=r"no weights called 'average'(.|\n)*known: raw, training"):
        train({**SMALL, "eval": {"weights": "average"}})


SWA = """
from optrun.experiments.components.averaging import Averaging
from optrun.experiments.components.updates import Update

class Swa(Averaging, Update):
    def __init__(self, model):
        self.weights = dict(model.named_parameters())
        self.shadows = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.count = 1

    def apply(self):
        self.count += 1
        for name, weight in self.weights.items():
            self.shadows[name] += (weight - self.shadows[name]) / self.count

    def averages(self):
        return [(weight, self.shadows[name]) for name, weight in self.weights.items()]

    def state_dict(self):
        return {"shadows": self.shadows, "count": self.count}

    def load_state_dict(self, state):
        self.shadows, self.count = dict(state["shadows"]), state["count"]
"""


def test_an_average_of_the_users_own_has_the_name_of_its_class(tmp_path, monkeypatch) -> None:
    (tmp_path / "mine.py").write_text(SWA)
    run = train({**SMALL, "updates": [f"{tmp_path}/mine.py:Swa"], "eval": {"weights": "swa"}})
    shadows = load_state(run.checkpoint()).sections["updates"][0]["state"]["shadows"]
    model, new = trained_model(run), trained_model(run, weights="training")
    assert not equal(model, new)
    warm_start(new, from_=str(run.path), weights="swa")
    assert equal(model, new)
    for name, shadow in shadows.items():
        assert torch.equal(model.state_dict()[name], shadow)
    with pytest.raises(ConfigError, match="no weights called 'average': raw, training, swa"):
        evaluate(run, weights="average")


def test_averages_are_taken_where_they_are_asked_for_and_begin_at_the_new_weights() -> None:
    first = train({**SMALL, **EMA})
    shadows = load_state(first.checkpoint()).sections["updates"][0]["state"]["shadows"]
    still = {"optimizer": {"name": "sgd", "lr": 1e-9}, "train": {"steps": 1}}
    second = train({**SMALL, **EMA, **still, "name": "b", "init": {"from": "small-0001", "weights": "ema"}})
    sections = load_state(second.checkpoint()).sections
    for name, shadow in shadows.items():
        torch.testing.assert_close(sections["model"][name], shadow)
        torch.testing.assert_close(sections["updates"][0]["state"]["shadows"][name], shadow)
    train({**SMALL, "name": "plain"})
    with pytest.raises(ConfigError, match="no averaged weights"):
        train({**SMALL, "init": {"from": "plain-0001", "weights": "ema"}})


def test_a_resumed_run_keeps_its_own_weights() -> None:
    train(SMALL)
    config = {**SMALL, "init": {"from": "small-0001"}, "seed": 1}
    straight = train(config, {"train.steps": 6}, name="straight")
    train(config, name="parts")
    (Run("runs/small-0001").checkpoint().path).unlink()  # what it began with is not needed any more
    resumed = resume("parts", {"train.steps": 6}, allow_change=True)
    one, other = final_state(straight), final_state(resumed)
    assert all(one[name].equal(other[name]) for name in one)


def test_a_function_of_the_users_own() -> None:
    code = (
        "import torch\ndef start(model, *, value: float = 0.5):\n    torch.nn.init.constant_(model[-1].bias, value)\n"
    )
    with open("mine.py", "w") as file:
        file.write(code)
    still = {"optimizer": {"name": "sgd", "lr": 1e-9}}
    run = train({**SMALL, **still, "init": {"name": "./mine.py:start", "value": 0.25}})
    assert final_state(run)["3.bias"].mean() == pytest.approx(0.25, abs=1e-6)
    assert run.env["code"]
    run = train({**SMALL, **still, "init": "./mine.py:start"})
    assert final_state(run)["3.bias"].mean() == pytest.approx(0.5, abs=1e-6)


def test_a_file_is_relative_to_the_configuration_that_names_it(tmp_path, monkeypatch):
    """Wherever the shell is, when training as when evaluating; a run's name is no file."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    first = train(SMALL)
    expected = first.summary["final"]["val/loss"]
    weights = {name: tensor.numpy() for name, tensor in trained_model(first).state_dict().items()}
    np.savez(project / "weights.npz", **weights)
    still = {"optimizer": {"name": "sgd", "lr": 1e-9}, "train": {"steps": 1}}
    (project / "fine.yaml").write_text(json.dumps({**SMALL, **still, "init": {"from": "weights.npz"}}))
    (project / "run.yaml").write_text(json.dumps({**SMALL, **still, "init": {"from": "small-0001"}}))
    monkeypatch.chdir(elsewhere)
    root = tmp_path / "runs"
    monkeypatch.setenv("OPTRUN_RUNS_DIR", str(root))  # where the run is looked up
    for name in ("fine", "run"):
        made = train(project / f"{name}.yaml", name=name, root=root)
        assert made.summary["final"]["val/loss"] == pytest.approx(expected, rel=1e-5)
        assert train(root / name / "config.yaml", {"train.steps": 2}, root=root).state == "done"
    with pytest.raises(DataError, match=r"no file .*elsewhere/weights\.npz"):
        train({**SMALL, "init": {"from": "weights.npz"}}, root=root)


@pytest.mark.parametrize(
    ("init", "phrase"),
    [
        ({"from": "no-such-run"}, "no-such-run"),
        ({"from": "small-0001", "map": {"x": "y"}}, r"<python>: init: map: 'x' matches nothing"),
        ({"from": "small-0001", "mapp": {}}, "did you mean 'map'"),
        ({"from": "small-0001", "checkpoint": "latest"}, "did you mean 'last'"),
        ({"checkpoint": "last"}, "no name: which init"),
        ("warm_start", "needs the argument 'from'"),
    ],
)
def test_mistakes_are_located_and_leave_no_run(init, phrase) -> None:
    train(SMALL)
    with pytest.raises((ConfigError, NothingMatchedError), match=phrase):
        train({**SMALL, "name": "wrong", "init": init})
    assert [run.name for run in map(Run, ["runs/small-0001"])] == ["small-0001"]
    import os

    assert sorted(os.listdir("runs")) == ["small-0001"]


def test_a_damaged_checkpoint_is_refused() -> None:
    path = train(SMALL).checkpoint().path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        train({**SMALL, "name": "b", "init": {"from": "small-0001"}})


def test_entries_of_a_comparison_share_their_start() -> None:
    train(SMALL)
    base = {**SMALL, "init": {"from": "small-0001"}, "train": {"steps": 2}}
    import json

    for name in ("sgd", "mom"):
        with open(f"{name}2.yaml", "w") as file:
            json.dump({**base, "name": name, "optimizer": {"name": name, "lr": 0.1}}, file)
    comparison = compare(["sgd2.yaml", "mom2.yaml"], seeds=2, tune=None, jobs=1)
    starts = {seed["parameters"] for seed in comparison.data["pairing"]["seeds"].values()}
    assert len(starts) == 1, "every seed begins with the same weights"
