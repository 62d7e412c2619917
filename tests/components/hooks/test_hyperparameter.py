"""Schedules on other hyperparameters than the rate: what the optimizer really gets, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from optrun.experiments import Batches, Hook, build_train_op, make_optimizer, make_schedule
from optrun.experiments.components.hooks.hyperparameter import HyperparameterHook
from optrun.experiments.components.hooks.learning_rate import LearningRateSetterHook
from optrun.experiments.errors import SessionError, UsageError

from ...helpers import linear_problem, run_steps, small_train_op


class Groups(Hook):
    """Note a hyperparameter of every group at every step, as the optimizer has it."""

    def __init__(self, name):
        self._name, self.seen = name, []

    def after_run(self, ctx, values):
        self.seen.append([group[self._name] for group in ctx.train_op.optimizer.param_groups])


def test_the_momentum_of_torchs_sgd_really_follows_the_schedule():
    op = small_train_op(lr=0.05)
    schedule = make_schedule("linear", num_steps=20, initial=1.0, final=0.5)
    run_steps(op, 20, HyperparameterHook("momentum", schedule))

    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    data = Batches(*linear_problem(), batch_size=16)
    for step in range(20):
        optimizer.param_groups[0]["momentum"] = 0.9 * (1 - 0.5 * step / 20)
        optimizer.zero_grad()
        inputs, targets = data.batch(step)
        nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()
    for ours, theirs in zip(op.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    still = small_train_op(lr=0.05)
    run_steps(still, 20)
    assert not torch.allclose(still.model.weight, model.weight, rtol=1e-2)


def adam(**args):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))
    optimizer = make_optimizer(model, "adam", lr=0.1, **args)
    return build_train_op(model, nn.functional.mse_loss, optimizer, Batches(*linear_problem(), batch_size=16))


def test_one_of_several_numbers_is_set_by_its_place():
    op, groups = adam(betas=(0.9, 0.99)), Groups("betas")
    first = HyperparameterHook("betas.0", make_schedule("piecewise", boundaries=[2], factors=[1, 0.5]))
    second = HyperparameterHook("betas.1", make_schedule("linear", end=4, initial=0.5, final=0.9), absolute=True)
    run_steps(op, 4, first, second, groups)
    assert groups.seen == [[(0.9, 0.5)], [(0.9, 0.6)], [(0.45, pytest.approx(0.7))], [(0.45, pytest.approx(0.8))]]
    op.state_dict()
    assert op.optimizer.param_groups[0]["betas"] == (0.9, 0.99), "a checkpoint has the configured values"
    assert op.fetch(["betas.1"]) == {"betas.1": 0.99}


def test_groups_keep_their_ratio_and_zero_stays_zero():
    decay = {"rate": 0.1, "exclude": ["bias"]}
    groups = [{"match": "1.*", "weight_decay": 0.04}]
    for absolute, expected in [(False, [0.05, 0.0, 0.02]), (True, [0.5, 0.0, 0.2])]:
        op, seen = adam(weight_decay=decay, groups=groups), Groups("weight_decay")
        schedule = make_schedule("linear", end=2, initial=0.5, final=0.5)
        run_steps(op, 1, HyperparameterHook("weight_decay", schedule, absolute), seen)
        assert seen.seen == [pytest.approx(expected)]
        assert op.hyperparameter("weight_decay") == [0.1, 0.0, 0.04]


def test_values_are_the_hyperparameter_itself():
    op, seen = small_train_op(), Groups("momentum")
    hook = HyperparameterHook("momentum", make_schedule("piecewise", boundaries=[1], values=[0.5, 0.0]))
    run_steps(op, 3, hook, LearningRateSetterHook(make_schedule("cosine", end=3)), seen)
    assert seen.seen == [[0.5], [0.0], [0.0]]


def test_a_resumed_session_goes_on_where_it_was(tmp_path):
    def run(folder, stop):
        op = small_train_op()
        hook = HyperparameterHook("momentum", make_schedule("cosine", num_steps=12))
        run_steps(op, stop, hook, checkpoint_dir=tmp_path / folder, save_checkpoint_steps=100)
        return op.model.weight

    run("stopped", 5)
    assert torch.equal(run("straight", 12), run("stopped", 12))
    plain = small_train_op()
    run_steps(plain, 12)
    assert not torch.equal(plain.model.weight, run("other", 12))


@pytest.mark.parametrize(
    ("of", "kind", "message"),
    [
        ("lr", UsageError, "the learning rate has a schedule of its own"),
        ("momentun", SessionError, "nothing to feed is called 'momentun'. Did you mean 'momentum'?"),
        ("nesterov", UsageError, "nesterov is False, which is no number"),
        ("weight_decay", UsageError, "weight_decay is 0, and so are its multiples: set optimizer.weight_decay"),
        ("momentum.0", SessionError, "nothing to feed is called 'momentum.0'"),
    ],
)
def test_what_cannot_be_scheduled_is_refused(of, kind, message):
    with pytest.raises(kind) as caught:
        run_steps(small_train_op(), 1, HyperparameterHook(of, make_schedule("cosine", end=3)))
    assert message in str(caught.value)


@pytest.mark.parametrize("of", ["betas", "betas.2", "betas.x"])
def test_several_numbers_need_a_place(of):
    with pytest.raises((UsageError, SessionError), match=r"name one of them, as in betas\.0|nothing to feed"):
        run_steps(adam(), 1, HyperparameterHook(of, make_schedule("cosine", end=3)))


def test_two_schedules_for_one_hyperparameter_are_an_error_that_names_both():
    hooks = [HyperparameterHook("momentum", make_schedule("cosine", end=3)) for _ in range(2)]
    with pytest.raises(SessionError, match="'hyperparameter_momentum' and 'hyperparameter_momentum' both feed"):
        run_steps(small_train_op(), 1, *hooks)


def test_it_stands_in_a_configuration_with_lengths_and_warmup():
    from optrun.experiments import build, load_config

    schedule = {"name": "warmup", "length": "25%", "then": {"name": "linear", "final": 0.5}}
    config = load_config(
        "mom", {"train.epochs": 1, "hooks": [{"name": "hyperparameter", "of": "momentum", "schedule": schedule}]}
    )
    experiment = build(config)
    (hook,) = [hook for hook in experiment.hooks if isinstance(hook, HyperparameterHook)]
    steps = experiment.length.num_steps
    assert hook.schedule.boundaries()[0] == round(steps / 4)
    assert hook.schedule(steps) == pytest.approx(0.5)
