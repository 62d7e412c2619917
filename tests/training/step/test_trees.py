"""Batches of any tree, models of any signature: each against a loop in plain torch, to the last bit."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from optrun.experiments import MonitoredTrainingSession, build_train_op, make_optimizer
from optrun.experiments.components.losses import make_loss
from optrun.experiments.components.selected import Selected
from optrun.experiments.errors import SessionError

NUM_EXAMPLES, NUM_BATCHES = 7, 3  # 7 in 2 micro-batches: 4 and 3


class Pair(NamedTuple):
    a: Tensor
    b: Tensor


@dataclasses.dataclass(frozen=True)
class Record:
    a: Tensor
    b: Tensor


class Own(collections.UserDict):
    """A mapping that is no dict, as Hugging Face's BatchEncoding is."""


def problem() -> list[tuple[Tensor, Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(7)
    return [
        (
            torch.randn(NUM_EXAMPLES, 4, generator=generator),
            torch.randn(NUM_EXAMPLES, 4, generator=generator),
            torch.randint(3, (NUM_EXAMPLES,), generator=generator),
        )
        for _ in range(NUM_BATCHES)
    ]


#: Batches by kind: of the two inputs and the target.
TREES = {
    "tensor": lambda a, b, y: (a + b, y),
    "pair of tuple": lambda a, b, y: ((a, b), y),
    "pair of list": lambda a, b, y: [[a, b], y],
    "pair of named tuple": lambda a, b, y: (Pair(a, b), y),
    "pair of data class": lambda a, b, y: (Record(a, b), y),
    "pair of dict": lambda a, b, y: ({"a": a, "b": b}, y),
    "pair of read-only mapping": lambda a, b, y: (MappingProxyType({"a": a, "b": b}), y),
    "pair of own mapping": lambda a, b, y: (Own(a=a, b=b), y),
    "nested, with leaves": lambda a, b, y: ({"a": [a, None, "text", 3], "b": (b, ["x"] * len(b))}, y),
    "three": lambda a, b, y: (a, b, y),
    "list of three": lambda a, b, y: [a, b, y],
    "dict": lambda a, b, y: {"a": a, "b": b, "labels": y},
    "own mapping": lambda a, b, y: Own(a=a, label=y, b=b),
}


class Net(nn.Module):
    """Dropout, so that noise is compared as well; a linear layer of the sum of the inputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.drop, self.linear = nn.Dropout(0.5), nn.Linear(4, 3)

    def scores(self, a: Any, b: Any) -> Tensor:
        a, b = (each[0] if isinstance(each, list | tuple) else each for each in (a, b))
        return self.linear(self.drop(a + b))


class One(Net):
    def forward(self, batch: Any) -> Tensor:
        if isinstance(batch, Tensor):
            return self.linear(self.drop(batch))
        if isinstance(batch, tuple | list):
            return self.scores(*batch[:2])
        return self.scores(batch.a, batch.b) if isinstance(batch, Record) else self.scores(batch["a"], batch["b"])


class Two(Net):
    def forward(self, a: Any, b: Any) -> Tensor:
        return self.scores(a, b)


class Optional(Net):
    def forward(self, a: Any, b: Any = None, scaled: bool = False) -> Tensor:
        return self.linear(self.drop(a)) if b is None else self.scores(a, b)


class Names(Net):
    def forward(self, **inputs: Any) -> Tensor:
        return self.scores(inputs["a"], inputs["b"])


class Places(One):
    def forward(self, *inputs: Any) -> Tensor:
        return super().forward(inputs if len(inputs) > 1 else inputs[0])


class ByLoss(Net):
    """As Hugging Face's models are: outputs with a loss, if the labels are given."""

    def forward(self, a: Any = None, b: Any = None, labels: Tensor | None = None) -> dict[str, Any]:
        logits = self.linear(self.drop(a)) if b is None else self.scores(a, b)
        return {"logits": logits, "loss": None if labels is None else functional.cross_entropy(logits, labels)}


MODELS = {each.__name__: each for each in (One, Two, Optional, Names, Places, ByLoss)}


def takes(model: str, tree: str) -> bool:
    is_tensor, is_place = tree == "tensor", tree in ("pair of tuple", "pair of list", "three", "list of three")
    if model in ("Two", "Names") and is_tensor:
        return False
    if model == "Names":  # nothing but names: a tuple or a list has none
        return not is_place and tree != "pair of named tuple"
    return True


def reference(model: nn.Module, optimizer: Any, accumulate: int, bf16: bool, closure: bool) -> None:
    """Train by hand, on tensors alone; the generator is seeded as the train op seeds it."""
    op = build_train_op(Net(), lambda outputs, targets: outputs.sum(), torch.optim.SGD(Net().parameters()), data=[])
    for number, (a, b, y) in enumerate(problem()):
        op.batch = number

        def evaluate(a: Tensor = a, b: Tensor = b, y: Tensor = y) -> Tensor:
            optimizer.zero_grad(set_to_none=True)
            total = []
            parts = zip(a.tensor_split(accumulate), b.tensor_split(accumulate), y.tensor_split(accumulate), strict=True)
            for micro, (a_part, b_part, y_part) in enumerate(parts):
                op.seed_noise(micro)
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    logits = model.linear(model.drop(a_part + b_part))  # type: ignore[operator]
                    loss = functional.cross_entropy(logits, y_part)
                if accumulate > 1:
                    loss = loss * (len(y_part) / len(y))
                loss.backward()
                total.append(loss.detach())
            return torch.stack(total).sum()

        optimizer.step(evaluate) if closure else (evaluate(), optimizer.step())


CASES = [
    (tree, model, accumulate, optimizer, bf16)
    for tree, model in itertools.product(TREES, MODELS)
    if takes(model, tree)
    for accumulate, optimizer, bf16 in itertools.product((1, 2), ("sgd", "lbfgs"), (False, True))
]


def wrongly_trained(tree: str, kind: str, accumulate: int, optimizer: str, bf16: bool) -> str | None:
    """Train one case; return what is not as in the loop by hand."""
    model, plain = MODELS[kind](), Net()
    loss = make_loss("output") if kind == "ByLoss" else functional.cross_entropy
    op = build_train_op(
        model,
        loss,
        make_optimizer(model, optimizer, lr=0.1),
        data=[TREES[tree](*batch) for batch in problem()],
        accumulate=accumulate,
        precision="bf16" if bf16 else "fp32",
    )
    with MonitoredTrainingSession(op) as session:
        while not session.should_stop():
            session.run(op)
    reference(plain, make_optimizer(plain, optimizer, lr=0.1), accumulate, bf16, optimizer == "lbfgs")
    same = all(torch.equal(one, other) for one, other in zip(model.parameters(), plain.parameters(), strict=True))
    if op.examples != NUM_EXAMPLES * NUM_BATCHES:
        return f"{op.examples} examples"
    return None if same else "other weights"


@pytest.mark.slow
@pytest.mark.parametrize("tree", TREES)
def test_every_tree_and_signature_trains_as_a_loop_by_hand(tree: str) -> None:
    cases = [case for case in CASES if case[0] == tree]
    assert cases
    wrong = [(*case, found) for case in cases if (found := wrongly_trained(*case))]
    assert not wrong, wrong[:3]


@pytest.mark.parametrize(("accumulate", "optimizer", "bf16"), [(2, "sgd", False), (1, "lbfgs", True)])
def test_some_of_them(accumulate: int, optimizer: str, bf16: bool) -> None:
    cases = [case for case in CASES if case[2:] == (accumulate, optimizer, bf16)]
    wrong = [(*case, found) for case in cases[:: 1 if optimizer == "sgd" else 7] if (found := wrongly_trained(*case))]
    assert not wrong, wrong[:3]


@pytest.mark.parametrize(
    ("model", "inputs", "words"),
    [
        (Two, {"a": torch.zeros(2, 4), "c": torch.zeros(2, 4)}, "there is no b"),
        (Two, {"a": 1, "b": 2, "mask": torch.zeros(2, 4)}, "it does not take mask"),
        (Two, (torch.zeros(2, 4),) * 3, "3 items for 2 parameters"),
        (ByLoss, (torch.zeros(2, 4),) * 2, "on the whole or on each item"),
        (Names, (torch.zeros(2, 4),) * 2, "but not a tuple of 2 as one"),
    ],
)
def test_inputs_that_a_model_takes_in_no_way_or_in_several_are_refused(model: Any, inputs: Any, words: str) -> None:
    made = model()
    op = build_train_op(made, functional.cross_entropy, make_optimizer(made, "sgd"), data=[(inputs, torch.zeros(2))])
    with pytest.raises(SessionError, match=words) as caught:
        op.run()
    assert "data." in str(caught.value) or "but not" in words


def test_the_way_can_be_said() -> None:
    a, b, y = problem()[0]
    model = ByLoss()
    loss = Selected(functional.cross_entropy, of="logits")
    op = build_train_op(model, loss, make_optimizer(model, "sgd", lr=0.1), data=[((a, b), y)], call="unpack")
    op.run()
    assert op.last_loss.isfinite()


@pytest.mark.parametrize("of", ["head.logits", ["head", "logits"], lambda outputs: outputs["head"].logits])
def test_a_part_of_the_outputs_is_chosen_by_path_or_function(of: Any) -> None:
    Head = collections.namedtuple("Head", "logits")
    outputs, targets = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    tree = {"head": Head(outputs)}
    assert torch.equal(
        Selected(functional.cross_entropy, of=of)(tree, targets), functional.cross_entropy(outputs, targets)
    )
    chosen = Selected(functional.cross_entropy, of=1, target="class")
    assert torch.equal(
        chosen((None, outputs), {"class": targets, "weight": None}), functional.cross_entropy(outputs, targets)
    )
