"""The edges of train op and session: what goes wrong at an unlucky moment, or with an unusual but legitimate piece."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
import torch
from torch import nn

from optrun.experiments import (
    Batches,
    EvaluationHook,
    Every,
    Hook,
    LearningRateSetterHook,
    MonitoredTrainingSession,
    StopAtStepHook,
    SummaryHook,
    build,
    build_train_op,
    load_config,
    make_schedule,
    train,
)
from optrun.experiments.components.data import PartInMemory
from optrun.experiments.components.hooks.checkpoint import CheckpointHook
from optrun.experiments.components.hooks.hook import Phase, RunArgs
from optrun.experiments.errors import CheckpointError, DivergedError, SessionError, TransientError, UserExitError
from optrun.experiments.run_directory.checkpoint_files import list_checkpoints
from optrun.experiments.training.evaluator import Evaluator

from ...helpers import PoisonHook, Recorder, linear_problem, run_steps, small_train_op


class Once(Hook):
    """Raise a passing error in an event, the first time that a step is reached."""

    def __init__(self, step, event="after_run", error=TransientError):
        self._step, self._error, self._done = step, error, False
        setattr(self, f"_{event}", True)
        self._event = event

    def _raise(self, ctx, event):
        if event == self._event and ctx.step == self._step and not self._done:
            self._done = True
            raise self._error("the line is busy")

    def before_run(self, ctx):
        self._raise(ctx, "before_run")

    def after_run(self, ctx, values):
        self._raise(ctx, "after_run")


# ---- the gate that answers late --------------------------------------------------------------------------------------


def deferred_op(bad_batch):
    op = small_train_op()
    op.optimizer = torch.optim.SGD(op.model.parameters(), lr=0.1, momentum=0.9, fused=True)
    assert op.gate.defer(op.optimizer)
    return op, PoisonHook(op, bad_batch)


def test_a_late_gate_is_asked_before_a_session_ends_and_before_a_checkpoint(tmp_path):
    op, poison = deferred_op(6)
    with pytest.raises(DivergedError, match="after 6 steps"):
        run_steps(op, 10, poison, checkpoint_dir=tmp_path)
    assert not list_checkpoints(tmp_path)


def test_a_late_gate_is_asked_when_the_data_ends():
    op, poison = deferred_op(6)
    op.data = Batches(*linear_problem(112), batch_size=16, num_epochs=1)  # 7 batches, of which the last is bad
    with pytest.raises(DivergedError, match="after 6 steps"), MonitoredTrainingSession(op, hooks=[poison]) as session:
        while not session.should_stop():
            session.run(op)
    assert session.outcome == "diverged"


@pytest.mark.parametrize("policy", ["raise", "stop"])
def test_a_late_gate_is_asked_when_the_loop_is_left(policy):
    op, poison = deferred_op(6)
    op.gate.policy = policy
    ends = []

    class End(Hook):
        def end(self, session, outcome):
            ends.append(outcome)

    raises = pytest.raises(DivergedError, match="after 6 steps") if policy == "raise" else contextlib.nullcontext()
    stop = StopAtStepHook(100)
    with raises, MonitoredTrainingSession(op, hooks=[poison, stop, End()]) as session:
        for _ in range(7):
            session.run(op)
    assert (ends, session.outcome, op.global_step) == (["diverged"], "diverged", 6)


def test_functions_around_a_save_stay_when_hooks_are_added(tmp_path):
    op, saved = small_train_op(), []
    session = MonitoredTrainingSession(op, checkpoint_dir=tmp_path, hooks=[StopAtStepHook(2)])
    session.on_checkpoint(before=saved.append)
    session.add_hooks([Once(99)])
    with session:
        while not session.should_stop():
            session.run(op)
    assert saved == [2]


def test_hooks_that_look_at_gradients_never_see_bad_ones():
    op, poison = deferred_op(6)
    seen = []

    class Looking(Hook):
        trigger = Every(steps=3)

        def after_gradients(self, ctx):
            seen.append(bool(torch.isfinite(ctx.train_op.model.weight.grad).all()))

    with pytest.raises(DivergedError, match="in batch 6 after 6 steps: loss is nan"):
        run_steps(op, 10, poison, Looking())
    assert seen == [True, True]
    assert (op.global_step, op.batch) == (6, 6)


def test_a_late_gate_forgets_when_the_state_goes_back(tmp_path):
    op, poison = deferred_op(6)
    hooks = [poison, Once(5, "before_run")]
    with pytest.raises(DivergedError, match="after 6 steps"):
        run_steps(op, 10, *hooks, checkpoint_dir=tmp_path, save_checkpoint_steps=2, retry_wait_secs=0.0)
    assert [file.step for file in list_checkpoints(tmp_path)][-1] == 6


# ---- recovery --------------------------------------------------------------------------------------------------------


def test_a_stop_request_of_a_lost_step_is_lost_with_it(tmp_path):
    """StopAtStep asks for the end at step 12, then another hook fails: the session goes back, and on to 12."""
    op = small_train_op()
    session = run_steps(op, 12, Once(12), checkpoint_dir=tmp_path, save_checkpoint_steps=5, retry_wait_secs=0.0)
    assert (op.global_step, session.outcome, session.recoveries) == (12, "done", 0)


def test_statistics_noted_by_a_failed_step_do_not_survive_it(tmp_path):
    def net():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 1))

    undisturbed = small_train_op(net(), updates=["batch_norm"], accumulate=2)
    run_steps(undisturbed, 8)
    op = small_train_op(net(), updates=["batch_norm"], accumulate=2)
    calls = []
    plain_loss = op.loss

    def failing_loss(outputs, targets):
        calls.append(1)
        if len(calls) == 12:  # the second micro-batch of a step
            raise TransientError("the line is busy")
        return plain_loss(outputs, targets)

    op.loss = failing_loss
    run_steps(op, 8, checkpoint_dir=tmp_path, save_checkpoint_steps=2, retry_wait_secs=0.0)
    for name, value in undisturbed.model.state_dict().items():
        assert torch.equal(value, op.model.state_dict()[name]), name


def test_a_hook_whose_state_was_empty_goes_back_to_empty(tmp_path):
    class Seen(Hook):
        def __init__(self):
            self.state = {}

        def after_run(self, ctx, values):
            self.state[str(ctx.step)] = self.state.get(str(ctx.step), 0) + 1

        def state_dict(self):
            return dict(self.state) if len(self.state) > 4 else {}

        def load_state_dict(self, state):
            self.state = dict(state)

    seen = Seen()
    run_steps(small_train_op(), 8, seen, Once(6), checkpoint_dir=tmp_path, save_checkpoint_steps=4, retry_wait_secs=0.0)
    assert seen.state == {"5": 1, "6": 1, "7": 1, "8": 1}


def test_an_error_while_recovering_is_recovered_from(tmp_path):
    class Shaky(Hook):
        def __init__(self):
            self.calls = 0

        def after_create_session(self, session):
            self.calls += 1
            if self.calls == 2:
                raise TransientError("still busy")

    shaky = Shaky()
    op = small_train_op()
    run_steps(op, 8, shaky, Once(6), checkpoint_dir=tmp_path, save_checkpoint_steps=4, retry_wait_secs=0.0)
    assert (op.global_step, shaky.calls) == (8, 3)


# ---- endings ---------------------------------------------------------------------------------------------------------


def test_a_failing_closer_is_reported_as_itself():
    class Opener(Hook):
        def begin(self, session):
            session.on_close(self.close)

        def close(self):
            raise OSError("the door is stuck")

    with pytest.raises(OSError, match="the door is stuck"):
        run_steps(small_train_op(), 1, Opener())


def test_an_exit_in_end_keeps_no_other_hook_from_ending():
    class Quitter(Hook):
        def end(self, session, outcome):
            raise SystemExit(3)

    recorder = Recorder()
    with pytest.raises(UserExitError, match=r"^SystemExit: 3, at .*test_edges.py:\d+ in end: ") as caught:
        run_steps(small_train_op(), 1, Quitter(), recorder)
    assert isinstance(caught.value.__cause__, SystemExit)
    assert "of hook 'quitter'" in caught.value.__notes__[0]
    assert recorder.log[-1] == ("recorder", "end", "done")


def test_diverging_in_the_last_step_is_diverged_not_done():
    op = small_train_op(on_nan="stop")
    session = run_steps(op, 5, PoisonHook(op, 4))
    assert session.outcome == "diverged"


def test_a_session_outside_with_says_so():
    session = MonitoredTrainingSession(hooks=[StopAtStepHook(last_step=1)])
    assert not session.should_stop()
    with pytest.raises(SessionError, match="inside `with`"):
        session.run(small_train_op())


# ---- data ------------------------------------------------------------------------------------------------------------


def test_an_index_error_in_the_data_is_no_end_of_data():
    class Buggy(Batches):
        def batch(self, position):
            if position == 4:
                raise IndexError("off by one")
            return super().batch(position)

    with pytest.raises(IndexError, match="off by one"):
        run_steps(small_train_op(data=Buggy(*linear_problem(), batch_size=16)), 20)


def test_nested_targets_are_counted_and_moved():
    inputs, targets = linear_problem(12)

    def loss(outputs, wanted):
        return nn.functional.mse_loss(outputs, wanted["main"][0])

    model = nn.Linear(4, 1)
    data = [(inputs, {"main": (targets, targets)})]
    op = build_train_op(model, loss, torch.optim.SGD(model.parameters(), lr=0.1), data)
    op.run()
    assert op.examples == 12


def test_an_iterator_is_refused_as_data():
    with pytest.raises(SessionError, match="an iterator cannot be resumed"):
        small_train_op(data=iter([linear_problem()]))


def test_micro_batches_are_of_nearly_equal_size():
    sizes = []
    model = nn.Linear(4, 1)
    model.register_forward_hook(lambda module, args, output: sizes.append(len(output)))
    op = small_train_op(model, data=[linear_problem(10), linear_problem(2)], accumulate=4)
    op.run()
    op.run()
    assert sizes == [3, 3, 2, 2, 1, 1]


# ---- models ----------------------------------------------------------------------------------------------------------


def test_evaluation_leaves_each_module_in_its_own_mode():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    model[1].eval()  # frozen statistics
    Evaluator("val", model, nn.functional.mse_loss, {}, PartInMemory(*linear_problem()))()
    assert [module.training for module in model.modules()] == [True, True, False, True]


def test_a_mask_of_infinities_can_be_saved(tmp_path):
    class Masked(nn.Linear):
        def __init__(self):
            super().__init__(4, 1)
            self.register_buffer("mask", torch.full((4, 4), -float("inf")).triu(1))

    run_steps(small_train_op(Masked()), 3, checkpoint_dir=tmp_path)
    assert [file.step for file in list_checkpoints(tmp_path)] == [3]


def test_double_models_pass_the_gate():
    inputs, targets = linear_problem()
    op = small_train_op(nn.Linear(4, 1).double(), data=Batches(inputs.double(), targets.double(), batch_size=16))
    assert op.run()


def test_buffers_that_a_forward_pass_replaces_are_put_back():
    class Replacing(nn.Linear):
        def __init__(self):
            super().__init__(4, 1)
            self.register_buffer("mean", torch.zeros(4))

        def forward(self, inputs):
            self.mean = 0.9 * self.mean + 0.1 * inputs.detach().mean(0)
            return super().forward(inputs)

    op = small_train_op(Replacing(), on_nan="skip")
    run_steps(op, 4, PoisonHook(op, 2))
    assert torch.isfinite(op.model.mean).all()


def test_statistics_from_elsewhere_are_gone_on_from_by_tensorflows_rule():
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 1))
    model[1].running_mean.fill_(50.0)
    model[1].num_batches_tracked.fill_(50)
    op = small_train_op(model, updates=["tf_batch_norm"], lr=1e-12)
    op.run()
    with torch.no_grad():
        expected = op.model[0](op.data.batch(0).inputs).mean(0)
    torch.testing.assert_close(op.model[1].running_mean, 0.9 * 50.0 + 0.1 * expected, rtol=1e-4, atol=1e-6)


def test_a_layer_used_under_two_names_is_replaced_under_both():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.BatchNorm1d(4)
            self.two = self.one
            self.out = nn.Linear(4, 1)

        def forward(self, inputs):
            return self.out(self.two(self.one(inputs)))

    op = small_train_op(Shared(), updates=["batch_norm"])
    assert op.model.one is op.model.two
    op.run()


# ---- optimizers ------------------------------------------------------------------------------------------------------


def test_groups_of_a_plain_torch_optimizer_keep_their_ratio():
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD([{"params": [model.weight], "lr": 0.001}, {"params": [model.bias]}], lr=0.1)
    op = build_train_op(model, nn.functional.mse_loss, optimizer, Batches(*linear_problem(), batch_size=16))
    run_steps(op, 3, LearningRateSetterHook(make_schedule("piecewise", boundaries=[1], factors=[1, 0.5])))
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.0005, 0.05])


def test_a_fed_value_is_for_one_step_only(tmp_path):
    class FeedOnce(Hook):
        def before_run(self, ctx):
            return RunArgs(feed={"lr": 0.001, "momentum": 0.5}) if ctx.step == 2 else None

    def values(num_steps, folder=None):
        recorder = Recorder(fetches=("lr", "momentum"))
        op = small_train_op()
        run_steps(op, num_steps, FeedOnce(), recorder, checkpoint_dir=folder)
        return op, [entry[3:] for entry in recorder.log if entry[1] == "after_run"]

    straight, found = values(5)
    assert found == [(0.1, 0.9), (0.1, 0.9), (0.001, 0.5), (0.1, 0.9), (0.1, 0.9)]
    values(3, tmp_path)
    resumed, rest = values(5, tmp_path)
    assert rest == [(0.1, 0.9), (0.1, 0.9)]
    assert torch.equal(resumed.model.weight, straight.model.weight)


class Counting(torch.optim.SGD):
    """Keeps a double sum and a whole number in its state, and moves its own rate."""

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                state.setdefault("sum", torch.zeros(parameter.shape, dtype=torch.float64))
                state["sum"] += parameter.grad.double() / 3
                state["count"] = state.get("count", torch.zeros((), dtype=torch.int64)) + 1
                group["lr"] = 0.1 / (1 + state["sum"].abs().sum().item())
        return super().step(closure)


class Outer(torch.optim.SGD):
    """Has a state_dict of its own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.slow = 0.0

    def step(self, closure=None):
        self.slow = 0.5 * self.slow + 0.01
        for group in self.param_groups:
            group["lr"] = self.slow
        return super().step(closure)

    def state_dict(self):
        return {**super().state_dict(), "slow": self.slow}

    def load_state_dict(self, state_dict):
        state_dict = dict(state_dict)
        self.slow = state_dict.pop("slow")
        super().load_state_dict(state_dict)


