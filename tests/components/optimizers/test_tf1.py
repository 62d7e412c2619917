"""TensorFlow 1's ten optimizers, against TensorFlow's own figures."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from optrun.experiments import make_optimizer
from optrun.experiments.components.optimizers import registry
from optrun.experiments.components.optimizers.tf1 import rule
from optrun.experiments.components.optimizers.tf1.adam import TF1Adam
from optrun.experiments.components.optimizers.tf1.ftrl import Ftrl
from optrun.experiments.components.optimizers.tf1.gradient_descent import TF1Momentum
from optrun.experiments.errors import UsageError
from optrun.experiments.run_directory.state_tree import flatten_state, unflatten_state
from optrun.experiments.training.step.optimizer_state import OptimizerState

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "tf1.json").read_text(encoding="utf-8"))
ROWS = json.loads((Path(__file__).parents[2] / "golden" / "tf1_rows.json").read_text(encoding="utf-8"))

OURS: dict[str, dict[str, Any]] = {  # TensorFlow's names, and what to ask make_optimizer for
    "GradientDescent": {"name": "sgd", "flavor": "tf1"},
    "Momentum": {"name": "mom", "flavor": "tf1"},
    "Adagrad": {"name": "adagrad", "flavor": "tf1"},
    "Adadelta": {"name": "adadelta", "flavor": "tf1"},
    "Adam": {"name": "adam", "flavor": "tf1"},
    "RMSProp": {"name": "rmsprop", "flavor": "tf1"},
    "Ftrl": {"name": "ftrl"},
    "ProximalGradientDescent": {"name": "proximal_gradient_descent"},
    "ProximalAdagrad": {"name": "proximal_adagrad"},
    "AdagradDA": {"name": "adagrad_da"},
}
ARGUMENTS = {
    "use_nesterov": "nesterov",
    "epsilon": "eps",
    "decay": "alpha",
    "learning_rate_power": "lr_power",
    "l1_regularization_strength": "l1",
    "l2_regularization_strength": "l2",
    "l2_shrinkage_regularization_strength": "l2_shrinkage",
    "initial_gradient_squared_accumulator_value": "initial_accumulator_value",
}
ALL = list(OURS.values())
NAMES = [ours["name"] for ours in ALL]
CHANGED = [  # every path through the rules
    {**OURS["Momentum"], "nesterov": True, "weight_decay": 0.01},
    {**OURS["RMSProp"], "momentum": 0.9, "centered": True},
    {**OURS["Ftrl"], "lr_power": -0.7, "l1": 0.01, "l2": 0.02, "l2_shrinkage": 0.03, "beta": 0.1},
    {**OURS["ProximalGradientDescent"], "l1": 0.01, "l2": 0.02},
    {**OURS["ProximalAdagrad"], "l1": 0.01, "l2": 0.02},
    {**OURS["AdagradDA"], "l1": 0.01, "l2": 0.02},
]


def translated(setting: dict[str, Any]) -> dict[str, Any]:
    args = dict(setting["args"])
    betas = {"betas": (args.pop("beta1", 0.9), args.pop("beta2", 0.999))} if setting["name"] == "Adam" else {}
    return {**OURS[setting["name"]], **betas, **{ARGUMENTS.get(key, key): value for key, value in args.items()}}


def made(params: Any, ours: dict[str, Any], **args: Any) -> torch.optim.Optimizer:
    return make_optimizer(params, **{**ours, **args})


def label(setting: dict[str, Any]) -> str:
    return " ".join(
        [setting["name"], *(f"{ARGUMENTS.get(key, key)}={value}" for key, value in setting["args"].items())]
    )


def parameters(dtype: torch.dtype = torch.float32, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((3, 4), (4,), (), (2, 1, 3))
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def train(optimizer: torch.optim.Optimizer, params: list[torch.Tensor], num_steps: int = 4, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(num_steps):
        for param in params:
            param.grad = torch.randn(param.shape, generator=generator).to(param.dtype)
        optimizer.step()


def equal(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(a.equal(b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("setting", GOLDEN["optimizers"], ids=label)
def test_trajectories_are_tensorflows(setting):
    dtype = getattr(torch, setting["dtype"])
    weights = torch.tensor(GOLDEN["w0"], dtype=dtype, requires_grad=True)
    optimizer = made([weights], translated(setting), lr=setting["lr"])
    largest = 0.0
    for gradient, expected in zip(GOLDEN["grads"], setting["trajectory"], strict=True):
        weights.grad = torch.tensor(gradient, dtype=dtype)
        optimizer.step()
        difference = np.abs(weights.detach().double().numpy() - expected)
        largest = max(largest, float((difference / np.maximum(np.abs(expected), 1e-3)).max()))
    assert largest < (1e-12 if dtype is torch.float64 else 1e-6)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("setting", ROWS["settings"], ids=label)
def test_changing_rates_and_sparse_gradients_are_tensorflows(setting, kind):
    dtype = torch.float32 if setting["name"].startswith("Proximal") else torch.float64
    weights = torch.tensor(ROWS["w0"], dtype=dtype, requires_grad=True)
    optimizer = made([weights], translated(setting))
    for rate, gradient in zip(ROWS["rates"], ROWS[kind], strict=True):
        optimizer.param_groups[0]["lr"] = rate
        if kind == "sparse":
            weights.grad = sparse(*gradient, shape=(5, 2), dtype=dtype)
        else:
            weights.grad = torch.tensor(gradient, dtype=dtype)
        optimizer.step()
    tolerance = 1e-12 if dtype is torch.float64 else 1e-6
    expected = torch.tensor(setting[kind], dtype=dtype)
    torch.testing.assert_close(weights.detach(), expected, rtol=tolerance, atol=tolerance)


def sparse(rows: list[int], values: Any, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.sparse_coo_tensor(
        torch.tensor([rows]), torch.as_tensor(values, dtype=dtype), shape, check_invariants=True
    )


def test_hyperparameters_are_rounded_to_single_precision_whatever_the_weights():
    weights = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = made([weights], OURS["GradientDescent"], lr=0.1)
    weights.grad = torch.ones(1, dtype=torch.float64)
    optimizer.step()
    assert weights.item() == -0.100000001490116119384765625  # the float32 next to 0.1
    assert optimizer.param_groups[0]["lr"] == 0.1, "what was asked for stays readable"


def test_ftrl_adds_beta_to_l2_in_single_precision_as_tensorflow_does():
    """In double precision, rounded at the end, the weights would differ by 1e-7; see tf1_rows.json, Ftrl beta=0.31."""
    lr, beta, l2 = np.float32(0.03), np.float32(0.31), np.float32(0.017)
    weights = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    weights.grad = torch.ones(1, dtype=torch.float64)
    made([weights], OURS["Ftrl"], lr=0.03, l2=0.017, beta=0.31).step()
    penalty = np.float32(l2 + np.float32(beta / np.float32(2 * lr)))
    assert penalty != np.float32(0.017 + 0.31 / (2 * 0.03)), "the example shows the difference"
    assert weights.item() == pytest.approx(-1 / (np.sqrt(1.1) / float(lr) + 2 * float(penalty)), rel=1e-14)


@pytest.mark.parametrize("ours", [*ALL, *CHANGED], ids=lambda ours: ours["name"])
def test_many_tensors_move_as_each_would_alone(ours, monkeypatch):
    together, alone, in_parts = parameters(), parameters(), parameters()
    train(made(together, ours), together)
    monkeypatch.setattr(rule, "_IN_CACHE", 5)
    train(made(in_parts, ours), in_parts)
    optimizers = [made([param], ours) for param in alone]
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        for param, optimizer in zip(alone, optimizers, strict=True):
            param.grad = torch.randn(param.shape, generator=generator)
            optimizer.step()
    assert equal(together, alone)
    assert equal(together, in_parts)


@pytest.mark.parametrize("ours", [*ALL, *CHANGED], ids=lambda ours: ours["name"])
def test_a_large_tensor_moves_in_pieces_as_it_would_whole_however_it_lies_in_memory(ours, monkeypatch):
    def layouts() -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(2)
        return [torch.randn(5, 7, generator=generator).requires_grad_() for _ in range(3)]

    def steps(params: list[torch.Tensor]) -> list[torch.Tensor]:
        params[1] = params[1].detach().t().contiguous().t().requires_grad_()  # by columns
        optimizer, generator = made(params, ours), torch.Generator().manual_seed(3)
        for _ in range(3):
            for place, param in enumerate(params):
                grad = torch.randn(5, 7, generator=generator)
                param.grad = grad.t().contiguous().t() if place == 2 else grad  # by columns, the weights by rows
            optimizer.step()
        return params

    whole = steps(layouts())
    monkeypatch.setattr(rule, "_IN_CACHE", 8)
    assert equal(whole, steps(layouts()))


def test_weights_that_a_penalty_makes_0_have_no_sign():
    for name in ("ftrl", "adagrad_da", "proximal_gradient_descent"):
        weights = torch.tensor(
            [0.01, -0.01] * 20, requires_grad=True
        )  # long enough for vector instructions, and a rest
        weights.grad = torch.tensor([0.001, -0.001] * 20)
        made([weights], {"name": name}, lr=0.1, l1=1.0).step()
        assert (weights == 0).all()
        assert not torch.signbit(weights).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("ours", [*ALL, *CHANGED], ids=lambda ours: ours["name"])
def test_state_survives_state_dict_and_checkpoint_bit_for_bit(ours, dtype):
    straight, saved, stored = parameters(dtype), parameters(dtype), nn.ParameterList(parameters(dtype))
    uninterrupted, first = made(straight, ours), made(stored, ours)
    train(uninterrupted, straight, 3, seed=1)
    train(first, list(stored), 3, seed=1)
    with torch.no_grad():
        for param, trained in zip(saved, straight, strict=True):
            param.copy_(trained)

    from_state_dict = made(saved, ours)
    from_state_dict.load_state_dict(copy.deepcopy(uninterrupted.state_dict()))
    tensors, skeleton = flatten_state("optimizer", OptimizerState(first, stored).state_dict())
    resumed = made(stored, ours)
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    OptimizerState(resumed, stored).load_state_dict(unflatten_state(copies, json.loads(json.dumps(skeleton))))

    train(uninterrupted, straight, 3, seed=2)
    train(from_state_dict, saved, 3, seed=2)
    train(resumed, list(stored), 3, seed=2)
    assert equal(straight, saved)
    assert equal(straight, list(stored))


def test_adams_powers_are_products_in_single_precision():
    weights = torch.zeros(1, requires_grad=True)
    optimizer = made([weights], OURS["Adam"], betas=(0.9, 0.999))
    power = np.float32(0.999)
    for _ in range(1000):
        weights.grad = torch.ones(1)
        optimizer.step()
        power = np.float32(power * np.float32(0.999))
    assert optimizer.state[weights]["beta2_power"] == float(power)
    assert float(power) != np.float32(0.999**1001), "rounding adds up"


@pytest.mark.parametrize("ours", ALL, ids=NAMES)
def test_groups_keep_to_their_own_hyperparameters(ours):
    others = {
        "momentum": 0.5, "betas": (0.5, 0.6), "rho": 0.5, "alpha": 0.5, "l1": 0.1, "initial_accumulator_value": 2.0
    }  # fmt: skip
    known = registry.get(ours["name"]).of_flavor(ours.get("flavor")).signature.names()
    other = {"lr": 0.03, **{name: value for name, value in others.items() if name in known}}
    model, first, second = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(3, 2)
    first.load_state_dict(model.state_dict())
    second.load_state_dict(model.state_dict())
    together = make_optimizer(model, **ours, groups=[{"match": "weight", **other}])
    apart = [made([first.bias], ours), made([second.weight], ours, **other)]
    for seed in range(3):
        for net in (model, first, second):
            torch.manual_seed(seed)
            net.weight.grad, net.bias.grad = torch.randn(2, 3), torch.randn(2)
        together.step()
        for optimizer in apart:
            optimizer.step()
    assert model.bias.equal(first.bias)
    assert model.weight.equal(second.weight)


@pytest.mark.parametrize("ours", [*ALL, *CHANGED], ids=lambda ours: ours["name"])
def test_a_sparse_gradient_moves_the_rows_that_it_names(ours):
    ours = {**ours, "weight_decay": 0.0} if "weight_decay" in ours else ours
    table, dense = torch.ones(4, 3, requires_grad=True), torch.ones(4, 3, requires_grad=True)
    of_table, of_dense = made([table], ours), made([dense], ours)
    table.grad = sparse([2, 0, 2], [[0.5] * 3, [1.0] * 3, [0.25] * 3], (4, 3))
    dense.grad = table.grad.to_dense()
    for _ in range(2):
        of_table.step()
        of_dense.step()
    named = torch.tensor([True, False, True, False])
    torch.testing.assert_close(table[named], dense[named], rtol=1e-6, atol=0)
    assert (table[~named] == 1).all()
    table.grad = sparse([1], [[1.0] * 3], (4, 3))
    before = table.detach().clone()
    of_table.step()
    assert not table[1].equal(before[1])
    assert table[0].equal(before[0]) is (ours["name"] != "adam"), "Adam moves all rows on, as TensorFlow's does"


def test_a_sparse_gradient_and_weight_decay_exclude_each_other():
    table = torch.ones(4, 3, requires_grad=True)
    optimizer = made([table], OURS["Adagrad"], weight_decay=0.1)
    table.grad = sparse([1], [[1.0] * 3], (4, 3))
    with pytest.raises(UsageError, match=r"weight_decay acts on all rows.*set weight_decay to 0"):
        optimizer.step()


def test_a_gradient_that_names_no_row_moves_nothing():
    table = torch.ones(4, 3, requires_grad=True)
    optimizer = made([table], OURS["Ftrl"])
    table.grad = sparse([], torch.empty(0, 3), (4, 3))
    optimizer.step()
    assert (table == 1).all()


@pytest.mark.parametrize("ours", ALL, ids=NAMES)
def test_parameters_without_gradient_are_left_alone(ours):
    with_gradient, without, frozen = (torch.ones(2, requires_grad=wanted) for wanted in (True, True, False))
    optimizer = made([with_gradient, without, frozen], ours)
    with_gradient.grad = torch.ones(2)
    optimizer.step()
    assert not (with_gradient == 1).any()
    assert (without == 1).all()
    assert without not in optimizer.state
    assert (frozen == 1).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("ours", [*ALL, *CHANGED], ids=lambda ours: ours["name"])
def test_half_precision_weights_take_the_step_of_single_precision_and_round(ours, dtype):
    half = parameters(dtype)
    single = [param.detach().float().requires_grad_() for param in half]
    of_half, of_single = made(half, ours), made(single, ours)
    for seed in range(3):
        train(of_half, half, 1, seed)
        for low, high in zip(half, single, strict=True):
            high.grad = low.grad.float()
        of_single.step()
        with torch.no_grad():
            for low, high in zip(half, single, strict=True):
                assert low.equal(high.to(dtype))
                high.copy_(low)  # the next step starts from the rounded weights
    kept = [value for state in of_half.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    assert all(value.dtype == torch.float32 for value in kept)


def test_rmsprop_takes_the_rate_into_its_momentum():
    """Two steps by hand: the second, at rate 0, still moves by momentum times the first."""
    weights = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = made([weights], OURS["RMSProp"], lr=1.0, alpha=0.5, momentum=0.5, eps=0.0)
    for rate in (1.0, 0.0):
        optimizer.param_groups[0]["lr"] = rate
        weights.grad = torch.full((1,), 3.0, dtype=torch.float64)
        optimizer.step()
    first = 3 / np.sqrt(0.5 * 1 + 0.5 * 9)  # the mean square starts at 1
    assert weights.item() == pytest.approx(-first - 0.5 * first, rel=1e-14)


def test_the_first_weight_of_ftrl_counts_for_nothing_where_the_gradient_is_0():
    weights = torch.tensor([5.0, 5.0], requires_grad=True)
    weights.grad = torch.tensor([0.0, 1.0])
    made([weights], OURS["Ftrl"], initial_accumulator_value=0.0).step()
    assert weights[0] == 0
    assert weights[1].item() == pytest.approx(-(1 - 1 / 0.1 * 5) * 0.1)  # z = g - √1 / lr * w, w = -lr * z / √1


def test_ftrl_refuses_a_rate_of_0():
    weights = torch.ones(1, requires_grad=True)
    optimizer = made([weights], OURS["Ftrl"])
    weights.grad = torch.ones(1)
    optimizer.param_groups[0]["lr"] = 0.0
    with pytest.raises(UsageError, match=r"divides by lr.*constant schedule"):
        optimizer.step()


def test_penalties_make_weights_exactly_0():
    for name in ("Ftrl", "ProximalGradientDescent", "ProximalAdagrad", "AdagradDA"):
        weights = torch.tensor([0.01, -0.01, 1.0], requires_grad=True)
        optimizer = made([weights], OURS[name], lr=0.1, l1=0.5)
        weights.grad = torch.tensor([0.0, 0.01, -9.0])
        optimizer.step()
        assert weights.count_nonzero() == 1, name


@pytest.mark.parametrize(
    ("optimizer_class", "args", "message"),
    [
        (TF1Momentum, {"lr": -1.0}, "lr must be number > 0, got -1.0"),
        (TF1Momentum, {"lr": 0.1, "momentum": 1.0}, "momentum must be number >= 0, < 1"),
        (TF1Adam, {"betas": (0.9, 0.99999999)}, "is 1 in single precision"),
        (Ftrl, {"lr": 0.1, "lr_power": 0.5}, "lr_power must be number <= 0"),
        (Ftrl, {"lr": float("nan")}, "lr must be number > 0"),
    ],
)
def test_the_classes_check_their_arguments_themselves(optimizer_class, args, message):
    with pytest.raises(UsageError, match=message):
        optimizer_class([torch.ones(1, requires_grad=True)], **args)
    good = optimizer_class([torch.ones(1, requires_grad=True)], lr=0.1)
    with pytest.raises(UsageError, match=message):
        good.add_param_group({"params": [torch.ones(1, requires_grad=True)], **args})
    assert len(good.param_groups) == 1


@pytest.mark.parametrize("ours", ALL, ids=NAMES)
def test_complex_parameters_are_refused(ours):
    with pytest.raises(UsageError, match=r"cannot train complex parameters, such as one of shape \(1,\)"):
        made([torch.ones(1, dtype=torch.complex64, requires_grad=True)], ours)


def test_closures_are_called_with_gradients_on():
    weights = torch.ones(1, requires_grad=True)
    optimizer = made([weights], OURS["GradientDescent"], lr=0.5)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (weights**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 1
    assert weights.item() == 0


def test_adagrad_da_says_once_that_it_forgets_the_initial_weights(caplog):
    model = nn.Linear(3, 2)
    optimizer = make_optimizer(model, "adagrad_da", groups=[{"match": "bias", "lr": 0.01}])
    with caplog.at_level(logging.WARNING, logger="optrun"):
        train(optimizer, list(model.parameters()))
        train(copy.deepcopy(optimizer), list(model.parameters()))
    assert [record.message.partition(":")[0] for record in caplog.records] == ["AdagradDA forgets the initial weights"]
    caplog.clear()
    zeros = torch.zeros(3, requires_grad=True)
    train(make_optimizer([zeros], "adagrad_da"), [zeros])
    assert not caplog.records, "a linear model that starts at 0 loses nothing"


@pytest.mark.parametrize("name", ["ftrl", "adagrad_da"])
def test_a_changing_rate_is_warned_of_once_where_it_scales_the_weights(name, caplog):
    weights = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = make_optimizer([weights], name, lr=1.0)
    for rate in (1.0, 1.0, 0.1, 0.01):
        optimizer.param_groups[0]["lr"] = rate
        weights.grad = torch.ones(1, dtype=torch.float64)
        if rate == 0.1:
            assert not caplog.records
            weights.grad.zero_()
            before = weights.item()
        optimizer.step()
        if rate == 0.1:
            assert weights.item() == pytest.approx(0.1 * before, rel=1e-6)
    (record,) = caplog.records
    assert "lr was 1, and is 0.1" in record.message
    assert "constant schedule" in record.message
