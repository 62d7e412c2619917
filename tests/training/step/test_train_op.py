"""The train op against hand-written loops, and its gate against poisoned batches."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from optrun.experiments import Batches, build_train_op
from optrun.experiments.errors import CheckpointError, DivergedError, SessionError
from optrun.experiments.training.step.batch_source import EndOfData
from optrun.experiments.training.step.parts import parts_of

from ...helpers import linear_problem, small_train_op

NAN = float("nan")


def hand_written(num_steps, *, clip_norm=None, clip_value=None, micro=1, batch_size=16):
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    data = Batches(*linear_problem(), batch_size=batch_size)
    losses = []
    for step in range(num_steps):
        inputs, targets = data.batch(step)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        if clip_norm:
            nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        if clip_value:
            nn.utils.clip_grad_value_(model.parameters(), clip_value)
        optimizer.step()
        losses.append(loss.item())
    return model, losses


@pytest.mark.parametrize(
    "options", [{}, {"clip_norm": 0.5}, {"clip_value": 0.1}, {"clip_norm": 1.0, "clip_value": 0.2}]
)
def test_equals_a_hand_written_loop_bit_for_bit(options):
    model, losses = hand_written(12, **options)
    op = small_train_op(**options)
    ours = []
    for _ in range(12):
        assert op.run()
        ours.append(op.fetch(["loss"])["loss"])
    assert ours == losses
    assert torch.equal(op.model.weight, model.weight)
    assert (op.global_step, op.batch, op.examples) == (12, 12, 12 * 16)


@pytest.mark.parametrize("accumulate", [2, 3, 5, 16])
def test_accumulated_gradients_are_those_of_the_whole_batch(accumulate):
    # 50 examples in batches of 16: the last batch has 2, and its micro-batches have unequal sizes.
    inputs, targets = linear_problem(50)
    whole, parts = (
        small_train_op(data=Batches(inputs, targets, batch_size=16), accumulate=number) for number in (1, accumulate)
    )
    for _ in range(8):
        whole.run()
        parts.run()
        torch.testing.assert_close(parts.fetch(["loss"])["loss"], whole.fetch(["loss"])["loss"], rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(parts.model.weight, whole.model.weight, rtol=1e-5, atol=1e-7)
    assert parts.examples == whole.examples == 2 * 50


def test_dropout_is_a_function_of_seed_batch_micro_batch_and_rank():
    def outputs(seed=0, rank=0, accumulate=1, start=0):
        torch.manual_seed(0)
        seen = []
        model = nn.Sequential(nn.Linear(4, 32), nn.Dropout(0.5), nn.Linear(32, 1))
        model[1].register_forward_hook(lambda module, args, output: seen.append(output == 0))
        op = small_train_op(model, lr=1e-9, seed=seed, rank=rank, accumulate=accumulate)
        op.batch = start
        torch.manual_seed(torch.seed() % 2**31)  # the global state must not matter
        for _ in range(3):
            op.run()
        return seen

    base = outputs()
    assert all(torch.equal(a, b) for a, b in zip(base, outputs(), strict=True))
    assert not torch.equal(base[0], base[1])
    assert not torch.equal(base[0], outputs(seed=1)[0])
    assert not torch.equal(base[0], outputs(rank=1)[0])
    assert torch.equal(base[1], outputs(start=1)[0])
    first, second = outputs(accumulate=2)[:2]
    assert not torch.equal(first, second)


def test_fetches():
    op = small_train_op(clip_norm=1e-3)
    op.run()
    values = op.fetch(["loss", "lr", "momentum", "grad_norm", "examples", "skipped", "param:bias"])
    assert values["lr"] == 0.1
    assert values["momentum"] == 0.9
    assert values["examples"] == 16
    assert values["skipped"] == 0
    assert torch.equal(values["param:bias"], op.model.bias)
    assert values["grad_norm"] > 0.1, "the norm before clipping"
    unclipped = small_train_op()
    unclipped.run()
    assert unclipped.fetch(["grad_norm"])["grad_norm"] == pytest.approx(values["grad_norm"])


@pytest.mark.parametrize(
    ("name", "hint"), [("los", "'loss'"), ("param:weigth", "param:weight"), ("momentun", "'momentum'")]
)
def test_unknown_fetch_names_the_nearest(name, hint):
    op = small_train_op()
    op.run()
    with pytest.raises(SessionError, match=hint):
        op.fetch([name])


def test_feeding_hyperparameters_and_batches():
    op = small_train_op()
    before = op.model.weight.detach().clone()
    op.run({"lr": 0.0})
    assert torch.equal(op.model.weight, before)
    inputs = torch.ones(3, 4)
    op.run({"batch": (inputs, torch.zeros(3, 1))})
    assert op.examples == 16 + 3
    with pytest.raises(SessionError, match="nothing to feed is called 'learning_rate'"):
        op.run({"learning_rate": 0.1})


def test_a_group_with_its_own_rate_keeps_its_ratio():
    from optrun.experiments import make_optimizer

    model = nn.Linear(4, 1)
    optimizer = make_optimizer(model, "mom", lr=0.1, groups=[{"match": "bias", "lr": 0.2}])
    op = build_train_op(model, nn.functional.mse_loss, optimizer, [linear_problem()])
    op.run({"lr": 0.05})
    rates = sorted(group["lr"] for group in optimizer.param_groups)
    assert rates == pytest.approx([0.05, 0.1])


# ---- the gate --------------------------------------------------------------------------------------------------------


class Poisoned(Batches):
    """Batches of which some hold a value that is not finite."""

    def __init__(self, *args, bad=(), value=NAN, **kwargs):
        super().__init__(*args, **kwargs)
        self.bad, self.value = bad, value

    def batch(self, position):
        inputs, targets = super().batch(position)
        if position in self.bad:
            inputs = inputs.clone()
            inputs[0, 0] = self.value
        return inputs, targets


def poisoned_op(bad, value=NAN, model=None, **options):
    return small_train_op(model, data=Poisoned(*linear_problem(), batch_size=16, bad=bad, value=value), **options)


def with_norm():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))


@pytest.mark.parametrize("value", [NAN, float("inf")])
@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("policy", ["raise", "stop"])
def test_gate_raises_before_the_weights_change(policy, accumulate, value):
    op = poisoned_op(bad=[2], value=value, on_nan=policy, accumulate=accumulate)
    op.run()
    op.run()
    weights, state = op.model.weight.detach().clone(), op.optimizer.state[op.model.weight]["momentum_buffer"].clone()
    with pytest.raises(DivergedError, match=r"diverged in batch 2 after 2 steps: loss is (nan|inf)"):
        op.run()
    assert torch.equal(op.model.weight, weights)
    assert torch.equal(op.optimizer.state[op.model.weight]["momentum_buffer"], state)
    assert (op.global_step, op.batch) == (2, 2)


def test_gate_names_the_bad_gradient_when_the_loss_is_finite():
    op = small_train_op()
    op.model.bias.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(DivergedError, match="the gradient of bias is not finite"):
        op.run()


def test_gate_stops_a_loss_above_its_bound():
    op = small_train_op(loss_above=1e-6)
    with pytest.raises(DivergedError, match=r"is above stop\.loss_above = 1e-06"):
        op.run()


def test_a_skipped_batch_leaves_no_trace_but_the_counters():
    # The reference run never sees batch 2: its position is jumped over by hand.
    op = poisoned_op(bad=[2], model=with_norm(), on_nan="skip", updates=["ema"])
    reference = poisoned_op(bad=[], model=with_norm(), updates=["ema"])
    applied = [op.run() for _ in range(6)]
    for _ in range(6):
        if reference.batch == 2:
            reference.batch = 3
        else:
            reference.run()
    assert applied == [True, True, False, True, True, True]
    assert (op.global_step, op.batch, op.skipped, op.examples) == (5, 6, 1, 5 * 16)
    while reference.global_step < 5:
        reference.run()
    for name, value in op.model.state_dict().items():
        assert torch.equal(value, reference.model.state_dict()[name]), name
    for name, shadow in op.updates[0].shadows.items():
        assert torch.equal(shadow, reference.updates[0].shadows[name]), name


def test_without_the_gate_a_bad_batch_does_poison_the_model():
    """Show that the tests above can fail."""
    op = poisoned_op(bad=[2], model=with_norm(), on_nan=None)
    for _ in range(3):
        op.run()
    assert torch.isnan(op.model[1].running_mean).any()
    assert torch.isnan(op.model[0].weight).any()


def test_eleven_skips_in_a_row_are_a_divergence():
    op = poisoned_op(bad=range(3, 99), on_nan="skip")
    for _ in range(13):
        op.run()
    assert op.skipped == 10
    with pytest.raises(DivergedError) as caught:
        op.run()
    assert caught.value.__notes__ == ["10 batches in a row had been skipped before"]


def test_the_count_of_skips_in_a_row_starts_again_after_a_good_batch():
    op = poisoned_op(bad=[*range(10), *range(11, 21)], on_nan="skip")
    for _ in range(22):
        op.run()
    assert (op.skipped, op.global_step) == (20, 2)


@pytest.mark.parametrize("name", ["sgd", "mom", "adam", "adamw", "adagrad"])
def test_a_gate_that_answers_on_the_device_freezes_the_weights_at_the_first_bad_batch(name):
    """As on a GPU: the host learns of it later; weights, optimizer state and counters are those before the batch."""
    from optrun.experiments import make_optimizer

    def make(bad, num_steps):
        torch.manual_seed(0)
        model = nn.Linear(4, 1)
        optimizer = make_optimizer(model, name, lr=0.05)
        op = build_train_op(
            model, nn.functional.mse_loss, optimizer, Poisoned(*linear_problem(50), batch_size=16, bad=bad)
        )
        assert op.gate.defer(optimizer)
        for _ in range(num_steps):
            op.run()
        return op

    late, reference = make(bad=[5], num_steps=9), make(bad=[], num_steps=5)
    reference.read_late_checks()
    assert late.global_step == 9
    with pytest.raises(DivergedError, match="diverged in batch 5 after 5 steps: its loss or a gradient is not finite"):
        late.read_late_checks()
    assert (late.global_step, late.batch, late.examples) == (5, 5, reference.examples)
    assert torch.equal(late.model.weight, reference.model.weight)
    for ours, theirs in zip(late.optimizer.state.values(), reference.optimizer.state.values(), strict=True):
        for key, value in ours.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(theirs[key])), key


def test_a_gate_defers_only_where_it_can():
    for options in ({"on_nan": "skip"}, {"loss_above": 5.0}, {}):
        op = small_train_op(**options)  # an optimizer that is not fused
        assert not op.gate.defer(op.optimizer)


def test_a_session_asks_a_deferred_gate_when_a_hook_is_due():
    from optrun.experiments import Every

    from ...helpers import Recorder, run_steps

    op = poisoned_op(bad=[5])
    op.optimizer = torch.optim.SGD(op.model.parameters(), lr=0.1, momentum=0.9, fused=True)
    assert op.gate.defer(op.optimizer)
    recorder = Recorder(trigger=Every(steps=4))
    with pytest.raises(DivergedError, match="after 5 steps"):
        run_steps(op, 20, recorder)
    assert recorder.steps("after_run") == [4]


# ---- bf16, finite data, misuse, state -------------------------------------------------------------------------------


def test_bf16_computes_in_bf16_and_keeps_float32_weights():
    seen = []
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
    model[1].register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    op = small_train_op(model, precision="bf16", lr=0.01)
    first = None
    for _ in range(40):
        op.run()
        first = first or op.fetch(["loss"])["loss"]
    assert set(seen) == {torch.bfloat16}
    assert model[0].weight.dtype == torch.float32
    assert op.fetch(["loss"])["loss"] < first / 10


def test_finite_data_ends():
    op = small_train_op(data=[linear_problem(8), linear_problem(8)])
    op.run()
    op.run()
    with pytest.raises(EndOfData, match="after 2 batches"):
        op.run()
    assert op.global_step == 2


def test_a_loss_that_depends_on_no_parameter():
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    unrelated = torch.ones(1, requires_grad=True)
    op = build_train_op(model, lambda outputs, targets: unrelated.sum(), optimizer, [linear_problem()])
    with pytest.raises(SessionError, match="no trainable parameter of the optimizer has a gradient"):
        op.run()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate": 0}, "accumulate must be at least 1"),
        ({"clip_norm": 0.0}, "clip_norm must be greater than 0"),
        ({"clip_value": -1.0}, "clip_value must be greater than 0"),
        ({"on_nan": "ignore"}, "no gate policy 'ignore': use raise, stop, skip"),
        ({"precision": "fp8"}, "no precision 'fp8'"),
    ],
)
def test_values_that_cannot_work_are_refused(options, message):
    with pytest.raises(SessionError, match=message):
        small_train_op(**options)


def test_parts_say_what_they_are():
    op = small_train_op(clip_norm=1.0, accumulate=2, updates=["ema"], on_nan="skip", l2=0.1)
    assert [tuple(part) for part in parts_of(op)] == [
        ("batch", "Batches", ""),
        ("forward", "Linear, fp32", ""),
        ("loss", "mse_loss", ""),
        ("l2", "0.1 * Σ w² / 2 of 2 tensors", ""),
        ("backward", "of 2 micro-batches in turn, from forward on", ""),
        ("gate", "skip unless loss and gradients are finite", ""),
        ("clip_norm", "at most 1", ""),
        ("optimizer", "SGD", ""),
        ("update", "Ema", ""),
        ("global_step", "+ 1", ""),
    ]


def test_state_goes_round():
    op, other = small_train_op(updates=["ema"]), small_train_op(updates=["ema"], lr=0.03)
    for _ in range(5):
        op.run()
    other.load_state_dict(op.state_dict())
    assert other.optimizer.param_groups[0]["lr"] == 0.03, "the configuration decides the hyperparameters"
    for _ in range(3):
        op.run({"lr": 0.1})
        other.run({"lr": 0.1})
    assert torch.equal(op.model.weight, other.model.weight)
    assert torch.equal(op.updates[0].shadows["weight"], other.updates[0].shadows["weight"])


def test_state_of_another_model_is_refused():
    state = small_train_op().state_dict()
    with pytest.raises(CheckpointError, match="another model"):
        small_train_op(nn.Linear(4, 1, bias=False)).load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"extra updates \[\], the train op has \['Ema'\]"):
        small_train_op(updates=["ema"]).load_state_dict(state)


def test_optimizer_state_follows_names_not_positions():
    first, second = nn.Linear(4, 1), nn.Linear(4, 1)

    def op(names):
        model = nn.Module()
        model.add_module("a", first if names[0] == "a" else second)
        model.linear = nn.Linear(4, 1)
        parameters = dict(model.named_parameters())
        order = sorted(parameters, reverse=names[0] == "b")
        optimizer = torch.optim.SGD([parameters[name] for name in order], lr=0.1, momentum=0.9)
        model.forward = lambda inputs: model.a(inputs) + model.linear(inputs)
        return build_train_op(model, nn.functional.mse_loss, optimizer, Batches(*linear_problem(), batch_size=16))

    ours, theirs = op("ab"), op("ba")
    ours.run()
    theirs.load_state_dict(ours.state_dict())
    for name, parameter in theirs.model.named_parameters():
        expected = ours.optimizer.state[ours.model.get_parameter(name)]["momentum_buffer"]
        assert torch.equal(theirs.optimizer.state[parameter]["momentum_buffer"], expected), name


@pytest.mark.parametrize("several", [list, tuple, lambda made: {"generator": made[0], "critic": made[1]}])
def test_several_optimizers_are_refused_with_the_way_out(several):
    model = torch.nn.Linear(2, 1)
    made = [torch.optim.SGD([parameter], lr=0.1) for parameter in model.parameters()]
    batches = [(torch.ones(4, 2), torch.ones(4, 1))]
    with pytest.raises(SessionError, match=r"^optimizer is a (list|tuple|dict): .* groups="):
        build_train_op(model, torch.nn.functional.mse_loss, several(made), data=batches)