@pytest.mark.parametrize("optimizer_class", [Counting, Outer])
def test_unusual_optimizers_resume_exactly(optimizer_class, tmp_path):
    def op():
        torch.manual_seed(0)
        model = nn.Linear(4, 1)
        optimizer = optimizer_class(model.parameters(), lr=0.1, momentum=0.9)
        return build_train_op(model, nn.functional.mse_loss, optimizer, Batches(*linear_problem(), batch_size=16))

    straight, first, second = op(), op(), op()
    run_steps(straight, 9)
    run_steps(first, 4, checkpoint_dir=tmp_path)
    run_steps(second, 9, checkpoint_dir=tmp_path)
    assert torch.equal(straight.model.weight, second.model.weight)


def test_the_state_of_another_optimizer_is_refused(tmp_path):
    run_steps(small_train_op(), 3, checkpoint_dir=tmp_path)
    model = nn.Linear(4, 1)
    adam = build_train_op(model, nn.functional.mse_loss, torch.optim.Adam(model.parameters()), [linear_problem()] * 9)
    with pytest.raises(CheckpointError, match="has the state of SGD, but the optimizer is Adam"):
        run_steps(adam, 5, checkpoint_dir=tmp_path)


def lbfgs_op(**options):
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=1.0, max_iter=5, line_search_fn="strong_wolfe")
    return build_train_op(model, nn.functional.mse_loss, optimizer, [linear_problem()] * 20, **options)


