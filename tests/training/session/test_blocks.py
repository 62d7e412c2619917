"""Blocks of steps that nobody looks at: weights, rows and what hooks see are those of one step after the other."""

from __future__ import annotations

import itertools
import os
import signal
import time

import pytest
import torch
from torch import nn

from optrun.experiments import (
    Every,
    Hook,
    LearningRateSetterHook,
    LoggingHook,
    MonitoredTrainingSession,
    RunArgs,
    StopAtStepHook,
    build,
    build_train_op,
    load_config,
    make_schedule,
    plan,
)
from optrun.experiments.components.hooks.stop import StopAfterHook
from optrun.experiments.errors import DivergedError, Interrupted, TransientError
from optrun.experiments.training.session.due_hooks import DueHooks

from ...helpers import Recorder, small_train_op

CONFIG = {
    "name": "blocks",
    "data": {"name": "iris", "batch_size": 16},
    "model": {"name": "mlp", "hidden": [8]},
    "loss": "cross_entropy",
    "optimizer": {"name": "mom", "lr": 0.1},
    "train": {"steps": 40, "threads": 1},
    "log": {"every": "7 steps"},
    "eval": {"every": "10 steps"},
}
VARIANTS = {
    "plain": {},
    "dropout": {"model": {"name": "mlp", "hidden": [8], "dropout": 0.5}},
    "plateau": {"schedule": {"name": "plateau", "metric": "val/loss", "patience": 1}},
    "two schedules": {
        "schedule": {"name": "cosine", "warmup": "5 steps"},
        "hooks": [
            {"name": "hyperparameter", "of": "momentum", "schedule": {"name": "linear", "initial": 1.0, "final": 0.5}}
        ],
    },
    "norms and averages": {"hooks": [{"name": "norms", "every": "18 steps"}], "updates": ["ema"]},
    "clipped": {"train": {"steps": 40, "threads": 1, "clip_norm": 0.1, "accumulate": 2}},
    "early stop": {"hooks": [{"name": "early_stopping", "metric": "val/loss", "target": 0.9}]},
    "closure": {"optimizer": {"name": "sam", "lr": 0.1}},
}


def trained(config, folder, how):
    """Return weights, rows and outcome of a run by `run` or `run_block`, and how often that was called."""
    experiment = build(load_config(config))
    num_calls = 0
    with experiment.session(folder) as session:
        while not session.should_stop():
            getattr(session, how)(experiment.train_op)
            num_calls += 1
        rows = [{key: value for key, value in row.items() if key != "time"} for row in session.rows.rows()]
    return experiment.train_op.state_dict(), rows, session.outcome, num_calls


