"""The session: order of events, triggers, endings, recovery, chief and other ranks."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from optrun.experiments import (
    CheckpointHook,
    Every,
    Hook,
    LearningRateSetterHook,
    LoggingHook,
    MonitoredTrainingSession,
    StopAtStepHook,
    make_schedule,
)
from optrun.experiments.components.hooks.hook import Phase, RunArgs
from optrun.experiments.errors import DivergedError, SessionError, TransientError, UsageError
from optrun.experiments.run_directory.checkpoint_files import list_checkpoints
from optrun.experiments.training.session.saved_state import Clock

from ...helpers import PoisonHook, Recorder, linear_problem, run_steps, small_train_op

# ---- order and triggers ----------------------------------------------------------------------------------------------


def test_life_of_a_hook():
    recorder = Recorder(fetches=("lr",))
    run_steps(small_train_op(), 2, recorder)
    assert recorder.log == [
        ("recorder", "begin"),
        ("recorder", "after_create_session", 0),
        ("recorder", "before_run", 0),
        ("recorder", "after_gradients", 0),
        ("recorder", "after_run", 1, 0.1),
        ("recorder", "before_run", 1),
        ("recorder", "after_gradients", 1),
        ("recorder", "after_run", 2, 0.1),
        ("recorder", "end", "done"),
    ]


def test_events_run_by_phase_then_registration():
    log = []

    def recorder(name, phase):
        return type("Phased", (Recorder,), {"phase": phase})(name, log=log)

    hooks = [
        recorder("persist", Phase.PERSIST),
        recorder("observe 1", Phase.OBSERVE),
        recorder("control", Phase.CONTROL),
        recorder("observe 2", Phase.OBSERVE),
        recorder("evaluate", Phase.EVALUATE),
    ]
    run_steps(small_train_op(), 1, *hooks)
    expected = ["control", "observe 1", "observe 2", "evaluate", "persist"]
    for event in ("begin", "after_create_session", "before_run", "after_gradients", "after_run", "end"):
        assert [entry[0] for entry in log if entry[1] == event] == expected, event


@pytest.mark.parametrize(
    ("trigger", "steps"),
    [
        (Every(steps=4), [4, 8, 12]),
        (Every(steps=1), list(range(1, 14))),
        (Every(epochs=1), [4, 8, 12]),
        (Every(epochs=0.5), [2, 4, 6, 8, 10, 12]),
        (Every(steps=100), []),
    ],
)
def test_triggers_count_completed_steps(trigger, steps):
    recorder = Recorder(trigger=trigger)
    run_steps(small_train_op(), 13, recorder)  # 4 steps an epoch
    assert recorder.steps("after_run") == steps
    assert recorder.steps("before_run") == [step - 1 for step in steps]


def test_a_resumed_session_fires_at_the_same_steps(tmp_path):
    straight = Recorder(trigger=Every(steps=4))
    run_steps(small_train_op(), 13, straight)
    before, after = Recorder(trigger=Every(steps=4)), Recorder(trigger=Every(steps=4))
    run_steps(small_train_op(), 6, before, checkpoint_dir=tmp_path)
    run_steps(small_train_op(), 13, after, checkpoint_dir=tmp_path)
    assert after.steps("after_create_session") == [6]
    assert before.steps("after_run") + after.steps("after_run") == straight.steps("after_run")


def test_a_trigger_in_seconds_reads_the_clock(monkeypatch):
    from optrun.experiments.training.session.due_hooks import DueHooks

    now = [0.0]
    recorder = Recorder(trigger=Every(secs=10.0))
    due_hooks = DueHooks([recorder], None, clock=lambda: now[0])
    fired = []
    for step in range(1, 8):
        now[0] += 4.0
        due = due_hooks.at(step)
        if due.after_run:
            fired.append(step)
        due_hooks.completed(due)
    assert fired == [3, 6]  # at 12 s and at 24 s


def test_a_skipped_batch_triggers_nothing_and_the_step_stays_due():
    op = small_train_op(on_nan="skip")
    every_step, every_second = Recorder("all"), Recorder("second", trigger=Every(steps=2))
    run_steps(op, 4, PoisonHook(op, 1, 2), every_step, every_second)
    assert every_step.steps("before_run") == [0, 1, 1, 1, 2, 3]
    assert every_step.steps("after_run") == [1, 2, 3, 4]
    assert every_second.steps("after_run") == [2, 4]
    assert (op.batch, op.skipped) == (6, 2)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"steps": 2, "secs": 1.0}, {"steps": 0}, {"steps": -1}, {"steps": 1.5}, {"secs": 0}, {"steps": True}],
)
def test_impossible_triggers_are_refused(arguments):
    with pytest.raises(ValueError, match="Every"):
        Every(**arguments)


def test_epochs_of_data_without_epochs_are_refused():
    with pytest.raises(ValueError, match="needs data with epochs"):
        run_steps(small_train_op(data=[linear_problem()]), 1, Recorder(trigger=Every(epochs=1)))


# ---- fetch and feed --------------------------------------------------------------------------------------------------


class FeedHook(Hook):
    def __init__(self, name, **feed):
        self._name, self._feed = name, feed

    name = property(lambda self: self._name)

    def before_run(self, ctx):
        return RunArgs(feed=self._feed)


def test_two_hooks_that_feed_the_same_value_are_an_error_that_names_both():
    with pytest.raises(SessionError, match="hooks 'one' and 'two' both feed 'lr'"):
        run_steps(small_train_op(), 1, FeedHook("one", lr=0.1), FeedHook("two", lr=0.2))


def test_hooks_of_one_name_are_numbered_and_keep_their_own_states(tmp_path):
    class Counter(Hook):
        def __init__(self):
            self.steps = 0

        def after_run(self, ctx, values):
            self.steps += 1 if self.trigger is None else 100

        def state_dict(self):
            return {"steps": self.steps}

        def load_state_dict(self, state):
            self.steps = state["steps"]

    def counters():
        first, second = Counter(), Counter()
        second.trigger = Every(steps=2)
        return first, second

    session = run_steps(small_train_op(), 4, *counters(), checkpoint_dir=tmp_path)
    assert {"counter", "counter_2"} <= set(session.named_hooks)
    again = counters()
    run_steps(small_train_op(), 6, *again, checkpoint_dir=tmp_path)
    assert [counter.steps for counter in again] == [6, 300]


def test_each_hook_gets_what_it_fetched():
    one, two = Recorder("one", fetches=("lr", "loss")), Recorder("two", fetches=("momentum",))
    run_steps(small_train_op(), 1, one, two)
    assert [len(entry) for entry in one.log if entry[1] == "after_run"] == [5]
    assert [entry[3] for entry in two.log if entry[1] == "after_run"] == [0.9]


def test_learning_rate_is_a_function_of_the_step_from_the_first_step_after_a_resume_on(tmp_path):
    schedule = make_schedule("piecewise", boundaries=[3, 6], factors=[1.0, 0.1, 0.01])

    def rates(last_step):
        recorder = Recorder(fetches=("lr",))
        op = small_train_op(lr=0.5)
        run_steps(op, last_step, LearningRateSetterHook(schedule), recorder, checkpoint_dir=tmp_path)
        return [entry[3] for entry in recorder.log if entry[1] == "after_run"]

    assert rates(4) == pytest.approx([0.5, 0.5, 0.5, 0.05])
    assert rates(8) == pytest.approx([0.05, 0.05, 0.005, 0.005])


def test_absolute_rates_replace_the_optimizers_own():
    schedule = make_schedule("piecewise", boundaries=[2], values=[0.3, 0.03])
    recorder = Recorder(fetches=("lr",))
    run_steps(small_train_op(lr=0.5), 4, LearningRateSetterHook(schedule), recorder)
    assert [entry[3] for entry in recorder.log if entry[1] == "after_run"] == [0.3, 0.3, 0.03, 0.03]


# ---- endings ---------------------------------------------------------------------------------------------------------


def test_a_session_that_nothing_would_end_is_refused():
    with pytest.raises(SessionError, match="nothing would end this session"):
        MonitoredTrainingSession(hooks=[Recorder()])
    with pytest.raises(SessionError, match="nothing would end this session"):
        MonitoredTrainingSession(small_train_op(), hooks=[Recorder()])


def test_finite_data_ends_the_session():
    op = small_train_op(data=[linear_problem(8)] * 5)
    recorder = Recorder()
    with MonitoredTrainingSession(op, hooks=[recorder]) as session:
        while not session.should_stop():
            session.run(op)
    assert session.outcome == "done"
    assert recorder.steps("after_run") == [1, 2, 3, 4, 5]


def test_num_steps_counts_from_the_restored_step(tmp_path):
    run_steps(small_train_op(), 5, checkpoint_dir=tmp_path)
    op = small_train_op()
    with MonitoredTrainingSession(checkpoint_dir=tmp_path, hooks=[StopAtStepHook(num_steps=3)]) as session:
        while not session.should_stop():
            session.run(op)
    assert op.global_step == 8


def test_a_finished_run_takes_no_further_step(tmp_path):
    run_steps(small_train_op(), 5, checkpoint_dir=tmp_path)
    op = small_train_op()
    session = run_steps(op, 5, checkpoint_dir=tmp_path)
    assert op.global_step == 5
    assert session.outcome == "done"


def test_request_stop_takes_effect_after_every_hook_has_seen_the_step():
    class Stopper(Hook):
        phase = Phase.CONTROL

        def after_run(self, ctx, values):
            if ctx.step == 3:
                ctx.request_stop("enough")

    recorder = Recorder()
    op = small_train_op()
    session = run_steps(op, 99, Stopper(), recorder)
    assert recorder.steps("after_run") == [1, 2, 3]
    assert (session.outcome, session.reason) == ("stopped", "enough")


def test_run_after_the_end_is_an_error():
    op = small_train_op()
    with MonitoredTrainingSession(hooks=[StopAtStepHook(last_step=1)]) as session:
        session.run(op)
        with pytest.raises(SessionError, match="after the end of the session"):
            session.run(op)


def test_an_error_in_the_callers_code_reaches_every_hook_and_the_caller():
    recorder = Recorder()
    with (
        pytest.raises(ZeroDivisionError),
        MonitoredTrainingSession(hooks=[StopAtStepHook(last_step=9), recorder]) as session,
    ):
        session.run(small_train_op())
        _ = 1 / 0
    assert session.outcome == "failed"
    assert recorder.log[-2:] == [("recorder", "on_error", "ZeroDivisionError"), ("recorder", "end", "failed")]


@pytest.mark.parametrize(
    "event", ["begin", "after_create_session", "before_run", "after_gradients", "after_run", "end"]
)
def test_a_failing_hook_is_named_and_every_other_hook_still_ends(event):
    def fail(self, *args):
        raise OSError("no more paper")

    failing = type("PrinterHook", (Hook,), {event: fail})()
    first, last = Recorder("first"), Recorder("last")
    with pytest.raises(OSError, match="no more paper") as caught:
        run_steps(small_train_op(), 3, first, failing, last)
    assert any(f"in {event} of hook 'printer'" in note for note in caught.value.__notes__)
    for recorder in (first, last):
        assert recorder.log[-1][1] == "end"


def test_a_failure_while_ending_does_not_hide_the_first_error():
    class Printer(Hook):
        def end(self, session, outcome):
            raise OSError("no more paper")

    recorder = Recorder()
    with (
        pytest.raises(ZeroDivisionError) as caught,
        MonitoredTrainingSession(hooks=[StopAtStepHook(last_step=9), Printer(), recorder]) as session,
    ):
        session.run(small_train_op())
        _ = 1 / 0
    assert "no more paper" in caught.value.__notes__[0]
    assert recorder.log[-1] == ("recorder", "end", "failed")


def test_resources_are_closed_in_reverse():
    closed = []

    class Opener(Hook):
        def __init__(self, label):
            self.label = label

        name = property(lambda self: self.label)

        def begin(self, session):
            session.on_close(lambda: closed.append(self.label))

    run_steps(small_train_op(), 1, Opener("a"), Opener("b"), Opener("c"))
    assert closed == ["c", "b", "a"]


@pytest.mark.parametrize("policy", ["raise", "stop"])
def test_divergence_by_policy(policy, tmp_path):
    op = small_train_op(on_nan=policy)
    recorder = Recorder()

    def run():
        return run_steps(op, 9, PoisonHook(op, 4), recorder, checkpoint_dir=tmp_path, save_checkpoint_steps=2)

    if policy == "raise":
        with pytest.raises(DivergedError):
            run()
    else:
        assert run().outcome == "diverged"
    assert recorder.log[-1] == ("recorder", "end", "diverged")
    assert [file.step for file in list_checkpoints(tmp_path)] == [2, 4], "no bad state becomes a checkpoint"


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def saved_steps(folder):
    return [file.step for file in list_checkpoints(folder)]


def test_checkpoints_every_n_steps_and_at_the_end(tmp_path):
    run_steps(small_train_op(), 10, CheckpointHook(Every(steps=4), keep=5), checkpoint_dir=tmp_path)
    assert saved_steps(tmp_path) == [4, 8, 10]
    # The restored step is not written again.
    stamps = {file.path: file.path.stat().st_mtime_ns for file in list_checkpoints(tmp_path)}
    run_steps(small_train_op(), 10, CheckpointHook(Every(steps=4), keep=5), checkpoint_dir=tmp_path)
    assert {file.path: file.path.stat().st_mtime_ns for file in list_checkpoints(tmp_path)} == stamps


def test_newest_best_and_hourly_are_kept(tmp_path):
    values = {3: 0.5, 6: 0.9, 9: 0.8, 12: 0.7, 15: 0.6}
    op = small_train_op()
    hook = CheckpointHook(Every(steps=2), keep=2, best="val/accuracy", keep_every_hours=1.0)

    from optrun.experiments import EvaluationHook

    evaluator = {"val": lambda interrupted: {"val/accuracy": values.get(op.global_step, 0.0)}}
    evaluation = EvaluationHook(Every(steps=3), ["val"], final=[])
    with MonitoredTrainingSession(
        checkpoint_dir=tmp_path, hooks=[StopAtStepHook(last_step=16), evaluation, hook], evaluators=evaluator
    ) as session:
        while not session.should_stop():
            if op.global_step == 3:
                session._clock = Clock(session.elapsed_secs + 3700)  # an hour passes
            session.run(op)
    assert (hook.best_step, hook.best_value) == (6, 0.9)
    assert saved_steps(tmp_path) == [4, 6, 14, 16]


def test_the_default_hook_of_a_session_with_a_folder_saves_at_the_end(tmp_path):
    run_steps(small_train_op(), 3, checkpoint_dir=tmp_path)
    assert saved_steps(tmp_path) == [3]


def test_secs_and_steps_exclude_each_other(tmp_path):
    with pytest.raises(SessionError, match="exclude each other"):
        MonitoredTrainingSession(checkpoint_dir=tmp_path, save_checkpoint_secs=1, save_checkpoint_steps=1)


def test_fewer_than_two_checkpoints_are_refused():
    with pytest.raises(UsageError, match="at least 2"):
        CheckpointHook(keep=1)


def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(tmp_path, caplog):
    run_steps(small_train_op(), 8, CheckpointHook(Every(steps=4)), checkpoint_dir=tmp_path)
    newest = list_checkpoints(tmp_path)[-1].path
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    recorder = Recorder()
    with caplog.at_level(logging.WARNING, logger="optrun"):
        run_steps(small_train_op(), 9, recorder, checkpoint_dir=tmp_path)
    assert recorder.steps("after_create_session") == [4]
    assert "step 8 is damaged" in caplog.text
    assert "using step 4" in caplog.text


# ---- recovery --------------------------------------------------------------------------------------------------------


class Flaky(Hook):
    """Raise a passing error when a step is reached for the first time."""

    def __init__(self, *steps, error=TransientError):
        self._steps, self._error = list(steps), error

    def before_run(self, ctx):
        if ctx.step in self._steps:
            self._steps.remove(ctx.step)
            raise self._error("the line is busy")


@pytest.mark.parametrize("error", [TransientError, ConnectionResetError])
def test_recovery_ends_with_the_weights_of_an_undisturbed_run(tmp_path, error, caplog):
    undisturbed = small_train_op(updates=["ema"])
    straight = run_steps(undisturbed, 12, LoggingHook(Every(steps=3)), checkpoint_dir=tmp_path / "a")
    op = small_train_op(updates=["ema"])
    recorder = Recorder()
    with caplog.at_level(logging.WARNING, logger="optrun"):
        session = run_steps(
            op,
            12,
            LoggingHook(Every(steps=3)),
            recorder,
            Flaky(7, 10, error=error),
            checkpoint_dir=tmp_path / "b",
            save_checkpoint_steps=4,
            retry_wait_secs=0.0,
        )
    assert torch.equal(op.model.weight, undisturbed.model.weight)
    assert recorder.steps("after_create_session") == [0, 4, 8]
    assert [entry[1] for entry in recorder.log].count("begin") == 1
    without_time = [
        [{k: v for k, v in row.items() if k != "time"} for row in s.rows.rows()] for s in (straight, session)
    ]
    assert without_time[0] == without_time[1]
    assert "going back to step 4" in caplog.text


def test_recovery_gives_up_after_its_tries(tmp_path):
    with pytest.raises(TransientError) as caught:
        run_steps(
            small_train_op(),
            12,
            Flaky(6, 6, 6, 6, 6, 6),
            checkpoint_dir=tmp_path,
            save_checkpoint_steps=4,
            retry_wait_secs=0.0,
            max_recoveries=3,
        )
    assert "gave up after 3 recoveries in a row" in caught.value.__notes__[-1]


def test_without_a_checkpoint_there_is_nothing_to_recover_from(tmp_path):
    with pytest.raises(TransientError) as caught:
        run_steps(small_train_op(), 3, Flaky(1), checkpoint_dir=tmp_path, retry_wait_secs=0.0)
    assert "no checkpoint to go back to" in caught.value.__notes__[-1]


def test_other_errors_are_not_retried(tmp_path):
    recorder = Recorder()
    with pytest.raises(RuntimeError, match="the line is busy"):
        run_steps(
            small_train_op(),
            9,
            recorder,
            Flaky(5, error=RuntimeError),
            checkpoint_dir=tmp_path,
            save_checkpoint_steps=2,
        )
    assert recorder.steps("after_create_session") == [0]


# ---- chief and other ranks -------------------------------------------------------------------------------------------

WORKER = """
    import sys, time
    from optrun.experiments import Every, MonitoredTrainingSession, StopAtStepHook, Hook
    from optrun.experiments.components.hooks.checkpoint import CheckpointHook
    sys.path.insert(0, {tests!r})
    from helpers import small_train_op
    import torch
    torch.set_num_threads(1)
    op = small_train_op()
    with MonitoredTrainingSession(checkpoint_dir={folder!r}, hooks=[StopAtStepHook(last_step=5)],
                                  max_wait_secs={wait}, recovery_wait_secs=0.05) as session:
        print("savers", sum(isinstance(hook, CheckpointHook) for hook in session.hooks), flush=True)
        while not session.should_stop():
            session.run(op)
            if session.restored_step is not None: print("restored", session.restored_step, flush=True); break