def test_an_optimizer_with_a_closure_reaches_the_least_squares_solution():
    op = lbfgs_op()
    run_steps(op, 4)
    inputs, targets = linear_problem()
    design = torch.cat([inputs, torch.ones(len(inputs), 1)], 1).double()
    solution = torch.linalg.lstsq(design, targets.double()).solution
    torch.testing.assert_close(op.model.weight.double()[0], solution[:4, 0], rtol=1e-4, atol=1e-4)
    assert op.gradient_evaluations > 4


def test_the_gate_stands_inside_the_closure():
    op = lbfgs_op(on_nan="skip")
    op.run()
    weights = op.model.weight.detach().clone()
    calls, loss = [], op.loss

    def bad_at_the_second_evaluation(outputs, targets):
        calls.append(1)
        return loss(outputs, targets) * (float("nan") if len(calls) == 2 else 1.0)

    op.loss = bad_at_the_second_evaluation
    assert not op.run()
    assert torch.equal(op.model.weight, weights)
    op.loss = loss
    reference = lbfgs_op()
    reference.run()
    reference.batch += 1
    op.run()
    reference.run()
    assert torch.equal(op.model.weight, reference.model.weight), "its history is as if the batch had never been"


# ---- randomness ------------------------------------------------------------------------------------------------------


