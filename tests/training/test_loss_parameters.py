"""Parameters and buffers of a loss: trained, clipped, gated, saved, restored, measured with, counted, or refused."""

from __future__ import annotations

import ast
import copy
import functools
import logging
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from optrun.experiments import Run, build, build_train_op, evaluate, load_config, make_optimizer, train
from optrun.experiments.comparison.fingerprints import PairingError, check_pairing, expected_equal, fingerprint
from optrun.experiments.components.data import PartInMemory
from optrun.experiments.components.trained import Trained
from optrun.experiments.components.updates import Update
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import SessionError, UsageError
from optrun.experiments.run_directory import checkpoints
from optrun.experiments.studies.plan.run_plan import plan
from optrun.experiments.training.evaluator import Evaluator

from ..helpers import linear_problem, run_steps

CODE = """
import torch
from torch import nn

class Tempered(nn.Module):
    def __init__(self, start: float = 0.0):
        super().__init__()
        self.log_t = nn.Parameter(torch.tensor(start))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, outputs, targets):
        if self.training:
            self.calls += 1
        return nn.functional.cross_entropy(outputs * self.log_t.exp(), targets)

class Holder:
    def __init__(self):
        self.parts = {"head": nn.Linear(3, 3)}

    def __call__(self, outputs, targets):
        return nn.functional.cross_entropy(self.parts["head"](outputs), targets)

class Listed(nn.Module):
    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.head = nn.Linear(*input_shape, num_outputs)
        self.more = [nn.Linear(num_outputs, num_outputs)]

    def forward(self, inputs):
        return self.more[0](self.head(inputs))

class Measured(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, outputs, targets):
        return (outputs * self.weight).sum(1)

class Moved(nn.Module):
    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(4))

    def forward(self, inputs, generator):
        return inputs + self.shift
"""


class Tempered(nn.Module):
    """Mean squared error times e^t, plus (t - 1)²: its minimum is not at its start."""

    def __init__(self):
        super().__init__()
        self.t = nn.Parameter(torch.zeros(()))
        self.register_buffer("largest", torch.zeros(()))

    def forward(self, outputs, targets):
        if self.training:
            self.largest.copy_(torch.maximum(self.largest, outputs.detach().abs().max()))
        return self.t.exp() * nn.functional.mse_loss(outputs, targets) + (self.t - 1) ** 2


def both(model: nn.Module, loss: nn.Module) -> list:
    return [*model.named_parameters(), *loss.named_parameters(prefix="loss")]


def made(**options):
    torch.manual_seed(0)
    model, loss = nn.Linear(4, 1), Tempered()
    inputs, targets = linear_problem()
    data = list(zip(inputs.split(16), targets.split(16), strict=True)) * 3
    optimizer = make_optimizer(both(model, loss), "mom", lr=0.05, momentum=0.9)
    return build_train_op(model, loss, optimizer, data, **options), data


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CODE)
    return tmp_path


def config(**more):
    plain = {
        "data": {"name": "iris", "batch_size": 32},
        "model": "logistic",
        "loss": f"{os.getcwd()}/mine.py:Tempered",
        "metrics": ["accuracy"],
        "optimizer": {"name": "mom", "lr": 0.1},
        "train": {"steps": 6, "threads": 1},
    }
    return {**plain, **more}


# ---- trained ---------------------------------------------------------------------------------------------------------


def test_weights_of_both_are_those_of_a_loop_by_hand():
    op, data = made(clip_norm=0.5)
    model, loss = copy.deepcopy((op.model, op.loss))
    parameters = [*model.parameters(), *loss.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9)
    for inputs, targets in data:
        optimizer.zero_grad()
        loss(model(inputs), targets).backward()
        nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.step()
        op.run()
    assert abs(loss.t.item()) > 0.05
    torch.testing.assert_close(op.loss.t, loss.t)
    torch.testing.assert_close(op.model.weight, model.weight)


def test_a_group_and_a_fetch_can_name_them():
    model, loss = nn.Linear(4, 1), Tempered()
    optimizer = make_optimizer(both(model, loss), "mom", lr=0.05, groups=[{"match": "loss.*", "lr": 1e-30}])
    op = build_train_op(model, loss, optimizer, [linear_problem()])
    op.run()
    assert op.fetch(["param:loss.t"])["param:loss.t"] == pytest.approx(0.0, abs=1e-20)
    assert [group["param_names"] for group in optimizer.param_groups] == [["weight", "bias"], ["loss.t"]]


def test_a_refused_batch_leaves_parameters_and_buffers_alone():
    op, data = made(on_nan="skip")
    op.run()
    before = copy.deepcopy(op.trained.state_dict())
    inputs, targets = data[1]
    assert not op.run({"batch": (inputs * 1e3, targets * float("nan"))})
    assert op.loss.largest < 1e3
    for name, value in op.trained.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_gradient_of_the_losss_parameter_is_named(folder):
    op, _ = made()
    op.loss.t.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(Exception, match=r"the gradient of loss\.t is not finite"):
        op.run()


