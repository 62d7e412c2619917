"""Layers that are frozen at first: nothing moves them until their step, and a resume changes no bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optrun.experiments import Every, Run, build, load_config, make_optimizer, plan, resume, train
from optrun.experiments.components.hooks.unfreeze import UnfreezeHook
from optrun.experiments.components.registries import REGISTRIES
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import UsageError
from optrun.experiments.training.session.saved_state import load_state

from ...helpers import run_steps, small_train_op

SMALL: dict[str, Any] = {
    "data": {"name": "iris", "batch_size": 30},  # 90 to train on, 3 steps an epoch
    "model": {"name": "mlp", "hidden": [4, 4]},
    "loss": "cross_entropy",
    "optimizer": {"name": "mom", "lr": 0.1},
    "train": {"steps": 8, "freeze": ["1.*", "3.*"]},
    "hooks": [{"name": "unfreeze", "at": "1 epoch", "match": ["3.*"]}, {"name": "unfreeze", "at": 5, "match": ["1.*"]}],
    "checkpoint": {"every": "1 step", "keep": 20},
    "log": {"every": "1 step"},
}


def states(run: Run) -> dict[int, dict[str, Any]]:
    """Return the state after each step, without the generators that no step draws from."""
    sections = {saved.step: load_state(saved).sections for saved in run.checkpoints}
    return {step: {key: value for key, value in state.items() if key != "rng"} for step, state in sections.items()}


def killed_after(name: str, step: int) -> Run:
    """Make a run look as if it had been killed after a step."""
    run = Run(Path("runs") / name)
    for saved in run.checkpoints:
        if saved.step > step:
            saved.path.unlink()
    status = run.path / "status.json"
    status.write_text(status.read_text().replace('"done"', '"interrupted"'))
    return Run(run.path)


def rows(run: Run) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "time"} for row in run.rows]


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def own_optimizers() -> list[tuple[str, str]]:
    registry = REGISTRIES["optimizer"]
    names = [name for name in registry.names() if not name.startswith(tuple(registry.extras))]
    return [(name, flavor) for name in names for flavor in registry.get(name).variants or ("",)]


DAILY = {("mom", "torch"), ("adam", "tf1")}
SAMPLE = {("lbfgs", "")}
DENSE = [each for each in own_optimizers() if each[0] != "sparse_adam"]  # which takes sparse gradients alone


@pytest.mark.parametrize(
    ("name", "flavor"),
    [
        pytest.param(*each, marks=() if each in DAILY else pytest.mark.sample if each in SAMPLE else pytest.mark.slow)
        for each in DENSE
    ],
)
def test_any_optimizer_leaves_frozen_layers_alone_and_takes_freed_ones_in(name, flavor) -> None:
    optimizer = {"name": name, "weight_decay": 0.1, **({"flavor": flavor} if flavor else {})}
    known = REGISTRIES["optimizer"].get(name).of_flavor(flavor or None).signature.names()
    optimizer = {key: value for key, value in optimizer.items() if key in ("name", *known)}
    if name == "sam":
        optimizer["inner"] = "mom"
    if "lr" in known:
        optimizer["lr"] = 0.05
    config = {**SMALL, "optimizer": optimizer}
    straight = train(config, name="straight")
    start = build(config).train_op.model.state_dict()
    seen = states(straight)
    assert seen.keys() == set(range(1, 9))
    for step in range(2, 9):
        before, now = seen[step - 1]["model"], seen[step]["model"]
        moved = {key.partition(".")[0] for key in now if not torch.equal(before[key], now[key])}
        expected = {"5"} | ({"3"} if step > 3 else set()) | ({"1"} if step > 5 else set())
        assert moved <= expected, step
        if step in (4, 6) and name not in ("rprop",):  # whose first step in a direction may be none
            assert moved == expected, step
    assert all(torch.equal(start[key], seen[3]["model"][key]) for key in ("3.weight", "3.bias"))
    train(config, name="parts")
    for step in (3, 4, 5):
        resumed = resume(killed_after("parts", step))
        assert equal(states(resumed)[8], seen[8]), step
        assert rows(resumed) == rows(straight)


@pytest.mark.parametrize("name", ["mom", "nag"])
def test_a_sum_that_begins_late_is_that_of_a_first_step(name) -> None:
    """As with one optimizer for each weight, each of which begins when its first gradient comes."""
    weights, alone = ([nn.Parameter(torch.tensor([1.0, 2.0])) for _ in range(2)] for _ in range(2))
    together = make_optimizer(weights, name, lr=0.1)
    each = [make_optimizer([weight], name, lr=0.1) for weight in alone]
    for step in range(4):
        for part in (weights, alone):
            for place, weight in enumerate(part):
                weight.grad = weight.detach() * (step + 1) if step >= 2 * place else None
        together.step()
        for optimizer in each:
            optimizer.step()
    assert all(map(torch.equal, weights, alone))


def test_a_group_has_its_rate_and_decay_for_what_is_freed() -> None:
    groups = [{"match": "3.*", "lr": 0.01, "weight_decay": 0.5}]
    config = {**SMALL, "optimizer": {"name": "sgd", "lr": 0.1, "groups": groups}}
    experiment = build(config)
    first, second = experiment.train_op.optimizer.param_groups
    assert second["param_names"] == ["3.weight", "3.bias"]
    assert (second["lr"], second["weight_decay"]) == (0.01, 0.5)
    assert first["param_names"] == ["1.weight", "1.bias", "5.weight", "5.bias"]
    assert [p.requires_grad for p in (*first["params"], *second["params"])] == [False, False, True, True, False, False]
    seen = states(train(config))
    before, after = seen[3]["model"]["3.bias"], seen[4]["model"]["3.bias"]
    unfrozen = {**config, "train": {"steps": 8}, "hooks": []}
    op = build(unfrozen).train_op  # one step of the same optimizer by hand, from the same state
    op.load_state_dict({**seen[3], "requires_grad": {}})
    op.run()
    assert not torch.equal(before, after)
    assert torch.equal(op.model.state_dict()["3.bias"], after)


def test_the_plan_shows_what_is_trained_when() -> None:
    made = plan(load_config(SMALL), measure=False)
    found = [(stage.step, stage.num_tensors, stage.num_parameters, stage.freed) for stage in made.stages]
    assert found == [
        (0, 2, 15, ()),
        (3, 4, 35, ("3.weight", "3.bias")),
        (5, 6, 55, ("1.weight", "1.bias")),
    ]
    assert {s.key for s in made.selections} == {"train.freeze", "hooks.0.match", "hooks.1.match"}
    firings = {each.trigger: each for each in made.hooks if each.name.startswith("unfreeze")}
    assert {each.first for each in firings.values()} == {(3,), (5,)}
    assert "once, at step 3" in firings
    assert plan(load_config({**SMALL, "hooks": [], "train": {"steps": 8}}), measure=False).stages == ()


NORMED = {
    **SMALL,
    "data": {"name": "digits", "subset": 64, "batch_size": 16},
    "model": {"name": "convnet", "channels": [4]},
    "train": {"steps": 4, "freeze": ["blocks.*"]},
    "hooks": [{"name": "unfreeze", "at": 2, "match": ["blocks.*"]}],
}


@pytest.mark.parametrize("updates", [[], ["tf_batch_norm"]])
def test_batch_norm_keeps_its_statistics_only_where_that_is_asked_for(updates) -> None:
    moving = {**NORMED, "updates": updates}
    keeping = {**moving, "train": {**NORMED["train"], "freeze_statistics": True}}
    key = "blocks.0.norm.running_mean"
    for config, expected in ((moving, [True, True, True]), (keeping, [False, True, True])):
        seen = states(train(config))
        moved = [not torch.equal(seen[step]["model"][key], seen[step + 1]["model"][key]) for step in (1, 2, 3)]
        assert moved == expected
    straight = train(keeping, name="straight")
    train(keeping, name="parts")
    assert equal(states(resume(killed_after("parts", 1)))[4], states(straight)[4])


@pytest.mark.parametrize(
    ("changes", "key", "phrase"),
    [
        ({"train.freeze": ["2.*"]}, "train.freeze", "'2.*' matches none of the 6 parameters"),
        ({"train.freeze": ["conv"]}, "train.freeze", "'conv' matches none of the 6 parameters"),
        ({"train.freeze": ["*"]}, "train.freeze", "leaves nothing to train: all 6"),
        ({"train.freeze": []}, "hooks.0.match", "it frees nothing"),
        ({"hooks.0.match": ["9.*"]}, "hooks.0.match", "'9.*' matches none"),
        ({"hooks.0.match": ["5.*"]}, "hooks.0.match", "it frees nothing"),
        ({"hooks.0.at": "0 steps"}, "hooks.0", "never frozen"),
        ({"hooks.0.at": "soon"}, "hooks.0.at", "a length"),
        ({"train.freeze_statistics": True}, "train.freeze_statistics", "keeps running statistics"),
        ({"train.freeze": [], "hooks": [], "train.freeze_statistics": True}, "train.freeze_statistics", "is frozen"),
    ],
)
def test_mistakes_are_located(changes, key, phrase) -> None:
    with pytest.raises(ConfigError) as caught:
        build(load_config(SMALL, changes))
    assert caught.value.problems[0].key.startswith(key)
    assert phrase in str(caught.value)


def test_what_a_model_of_ones_own_has_frozen_is_freed_too(tmp_path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def net(input_shape, num_outputs):\n"
        "    body = nn.Linear(input_shape[0], 3).requires_grad_(False)\n"
        "    return nn.Sequential(body, nn.Linear(3, num_outputs))\n"
    )
    hooks = [{"name": "unfreeze", "at": 3, "match": ["0.*"]}]
    run = train({**SMALL, "model": f"{tmp_path}/mine.py:net", "train": {"steps": 5}, "hooks": hooks})
    seen = states(run)
    assert torch.equal(seen[1]["model"]["0.weight"], seen[3]["model"]["0.weight"])
    assert not torch.equal(seen[3]["model"]["0.weight"], seen[4]["model"]["0.weight"])


def test_in_python_the_optimizer_is_made_first() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))
    op = small_train_op(model)
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    run_steps(op, 2, UnfreezeHook(at=2, match=["0.*"]))
    assert torch.equal(model[0].weight, before)
    run_steps(op, 3, UnfreezeHook(at=2, match=["0.*"]))
    assert not torch.equal(model[0].weight, before)
    frozen = nn.Sequential(nn.Linear(4, 3).requires_grad_(False), nn.Linear(3, 1))
    op = small_train_op(frozen)
    op.optimizer = make_optimizer(frozen, "sgd", lr=0.1)
    with pytest.raises(UsageError, match=r"the optimizer does not hold 0\.weight, 0\.bias"):
        run_steps(op, 2, UnfreezeHook(at=2, match=["0.*"]))


def test_once_is_once() -> None:
    every = Every.once(3)
    assert [step for step in range(1, 50) if every.is_due(step)] == [3]
    assert str(every) == "once, at step 3"