def test_hooks_and_data_that_draw_from_torch_resume_exactly(tmp_path):
    class Noisy(Hook):
        phase = Phase.CONTROL

        def before_run(self, ctx):
            return RunArgs(feed={"lr": 0.01 + 0.01 * torch.rand(()).item()})

    class Drawing(Batches):
        def batch(self, position):
            inputs, targets = super().batch(position)
            return inputs + 0.1 * torch.randn_like(inputs), targets

    def run(num_steps, folder=None):
        op = small_train_op(data=Drawing(*linear_problem(), batch_size=16))
        run_steps(op, num_steps, Noisy(), checkpoint_dir=folder)
        return op.model.weight

    straight = run(9)
    run(4, tmp_path)
    assert torch.equal(run(9, tmp_path), straight)


# ---- hooks -----------------------------------------------------------------------------------------------------------


def test_a_hook_may_be_a_dataclass_and_may_set_its_name():
    @dataclasses.dataclass
    class Fetching(Hook):
        seen: list = dataclasses.field(default_factory=list)

        def before_run(self, ctx):
            return RunArgs(("lr",))

        def after_run(self, ctx, values):
            self.seen.append(values["lr"])

    hook = Fetching()
    hook.name = "mine"
    session = run_steps(small_train_op(), 2, hook)
    assert hook.seen == [0.1, 0.1]
    assert "mine" in session.named_hooks