def test_evaluation_reads_the_trained_loss_in_evaluation_mode_and_puts_it_back():
    op, _ = made()
    op.run()
    largest = op.loss.largest.clone()
    inputs, targets = linear_problem()
    found = Evaluator("val", op.model, op.loss, {}, PartInMemory(inputs * 100, targets))()
    assert found == {"val/loss": pytest.approx(op.loss(op.model(inputs * 100), targets).item())}
    assert op.loss.training
    op.loss.largest.copy_(largest)
    Evaluator("val", op.model, op.loss, {}, PartInMemory(inputs * 100, targets))()
    assert torch.equal(op.loss.largest, largest)


# ---- saved and restored ----------------------------------------------------------------------------------------------


def test_a_run_saves_them_and_is_measured_with_them(folder):
    run = train(config(), name="a")
    tensors, facts = checkpoints.load(Run(run.path).checkpoint("last").path)
    assert set(facts["state"]["loss"]) == {"log_t", "calls"}
    assert tensors["loss/log_t"].item() != 0.0
    assert tensors["loss/calls"].item() == 6.0  # in training steps alone
    assert "optimizer/state/loss.log_t/momentum_buffer" in tensors
    experiment = build(load_config(config()))
    experiment.train_op.model.load_state_dict(checkpoints.unflatten_state(tensors, facts["state"]["model"]))
    test = experiment.splits.test
    outputs = experiment.model(test.inputs) * tensors["loss/log_t"].exp()
    by_hand = nn.functional.cross_entropy(outputs, test.targets).item()
    assert evaluate(run.path)["test/loss"] == pytest.approx(by_hand, rel=1e-6)
    assert run.summary["num_parameters"] == 4 * 3 + 3 + 1


def test_a_checkpoint_without_them_is_restored_with_a_word(folder, caplog):
    op, _ = made()
    state = op.state_dict()
    del state["loss"]
    with caplog.at_level(logging.WARNING, "optrun"):
        op.load_state_dict(state)
    assert "nothing of the loss's loss.t" in caplog.text


def test_tensors_of_another_loss_are_refused():
    op, _ = made()
    state = op.state_dict()
    state["loss"] = {"other": torch.zeros(())}
    with pytest.raises(Exception, match=r"of another loss: .*loss\.other there, loss\.largest, loss\.t here"):
        op.load_state_dict(state)


def test_what_the_loss_shares_with_the_model_is_the_models():
    class OfModel(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, outputs, targets):
            return nn.functional.mse_loss(outputs, targets) + self.model.weight.square().sum()

    model = nn.Linear(4, 1)
    loss = OfModel(model)
    op = build_train_op(model, loss, make_optimizer(model, "sgd", lr=0.1), [linear_problem()])
    op.run()
    assert "loss" not in op.state_dict()
    assert [name for name, _ in op.trained.named_parameters()] == ["weight", "bias"]


def test_a_warm_start_takes_them_where_both_have_some(folder):
    run = train(config(), name="a")
    trained = checkpoints.load(Run(run.path).checkpoint("last").path)[0]["loss/log_t"]

    def at_start(**more):
        experiment = build(load_config(config(init={"from": str(run.path)}, **more)))
        with experiment.session():
            pass
        run_steps(experiment.train_op, 0, init_fn=experiment.initialise)
        return experiment

    warm = at_start()
    assert torch.equal(warm.train_op.loss.log_t, trained)
    assert torch.equal(warm.initial().loss.log_t, trained)
    assert at_start(loss="cross_entropy").train_op.trained.loss_state() == {}
    plain = train(config(loss="cross_entropy"), name="b")
    cold = build(load_config(config(init={"from": str(plain.path)})))
    run_steps(cold.train_op, 0, init_fn=cold.initialise)
    assert cold.train_op.loss.log_t.item() == 0.0


def test_pairs_begin_with_the_same_parameters_of_the_loss(folder):
    one, two = (config(loss={"name": f"{folder}/mine.py:Tempered", "start": start}, seed=3) for start in (0.0, 0.5))
    found = {name: fingerprint(build(load_config(each))) for name, each in (("one", one), ("two", two))}
    assert found["one"]["parameters"] == found["two"]["parameters"]
    assert found["one"]["loss_parameters"] != found["two"]["loss_parameters"]
    assert "initial_loss" not in expected_equal([one, two])
    pair = {"a": found["one"], "b": found["two"]}
    with pytest.raises(PairingError, match=r"initial loss|initial parameters of the loss"):
        check_pairing(pair, expected_equal([one, one]), 3)
    assert "loss_parameters" in check_pairing({"a": found["one"], "b": found["one"]}, expected_equal([one, one]), 3)
    of_before = {what: value for what, value in found["one"].items() if what != "loss_parameters"}
    pair = {"a": of_before, "b": found["one"]}
    assert "loss_parameters" not in check_pairing(pair, expected_equal([one, one]), 3)


def test_a_plan_counts_them(folder):
    found = plan(load_config(config()), measure=False)
    assert found.num_parameters == 16
    assert found.groups[0].names[-1] == "loss.log_t"


