"""Steps on batches that are trees, against the same examples as tensors: gate, averages, SAM, compile, evidence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from optrun.experiments import build_train_op, make_optimizer
from optrun.experiments.components.selected import Selected
from optrun.experiments.errors import DivergedError
from optrun.experiments.training.investigation import investigate

NAN = float("nan")


class Plain(nn.Module):
    """Batch norm and dropout, so that buffers and noise are compared as well."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.norm, self.drop, self.linear = nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3)

    def forward(self, rows: Tensor) -> Any:
        return self.linear(self.drop(self.norm(rows)))


class Tree(Plain):
    def forward(self, left: Tensor, more: Any = None) -> Any:
        return {"logits": super().forward(left + more["right"])}


def examples(bad: int | None = None) -> list[tuple[Tensor, Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(5)
    found = []
    for number in range(5):
        left, right = torch.randn(2, 6, 4, generator=generator)
        if number == bad:
            right[2, 1] = NAN
        found.append((left, right, torch.randint(3, (6,), generator=generator)))
    return found


def two_ops(bad: int | None = None, optimizer: str = "mom", **options: Any) -> list[Any]:
    """Return a train op on tensors, and one on trees of the same examples."""
    made = []
    for model, data, loss in (
        (Plain(), [(left + right, y) for left, right, y in examples(bad)], functional.cross_entropy),
        (
            Tree(),
            [{"left": left, "more": {"right": right, "text": "x"}, "labels": y} for left, right, y in examples(bad)],
            Selected(functional.cross_entropy, of="logits"),
        ),
    ):
        made.append(build_train_op(model, loss, make_optimizer(model, optimizer, lr=0.1), data=data, **options))
    return made


def tensors_of(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for each in inner for tensor in tensors_of(each)]


CASES: dict[str, dict[str, Any]] = {
    "skip": {"bad": 2, "on_nan": "skip"},
    "skip, accumulated": {"bad": 2, "on_nan": "skip", "accumulate": 2},
    "EMA": {"updates": ["ema"]},
    "SAM": {"optimizer": "sam"},
    "SAM, skip": {"optimizer": "sam", "bad": 1, "on_nan": "skip"},
    "L-BFGS, skip, EMA": {"optimizer": "lbfgs", "bad": 1, "on_nan": "skip", "updates": ["ema"]},
    "tf batch norm": {"updates": ["tf_batch_norm"]},
    "bf16": {"precision": "bf16", "accumulate": 3},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_a_step_on_a_tree_is_that_on_its_tensors(options: dict[str, Any]) -> None:
    plain, tree = two_ops(**options)
    for op in (plain, tree):
        for _ in range(5):
            op.run()
    assert tree.skipped == plain.skipped == ("bad" in options)
    assert (tree.global_step, tree.batch, tree.examples) == (plain.global_step, plain.batch, plain.examples)
    one, other = tensors_of(plain.state_dict()), tensors_of(tree.state_dict())
    assert len(one) == len(other) > 6
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_compiled_forward_takes_a_tree() -> None:
    _, eager = two_ops()
    _, compiled = two_ops()
    compiled.forward = torch.compile(compiled.model, backend="eager")
    for op in (eager, compiled):
        op.model.drop.p = 0.0
        for _ in range(3):
            op.run()
    pairs = zip(eager.model.parameters(), compiled.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("optimizer", ["mom", "sam"])
def test_the_evidence_of_a_refused_tree_names_the_tensor(optimizer: str) -> None:
    _, op = two_ops(bad=1, optimizer=optimizer)
    op.run()
    before = [tensor.clone() for tensor in tensors_of(op.state_dict())]
    with pytest.raises(DivergedError):
        op.run()
    facts = investigate(op, op.refused)
    assert facts["first_bad"].startswith("inputs/more/right (nan")
    assert (facts["cause"], facts["note"]) == ("batch", None)
    assert any(bad["name"] == "loss" for bad in facts["trail"])  # it was evaluated again
    assert all(torch.equal(a, b) for a, b in zip(before, tensors_of(op.state_dict()), strict=True))
