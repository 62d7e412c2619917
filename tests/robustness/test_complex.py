"""Complex parameters: every rule moves them as it moves their real and imaginary parts, or refuses them by name."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from optrun.experiments import Every, Run, build, build_train_op, make_optimizer, resume, train
from optrun.experiments.components.hooks.norms import NormsHook
from optrun.experiments.components.optimizers import registry
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import DivergedError, SessionError, UsageError
from optrun.experiments.training.session.saved_state import load_state

from ..helpers import run_steps

RULES = [
    (name, flavor)
    for name in registry.names()
    if "/" not in name
    for flavor in (list(registry.get(name).variants) or [None])
]
#: Those that torch has for complex weights, by its documentation and code; SAM as the rule inside it.
TAKEN = {"sgd", "mom", "nag", "adagrad", "adam", "amsgrad", "adamw", "adadelta", "adamax", "nadam", "radam", "rmsprop"}
TAKEN |= {"rprop", "lbfgs", "sam"}
STEPS = 4


class Net(nn.Module):
    """A complex linear layer with a real head; or the same, its weights held as pairs of real numbers."""

    def __init__(self, as_pairs: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for name, shape in {"weight": (3, 4), "bias": (3,)}.items():
            value = torch.randn(shape, dtype=torch.complex128, generator=generator)
            setattr(self, name, nn.Parameter(torch.view_as_real(value).clone() if as_pairs else value))
        self.head = nn.Parameter(torch.randn(3, 1, dtype=torch.float64, generator=generator))

    def forward(self, inputs: Tensor) -> Tensor:
        weight, bias = (p if p.is_complex() else torch.view_as_complex(p) for p in (self.weight, self.bias))
        outputs = inputs.to(torch.complex128) @ weight.T + bias
        return (outputs.real.tanh() + outputs.imag.sin()) @ self.head


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(6, 4, dtype=torch.float64, generator=generator),
            torch.randn(6, 1, dtype=torch.float64, generator=generator),
        )
        for _ in range(STEPS + 1)
    ]


def args_of(name: str, flavor: str | None, decay: bool) -> dict[str, Any]:
    args: dict[str, Any] = {"lr": 1e-3, **({"flavor": flavor} if flavor else {})}
    if decay and "weight_decay" in registry.get(name).of_flavor(flavor).signature.names():
        args["weight_decay"] = 0.1
    return args


def trained(
    as_pairs: bool, name: str, args: dict[str, Any], updates: tuple[str, ...] = (), **options: Any
) -> tuple[list[Tensor], list[dict[str, Any]]]:
    model = Net(as_pairs)
    optimizer = make_optimizer(model, name, **args)
    op = build_train_op(model, nn.functional.mse_loss, optimizer, batches(), updates, **options)
    rows = run_steps(op, STEPS, NormsHook(Every(steps=1), match=[])).rows.rows()
    weights = [*model.parameters(), *(each for update in op.updates for each in update.shadows.values())]
    return [torch.view_as_real(w) if w.is_complex() else w for w in weights], rows


def same(complex_one: Any, pairs: Any) -> None:
    for ours, theirs in zip(complex_one[0], pairs[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for row, expected in zip(complex_one[1], pairs[1], strict=True):
        for key in (key for key in row if key.startswith("norm/")):
            assert row[key] == pytest.approx(expected[key], rel=1e-12)


@pytest.mark.parametrize(("name", "flavor"), RULES)
def test_every_rule_moves_them_as_pairs_or_refuses_them(name: str, flavor: str | None) -> None:
    for decay in (False, True):
        args = args_of(name, flavor, decay)
        if name in TAKEN and flavor != "tf1":
            same(trained(False, name, args), trained(True, name, args))
        else:
            with pytest.raises(UsageError, match=rf"optimizer '{name}'.* complex parameters, such as weight "):
                make_optimizer(Net(False), name, **args)


@pytest.mark.parametrize(
    ("inner", "adaptive"),
    [*itertools.product(sorted(TAKEN - {"sam", "lbfgs"}), (False, True))],
)
def test_inside_sam(inner: str, adaptive: bool) -> None:
    args = {"lr": 1e-3, "inner": inner, "adaptive": adaptive}
    same(trained(False, "sam", args), trained(True, "sam", args))


def test_sam_refuses_what_its_inner_rule_refuses() -> None:
    with pytest.raises(UsageError, match="complex parameters, such as weight "):
        make_optimizer(Net(False), "sam", inner="lion")


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_all_that_a_step_has(name: str) -> None:
    groups = [{"match": "bias", "lr": 0.1}]
    options: dict[str, Any] = {"clip_norm": 0.5, "l2": 0.1, "accumulate": 2, "updates": ("ema",)}
    args = {"lr": 0.01, "groups": groups, "weight_decay": {"rate": 0.1, "exclude": ["bias"]}}
    same(trained(False, name, args, **options), trained(True, name, args, **options))


def test_fetched_norm_is_that_of_the_pairs() -> None:
    norms = []
    for as_pairs in (False, True):
        model = Net(as_pairs)
        op = build_train_op(model, nn.functional.mse_loss, torch.optim.SGD(model.parameters(), 0.1), batches())
        op.run()
        norms.append(op.fetch(["grad_norm"])["grad_norm"])
    assert norms[0] == pytest.approx(norms[1], rel=1e-12)


def test_clip_value_is_refused_by_name() -> None:
    model = Net(False)
    with pytest.raises(SessionError, match="clip_value bounds real numbers, and weight is complex: use clip_norm"):
        build_train_op(model, nn.functional.mse_loss, make_optimizer(model, "sgd"), batches(), clip_value=1.0)


def test_the_gate_sees_an_imaginary_part_that_is_not_finite() -> None:
    model = Net(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    op = build_train_op(model, nn.functional.mse_loss, make_optimizer(model, "adam"), batches())

    def spoil() -> None:
        assert model.weight.grad is not None
        torch.view_as_real(model.weight.grad)[0, 0, 1] = float("inf")

    with pytest.raises(DivergedError, match="the gradient of weight is not finite"):
        op.run(after_gradients=spoil)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


OWN = """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_outputs: int, double: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_outputs, 4, dtype=torch.complex128 if double else torch.complex64))

    def forward(self, inputs):
        return (inputs.to(self.weight.dtype) @ self.weight.T).abs().float()
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)

    def load(**changed: Any) -> Any:
        values: dict[str, Any] = {"data": "iris", "model": "./own.py:Net", "loss": "cross_entropy", "updates": ["ema"]}
        return {**values, "optimizer": "adam", "train": {"steps": 4, "clip_norm": 1}, **changed}

    return load


