"""Parameter groups that hooks change, and parameters that they freeze or free: trained, saved, restored."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from optrun.experiments import Hook, build_train_op, make_optimizer
from optrun.experiments.components.optimizers import registry
from optrun.experiments.components.updates import make_update
from optrun.experiments.errors import CheckpointError, UsageError
from optrun.experiments.run_directory.checkpoints import flatten_state

from ..helpers import linear_problem, run_steps


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 5).requires_grad_(False)
        self.head = nn.Linear(5, 1)

    def forward(self, inputs):
        return self.head(torch.tanh(self.body(inputs)))


def made(optimizer: str = "mom", **options):
    torch.manual_seed(1)
    model = Net()
    inputs, targets = linear_problem()
    data = list(zip(inputs.split(16), targets.split(16), strict=True)) * 4
    return build_train_op(model, nn.functional.mse_loss, make_optimizer(model, optimizer, lr=0.05), data, **options)


def body(op) -> list:
    return [(f"body.{name}", parameter) for name, parameter in op.model.body.requires_grad_(True).named_parameters()]


def add(op) -> None:
    op.optimizer.add_param_group({"params": body(op)})


def add_with_settings(op) -> None:
    op.optimizer.add_param_group({"params": body(op), "lr": 0.01, "weight_decay": 0.5})


def widen(op) -> None:
    op.optimizer.param_groups[0]["params"] += [parameter for _, parameter in body(op)]


def replace(op) -> None:
    add(op)
    del op.optimizer.param_groups[0]


def narrow(op) -> None:
    op.optimizer.param_groups[0]["params"].pop()


def freeze(op) -> None:
    op.model.head.bias.requires_grad_(False)


def add_two(op) -> None:
    (first, second) = body(op)
    op.optimizer.add_param_group({"params": [second], "lr": 0.02})
    op.optimizer.add_param_group({"params": [first]})
    op.optimizer.param_groups.reverse()


CHANGES = [add, add_with_settings, widen, replace, narrow, freeze, add_two]


def tensors(state) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in flatten_state("state", state)[0].items()}


def assert_same(one, other) -> None:
    assert flatten_state("state", one)[1] == flatten_state("state", other)[1]
    found, expected = tensors(one), tensors(other)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_optimizer_goes_on_from_its_state_alone(change):
    op = made("adamw")
    feed = {"lr": lambda own: own * 0.5}
    op.run(feed)
    change(op)
    for _ in range(3):
        op.run(feed)
    saved = copy.deepcopy(op.state_dict())
    again = made("adamw")
    again.load_state_dict(saved)
    for _ in range(3):
        op.run(feed)
        again.run(feed)
    assert_same(again.state_dict(), op.state_dict())
    rates = [[group["lr"] for group in each.optimizer.param_groups] for each in (op, again)]
    assert rates[0] == rates[1]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_session_that_goes_back_finds_the_groups_of_then(change):
    op = made("adamw")
    op.run()
    saved = copy.deepcopy(op.state_dict())
    change(op)
    op.run()
    op.load_state_dict(saved)
    assert_same(op.state_dict(), saved)
    straight = made("adamw")
    for _ in range(2):
        straight.run()
    op.run()
    assert_same(op.state_dict(), straight.state_dict())


def test_a_freed_layer_is_trained_as_by_hand():
    op = made()
    reference = copy.deepcopy(op.model)
    optimizer = torch.optim.SGD(reference.head.parameters(), lr=0.05, momentum=0.9)
    for step in range(8):
        if step == 3:
            add_with_settings(op)
            freed = reference.body.requires_grad_(True)
            optimizer.add_param_group({"params": freed.parameters(), "lr": 0.01, "weight_decay": 0.5})
        inputs, targets = op.data.batch(step)
        op.run({"lr": 0.05})  # a group with a rate of its own keeps its ratio to the optimizer's
        optimizer.zero_grad()
        nn.functional.mse_loss(reference(inputs), targets).backward()
        optimizer.step()
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(op.model.state_dict()[name], value)
    assert not torch.equal(op.model.body.weight, made().model.body.weight)


def test_a_run_that_is_stopped_and_resumed_is_the_straight_one(tmp_path):
    class Free(Hook):
        def after_run(self, ctx, values):
            if ctx.step == 4:
                add(ctx.train_op)

    straight, first, second = made(), made(), made()
    run_steps(straight, 10, Free(), checkpoint_dir=tmp_path / "straight")
    run_steps(first, 6, Free(), checkpoint_dir=tmp_path / "parts")
    run_steps(second, 10, Free(), checkpoint_dir=tmp_path / "parts")
    assert_same(second.state_dict(), straight.state_dict())
    assert second.optimizer.param_groups[1]["param_names"] == ["body.weight", "body.bias"]


def test_a_group_that_is_added_before_the_restore_stays():
    op = made()
    op.run()
    later = made()
    add(later)
    later.load_state_dict(op.state_dict())
    before = later.model.body.weight.clone()
    later.run()
    assert not torch.equal(later.model.body.weight, before)


def test_nothing_is_said_of_what_has_not_changed():
    op = made()
    op.run()
    assert not {"groups"} & op.state_dict()["optimizer"].keys()
    assert "requires_grad" not in op.state_dict()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([{"built": None, "params": ["tail.weight"], "named": True}], r"made by a hook, with tail\.weight"),
        ([{"built": 3, "params": None, "named": True}], "a group built as 3"),
        (
            [
                {"built": 0, "params": None, "named": True},
                {"built": None, "params": ["head.bias"], "named": True},
            ],
            "two of its groups share a parameter",
        ),
    ],
)
def test_groups_of_another_model_are_refused(wrong, message):
    op = made()
    op.run()
    state = copy.deepcopy(op.state_dict())
    state["optimizer"] |= {"groups": wrong, "now": state["optimizer"]["now"] * len(wrong)}
    with pytest.raises(CheckpointError, match=message):
        op.load_state_dict(state)


def test_lbfgs_says_that_it_takes_no_second_group():
    op = made("lbfgs")
    op.run()
    with pytest.raises(UsageError, match="can be no second group"):
        add(op)


@pytest.mark.parametrize("name", [name for name in registry.names() if not name.startswith(("pytorch_opt", "lbfgs"))])
def test_every_optimizer_takes_a_group_while_it_trains(name):
    op = made(name)
    op.run()
    before = op.model.body.weight.detach().clone()
    add(op)
    op.run()
    op.run()
    assert not torch.equal(op.model.body.weight, before)


def test_an_average_begins_when_a_weight_is_freed():
    op = made(updates=[lambda model: make_update("ema", model, decay=0.5)])
    (ema,) = op.updates
    op.run()
    saved = copy.deepcopy(op.state_dict())
    add(op)
    op.run()
    assert torch.equal(ema.shadows["body.weight"], op.model.body.weight)
    after = op.model.body.weight.detach().clone()
    op.run()
    torch.testing.assert_close(ema.shadows["body.weight"], (after + op.model.body.weight.detach()) / 2)
    again = made(updates=[lambda model: make_update("ema", model, decay=0.5)])
    again.load_state_dict(op.state_dict())
    assert torch.equal(again.updates[0].shadows["body.weight"], ema.shadows["body.weight"])
    op.load_state_dict(saved)
    assert list(ema.shadows) == ["head.weight", "head.bias"]
