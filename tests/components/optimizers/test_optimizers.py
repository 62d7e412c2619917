"""Every registered optimizer, against torch's classes, TensorFlow's figures and problems with known answers."""

from __future__ import annotations

import contextlib
import copy
import inspect
import re

import pytest
import torch
from torch import nn

from optrun.experiments.components.averaging import Averaging
from optrun.experiments.components.optimizers import make_optimizer, registry

NAMES = [name for name in registry.names() if "/" not in name]  # see test_pytorch_optimizer

# The torch class and the arguments that each component stands for, by default and with every argument changed.
TORCH = {
    "sgd": (torch.optim.SGD, {}, {"weight_decay": 0.01}),
    "mom": (torch.optim.SGD, {"momentum": 0.9}, {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01}),
    "nag": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.8, "weight_decay": 0.01}),
    "adagrad": (torch.optim.Adagrad, {}, {"initial_accumulator_value": 0.1, "eps": 1e-6, "weight_decay": 0.01}),
    "adam": (torch.optim.Adam, {}, {"betas": (0.8, 0.95), "eps": 1e-4, "amsgrad": True, "weight_decay": 0.01}),
    "adamw": (torch.optim.AdamW, {}, {"betas": (0.8, 0.95), "eps": 1e-4, "amsgrad": True, "weight_decay": 0.1}),
    "rmsprop": (
        torch.optim.RMSprop,
        {},
        {"alpha": 0.9, "eps": 1e-4, "momentum": 0.5, "centered": True, "weight_decay": 0.01},
    ),
    "amsgrad": (torch.optim.Adam, {"amsgrad": True}, {"betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.01}),
    "adadelta": (torch.optim.Adadelta, {}, {"rho": 0.8, "eps": 1e-4, "weight_decay": 0.01}),
    "adamax": (torch.optim.Adamax, {}, {"betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.01}),
    "nadam": (
        torch.optim.NAdam,
        {},
        {
            "betas": (0.8, 0.95),
            "eps": 1e-4,
            "momentum_decay": 0.1,
            "weight_decay": 0.01,
            "decoupled_weight_decay": True,
        },
    ),
    "radam": (
        torch.optim.RAdam,
        {},
        {"betas": (0.8, 0.5), "eps": 1e-4, "weight_decay": 0.01, "decoupled_weight_decay": True},
    ),
    "rprop": (torch.optim.Rprop, {}, {"etas": (0.4, 1.5), "step_sizes": (0.01, 0.05)}),
    "adafactor": (
        torch.optim.Adafactor,
        {},
        {"beta2_decay": -0.5, "eps": (1e-4, 0.01), "d": 1.5, "weight_decay": 0.01},
    ),
}
FUSED = {"sgd", "mom", "nag", "adagrad", "adam", "amsgrad", "adamw"}  # torch has the others as foreach only


def train(optimizer: torch.optim.Optimizer, params: list[torch.Tensor], num_steps: int = 5, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(num_steps):
        for param in params:
            param.grad = torch.randn(param.shape, generator=generator, dtype=param.dtype)
        # For those that evaluate by themselves: the gradient stays what it is wherever they look.
        optimizer.step(lambda: sum((param.grad * param.detach()).sum() for param in params))  # type: ignore[arg-type]


def parameters(dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in ((3, 4), (4,), ())]


@pytest.mark.parametrize("name", NAMES)
def test_each_is_documented(name: str) -> None:
    component = registry.get(name)
    doc = inspect.getdoc(component.build) or ""
    summary, *_ = doc.split("\n\n")
    assert re.fullmatch(r"[A-Z][^\n]*\.", summary), "one sentence on one line"
    assert re.search(r"^    .*\bw = ", doc, re.MULTILINE), "the update equation"
    described = set(re.findall(r"^    (\w+): ", doc.split("Args:\n")[1].split("\n\n")[0], re.MULTILINE))
    assert described == {"params", *component.signature.names()} - {"flavor"}
    assert component.source
    assert "Source: " in doc
    assert component.facts["centre_lr"] > 0
    assert component.facts["centre_source"]


@pytest.mark.parametrize("name", NAMES)
def test_each_argument_has_a_range_or_is_a_switch(name: str) -> None:
    for argument in registry.get(name).signature.arguments:
        assert not argument.required, f"{argument.name} needs a default"
        assert argument.annotation is bool or argument.annotation is not float, f"{argument.name} has no range"


@pytest.mark.parametrize("name", NAMES)
def test_each_reaches_the_minimum_of_a_quadratic(name: str) -> None:
    """f(w) = 1/2 Σ h_i (w_i - w*_i)², h from 1 to 10, under a rate that falls to 0, at one of three rates at least.

    Adadelta's rates are larger, being no step lengths. Dual averaging makes the weights anew in each step, by the rate
    of that step for all gradients so far, so that its rate must not fall.
    """
    rates = (10.0, 1.0, 100.0) if name in ("adadelta", "adagrad_da", "ftrl") else (0.1, 1.0, 0.01)
    num_steps = 50 if name == "lbfgs" else 250  # a step of it is twenty
    errors: list[float] = []
    for lr in rates:
        errors.append(distance_to_minimum(name, lr, name not in ("adagrad_da", "ftrl"), num_steps))
        if errors[-1] < 2e-3:
            return
    pytest.fail(f"{errors}")


def distance_to_minimum(name: str, lr: float, falling: bool, num_steps: int) -> float:
    minimum, curvature = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([1.0, 3.0, 10.0])
    weights = torch.zeros(3, requires_grad=True)
    args = {"weight_decay": 0.0} if "weight_decay" in registry.get(name).signature.names() else {}
    optimizer = make_optimizer([weights], name, lr=lr, **args)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = 0.5 * (curvature * (weights - minimum) ** 2).sum()
        value.backward()
        return value.detach()

    for step in range(num_steps):
        if falling:
            optimizer.param_groups[0]["lr"] = lr * (1 - step / num_steps)
        optimizer.step(loss)  # type: ignore[arg-type]
    with optimizer.swapped() if isinstance(optimizer, Averaging) else contextlib.nullcontext():
        return float((weights.detach() - minimum).abs().max().nan_to_num(torch.inf))


@pytest.mark.parametrize("name", NAMES)
def test_each_resumes_from_its_state_dict_bit_for_bit(name: str) -> None:
    straight, resumed = parameters(), parameters()
    uninterrupted = make_optimizer(straight, name)
    train(uninterrupted, straight, 3, seed=1)
    first = make_optimizer(resumed, name)
    train(first, resumed, 3, seed=1)
    second = make_optimizer(resumed, name)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(uninterrupted, straight, 3, seed=2)
    train(second, resumed, 3, seed=2)
    assert all(a.equal(b) for a, b in zip(straight, resumed, strict=True))


@pytest.mark.parametrize("changed", [False, True], ids=["defaults", "changed"])
@pytest.mark.parametrize("name", TORCH)
def test_each_equals_torchs_class(name: str, changed: bool) -> None:
    torch_class, fixed, other = TORCH[name]
    ours, theirs, plain = parameters(), parameters(), parameters(torch.float64)
    args = other if changed else {}
    fused = {"fused": True} if name in FUSED else {"foreach": True}
    optimizer = make_optimizer(ours, name, lr=0.03, **args)
    assert isinstance(optimizer, torch_class)
    train(optimizer, ours)
    train(torch_class(theirs, lr=0.03, **{**fixed, **args}, **fused), theirs)
    assert all(a.equal(b) for a, b in zip(ours, theirs, strict=True)), "bit for bit"

    # And torch's plain loop, in double precision, says the same up to rounding.
    exact = [param.detach().double().requires_grad_() for param in parameters()]
    train(make_optimizer(exact, name, lr=0.03, **args), exact)
    plain = [param.detach().double().requires_grad_() for param in parameters()]
    loop = {"foreach": False, "fused": False} if name in FUSED else {"foreach": False}
    train(torch_class(plain, lr=0.03, **{**fixed, **args}, **loop), plain)
    for a, b in zip(exact, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_every_optimizer_here_is_compared_with_torch() -> None:
    assert set(TORCH) <= set(NAMES)


@pytest.mark.parametrize("name", sorted(FUSED))
def test_fused_is_on_where_torch_has_it(name: str) -> None:
    assert make_optimizer(parameters(), name).param_groups[0]["fused"] is True


# Weights after five steps in TensorFlow 1 (float64, lr 0.1): the same gradients, run there.
TF_GRADIENTS = [[0.5, -1, 0], [0.1, 0.2, -3], [-0.7, 0, 1e-4], [0.3, 0.3, 0.3], [2, -0.01, 0.5]]
TF_WEIGHTS = {
    "momentum": ("mom", {}, [0.693555, -1.715270, 1.424673]),
    "nesterov": ("nag", {}, [0.504200, -1.692743, 1.552196]),
    "nesterov switch": ("mom", {"nesterov": True}, [0.504200, -1.692743, 1.552196]),
    "adagrad": ("adagrad", {"initial_accumulator_value": 0.1, "eps": 0.0}, [0.853817, -1.949534, 0.573276]),
    "adam": ("adam", {}, [0.775316, -1.781912, 0.698354]),
}


@pytest.mark.parametrize("case", TF_WEIGHTS)
def test_weights_equal_tensorflows(case: str) -> None:
    name, args, expected = TF_WEIGHTS[case]
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    optimizer = make_optimizer([weights], name, lr=0.1, **args)
    for gradient in TF_GRADIENTS:
        weights.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
    # TensorFlow rounds Adam's eps and betas to single precision, hence not more digits than these.
    torch.testing.assert_close(weights.detach(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=2e-6)


def test_momentum_of_zero_is_gradient_descent_with_and_without_nesterov() -> None:
    results = []
    for name, args in (("sgd", {}), ("mom", {"momentum": 0.0}), ("mom", {"momentum": 0.0, "nesterov": True})):
        weights = parameters()
        train(make_optimizer(weights, name, lr=0.1, **args), weights)
        results.append(weights)
    assert all(a.equal(b) and a.equal(c) for a, b, c in zip(*results, strict=True))


def test_a_change_of_rate_acts_at_once_under_momentum() -> None:
    weights = torch.zeros(1, requires_grad=True)
    optimizer = make_optimizer([weights], "mom", lr=1.0, momentum=0.5)
    for lr in (1.0, 0.1):
        optimizer.param_groups[0]["lr"] = lr
        weights.grad = torch.ones(1)
        optimizer.step()
    torch.testing.assert_close(weights.detach(), torch.tensor([-1.0 - 0.1 * 1.5]))


def test_adagrad_is_fused_only_where_all_parameters_are_on_the_cpu() -> None:
    model = nn.Linear(2, 2, device="meta")
    assert make_optimizer(model, "adagrad").param_groups[0]["fused"] is None