def equal(one, other):
    """Return True if two trees of tensors and plain values are the same, bit for bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


@pytest.mark.parametrize("name", VARIANTS)
def test_blocks_are_the_same_steps(name, tmp_path):
    config = {**CONFIG, **VARIANTS[name]}
    *one_by_one, many = trained(config, tmp_path / "one", "run")
    *in_blocks, few = trained(config, tmp_path / "blocks", "run_block")
    assert equal(one_by_one, in_blocks)
    assert few < many * 0.6


def poisoned(positions=(), count=9):
    generator = torch.Generator().manual_seed(0)
    batches = [(torch.randn(4, 3, generator=generator), torch.randn(4, 1, generator=generator)) for _ in range(count)]
    for position in positions:
        batches[position][0][0, 0] = float("nan")
    return batches


def op_of(batches, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    return build_train_op(model, nn.functional.mse_loss, optimizer, batches, **options)


def run_all(op, how, *hooks):
    with MonitoredTrainingSession(op, hooks=hooks) as session:
        while not session.should_stop():
            getattr(session, how)(op)
    return session


class Skips(Hook):
    """Notes which batches were skipped, and at which step."""

    def __init__(self):
        self.seen = []

    def after_skip(self, ctx, refused):
        self.seen.append((refused.position, ctx.step))


@pytest.mark.parametrize("positions", [*([each] for each in range(9)), [2, 3], [0, 8], [1, 4, 5]])
def test_a_skip_at_each_place_of_a_block(positions):
    found = []
    for how in ("run", "run_block"):
        op, skips = op_of(poisoned(positions), on_nan="skip"), Skips()
        session = run_all(op, how, skips)
        counters = op.global_step, op.batch, op.skipped, op.examples, op.gradient_evaluations
        found.append((op.state_dict(), counters, session.outcome, skips.seen))
    assert equal(*found)
    assert found[0][1][:3] == (9 - len(positions), 9, len(positions))


@pytest.mark.parametrize("position", range(9))
@pytest.mark.parametrize("policy", ["raise", "stop"])
def test_a_bad_batch_ends_a_block_where_it_is(policy, position):
    found = []
    for how in ("run", "run_block"):
        op = op_of(poisoned([position]), on_nan=policy)
        try:
            said = run_all(op, how).reason
        except DivergedError as error:
            said = str(error)
        found.append((op.state_dict(), said, op.global_step, op.batch))
    assert equal(*found)
    assert f"in batch {position} after {position} steps" in found[0][1]


def test_hooks_see_the_same_events():
    """Those without a trigger every step, those with one the steps at which it fires."""
    for always in (False, True):
        logs = []
        for how in ("run", "run_block"):
            log = []
            hooks = [Recorder("fifth", trigger=Every(steps=5), log=log, fetches=("loss", "lr"))]
            hooks += [Recorder("third", trigger=Every(steps=3, first=1), log=log)]
            hooks += [Recorder("all", log=log)] if always else []
            run_all(small_train_op(), how, *hooks, StopAtStepHook(last_step=13))
            logs.append(log)
        assert logs[0] == logs[1]


class OwnRate(LearningRateSetterHook):
    """As people write them: the stock hook with an event of their own."""

    def before_run(self, ctx):
        self.seen = [*getattr(self, "seen", []), ctx.step]
        return super().before_run(ctx)


class OwnStop(StopAtStepHook):
    def after_run(self, ctx, values):
        self.seen = [*getattr(self, "seen", []), ctx.step]
        super().after_run(ctx, values)


def test_a_subclass_with_an_event_of_its_own_is_called_at_every_step():
    rate, stop = OwnRate(make_schedule("constant")), OwnStop(last_step=6)
    run_all(small_train_op(), "run_block", rate, stop)
    assert (rate.seen, stop.seen) == ([0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6])


class Ahead(Hook):
    """Feeds by `feed_at`, and asks for a value as well, which only `before_run` could."""

    may_draw = False

    def before_run(self, ctx):
        self.asked = getattr(self, "asked", 0) + 1

    def after_run(self, ctx, values): ...

    def feed_at(self, step):
        return {}


def test_a_hook_that_feeds_and_looks_is_called_at_every_step():
    hook = Ahead()
    run_all(small_train_op(), "run_block", hook, StopAtStepHook(last_step=5))
    assert hook.asked == 5


@pytest.mark.parametrize("steps", [1, 4, 9, 10])
def test_data_may_end_within_a_block(steps):
    op = op_of(poisoned([], count=steps))
    session = run_all(op, "run_block", Recorder(trigger=Every(steps=10)))
    assert (session.outcome, op.global_step, op.batch) == ("done", steps, steps)


class Slow(nn.Module):
    """A model that takes its time, and does something at a batch."""

    def __init__(self, secs, at=None, do=None):
        super().__init__()
        self.layer, self.secs, self.at, self.do, self.calls = nn.Linear(3, 1), secs, at, do, 0

    def forward(self, inputs):
        time.sleep(self.secs)
        self.calls += 1
        if self.calls == self.at:
            self.do()
        return self.layer(inputs)


def slow_op(*args):
    model = Slow(*args)
    return build_train_op(
        model, nn.functional.mse_loss, torch.optim.SGD(model.parameters(), lr=0.01), poisoned([], 400)
    )


def test_a_signal_ends_a_block_within_its_time():
    op = slow_op(0.02, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        run_all(op, "run_block")
    assert 3 <= op.global_step <= 3 + 0.2 / 0.02


def test_clocks_are_looked_at_between_blocks():
    op, often = slow_op(0.01), Recorder(trigger=Every(secs=0.05))
    session = run_all(op, "run_block", often, StopAfterHook(0.3))
    assert session.outcome == "stopped"
    assert 30 * 0.5 <= op.global_step <= 30 + 20
    steps = often.steps("after_run")
    assert 3 <= len(steps) <= 6
    assert all(later - earlier <= 6 for earlier, later in itertools.pairwise(steps))


def test_an_error_within_a_block_says_where():
    def fail():
        raise ValueError("mine")

    op = slow_op(0.0, 4, fail)
    with pytest.raises(ValueError, match="mine"):
        run_all(op, "run_block")
    assert op.global_step == 3

    class Fails(LearningRateSetterHook):
        def before_run(self, ctx):
            raise AssertionError("within blocks `feed_at` is asked")

        def feed_at(self, step):
            return {"lr": 0.1 if step < 3 else float("nan")}

        may_draw = False

    def rate(step):
        return 1.0 if step < 5 else {}[step]

    op = op_of(poisoned([]))
    with pytest.raises(KeyError) as found:
        run_all(op, "run_block", LearningRateSetterHook(rate))
    assert "in before_run of hook 'learning_rate_setter', at step 5" in found.value.__notes__
    assert op.global_step == 5

    op = op_of(poisoned([]))
    with pytest.raises(Exception, match="what is fed for lr is nan"):
        run_all(op, "run_block", Fails(make_schedule("constant")))
    assert op.global_step == 3


def test_recovery_within_a_block(tmp_path):
    def fail():
        raise TransientError("the disk was away")

    def finished(do):
        op = slow_op(0.0, 15, do)
        with MonitoredTrainingSession(
            op,
            checkpoint_dir=tmp_path / str(do is None),
            save_checkpoint_steps=8,
            hooks=[LoggingHook(Every(steps=5)), StopAtStepHook(last_step=20)],
            retry_wait_secs=0.01,
        ) as session:
            while not session.should_stop():
                session.run_block(op)
            rows = [{key: value for key, value in row.items() if key != "time"} for row in session.rows.rows()]
        return op.state_dict(), rows

    torch.manual_seed(0)
    disturbed = finished(fail)
    torch.manual_seed(0)
    assert equal(disturbed, finished(lambda: None))


def test_steps_ahead():
    """The number of steps that nobody looks at, from hooks of each kind."""
    stop, fifth = StopAtStepHook(last_step=12), Recorder(trigger=Every(steps=5))
    due = DueHooks([stop, fifth], None)
    assert [due.steps_ahead(step) for step in range(12)] == [4, 3, 2, 1, 0, 4, 3, 2, 1, 0, 1, 0]
    assert DueHooks([stop, fifth, Recorder("each")], None).steps_ahead(0) == 0
    now = [0.0]
    due = DueHooks([stop, Recorder(trigger=Every(secs=2.0))], None, clock=lambda: now[0])
    assert (due.steps_ahead(0), due.secs_ahead()) == (11, 2.0)
    now[0] = 2.5
    assert due.steps_ahead(0) == 0


class Asking(LoggingHook):
    """Asks for what nobody knows ahead."""

    def before_run(self, ctx):
        return RunArgs(("lr",) if ctx.step > 20 else ("loss",))


class Foreseen(Asking):
    def fetches_at(self, step):
        return ("lr",) if step > 20 else ("loss",)


@pytest.mark.parametrize(
    ("kind", "fetches", "blocks"),
    [
        (LoggingHook, ("loss", "lr"), [10, 20, 30, 40]),
        (LoggingHook, ("loss", "grad_norm"), [9, 10, 19, 20, 29, 30, 39, 40]),
        (Asking, ("lr",), [9, 10, 19, 20, 29, 30, 39, 40]),
        (Foreseen, ("lr",), [10, 20, 30, 40]),
    ],
)
def test_a_block_ends_with_a_look_that_is_known_ahead(kind, fetches, blocks):
    """And hooks fetch of that step what they fetch in a step of its own."""
    rows, ends = {}, []
    for how in ("run", "run_block"):
        op = small_train_op()
        logging = kind(every=Every(steps=10), fetches=fetches, lines=False)
        with MonitoredTrainingSession(op, hooks=[logging, StopAtStepHook(last_step=40)]) as session:
            while not session.should_stop():
                getattr(session, how)(op)
                ends.append(op.global_step)
            rows[how] = [{name: row.get(name) for name in ("step", *fetches, "loss")} for row in session.rows.rows()]
    assert ends[40:] == blocks
    assert rows["run"] == rows["run_block"]
    assert [row["step"] for row in rows["run"]] == [10, 20, 30, 40]


class Each(Hook):
    def after_run(self, ctx, values): ...


@pytest.mark.parametrize(
    ("more", "longest", "by", "every"),
    [
        ([], 10, ("logging",), 10),
        ([{"name": "evaluation", "every": "4 steps"}], 4, ("evaluation_2",), 4),
        ([{"name": "logging", "every": "1 steps", "fetches": ["lr"]}], 1, ("logging_2",), 1),
        ([Each], 1, ("each",), 1),
    ],
)
def test_a_plan_shows_blocks(more, longest, by, every):
    config = {**CONFIG, "log": {"every": "10 steps"}, "eval": {"every": "40 steps"}, "hooks": more}
    blocks = plan(config, measure=False).blocks
    assert (blocks.longest, blocks.shortened_by, blocks.looks_every) == (longest, by, every)