# ---- refused ---------------------------------------------------------------------------------------------------------


def mse_with(part):
    return lambda outputs, targets: nn.functional.mse_loss(part(outputs), targets)


def by_partial(outputs, targets, part):
    return nn.functional.mse_loss(part(outputs), targets)


class Plain:
    def __init__(self, part):
        self.part = part

    def __call__(self, outputs, targets):
        return nn.functional.mse_loss(self.part(outputs), targets)


HIDDEN = nn.Linear(1, 1)


def with_global(outputs, targets):
    return nn.functional.mse_loss(HIDDEN(outputs), targets)


def test_a_loss_that_the_optimizer_does_not_hold_is_refused_with_the_way_out():
    model, loss = nn.Linear(4, 1), Tempered()
    optimizer = make_optimizer(model, "sgd", lr=0.1)
    with pytest.raises(SessionError, match=r"does not hold: loss\.t\. Give it both.*prefix=\"loss\""):
        build_train_op(model, loss, optimizer, [linear_problem()])
    loss.requires_grad_(False)
    build_train_op(model, loss, optimizer, [linear_problem()]).run()


@pytest.mark.parametrize(
    "hiding",
    [mse_with, lambda part: functools.partial(by_partial, part=part), Plain, lambda part: Plain(part).__call__],
    ids=["closure", "partial", "object", "method"],
)
def test_parameters_outside_of_a_module_are_refused(hiding):
    model = nn.Linear(4, 1)
    optimizer = make_optimizer(model, "sgd", lr=0.1)
    with pytest.raises(SessionError, match=r"nobody would train or save: .*weight"):
        build_train_op(model, hiding(nn.Linear(1, 1)), optimizer, [linear_problem()])
    frozen = hiding(nn.Linear(1, 1).requires_grad_(False))
    build_train_op(model, frozen, optimizer, [linear_problem()]).run()
    build_train_op(model, hiding(model.weight.sum), optimizer, [linear_problem()])  # the model's own


def test_what_a_step_depends_on_is_refused_where_it_cannot_be_seen_before():
    model = nn.Linear(4, 1)
    op = build_train_op(model, with_global, make_optimizer(model, "sgd", lr=0.1), [linear_problem()])
    with pytest.raises(
        SessionError, match=r"parameter of shape \(1,\d?\)? ?.*neither trained nor saved|neither trained"
    ):
        op.run()


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"loss": "mine.py:Holder"}, "loss", "nobody would train or save: parts.head.weight"),
        (
            {"metrics": ["mine.py:Measured"], "eval": {"mode": "max"}},
            "metrics.0",
            "metric has parameters that nothing trains: weight",
        ),
        (
            {"data": {"name": "iris", "augment": ["mine.py:Moved"]}},
            "data.augment.0",
            "augmentation has parameters that nothing trains: shift",
        ),
    ],
    ids=["loss", "metric", "augmentation"],
)
def test_a_configuration_that_would_leave_parameters_untrained_is_refused_at_its_place(folder, changes, key, message):
    text = repr(changes).replace("mine.py", f"{folder}/mine.py")
    with pytest.raises(ConfigError, match=message) as caught:
        build(load_config(config(**ast.literal_eval(text))))
    assert caught.value.problems[0].key == key


def test_layers_in_a_plain_list_are_refused(folder):
    experiment = build(load_config(config(model=f"{folder}/mine.py:Listed")))
    with pytest.raises(SessionError, match=r"a list of layers is an nn\.ModuleList"):
        experiment.train_op.run()


def test_one_name_for_two_tensors_is_refused():
    model = nn.Sequential()
    model.loss = Tempered()
    with pytest.raises(UsageError, match=r"both have a 'loss\.largest'"):
        build_train_op(model, Tempered(), torch.optim.SGD(model.parameters(), lr=0.1), [linear_problem()])


def test_muon_leaves_the_losss_matrices_to_adamw_and_the_models_head_is_its_own_last_one():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1))
    loss = Tempered()
    loss.centres = nn.Parameter(torch.zeros(2, 2))
    optimizer = make_optimizer(Trained(model, loss), "muon", lr=0.1)
    rules = {name: group["rule"] for group in optimizer.param_groups for name in group["param_names"]}
    assert [name for name, rule in rules.items() if rule == "muon"] == ["0.weight"]


def test_an_update_that_would_lose_its_parameters_is_refused():
    class Copies(Update):
        def __init__(self, model):
            self.model, self.copy = model, copy.deepcopy(model)

        def apply(self):
            self.copy.load_state_dict(self.model.state_dict())

    class Saves(Copies):
        def state_dict(self):
            return {"copy": self.copy.state_dict()}

    def made_with(update):
        model = nn.Linear(4, 1)
        optimizer = make_optimizer(model, "sgd", lr=0.1)
        return build_train_op(model, nn.functional.mse_loss, optimizer, [linear_problem()], [update])

    with pytest.raises(SessionError, match=r"update Copies has parameters .*: copy\.weight, copy\.bias"):
        made_with(Copies)
    made_with(Saves).run()
