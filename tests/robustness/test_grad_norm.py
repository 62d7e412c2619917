"""The gradient norm that is fetched, against torch's own in a loop that knows nothing of the train op."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from optrun.experiments import Batches, Every, Hook, build_train_op, make_optimizer
from optrun.experiments.components.hooks.hook import RunArgs
from optrun.experiments.components.hooks.norms import NormsHook
from optrun.experiments.components.optimizers import registry
from optrun.experiments.errors import SessionError

from ..helpers import linear_problem, run_steps

RULES = [
    (name, flavor)
    for name in registry.names()
    if "/" not in name
    for flavor in (list(registry.get(name).variants) or [None])
]
CLIPS = {"none": {}, "value": {"clip_value": 1e-3}, "norm": {"clip_norm": 1e-2}}
CLIPS["both"] = {**CLIPS["value"], **CLIPS["norm"]}
ODD, EVEN = ((1, True), (3, False)), ((1, False), (3, True))
STEPS = 3


class Scaling(Hook):
    """The user's own clipping: gradients of two parameters are cut to two lengths."""

    def after_gradients(self, ctx: Any) -> None:
        for length, parameter in zip((1e-3, 1e-4), ctx.train_op.model.parameters(), strict=False):
            nn.utils.clip_grad_norm_([parameter], length)


class Comparing(Hook):
    """Note what is fetched, and what torch says of the same batch at the same weights."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype
        self.fetched: list[tuple[float, float]] = []
        self.expected: list[tuple[float, float]] = []

    def before_run(self, ctx: Any) -> RunArgs:
        model = copy.deepcopy(ctx.train_op.model).to(self.dtype)
        inputs, targets = ctx.train_op.data.batch(ctx.batch)
        loss = nn.functional.mse_loss(model(inputs.to(self.dtype)), targets.to(self.dtype))
        model.zero_grad()
        loss.backward()
        self.expected.append((loss.item(), nn.utils.clip_grad_norm_(model.parameters(), float("inf")).item()))
        return RunArgs(fetches=("loss", "grad_norm"))

    def after_run(self, ctx: Any, values: Any) -> None:
        self.fetched.append((values["loss"], values["grad_norm"]))


def numbers(pairs: list[tuple[float, float]]) -> list[float]:
    return [number for pair in pairs for number in pair]


def net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))


def check(name: str, flavor: str | None, clip: dict[str, Any], accumulate: int, own: bool, wrapped: bool) -> None:
    model = net()
    args: dict[str, Any] = {"flavor": flavor} if flavor else {}
    if wrapped:
        optimizer = make_optimizer(model, "sam", lr=1e-3, inner={"name": name, **args})
    else:
        optimizer = make_optimizer(model, name, **({"lr": 1e-3} if name != "lbfgs" else {}), **args)
    data = Batches(*linear_problem(), batch_size=16)
    op = build_train_op(model, nn.functional.mse_loss, optimizer, data, accumulate=accumulate, **clip)
    comparing = Comparing()
    hooks = [*([Scaling()] if own else []), comparing, NormsHook(Every(steps=1), match=[])]
    rows = run_steps(op, STEPS, *hooks).rows.rows()
    assert numbers(comparing.fetched) == pytest.approx(numbers(comparing.expected), rel=2e-5)
    assert [row["norm/grad"] for row in rows] == pytest.approx([norm for _, norm in comparing.fetched], rel=2e-5)


INSIDE_SAM = [rule for rule in RULES if rule[0] in ("sgd", "mom", "adam", "adamw", "rmsprop", "lamb", "muon")]


@pytest.mark.parametrize("clip", CLIPS)
def test_a_few_rules_agree_with_torch(clip: str) -> None:
    is_odd = list(CLIPS).index(clip) % 2 == 1  # so that each pair of an accumulation and a hook has two of the clips
    for name, (accumulate, own) in itertools.product(("sgd", "lbfgs", "sam"), ODD if is_odd else EVEN):
        check(name, None, CLIPS[clip], accumulate, own, wrapped=False)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "flavor"), RULES)
def test_every_rule_agrees_with_torch(name: str, flavor: str | None) -> None:
    for clip, accumulate, own in itertools.product(CLIPS, (1, 3), (False, True)):
        for wrapped in (False, True) if (name, flavor) in INSIDE_SAM else (False,):
            check(name, flavor, CLIPS[clip], accumulate, own, wrapped)


def test_weights_of_half_precision_are_summed_in_float32() -> None:
    """Sixteen thousand equal entries: bfloat16's eight bits end long before."""
    model = nn.Linear(1 << 14, 1, bias=False).bfloat16()
    data = [(torch.ones(1, 1 << 14, dtype=torch.bfloat16), torch.zeros(1, 1))] * 2
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    op = build_train_op(model, lambda outputs, targets: outputs.float().sum(), optimizer, data, clip_value=0.5)
    op.run()
    assert op.fetch(["grad_norm"])["grad_norm"] == pytest.approx(128.0, rel=1e-6)
    assert op.last_grad_norm is not None
    assert op.last_grad_norm.dtype == torch.float32


