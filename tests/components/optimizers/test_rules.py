"""Rules that are written here or wrapped, against their formulas in double precision, and torch's classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from optrun.experiments.components.averaging import Averaging
from optrun.experiments.components.optimizers import make_optimizer, registry
from optrun.experiments.components.optimizers.muon import orthogonalised
from optrun.experiments.components.optimizers.shared.foreach import ForeachOptimizer
from optrun.experiments.errors import UsageError

SHAPES = ((6, 4), (4,), (5, 3, 2, 2))
OWN = ["asgd", "lamb", "lars", "lion", "muon", "schedule_free_adamw", "schedule_free_sgd"]
RATES = [0.02, 0.05, 0.05, 0.03, 0.01, 0.0, 0.04]  # a schedule, which passes through 0


def arrays(seed: int) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape) for shape in SHAPES]


def parameters(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.tensor(array, dtype=dtype, requires_grad=True) for array in arrays(1)]


def train(optimizer: torch.optim.Optimizer, params: list[Tensor], rates: list[float] = RATES) -> None:
    for step, rate in enumerate(rates):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for param, gradient in zip(params, arrays(100 + step), strict=True):
            param.grad = torch.tensor(gradient, dtype=param.dtype)
        optimizer.step()


# Each rule for one tensor: a generator that is sent (gradient, lr) and yields the weights, or (weights, average).
Rule = Callable[[np.ndarray], Iterator[Any]]


def lion(w: np.ndarray, b1: float = 0.8, b2: float = 0.95, decay: float = 0.1) -> Iterator[Any]:
    m = np.zeros_like(w)
    while True:
        g, lr = yield w
        direction = np.sign(b1 * m + (1 - b1) * g)
        w = w - lr * (direction + decay * w)
        m = b2 * m + (1 - b2) * g


def lamb(w: np.ndarray, b1: float = 0.8, b2: float = 0.95, eps: float = 1e-4, decay: float = 0.1) -> Iterator[Any]:
    m, v, t = np.zeros_like(w), np.zeros_like(w), 0
    while True:
        g, lr = yield w
        t += 1
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        r = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps) + decay * w
        ratio = math.sqrt((w**2).sum()) / math.sqrt((r**2).sum()) if w.ndim > 1 else 1.0
        w = w - lr * ratio * r


def lars(w: np.ndarray, momentum: float = 0.8, trust: float = 0.02, decay: float = 0.1) -> Iterator[Any]:
    a = np.zeros_like(w)
    while True:
        g, lr = yield w
        size, slope = math.sqrt((w**2).sum()), math.sqrt((g**2).sum())
        scale = trust * size / (slope + decay * size) if w.ndim > 1 else 1.0
        a = momentum * a + lr * scale * (g + decay * w)
        w = w - a


def asgd(w: np.ndarray, lambd: float = 0.2, alpha: float = 0.5, t0: float = 2.0, decay: float = 0.1) -> Iterator[Any]:
    average, t = w, 0
    while True:
        g, lr = yield w, average
        t += 1
        e = lr / (1 + lambd * lr * (t - 1)) ** alpha
        w = w - lambd * e * w - e * (g + decay * w)
        average = average + (w - average) / max(1.0, t - 1 - t0)


def schedule_free(w: np.ndarray, beta: float, decay: float, b2: float | None, power: float) -> Iterator[Any]:
    """The paper's three sequences as they are defined, with x kept and y made from it."""
    x, z, v, t, highest, total = w, w, np.zeros_like(w), 0, 0.0, 0.0
    y = w
    while True:
        g, lr = yield y, x
        t += 1
        d = g
        if b2 is not None:
            v = b2 * v + (1 - b2) * g**2
            d = g / (np.sqrt(v / (1 - b2**t)) + 1e-4)
        z = z - lr * (d + decay * y)
        highest = max(highest, lr)
        total += highest**power
        c = highest**power / total
        x = (1 - c) * x + c * z
        y = (1 - beta) * z + beta * x


def schedule_free_sgd(w: np.ndarray) -> Iterator[Any]:
    return schedule_free(w, 0.8, 0.1, None, 3.0)


def schedule_free_adamw(w: np.ndarray) -> Iterator[Any]:
    return schedule_free(w, 0.8, 0.1, 0.95, 2.0)