def test_an_unknown_fetch_is_found_before_the_weights_move():
    op = small_train_op()
    before = op.model.weight.detach().clone()
    with pytest.raises(SessionError, match="Did you mean 'loss'") as caught:
        run_steps(op, 1, Recorder(fetches=("los",)))
    assert torch.equal(op.model.weight, before)
    assert "in before_run of hook 'recorder', at step 0" in caught.value.__notes__


def test_a_hook_that_spoils_the_gradients_is_caught():
    class Spoiler(Hook):
        def after_gradients(self, ctx):
            ctx.train_op.model.weight.grad.fill_(float("inf"))

    op = small_train_op()
    with pytest.raises(DivergedError, match="the gradient of weight"):
        run_steps(op, 1, Spoiler())
    assert torch.isfinite(op.model.weight).all()


def test_a_best_value_of_another_metric_is_forgotten(tmp_path):
    def run(metric, mode, num_steps):
        op = small_train_op()
        values = {"val/loss": 0.1, "val/accuracy": 0.05}
        hook = CheckpointHook(Every(steps=50), keep=2, best=metric, mode=mode)
        evaluation = EvaluationHook(Every(steps=2), ["val"], final=[])
        run_steps(
            op, num_steps, evaluation, hook, checkpoint_dir=tmp_path, evaluators={"val": lambda interrupted: values}
        )
        return hook

    assert run("val/loss", "min", 4).best_step == 2
    assert run("val/accuracy", "max", 8).best_step == 6


def test_checkpoints_that_are_all_damaged_stop_the_run_instead_of_beginning_again(tmp_path):
    run_steps(small_train_op(), 3, checkpoint_dir=tmp_path)
    for file in list_checkpoints(tmp_path):
        file.path.write_bytes(b"rust")
    for _ in range(2):  # also when they have been set aside before
        with pytest.raises(CheckpointError, match="are damaged"):
            run_steps(small_train_op(), 5, checkpoint_dir=tmp_path)


def test_summaries_of_other_programs_are_left_alone(tmp_path):
    other = tmp_path / "events.out.tfevents.1.other"
    other.write_bytes(b"theirs")
    run_steps(small_train_op(), 2, SummaryHook(log_dir=str(tmp_path), every=Every(steps=1)))
    assert other.read_bytes() == b"theirs"


# ---- configured runs -------------------------------------------------------------------------------------------------

SMALL = {
    "data": {"name": "digits", "subset": 64, "batch_size": 32},
    "model": "logistic",
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "sgd", "lr": 0.1},
    "train": {"steps": 4},
}


def test_two_hooks_of_one_kind_can_be_configured():
    run = train({**SMALL, "hooks": [{"name": "logging", "every": "2 steps", "fetches": ["grad_norm"], "lines": False}]})
    assert run.metrics["grad_norm"].steps.tolist() == [2, 4]