def test_autocast() -> None:
    model = net()
    op = build_train_op(
        model,
        nn.functional.mse_loss,
        torch.optim.SGD(model.parameters(), lr=1e-3),
        Batches(*linear_problem(), batch_size=16),
        precision="bf16",
        clip_value=1e-3,
    )
    comparing = Comparing()
    run_steps(op, STEPS, comparing)
    assert [norm for _, norm in comparing.fetched] == pytest.approx([norm for _, norm in comparing.expected], rel=0.02)


def test_sparse_gradients_have_a_norm() -> None:
    model = nn.EmbeddingBag(5, 2, sparse=True, mode="sum")
    data = [(torch.tensor([[1, 1, 3]]), torch.zeros(1))] * 2
    op = build_train_op(model, lambda outputs, targets: outputs.sum(), torch.optim.SGD(model.parameters(), 0.1), data)
    op.run()
    assert op.fetch(["grad_norm"])["grad_norm"] == pytest.approx(10**0.5)  # 2 and 2, 1 and 1


class Spoiling(torch.optim.SGD):
    """A user's own rule, which writes into the gradients."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad.mul_(0.5)
        return super().step(closure)


def spoiling_op(**options: Any) -> Any:
    model = net()
    data = Batches(*linear_problem(), batch_size=16)
    return build_train_op(model, nn.functional.mse_loss, Spoiling(model.parameters(), lr=0.1), data, **options)


def test_a_rule_that_writes_into_gradients() -> None:
    comparing = Comparing()
    run_steps(spoiling_op(), STEPS, comparing)
    assert numbers(comparing.fetched) == pytest.approx(numbers(comparing.expected), rel=2e-5)


def test_a_norm_that_is_gone_is_refused_not_invented() -> None:
    op = spoiling_op()
    op.run()
    with pytest.raises(SessionError, match="fetch it in `before_run`"):
        op.fetch(["grad_norm"])
    clipped = spoiling_op(clip_value=1e-3)
    clipped.run(measures_norm=False)
    with pytest.raises(SessionError, match="fetch it in `before_run`"):
        clipped.fetch(["grad_norm"])
    clipped.run()
    assert clipped.fetch(["grad_norm"])["grad_norm"] > 0.1


def test_nothing_is_measured_that_nobody_fetches(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Tensor] = []
    from optrun.experiments.training.step import gradients

    monkeypatch.setattr(gradients, "norm", lambda found: calls.append(found))
    model = net()
    data = Batches(*linear_problem(), batch_size=16)
    op = build_train_op(
        model, nn.functional.mse_loss, torch.optim.SGD(model.parameters(), 0.1), data, clip_value=1.0, clip_norm=1.0
    )
    run_steps(op, STEPS, Scaling())
    assert calls == []
