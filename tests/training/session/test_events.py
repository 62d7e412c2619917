"""The events beside a step's own: rows, evaluations, saves and skipped batches, for each hook that defines them."""

from __future__ import annotations

import pytest
import torch

from optrun.experiments import EvaluationHook, Every, Hook, NormsHook
from optrun.experiments.components.hooks.hook import Evaluation, Phase
from optrun.experiments.components.registries import REGISTRIES

from ...helpers import PoisonHook, run_steps, small_train_op


class Watching(Hook):
    """Note what happens, under a label; it has a trigger that never fires, which keeps no event from it."""

    trigger = Every(steps=1000)

    def __init__(self, label, log):
        self.label, self.log = label, log

    def after_row(self, session, row):
        self.log.append((self.label, "row", row["step"], row["good"]))

    def after_evaluation(self, session, evaluation):
        assert session.evaluation is evaluation
        self.log.append((self.label, "evaluation", evaluation.step, dict(evaluation.values)))

    def before_save(self, session, step):
        assert session.step == step
        self.log.append((self.label, "before_save", step))

    def after_save(self, session, step, path):
        assert path.exists()
        self.log.append((self.label, "after_save", step))

    def after_skip(self, ctx, refused):
        assert ctx.train_op.refused is refused
        self.log.append((self.label, "skip", refused.position, ctx.step))


class Early(Watching):
    phase = Phase.CONTROL


class Writing(Hook):
    """Write a row and publish an evaluation at step 2."""

    def after_run(self, ctx, values):
        if ctx.step == 2:
            ctx.session.write_row(good=float("inf"))
            ctx.session.publish(Evaluation(2, {"val/loss": 0.5}))


def test_each_event_is_called_by_phase_then_registration(tmp_path):
    log = []
    op = small_train_op(on_nan="skip")
    hooks = [Watching("second", log), Watching("third", log), Early("first", log), Writing(), PoisonHook(op, 1)]
    run_steps(op, 3, *hooks, checkpoint_dir=tmp_path)
    expected = [
        ("skip", 1, 1),
        ("row", 2, float("inf")),
        ("evaluation", 2, {"val/loss": 0.5}),
        ("before_save", 3),
        ("after_save", 3),
    ]
    assert log == [(label, *event) for event in expected for label in ("first", "second", "third")]


@pytest.mark.parametrize("event", ["after_row", "after_evaluation", "before_save", "after_save", "after_skip"])
def test_an_error_in_an_event_names_hook_event_and_step(event, tmp_path):
    def fail(self, *args):
        raise RuntimeError("no more paper")

    printer = type("PrinterHook", (Hook,), {event: fail})()
    op = small_train_op(on_nan="skip")
    with pytest.raises(RuntimeError, match="no more paper") as caught:
        run_steps(op, 3, printer, Writing(), PoisonHook(op, 1), checkpoint_dir=tmp_path)
    step = {"after_skip": 1, "before_save": 3, "after_save": 3}.get(event, 2)
    assert f"in {event} of hook 'printer', at step {step}" in caught.value.__notes__


def test_true_after_a_save_ends_the_session(tmp_path):
    class EndAt4(Hook):
        def after_save(self, session, step, path):
            return step == 4

    session = run_steps(small_train_op(), 10, EndAt4(), checkpoint_dir=tmp_path, save_checkpoint_steps=2)
    assert (session.step, session.outcome) == (4, "stopped")
    assert session.reason == "asked for after the checkpoint of step 4"


def test_a_requested_call_comes_after_every_hook_and_though_no_trigger_is_due():
    log = []

    class Asking(Hook):
        trigger = Every(steps=1000)

        def after_evaluation(self, session, evaluation):
            session.request_call(self)

        def after_run(self, ctx, values):
            log.append(("asking", ctx.step))

    class Last(Hook):
        phase = Phase.PERSIST

        def after_run(self, ctx, values):
            log.append(("last", ctx.step))

    evaluation = EvaluationHook(Every(steps=2), ["val"], final=[])
    run_steps(small_train_op(), 3, Asking(), evaluation, Last(), evaluators={"val": lambda interrupted: {"val/a": 1.0}})
    assert log == [("last", 1), ("last", 2), ("asking", 2), ("last", 3)]


def test_stock_hooks_that_draw_nothing_say_so_and_their_subclasses_do_not():
    registry = REGISTRIES["hook"]
    silent = {name for name in registry.names() if not registry.get(name).build.may_draw}
    assert {
        "learning_rate_setter",
        "hyperparameter",
        "logging",
        "summary",
        "norms",
        "profiler",
        "step_counter",
        "unfreeze",
    } == silent

    class Mine(NormsHook):
        pass

    assert Mine.may_draw


def test_the_generator_is_put_in_its_place_only_for_hooks_that_may_draw():
    """What a hook draws depends on the batch alone; where no hook may draw, nothing is set for them."""

    class Drawing(Hook):
        drawn: list

        def __init__(self):
            self.drawn = []

        def before_run(self, ctx):
            self.drawn.append(torch.rand(()).item())

    class Silent(Drawing):
        may_draw = False

    def draws(hook, disturb):
        op = small_train_op()
        calls, reseed = [], op.reseed
        op.reseed = lambda: (calls.append(1), reseed())
        torch.manual_seed(disturb)
        run_steps(op, 2, hook)
        return hook.drawn, len(calls)

    assert draws(Drawing(), 1) == draws(Drawing(), 2)
    (first, few), (second, _) = draws(Silent(), 1), draws(Silent(), 2)
    assert first != second
    assert few == 0, "data in memory draws nothing either"