def test_summaries_need_no_folder_in_a_dry_run():
    from optrun.experiments.training.train import dry_run

    dry_run(load_config({**SMALL, "log": {"to": ["jsonl", "tensorboard"]}}))


def test_fresh_moves_nothing_away_before_the_new_run_can_be_built(tmp_path):
    from optrun.experiments.config import ConfigError

    run = train(SMALL, name="kept")
    with pytest.raises(ConfigError):
        train(
            {**SMALL, "optimizer": {"name": "sgd", "groups": [{"match": "*.wieght", "lr": 1.0}]}},
            name="kept",
            fresh=True,
        )
    assert run.state == "done"


def test_a_run_shorter_than_its_evaluation_interval_has_a_best_value_all_the_same():
    run = train({**SMALL, "eval": {"every": "100 steps"}})
    assert run.summary["best"]["val/accuracy"] == run.summary["final"]["val/accuracy"]
    assert len(run.summary["curve"]) == 1


def test_an_experiment_is_built_with_its_hooks():
    names = [hook.name for hook in build(load_config(SMALL)).hooks]
    assert names == ["learning_rate_setter", "stop_at_step", "logging", "logging_lines", "evaluation", "checkpoint"]


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad])
@pytest.mark.parametrize("is_fused", [True, False])
def test_weights_with_another_layout_in_memory_resume_exactly(kind, is_fused, tmp_path):
    """A fused step goes through memory as it lies there: state that is read from a file has to lie as its weight."""

    def finished(folder, last):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2)).to(memory_format=torch.channels_last)
        model[2].weight = nn.Parameter(torch.randn(16, 2).t())
        options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
        batches = [(torch.randn(4, 3, 4, 4), torch.randn(4, 2)) for _ in range(6)]
        op = build_train_op(
            model, nn.functional.mse_loss, kind(model.parameters(), lr=0.01, fused=is_fused, **options), batches
        )
        with MonitoredTrainingSession(op, checkpoint_dir=folder, hooks=[StopAtStepHook(last_step=last)]) as session:
            while not session.should_stop():
                session.run(op)
        assert not model[0].weight.is_contiguous()
        assert not model[2].weight.is_contiguous()
        return [parameter.detach() for parameter in model.parameters()]

    straight = finished(tmp_path / "straight", 6)
    finished(tmp_path / "cut", 3)
    assert all(map(torch.equal, straight, finished(tmp_path / "cut", 6)))


class RowMajor(Hook):
    """Puts gradients of the same values in place, in row-major order."""

    def after_gradients(self, ctx):
        for parameter in ctx.train_op.model.parameters():
            parameter.grad = parameter.grad.contiguous()


def test_gradients_that_a_hook_puts_in_another_layout_move_the_same_weights():
    def finished(*hooks):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2)).to(memory_format=torch.channels_last)
        batches = [(torch.randn(4, 3, 4, 4), torch.randn(4, 2)) for _ in range(3)]
        op = build_train_op(
            model, nn.functional.mse_loss, torch.optim.Adam(model.parameters(), lr=0.01, fused=True), batches
        )
        run_steps(op, 3, *hooks)
        return [parameter.detach() for parameter in model.parameters()]

    assert all(map(torch.equal, finished(), finished(RowMajor())))


def test_a_run_with_channels_last_resumes_exactly_and_is_recorded(tmp_path):
    config = {
        "name": "last",
        "data": {"name": "digits", "batch_size": 64},
        "model": {"name": "convnet", "channels": [4]},
        "loss": "cross_entropy",
        "optimizer": {"name": "mom", "lr": 0.05},
        "train": {"steps": 6, "threads": 1, "channels_last": True},
    }

    def finished(folder, last):
        experiment = build(load_config(config))
        with experiment.session(tmp_path / folder, [StopAtStepHook(last_step=last)]) as session:
            while not session.should_stop():
                session.run_block(experiment.train_op)
        weights = [p.detach() for p in experiment.train_op.model.parameters() if p.dim() == 4]
        assert all(each.is_contiguous(memory_format=torch.channels_last) for each in weights)
        assert experiment.environment()["channels_last"] is True
        return list(experiment.train_op.model.parameters())

    straight = finished("straight", 6)
    finished("cut", 3)
    assert all(map(torch.equal, straight, finished("cut", 6)))
    experiment = build(load_config({**config, "model": "mlp"}))
    assert any("train.channels_last changes nothing" in note for note in experiment.notes)
