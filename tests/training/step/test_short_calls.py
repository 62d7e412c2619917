"""The shorter ways to torch's `backward` and `step` lead to the same, and are not taken where somebody looks on."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity, profile

from optrun.experiments.components.optimizers import registry
from optrun.experiments.training.step import short_calls

from .compiled.work import small_mlp, train_op

INPUTS = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))


class Spoils(torch.autograd.Function):
    """Changes the gradient that it is given, which no function should."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        return inputs.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient.mul_(3)


def gradients(model: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gradients_are_those_of_torch(dtype: torch.dtype) -> None:
    ours, theirs = (small_mlp().to(dtype) for _ in range(2))
    for _ in range(2):  # they add up
        short_calls.backward(Spoils.apply(ours(INPUTS.to(dtype)).square().mean()))
        Spoils.apply(theirs(INPUTS.to(dtype)).square().mean()).backward()
    assert all(map(torch.equal, gradients(ours), gradients(theirs)))


def test_a_weight_that_is_the_loss_has_a_gradient_of_its_own() -> None:
    weight = nn.Parameter(torch.tensor(2.0))
    short_calls.backward(weight)
    short_calls.backward(weight)
    assert weight.grad == 2


@pytest.mark.parametrize(
    "loss",
    [
        lambda: small_mlp()(INPUTS),
        lambda: torch.zeros(()),
        lambda: torch.zeros((), dtype=torch.int64),
        lambda: small_mlp()(INPUTS).to(torch.complex64).sum(),
    ],
    ids=["not scalar", "no gradient", "integer", "complex"],
)
def test_refusals_are_those_of_torch(loss: Any) -> None:
    with pytest.raises(RuntimeError) as ours:
        short_calls.backward(loss())
    with pytest.raises(RuntimeError) as theirs:
        loss().backward()
    assert str(ours.value).splitlines()[0] == str(theirs.value).splitlines()[0]


def test_what_looks_on_sees_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Sees(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(getattr(function, "__name__", ""))
            return function(*args, **(kwargs or {}))

    loss = small_mlp()(INPUTS).mean()
    with Sees():
        short_calls.backward(loss)
    assert "backward" in seen

    class Marked(Tensor):
        def backward(self, *args: Any, **options: Any) -> None:  # type: ignore[override]
            seen.append("its own")
            super().backward(*args, **options)

    short_calls.backward(small_mlp()(INPUTS).mean().as_subclass(Marked))
    assert "its own" in seen
    monkeypatch.setattr(Tensor, "backward", lambda loss: seen.append("replaced"))
    short_calls.backward(small_mlp()(INPUTS).mean())
    assert seen[-1] == "replaced"
    monkeypatch.undo()
    whole: list[Tensor] = []
    monkeypatch.setattr(Tensor, "backward", lambda loss: whole.append(loss))
    monkeypatch.setattr(short_calls, "_whole_backward", Tensor.backward)
    logger = logging.getLogger("torch.autograd.graph")
    monkeypatch.setattr(logger, "isEnabledFor", lambda level: True)
    short_calls.backward(small_mlp()(INPUTS).mean())
    assert len(whole) == 1


@pytest.mark.filterwarnings("ignore")  # it says that it is slow, and where the forward pass was
def test_anomalies_are_told_as_ever() -> None:
    weight = torch.tensor(0.0, requires_grad=True)
    with torch.autograd.detect_anomaly():
        loss = (weight * float("inf")).sqrt()
        with pytest.raises(RuntimeError, match="returned nan values"):
            short_calls.backward(loss)


@pytest.mark.parametrize("name", [name for name in registry.names() if name not in ("lbfgs", "sam", "sparse_adam")])
def test_each_optimizer_takes_the_same_step(name: str) -> None:
    ours, theirs = (train_op(name, on_nan=None) for _ in range(2))
    for step in range(3):
        for op in (ours, theirs):
            for parameter in op.model.parameters():
                parameter.grad = torch.full_like(parameter, 0.1 * step - 0.05)
        short_calls.step(ours.optimizer)
        theirs.optimizer.step()
    assert all(map(torch.equal, ours.model.parameters(), theirs.model.parameters()))
    assert torch.is_grad_enabled()


def stepped(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        for weight in group["params"]:
            weight.grad = torch.ones_like(weight)
    short_calls.step(optimizer)


def sgd() -> torch.optim.SGD:
    return torch.optim.SGD(small_mlp().parameters(), lr=0.1)


def test_what_looks_on_sees_the_step() -> None:
    seen: list[str] = []
    optimizer = sgd()
    first = optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    last = optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    stepped(optimizer)
    first.remove(), last.remove()
    stepped(optimizer)
    handles = [
        register_optimizer_step_pre_hook(lambda *_: seen.append("before all")),
        register_optimizer_step_post_hook(lambda *_: seen.append("after all")),
    ]
    stepped(optimizer)
    for handle in handles:
        handle.remove()
    assert seen == ["before", "after", "before all", "after all"]
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    stepped(optimizer)
    assert optimizer._opt_called  # type: ignore[attr-defined] (by what a scheduler puts in the place of `step`)
    scheduler.step()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        stepped(sgd())
    assert any(event.key == "Optimizer.step#SGD.step" for event in profiled.key_averages())


class Bare:
    """An optimizer that is none of torch's."""

    def __init__(self) -> None:
        self.num_steps = 0

    def step(self) -> None:
        self.num_steps += 1


def test_a_step_that_torch_has_not_wrapped_is_called_as_it_is() -> None:
    bare: Any = Bare()
    short_calls.step(bare)
    assert bare.num_steps == 1

    class Own(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            super().step(closure)
            self.num_steps = getattr(self, "num_steps", 0) + 1

    own = Own(small_mlp().parameters(), lr=0.1)
    before = copy.deepcopy(own.param_groups[0]["params"])
    stepped(own)
    assert own.num_steps == 1
    assert not torch.equal(before[0], own.param_groups[0]["params"][0])
