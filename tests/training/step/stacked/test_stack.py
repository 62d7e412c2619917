"""Steps that several train ops take at once, against each of them by itself."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from optrun.experiments import Batches, build_train_op, make_optimizer
from optrun.experiments.components.updates.ema import Ema
from optrun.experiments.errors import DivergedError, UsageError
from optrun.experiments.training.step.compiled import program
from optrun.experiments.training.step.compiled.reasons import why_not_stacked
from optrun.experiments.training.step.stacked.graph import NotCompiledError
from optrun.experiments.training.step.stacked.stack import Stack
from optrun.experiments.training.step.steps import Steps
from optrun.experiments.training.step.train_op import TrainOp

NUM_STEPS = 12
RATES = [0.02, 0.05, 0.01, 0.03, 0.04, 0.06]
DECAY, PENALTY = {"weight_decay": 0.1}, {"l1": 0.02, "l2": 0.1}
#: Every optimizer that has a rule, by name and flavor, with what makes it meet all of it.
OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    *[
        (name, {"weight_decay": 0.1})
        for name in ("sgd", "mom", "nag", "adam", "amsgrad", "adamw", "rmsprop", "adagrad")
    ],
    *[(name, {"weight_decay": 0.1}) for name in ("adadelta", "nadam", "radam", "adamax", "lion", "adafactor", "lamb")],
    *[(name, {"weight_decay": 0.1}) for name in ("lars", "asgd", "schedule_free_sgd", "schedule_free_adamw")],
    *[
        (name, {"l1": 0.02, "l2": 0.1})
        for name in ("proximal_gradient_descent", "proximal_adagrad", "adagrad_da", "ftrl")
    ],
    *[(name, {"flavor": "tf1"}) for name in ("sgd", "mom", "adam", "rmsprop", "adagrad", "adadelta")],
    ("lamb", {"adapt": "all"}),
    ("lars", {"adapt": "all"}),
    ("rprop", {}),
]
#: By how much a weight may be another one after twelve steps: products of many matrices round otherwise.
TOLERANCE = 2e-4


def mlp(*between: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 16), *between, nn.ReLU(), nn.Linear(16, 3))


def convolutions() -> nn.Module:
    layers = [nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(32, 3))


MODELS = {"mlp": mlp, "dropout": lambda: mlp(nn.Dropout(0.3)), "convolutions": convolutions}


def member(seed: int, optimizer: str = "mom", model: str = "mlp", bad: int | None = None, **options: Any) -> TrainOp:
    """Return a train op with data, weights and noise of its own; it meets no number in the batch called bad."""
    torch.manual_seed(seed)
    inputs, targets = torch.randn(44, 4), torch.randint(0, 3, (44,))
    if bad is not None:
        order = Batches(inputs, targets, batch_size=8, seed=seed)
        inputs[order.indices(bad)[0]] = math.nan
    net = MODELS[model]()
    settings = {key.removeprefix("optimizer_"): options.pop(key) for key in [*options] if key.startswith("optimizer_")}
    made = make_optimizer(net, optimizer, lr=RATES[seed], **settings)
    updates = [Ema(net, **options.pop("ema"))] if "ema" in options else []
    data = Batches(inputs, targets, batch_size=8, seed=seed)  # the last batch of an epoch has 4 examples
    loss = nn.functional.cross_entropy
    return build_train_op(net, loss, made, data, updates=updates, seed=seed, **options)


def take(ops: list[TrainOp], num_steps: int = NUM_STEPS, stack: Stack | None = None, longest: int = 64) -> list[Any]:
    """Take steps together, at rates that change; return what ended those of a train op, None for most."""
    stack, ended = stack or Stack(), dict.fromkeys(ops)
    while left := [op for op in ops if op.global_step < num_steps and ended[op] is None]:
        asked = [
            Steps(op, min(longest, num_steps - op.global_step), rate_of(op), lambda: math.inf, False) for op in left
        ]
        for each, answer in stack.take(asked):
            if isinstance(answer, Exception):
                ended[each.train_op] = answer
    return list(ended.values())


def rate_of(op: TrainOp) -> Any:
    (rate,) = set(op.hyperparameter("lr"))
    return lambda step: {"lr": rate / (1 + step % 3)}


def take_alone(op: TrainOp, num_steps: int = NUM_STEPS) -> None:
    feed_at = rate_of(op)
    while op.global_step < num_steps:
        op.run_uncompiled(feed_at(op.global_step))


def tensors(tree: Any) -> list[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        return [tree]
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else []
    return [tensor for child in children for tensor in tensors(child)]


def state(op: TrainOp) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in tensors(op.state_dict())]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


@pytest.mark.parametrize(("name", "settings"), OPTIMIZERS)
def test_each_rule_moves_members_as_they_move_alone(name, settings):
    options = {f"optimizer_{key}": value for key, value in settings.items()}
    together = [member(seed, name, **options) for seed in range(3)]
    assert [why_not_stacked(op) for op in together] == [None] * 3
    assert take(together) == [None] * 3
    for seed, op in enumerate(together):
        alone = member(seed, name, **options)
        take_alone(alone)
        for one, other in zip(state(op), state(alone), strict=True):
            torch.testing.assert_close(one, other, rtol=TOLERANCE, atol=TOLERANCE)
        assert (op.global_step, op.batch, op.examples) == (alone.global_step, alone.batch, alone.examples)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["mom", "adam", "lamb", "ftrl"])
def test_the_bits_of_a_member_depend_on_nothing_else(model, name):
    def taken(*seeds, **how):
        ops = [member(seed, name, model) for seed in seeds]
        take(ops, **how)
        return {seed: state(op) for seed, op in zip(seeds, ops, strict=True)}

    five, two, one, cut = taken(0, 1, 2, 3, 4), taken(3, 0), taken(3), taken(2, 3, longest=1)
    assert same(five[0], two[0])
    assert same(five[3], two[3])
    assert same(five[3], one[3])  # beside a row that nobody needs
    assert same(five[2], cut[2])
    assert not same(five[0], five[3])


@pytest.mark.parametrize("model", ["dropout", "convolutions"])
def test_noise_and_statistics_are_those_of_a_member_alone(model):
    together = [member(seed, model=model) for seed in range(3)]
    take(together)
    for seed, op in enumerate(together):
        alone = member(seed, model=model)
        take_alone(alone)
        for one, other in zip(state(op), state(alone), strict=True):
            torch.testing.assert_close(one, other, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(
    "options",
    [
        {"clip_norm": 0.1},
        {"clip_value": 0.05},
        {"l2": 0.1},
        {"loss_above": 100.0},
        {"on_nan": None},
        {"precision": "bf16"},
        {"ema": {"decay": 0.9}},
    ],
)
def test_options_of_a_train_op_hold_for_each_member(options):
    together = [member(seed, **options) for seed in range(3)]
    assert take(together) == [None] * 3
    tolerance = 0.02 if "precision" in options else TOLERANCE
    for seed, op in enumerate(together):
        alone, plain = member(seed, **options), member(seed)
        take_alone(alone)
        take_alone(plain)
        for one, other in zip(state(op), state(alone), strict=True):
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_optimizers_of_several_kinds_share_a_batch():
    names = ["adam", "mom", "adam", "lamb"]
    together = [member(seed, name) for seed, name in enumerate(names)]
    take(together)
    pair = [member(3, "lamb"), member(2, "adam")]
    take(pair)
    assert same(state(together[3]), state(pair[0]))
    assert same(state(together[2]), state(pair[1]))


@pytest.mark.parametrize("on_nan", ["raise", "skip"])
@pytest.mark.parametrize(("name", "model"), [("mom", "convolutions"), ("lamb", "mlp")])
def test_a_bad_batch_is_the_members_own_affair(on_nan, name, model):
    def several(*seeds):
        return [member(seed, name, model, 3 if seed == 1 else None, on_nan=on_nan) for seed in seeds]

    together, others = several(0, 1, 2), several(0, 2)
    ended = take(together)
    take(others)
    assert same(state(together[0]), state(others[0]))
    assert same(state(together[2]), state(others[1]))
    bad = together[1]
    alone = several(1)[0]
    if on_nan == "raise":
        assert isinstance(ended[1], DivergedError)
        assert bad.global_step == 3
        with pytest.raises(DivergedError):
            take_alone(alone)
    else:
        assert ended == [None] * 3
        assert (bad.global_step, bad.batch, bad.skipped) == (NUM_STEPS, NUM_STEPS + 2, 2)  # once in each epoch
        take_alone(alone)
    for one, other in zip(state(bad), state(alone), strict=True):
        torch.testing.assert_close(one, other, rtol=TOLERANCE, atol=TOLERANCE)
        assert torch.isfinite(one).all()


def test_a_member_that_is_behind_catches_up():
    late, stack = [member(seed) for seed in range(3)], Stack()
    take(late[:1], 5)
    take(late[1:2], 2)
    take(late, stack=stack)
    straight = [member(seed) for seed in range(3)]
    take(straight)
    assert all(same(state(one), state(other)) for one, other in zip(late, straight, strict=True))


def test_what_somebody_puts_in_place_of_a_weight_is_what_is_trained():
    ops, stack = [member(0), member(1)], Stack()
    take(ops, 6, stack)
    kept = copy.deepcopy(ops[0].state_dict())
    take(ops, stack=stack)
    expected = state(ops[0])
    ops[0].load_state_dict(kept)
    assert ops[0].global_step == 6
    take(ops, stack=stack)
    assert same(state(ops[0]), expected)


def test_what_no_graph_knows_is_fed_to_a_step_of_its_own():
    op, alone = member(0), member(0)
    (answer,) = Stack().take([Steps(op, 3, lambda step: {"momentum": 0.5}, lambda: math.inf, False)])
    assert answer[1] is True
    alone.run_uncompiled({"momentum": 0.5})
    assert op.global_step == 1
    assert same(state(op), state(alone))


def test_errors_of_what_is_fed_are_the_members_own():
    ops = [member(0), member(1)]

    def fails(step):
        raise ZeroDivisionError("no rate")

    asked = [
        Steps(ops[0], 2, fails, lambda: math.inf, False),
        Steps(ops[1], 2, lambda step: {}, lambda: math.inf, False),
    ]
    answers = dict(Stack().take(asked))
    assert isinstance(answers[asked[0]], ZeroDivisionError)
    assert answers[asked[1]] is True
    assert (ops[0].global_step, ops[1].global_step) == (0, 2)


def test_a_model_that_cannot_be_captured_is_refused():
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, inputs):
            return self.linear(inputs) * (2.0 if inputs.sum().item() > 0 else 1.0)

    MODELS["reads"] = Reads
    try:
        (ended,) = take([member(0, model="reads")])
    finally:
        del MODELS["reads"]
    assert isinstance(ended, UsageError)
    assert "cannot be taken in a batch of runs" in str(ended)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"optimizer": "lbfgs"}, "evaluates the batch itself"),
        ({"optimizer": "muon"}, "has no compiled rule"),
        ({"accumulate": 2}, "train.accumulate"),
    ],
)
def test_what_is_not_taken_together_says_why(options, reason):
    assert reason in (why_not_stacked(member(0, **options)) or "")


@pytest.mark.slow
def test_compiled_graphs_give_each_member_bits_of_its_own():
    def taken(*seeds):
        ops = [member(seed) for seed in seeds]
        assert take(ops, stack=Stack(is_compiled=True)) == [None] * len(ops)
        return dict(zip(seeds, map(state, ops), strict=True))

    six = taken(0, 1, 2, 3, 4, 5)  # in two parts
    for others in (taken(5, 0), taken(4), taken(3, 4, 0, 1, 5)):
        assert all(same(found, six[seed]) for seed, found in others.items())
    alone = member(0)
    take_alone(alone)
    for one, other in zip(six[0], state(alone), strict=True):
        torch.testing.assert_close(one, other, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.slow
def test_a_compiled_graph_serves_any_number_of_members(tmp_path, monkeypatch):
    monkeypatch.setenv("OPTRUN_COMPILED_DIR", str(tmp_path / "compiled"))
    stack = Stack(is_compiled=True)
    stack.graphs.may_compile = False
    (refused,) = take([member(0)], stack=stack)
    assert isinstance(refused, NotCompiledError)
    assert refused.num_operations > 10
    assert take([member(seed) for seed in range(3)], stack=Stack(is_compiled=True)) == [None] * 3
    monkeypatch.setattr(program, "compiled", lambda *given: pytest.fail("it is there"))
    assert take([member(seed) for seed in range(6)], stack=Stack(is_compiled=True)) == [None] * 6
