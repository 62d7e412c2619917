"""What was compiled is found again by all that it depends on, and by nothing less."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from torch import nn

from optrun.experiments.errors import StorageError
from optrun.experiments.training.step.compiled import fingerprint, gradients, program, store
from optrun.experiments.training.step.compiled.blocks import CompiledBlocks

from .work import RATE, assert_same_bits, batches, small_mlp, state_of, take, train_op


class Compiles(Exception):
    """Somebody wants to compile."""


def refuse_to_compile(monkeypatch):
    def refuse(*given):
        raise Compiles

    monkeypatch.setattr(program, "compiled", refuse)


class Scaled(nn.Sequential):
    """The MLP of the tests, with a number that its forward pass reads."""

    def __init__(self, factor=1.0, wide=8):
        torch.manual_seed(0)
        super().__init__(nn.Linear(4, wide), nn.ReLU(), nn.Linear(wide, 3))
        self.factor = factor

    def forward(self, inputs):
        return super().forward(inputs) * self.factor


def frozen():
    model = small_mlp()
    model[0].bias.requires_grad_(False)
    return model


def uphill():
    op = train_op()
    for group in op.optimizer.param_groups:
        group["maximize"] = True
    return op


def key_of(op, monkeypatch):
    """Return the key of a step, which is not compiled."""
    keys = []

    def note(key):
        keys.append(key)
        raise Compiles

    with monkeypatch.context() as patch, pytest.raises(Compiles):
        patch.setattr(store, "alone", note)
        CompiledBlocks(op).run(*batches(op, 0, 1), torch.full((1, len(op.optimizer.param_groups)), RATE))
    return keys[0]


def test_another_train_op_finds_what_was_compiled_without_tracing(monkeypatch):
    first = train_op()
    losses = take(first, [1, 1])
    refuse_to_compile(monkeypatch)
    monkeypatch.setattr(gradients, "traced", None)
    second = train_op()
    assert take(second, [1, 1]) == losses
    assert_same_bits(state_of(first), state_of(second))


@pytest.mark.parametrize(
    "make",
    [
        lambda: train_op("sgd"),
        lambda: train_op(optimizer_momentum=0.8),
        lambda: train_op(optimizer_weight_decay=0.1),
        lambda: train_op(clip_norm=1.0),
        lambda: train_op(clip_value=1.0),
        lambda: train_op(on_nan=None),
        lambda: train_op(loss_above=2e6),
        lambda: train_op(l2=0.1),
        lambda: train_op(l2=0.2),
        lambda: train_op(precision="bf16"),
        lambda: train_op(model=Scaled(2.0)),
        lambda: train_op(model=Scaled(wide=9)),
        lambda: train_op(model=small_mlp().double(), loss=lambda outputs, targets: outputs.mean()),
        lambda: train_op(model=frozen()),
        lambda: train_op(loss=nn.MultiMarginLoss()),
        lambda: uphill(),
    ],
    ids=range(16),
)
def test_what_differs_has_another_key(make, monkeypatch):
    usual = key_of(train_op(), monkeypatch)
    assert usual is not None
    assert usual == key_of(train_op(), monkeypatch)
    assert usual != key_of(make(), monkeypatch)


def test_a_library_that_is_gone_or_cut_off_is_compiled_anew(monkeypatch, tmp_path):
    whole = tmp_path / "steps.so"
    whole.write_bytes(b"12345")
    monkeypatch.setattr(store, "compiled_dir", lambda: tmp_path)
    assert program._library_of({"library": "steps.so", "size": 5}) == whole
    assert program._library_of({"library": "steps.so", "size": 6}) is None
    assert program._library_of({"library": "other.so", "size": 5}) is None


def test_facts_are_kept_by_key_and_what_is_no_fact_is_none(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(store, "compiled_dir", lambda: tmp_path / "private")
    assert store.recall("one") is None
    store.keep("one", {"size": 3})
    assert store.recall("one") == {"size": 3}
    (tmp_path / "private" / "steps" / "one.json").write_text('{"size"')
    assert store.recall("one") is None
    store.keep(None, {"size": 3})
    assert store.recall(None) is None

    def full(*given):
        raise StorageError("no space left")

    monkeypatch.setattr(store, "write_derived", full)
    with caplog.at_level(logging.WARNING):
        store.keep("two", {})
    assert "is not kept for later runs: no space left" in caplog.text


def own(inputs):
    return inputs + 1


torch.fx.wrap("own")


@pytest.mark.parametrize(
    ("function", "is_known"),
    [
        (lambda inputs: torch.relu(inputs) + nn.functional.gelu(inputs), True),
        (lambda inputs: inputs.view(-1).sum(), True),
        (lambda inputs: own(inputs), False),
    ],
)
def test_a_graph_is_told_by_its_text_unless_somebodys_function_is_in_it(function, is_known):
    text = fingerprint.text_of(torch.fx.symbolic_trace(function))
    assert (text is not None) == is_known
    assert text == fingerprint.text_of(torch.fx.symbolic_trace(function))


def test_texts_have_constants_and_order():
    texts = {
        fingerprint.text_of(torch.fx.symbolic_trace(function))
        for function in (lambda x: x * 2, lambda x: x * 3, lambda x: x + 2, lambda x: (x + 2) * 2, lambda x: x * 2 + 2)
    }
    assert len(texts) == 5
    holding = torch.fx.symbolic_trace(nn.Linear(2, 2))  # holds its weights
    assert fingerprint.text_of(holding) is None


def test_kinds_of_tensors_have_layout_and_sharing():
    tensor = torch.zeros(4, 4)
    kinds = [
        [tensor, tensor.clone()],
        [tensor, tensor],
        [tensor, tensor.clone().t()],
        [tensor, tensor.double()],
        [tensor, torch.zeros(16)],
        [tensor, nn.Parameter(torch.zeros(4, 4))],
    ]
    assert len({fingerprint.kinds_of(each) for each in kinds}) == len(kinds)
    assert fingerprint.kinds_of(kinds[0]) == fingerprint.kinds_of([tensor.clone(), tensor])


def test_settings_of_torch_are_a_part_of_what_code_depends_on():
    before = fingerprint.machine()
    assert before == fingerprint.machine()
    try:
        torch.set_float32_matmul_precision("medium")
        assert fingerprint.machine() != before
    finally:
        torch.set_float32_matmul_precision("highest")
    assert fingerprint.machine() == before
    json.dumps(before)