"""


def start_rank(server, rank, folder, wait):
    from pathlib import Path

    code = WORKER.format(tests=str(Path(__file__).parents[2]), folder=str(folder), wait=wait)
    return server.python(code, variables={"RANK": str(rank), "WORLD_SIZE": "2"})


def words(process):
    return [stream.decode() for stream in process.communicate(timeout=120)]


def test_two_processes_the_second_waits_for_the_chiefs_checkpoint(tmp_path, server):
    worker = start_rank(server, 1, tmp_path, wait=60)
    assert worker.stdout.readline() == b"savers 0\n"
    chief = start_rank(server, 0, tmp_path, wait=60)
    chief_out, chief_err = words(chief)
    worker_out, worker_err = words(worker)
    assert chief.returncode == 0, chief_err
    assert worker.returncode == 0, worker_err
    assert chief_out == "savers 1\n"
    assert worker_out.startswith("restored")
    assert 0 in saved_steps(tmp_path), "the chief saves step 0 where others wait"


def test_a_worker_without_a_chief_times_out_and_says_what_it_waited_for(tmp_path, server):
    worker = start_rank(server, 1, tmp_path, wait=0.3)
    _, err = words(worker)
    assert worker.returncode == 1
    assert f"rank 1 waited 0.3 s for the chief's first checkpoint in {tmp_path}" in err
    assert "is the chief (RANK=0) running" in err


def test_chief_only_hooks_are_left_out_elsewhere(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    everyone, chief = Recorder("everyone"), Recorder("chief")
    with MonitoredTrainingSession(hooks=[StopAtStepHook(last_step=1), everyone], chief_only_hooks=[chief]) as session:
        session.run(small_train_op())
    assert everyone.log
    assert not chief.log


# ---- the recipe, as the design shows it -----------------------------------------------------------------------------


def test_the_recipe_reads_as_it_should(tmp_path):
    from optrun.experiments import Batches, SummaryHook, build_train_op, make_model, make_optimizer

    inputs, targets = linear_problem()
    batches = Batches(inputs, targets, batch_size=16)
    torch.manual_seed(0)
    model = make_model("mlp", input_shape=(4,), num_outputs=1, hidden=[32])
    loss = nn.functional.mse_loss
    optimizer = make_optimizer(model, "mom", lr=0.02, momentum=0.9)
    schedule = make_schedule("piecewise", boundaries=[40, 60, 70], factors=[1, 0.1, 0.01, 0.001])

    train_op = build_train_op(model, loss, optimizer, data=batches, updates=["ema"])
    before = loss(model(inputs), targets).item()
    with MonitoredTrainingSession(
        checkpoint_dir=tmp_path,
        hooks=[LoggingHook(Every(steps=10)), LearningRateSetterHook(schedule), StopAtStepHook(last_step=80)],
        chief_only_hooks=[SummaryHook(every=Every(steps=10))],
        save_checkpoint_secs=600,
    ) as session:
        while not session.should_stop():
            session.run(train_op)

    rows = session.rows.rows()
    assert [row["step"] for row in rows] == list(range(10, 81, 10))
    assert loss(model(inputs), targets).item() < before / 5
    assert [row["lr"] for row in rows] == pytest.approx([0.02] * 4 + [0.002] * 2 + [0.0002] + [0.00002])
    assert saved_steps(tmp_path) == [80]
