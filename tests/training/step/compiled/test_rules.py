"""Rules of compiled steps against the optimizers themselves, step by step in double precision; nothing is compiled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from optrun.experiments import make_optimizer
from optrun.experiments.components.optimizers import registry
from optrun.experiments.errors import UsageError
from optrun.experiments.training.step.compiled.cannot import CannotCompile
from optrun.experiments.training.step.compiled.cells import cells_of
from optrun.experiments.training.step.compiled.rule_table import RULES
from optrun.experiments.training.step.compiled.rules import COMMON_SETTINGS

RATES = [0.05, 0.05, 0.02, 0.08, 0.01]
DECAY = {"weight_decay": 0.1}
PENALTIES = [{"l1": 0.02}, {"l2": 0.1}, {"l1": 0.02, "l2": 0.1}]

#: Settings of each optimizer, by name and flavor, besides its defaults.
SETTINGS: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("sgd", "torch"): [DECAY],
    ("sgd", "tf1"): [DECAY],
    ("mom", "torch"): [DECAY],
    ("mom", "tf1"): [DECAY, {"nesterov": True, "momentum": 0.7}],
    ("nag", ""): [DECAY],
    ("adam", "torch"): [DECAY],
    ("adam", "tf1"): [DECAY, {"betas": (0.7, 0.9), "eps": 0.01}],
    ("amsgrad", ""): [DECAY],
    ("adamw", ""): [DECAY],
    ("rmsprop", "torch"): [DECAY, {"momentum": 0.9, "centered": True}],
    ("rmsprop", "tf1"): [DECAY, {"momentum": 0.9}, {"momentum": 0.9, "centered": True}],
    ("adagrad", "torch"): [DECAY],
    ("adagrad", "tf1"): [DECAY, {"initial_accumulator_value": 0.5}],
    ("adadelta", "torch"): [DECAY],
    ("adadelta", "tf1"): [DECAY, {"eps": 0.01, "rho": 0.8}],
    ("nadam", ""): [DECAY],
    ("radam", ""): [DECAY, {"betas": (0.9, 0.6)}],
    ("adamax", ""): [DECAY],
    ("lion", ""): [DECAY],
    ("rprop", ""): [{"etas": (0.3, 1.7), "step_sizes": (0.01, 0.1)}],
    ("adafactor", ""): [DECAY, {"d": 1.5, "eps": (0.1, 0.5)}, {"beta2_decay": -0.3}],
    ("lamb", ""): [DECAY, {"adapt": "all"}, {"eps": 0.1, "betas": (0.5, 0.6)}],
    ("lars", ""): [DECAY, {"adapt": "all", **DECAY}, {"momentum": 0.5, "trust_coefficient": 0.1}],
    ("asgd", ""): [DECAY, {"lambd": 0.0, "t0": 1.0}, {"lambd": 0.5, "t0": 0.0, "alpha": 0.9}],
    ("schedule_free_sgd", ""): [DECAY, {"momentum": 0.3, "weight_lr_power": 0.5}],
    ("schedule_free_adamw", ""): [DECAY, {"betas": (0.3, 0.8), "eps": 0.1, "weight_lr_power": 0.0}],
    ("proximal_gradient_descent", ""): PENALTIES,
    ("proximal_adagrad", ""): PENALTIES,
    ("adagrad_da", ""): PENALTIES,
    ("ftrl", ""): [
        *PENALTIES,
        {"lr_power": -0.3},
        {"l2_shrinkage": 0.1, "beta": 0.2},
        {"initial_accumulator_value": 0},
    ],
}
CASES = [(*key, settings) for key, several in SETTINGS.items() for settings in [{}, *several]]


def some_weights() -> list[nn.Parameter]:
    """Return weights of several numbers of axes; the norm of one is 0."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4), (4,), (2, 3, 2, 2), (), (2, 2)]
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    drawn[-1].zero_()
    return [nn.Parameter(each) for each in drawn]


def optimizer_of(name: str, flavor: str, settings: dict[str, Any]) -> tuple[torch.optim.Optimizer, list[nn.Parameter]]:
    weights = some_weights()
    flavored = {"flavor": flavor} if flavor else {}
    return make_optimizer(weights, name, lr=RATES[0], **flavored, **settings), weights


def gradients_at(step: int, weights: list[nn.Parameter]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(10 + step)
    found = [torch.randn(weight.shape, generator=generator, dtype=torch.float64) for weight in weights]
    found[0][0] = 0.0  # a row without one
    return found


def step_by_itself(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], step: int) -> None:
    for weight, gradient in zip(weights, gradients_at(step, weights), strict=True):
        weight.grad = gradient
    for group in optimizer.param_groups:
        group["lr"] = RATES[step]
    optimizer.step()