FORMULAS: dict[str, tuple[Rule, dict[str, Any]]] = {
    "lion": (lion, {"betas": (0.8, 0.95), "weight_decay": 0.1}),
    "lamb": (lamb, {"betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    "lars": (lars, {"momentum": 0.8, "trust_coefficient": 0.02, "weight_decay": 0.1}),
    "asgd": (asgd, {"lambd": 0.2, "alpha": 0.5, "t0": 2.0, "weight_decay": 0.1}),
    "schedule_free_sgd": (schedule_free_sgd, {"momentum": 0.8, "weight_lr_power": 3.0, "weight_decay": 0.1}),
    "schedule_free_adamw": (schedule_free_adamw, {"betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_the_rule_is_its_formula(name: str) -> None:
    formula, args = FORMULAS[name]
    params = parameters()
    optimizer = make_optimizer(params, name, **args)
    train(optimizer, params)
    average = dict(optimizer.averages()) if isinstance(optimizer, Averaging) else {}
    for place, param in enumerate(params):
        rule = formula(arrays(1)[place])
        next(rule)
        for step, rate in enumerate(RATES):
            expected = rule.send((arrays(100 + step)[place], rate))  # type: ignore[attr-defined]
        weights, mean = expected if isinstance(expected, tuple) else (expected, None)
        np.testing.assert_allclose(param.detach().numpy(), weights, rtol=1e-12, atol=1e-13)
        if mean is not None:
            np.testing.assert_allclose(average[param].numpy(), mean, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["lamb", "lars"])
def test_norms_adapt_vectors_too_when_asked_and_zeros_leave_the_ratio_at_one(name: str) -> None:
    matrices, everything = parameters(), parameters()
    train(make_optimizer(matrices, name), matrices)
    train(make_optimizer(everything, name, adapt="all"), everything)
    same = [a.equal(b) for a, b in zip(matrices, everything, strict=True)]
    assert same == [True, False, True]
    weights = torch.zeros(2, 2, requires_grad=True)
    weights.grad = torch.ones(2, 2)
    optimizer = make_optimizer([weights], name, lr=0.1, **({"momentum": 0.0} if name == "lars" else {"eps": 0.0}))
    optimizer.step()
    torch.testing.assert_close(weights.detach(), torch.full((2, 2), -0.1))
    weights.grad = torch.zeros(2, 2)
    before = weights.detach().clone()
    if name == "lars":
        optimizer.step()
        assert weights.equal(before)


@pytest.mark.parametrize("adjust_lr", ["match_rms_adamw", "original"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_is_torchs_on_matrices_and_adamw_elsewhere(adjust_lr: str, nesterov: bool) -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon to compare with")
    shapes = ((6, 4), (4, 8), (6, 4), (4,))
    ours, theirs = (
        [torch.randn(shape, generator=torch.Generator().manual_seed(7)).requires_grad_() for shape in shapes]
        for _ in range(2)
    )
    optimizer = make_optimizer(
        ours, "muon", lr=0.01, adjust_lr=adjust_lr, nesterov=nesterov, weight_decay=0.1, betas=(0.8, 0.95)
    )
    muon = torch.optim.Muon(theirs[:3], lr=0.01, adjust_lr_fn=adjust_lr, nesterov=nesterov, weight_decay=0.1)
    adamw = torch.optim.AdamW(theirs[3:], lr=0.01, weight_decay=0.1, betas=(0.8, 0.95))
    for step in range(10):
        generator = torch.Generator().manual_seed(step)
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        optimizer.step()
        muon.step()
        adamw.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)  # bfloat16 has three digits, of steps of 0.01


def test_orthogonalised_matrices_have_singular_values_near_one_and_the_same_vectors() -> None:
    matrices = torch.randn(3, 8, 20, generator=torch.Generator().manual_seed(0))
    result = orthogonalised(matrices, 5).float()
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.6
    assert values.max() < 1.3
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    nearest = torch.nn.functional.cosine_similarity(result.flatten(1), (u @ vh).flatten(1))
    assert nearest.min() > 0.97
    torch.testing.assert_close(orthogonalised(matrices.mT, 5).float(), result.mT, rtol=0, atol=0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(5, 4)
        self.conv = nn.Conv1d(4, 6, 3)
        self.norm = nn.BatchNorm1d(6)
        self.hidden = nn.Linear(6, 6)
        self.head = nn.Linear(6, 2)


def rules_of(model: nn.Module, **options: Any) -> dict[str, str]:
    optimizer = make_optimizer(model, "muon", **options)
    return {name: group["rule"] for group in optimizer.param_groups for name in group["param_names"]}


def test_muon_takes_the_hidden_matrices_and_leaves_the_rest_to_adamw() -> None:
    muons = {name for name, rule in rules_of(Net()).items() if rule == "muon"}
    assert muons == {"conv.weight", "hidden.weight"}
    chosen = rules_of(Net(), groups=[{"match": "head.weight", "rule": "muon"}, {"match": "conv.*", "lr": 0.1}])
    assert {name for name, rule in chosen.items() if rule == "muon"} == {"conv.weight", "hidden.weight", "head.weight"}
    assert set(rules_of(nn.Linear(3, 2)).values()) == {"adamw"}, "the only matrix is the head"


def test_muon_with_groups_keeps_their_rates_and_selective_decay() -> None:
    decay = {"rate": 0.1, "exclude": ["bias"]}
    optimizer = make_optimizer(Net(), "muon", weight_decay=decay, groups=[{"match": "conv.*", "lr": 0.01}], lr=0.1)
    of = {name: group for group in optimizer.param_groups for name in group["param_names"]}
    assert [of[name]["lr_scale"] for name in ("conv.weight", "hidden.weight")] == [pytest.approx(0.1), 1.0]
    assert (of["hidden.bias"]["weight_decay"], of["hidden.weight"]["weight_decay"]) == (0.0, 0.1)


def test_a_rate_that_changes_acts_at_once_in_asgd() -> None:
    weights = torch.zeros(1, requires_grad=True)
    optimizer = make_optimizer([weights], "asgd", lr=1.0, lambd=0.0)
    for rate in (1.0, 0.1):
        optimizer.param_groups[0]["lr"] = rate
        weights.grad = torch.ones(1)
        optimizer.step()
    torch.testing.assert_close(weights.detach(), torch.tensor([-1.1]))


def test_asgd_is_torchs_at_a_constant_rate() -> None:
    args = {"lr": 0.05, "lambd": 0.2, "alpha": 0.5, "t0": 2.0, "weight_decay": 0.1}
    ours, theirs = parameters(), parameters()
    optimizer, reference = make_optimizer(ours, "asgd", **args), torch.optim.ASGD(theirs, foreach=False, **args)
    train(optimizer, ours, [0.05] * 6)
    train(reference, theirs, [0.05] * 6)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)  # torch rounds the rate to single precision
        torch.testing.assert_close(optimizer.state[a]["ax"], reference.state[b]["ax"], rtol=1e-6, atol=1e-6)


# ---- what holds for all rules written here ---------------------------------------------------------------------------


def test_the_list_of_own_rules_is_complete() -> None:
    own = [
        n for n in registry.names() if "/" not in n and isinstance(make_optimizer(parameters(), n), ForeachOptimizer)
    ]
    assert own == OWN


@pytest.mark.parametrize("name", OWN)
def test_all_tensors_together_move_as_each_alone(name: str) -> None:
    together, alone = parameters(), parameters()
    train(make_optimizer(together, name), together)
    for place, param in enumerate(alone):
        optimizer = make_optimizer([param], name)
        for step, rate in enumerate(RATES):
            optimizer.param_groups[0]["lr"] = rate
            param.grad = torch.tensor(arrays(100 + step)[place])
            optimizer.step()
    assert all(a.equal(b) for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize("name", OWN)
def test_frozen_mixed_and_scalar_parameters(name: str) -> None:
    """A parameter without a gradient stays where it is; types are not mixed; 0-dimensional weights move."""
    params = [torch.ones(3, 2), torch.ones(3, dtype=torch.float64), torch.tensor(1.0), torch.ones(2)]
    params = [param.requires_grad_() for param in params]
    optimizer = make_optimizer(params, name, lr=0.1)
    for param in params[:3]:
        param.grad = torch.full_like(param, 0.5)
    optimizer.step()
    assert [bool((param == 1).all()) for param in params] == [False, False, False, True]
    assert params[3] not in optimizer.state


@pytest.mark.parametrize("name", OWN)
def test_groups_have_their_own_rates(name: str) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    optimizer = make_optimizer(model, name, lr=0.1, groups=[{"match": "1.*", "lr": 1e-9}])
    before = [param.detach().clone() for param in model.parameters()]
    for param in model.parameters():
        param.grad = torch.ones_like(param)
    optimizer.step()
    moved = [float((param.detach() - old).abs().max()) for param, old in zip(model.parameters(), before, strict=True)]
    assert min(moved[:2]) > 1e-5 > 1e-6 > max(moved[2:])


@pytest.mark.parametrize("name", [*OWN, "sparse_adam"])
def test_complex_parameters_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot train complex parameters"):
        make_optimizer([torch.ones(2, dtype=torch.complex64, requires_grad=True)], name)


@pytest.mark.parametrize("name", [*OWN, "sam"])
def test_sparse_gradients_are_refused_with_the_way_out(name: str) -> None:
    words = nn.Embedding(5, 2, sparse=True)
    optimizer = make_optimizer(words, name)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = words(torch.tensor([1, 3])).sum()
        loss.backward()
        return loss.detach()

    with pytest.raises(UsageError, match="sparse=False"):
        optimizer.step(closure)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", OWN)
def test_single_precision_follows_double(name: str) -> None:
    single, double = parameters(torch.float32), parameters()
    train(make_optimizer(single, name, **({"ns_steps": 1} if name == "muon" else {})), single)
    train(make_optimizer(double, name, **({"ns_steps": 1} if name == "muon" else {})), double)
    for a, b in zip(single, double, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)