def test_a_resumed_run_is_the_uninterrupted_one(config: Callable[..., Any]) -> None:
    straight, parts = config(), config(checkpoint={"every": "1 steps"}, train={"steps": 2, "clip_norm": 1})
    train(straight, name="straight")
    train(parts, name="parts")
    resume("parts", ["train.steps=4"], allow_change=True)
    first, second = (load_state(Run(f"runs/{name}").checkpoint("last")) for name in ("straight", "parts"))
    assert first.sections["model"]["weight"].is_complex()
    assert torch.equal(first.sections["model"]["weight"], second.sections["model"]["weight"])


@pytest.mark.parametrize(
    ("changed", "key", "message"),
    [
        ({"model": {"name": "./own.py:Net", "double": True}}, "model", "weight of type complex128.*: complex64 can be"),
        ({"train": {"steps": 4, "clip_value": 1}}, "train.clip_value", "weight is complex: use clip_norm"),
        ({"optimizer": "lion"}, "optimizer", "complex parameters, such as weight"),
        ({"optimizer": {"name": "rmsprop", "flavor": "tf1"}}, "optimizer", r"\(flavor tf1\) cannot train complex"),
    ],
)
def test_what_is_refused_is_refused_before_the_run(
    config: Callable[..., Any], changed: dict[str, Any], key: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build(config(**changed))
    assert [problem.key for problem in caught.value.problems] == [key]