def step_by_rule(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], step: int) -> None:
    rule = RULES[type(optimizer)]
    gradients = dict(zip(weights, gradients_at(step, weights), strict=True))
    for group in optimizer.param_groups:
        group["lr"] = RATES[step]
    with torch.no_grad():
        for cell in cells_of(optimizer, weights):
            numbers = torch.tensor(cell.numbers([RATES[step]])[0], dtype=torch.float64).unbind()
            for weight, state, names in zip(cell.weights, cell.states, cell.names(), strict=True):
                kept = {name: state[name] for name in names}
                new, moved = rule.update(cell.group, numbers, weight, gradients[weight], kept)
                assert moved.keys() == kept.keys()
                for name, value in moved.items():
                    state[name].copy_(value)
                weight.copy_(new)
            cell.end(optimizer, [RATES[step]])


@pytest.mark.parametrize(("name", "flavor", "settings"), CASES)
def test_each_rule_moves_weights_and_state_as_the_optimizer_does(name, flavor, settings):
    (eager, weights), (ruled, others) = (optimizer_of(name, flavor, settings) for _ in range(2))
    assert RULES[type(eager)].refuses(eager.param_groups[0]) is None
    for step in range(len(RATES)):
        step_by_itself(eager, weights, step)
        step_by_rule(ruled, others, step)
        for weight, other in zip(weights, others, strict=True):
            torch.testing.assert_close(other, weight, rtol=1e-9, atol=1e-12)
            wanted, found = eager.state[weight], ruled.state[other]
            assert wanted.keys() == found.keys()
            for key, value in wanted.items():
                assert type(found[key]) is type(value), key
                torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-12)
                if isinstance(value, Tensor):
                    assert found[key].stride() == value.stride(), key


def test_every_rule_is_looked_at():
    kinds = {type(optimizer_of(name, flavor, {})[0]) for name, flavor in SETTINGS}
    assert kinds == set(RULES)
    assert all(name in registry.names() for name, _ in SETTINGS)


def test_weights_that_began_at_different_steps_have_no_common_count():
    """As after a layer was freed: the optimizer takes the count of the oldest weight for all of them."""
    optimizer, weights = optimizer_of("schedule_free_sgd", "", {})
    step_by_itself(optimizer, weights[:3], 0)
    with pytest.raises(CannotCompile, match="ScheduleFreeSGD counts the steps"):
        cells_of(optimizer, weights)
    assert len(cells_of(optimizer, weights[:3])) == 1


def test_a_rate_that_a_rule_would_divide_by_is_refused_as_by_the_optimizer():
    optimizer, weights = optimizer_of("ftrl", "", {})
    (cell,) = cells_of(optimizer, weights)
    with pytest.raises(UsageError, match="brought to 0"):
        cell.numbers([0.1, 0.0])


def test_dual_averaging_says_of_steps_taken_together_what_it_says_of_single_ones(caplog):
    optimizer, _ = optimizer_of("adagrad_da", "", {})
    RULES[type(optimizer)].announce(optimizer, [[0.1], [0.1], [0.05]])
    assert "forgets the initial weights" in caplog.messages[0]
    assert "lr was 0.1, and is 0.05" in caplog.messages[1]
    RULES[type(optimizer)].announce(optimizer, [[0.01]])
    assert len([each for each in caplog.messages if "lr was" in each]) == 1


class Recording(dict):
    """A parameter group that notes what is read of it."""

    def __init__(self, group):
        super().__init__(group)
        self.read: set[str] = set()

    def __getitem__(self, name):
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name, default=None):
        self.read.add(name)
        return super().get(name, default)


@pytest.mark.parametrize(("name", "flavor", "settings"), CASES)
def test_a_rule_reads_nothing_of_its_group_that_its_graph_is_not_found_by(name, flavor, settings):
    optimizer, weights = optimizer_of(name, flavor, settings)
    rule = RULES[type(optimizer)]
    step_by_itself(optimizer, weights, 0)
    for cell in cells_of(optimizer, weights):
        group = Recording(cell.group)
        numbers = torch.tensor(cell.numbers([RATES[0]])[0], dtype=torch.float64).unbind()
        for weight, state, names in zip(cell.weights, cell.states, cell.names(), strict=True):
            with torch.no_grad():
                rule.update(group, numbers, weight, torch.ones_like(weight), {key: state[key] for key in names})
        assert group.read <= {*rule.settings, *COMMON_SETTINGS}
