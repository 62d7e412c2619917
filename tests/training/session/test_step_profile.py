"""Where the time of a step goes: by a clock that the test moves, and without a change to what is trained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from optrun.experiments import (
    Every,
    Hook,
    MonitoredTrainingSession,
    StopAtStepHook,
    build,
    build_train_op,
    load_config,
    profile_text,
    train,
)
from optrun.experiments.registry.calls import Calling
from optrun.experiments.training.session import step_profile
from optrun.experiments.training.session.loop_times import LoopTimes, Part
from optrun.experiments.training.session.step_profile import StepProfile

from ...helpers import linear_problem
from .test_blocks import CONFIG, VARIANTS, equal, trained


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def takes(self, milliseconds, value=None):
        self.now += milliseconds / 1000
        return value


class Slow(Hook):
    """Takes some time after each step at which it is called, and some for each row that another hook writes."""

    def __init__(self, clock, name, milliseconds, *, trigger=None, writes=False, per_row=0.0, fails_at=None):
        self._clock, self.name, self._milliseconds, self.trigger = clock, name, milliseconds, trigger
        self._writes, self._per_row, self._fails_at = writes, per_row, fails_at

    def begin(self, session):
        self._clock.takes(70_000)  # before the loop

    def after_run(self, ctx, values):
        self._clock.takes(self._milliseconds)
        if self._writes:
            ctx.session.write_row(seen=1.0)
        if ctx.step == self._fails_at:
            raise RuntimeError("as planned")

    def after_row(self, session, row):
        self._clock.takes(self._per_row)

    def end(self, session, outcome):
        self._clock.takes(90_000)  # after it
        session.write_row(ended=1.0)


class SlowModel(nn.Linear):
    def __init__(self, clock):
        super().__init__(4, 1)
        self._clock = clock

    def forward(self, inputs):
        return self._clock.takes(2, super().forward(inputs))


class SlowSGD(torch.optim.SGD):
    clock: Clock

    def step(self, closure=None):
        self.clock.takes(4)
        return super().step(closure)


class SlowData:
    def __init__(self, clock):
        self._clock, self._batch = clock, linear_problem(8)

    def batch(self, position):
        return self._clock.takes(1, self._batch)


def slow_op(clock):
    torch.manual_seed(0)
    model = SlowModel(clock)
    optimizer = SlowSGD(model.parameters(), lr=0.01)
    optimizer.clock = clock

    def loss(outputs, targets):
        value = clock.takes(0.5, nn.functional.mse_loss(outputs, targets))
        value.register_hook(lambda gradient: clock.takes(3, gradient))
        return value

    return build_train_op(model, loss, optimizer, SlowData(clock))


def run_by(clock, times, num_steps, *hooks, how="run"):
    op = slow_op(clock)
    session = MonitoredTrainingSession(op, hooks=[StopAtStepHook(last_step=num_steps), *hooks])
    session.times = times
    with session:
        while not session.should_stop():
            getattr(session, how)(op)
    return session


@pytest.mark.parametrize("how", ["run", "run_block"])
def test_each_part_has_its_own_time(how):
    clock = Clock()
    hooks = [
        Slow(clock, "sleeping", 5),
        Slow(clock, "rare", 20, trigger=Every(steps=5), writes=True),  # at 5 and 10: not in the first step
        Slow(clock, "reading", 0, per_row=7, trigger=Every(steps=100)),
    ]
    session = run_by(clock, StepProfile(clock), 11, *hooks, how=how)
    found = session.profile()
    parts = {part["name"]: part for part in found["parts"]}
    assert {name: round(part["secs"] * 1000, 6) for name, part in parts.items()} == {
        "first step": 15.5,
        "data": 10,
        "forward": 20,
        "loss": 5,
        "backward": 30,
        "optimizer": 40,
        "hook sleeping": 50,
        "hook rare": 40,
        "hook reading": 14,
    }
    assert list(parts) == sorted(parts, key=list(parts).index)
    assert parts["hook sleeping"]["ms_per_step"] == pytest.approx(5)
    assert parts["hook rare"]["ms_per_step"] == pytest.approx(4)
    assert parts["first step"]["ms_per_step"] is None
    assert (found["steps"], found["waited_secs"]) == (11, None)
    assert found["secs"] == pytest.approx(0.2245)
    assert sum(part["share"] for part in parts.values()) == pytest.approx(1)


def test_what_nobody_claims_is_the_loops_own():
    clock, times = Clock(), StepProfile()
    times = StepProfile(clock)
    part = Part("data")

    class Calls:
        train_op = type("Op", (), {"global_step": 0})()

        def run(self):
            clock.takes(3)
            times.timing(part, lambda: clock.takes(4))()
            clock.takes(1)
            self.train_op.global_step += 1

    LoopTimes.take(times, Calls.run, Calls())
    assert (part.secs, times.rest.secs, times.secs) == (
        pytest.approx(0.004),
        pytest.approx(0.004),
        pytest.approx(0.008),
    )


def test_a_profile_is_whole_where_a_hook_fails():
    clock = Clock()
    times = StepProfile(clock)
    hook = Slow(clock, "failing", 6, writes=True, per_row=2, fails_at=3)
    with pytest.raises(RuntimeError, match="as planned"):
        run_by(clock, times, 9, hook)
    found = times.record({"failing": hook})
    assert sum(part["secs"] for part in found["parts"]) == pytest.approx(found["secs"]) == pytest.approx(3 * 0.0185)
    assert {part["name"]: part["secs"] for part in found["parts"]}["hook failing"] == pytest.approx(0.016)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_profile_changes_no_bit(name, tmp_path):
    config = {**CONFIG, **VARIANTS[name]}
    state, rows, *_ = trained(config, tmp_path / "plain", "run_block")
    experiment = build(load_config(config))
    op, gate = experiment.train_op, experiment.train_op.gate
    before = {**vars(op)}, {**vars(op.calling)}, {**vars(gate)}
    with experiment.session(tmp_path / "profiled", profile=True) as session:
        while not session.should_stop():
            session.run_block(op)
        same_rows = [{key: value for key, value in row.items() if key != "time"} for row in session.rows.rows()]
    assert equal([state, rows], [op.state_dict(), same_rows])
    assert [vars(each).keys() for each in (op, op.calling, gate)] == [each.keys() for each in before]
    assert all(type(each) is Calling for each in (*op.calling.updates, op.calling.model, op.calling.data))
    found = session.profile()
    assert sum(part["secs"] for part in found["parts"]) == pytest.approx(found["secs"])
    names = [part["name"] for part in found["parts"]]
    clips = "gate and clipping" if name == "clipped" else "gate"
    steps = ["first step", "data", "forward", "loss", "backward", clips, "optimizer"]
    assert names[:7] == steps
    assert ("updates" in names) == (name == "norms and averages")
    assert {"fetches", "hook learning_rate_setter", "hook logging", "hook evaluation"} <= {*names}
    assert names[-1] == "loop itself"


def test_a_device_is_waited_for_at_the_end_of_each_part(monkeypatch):
    """The device is made up: it works on while the host goes on, until it is waited for."""
    clock = Clock()
    profile, busy = StepProfile(clock), [0.0]

    def wait(device):
        clock.takes(busy[0])
        busy[0] = 0.0

    def launch():
        clock.takes(1)
        busy[0] += 9

    monkeypatch.setattr(step_profile, "wait_for", wait)
    profile._device, profile.is_taking = torch.device("cuda"), True
    parts = forward, backward = Part("forward"), Part("backward")
    profile.timing(forward, launch)()
    with step_profile._TimedCalling(profile, backward, Calling("loss", "the backward pass")):
        launch()
        launch()
    assert [part.secs for part in parts] == pytest.approx([0.010, 0.020])
    assert [part.waited_secs for part in parts] == pytest.approx([0.009, 0.018])


def test_without_a_profile_only_hooks_are_measured():
    clock = Clock()
    session = run_by(clock, LoopTimes(clock), 10, Slow(clock, "sleeping", 5), Slow(clock, "rare", 20, trigger=Every(5)))
    assert session.profile() is None
    found = {name: part.secs for name, _, part in session.times.hooks(session.named_hooks)}
    assert found == pytest.approx({"stop_at_step": 0, "sleeping": 0.05, "rare": 0.04})
    assert session.times.secs == pytest.approx(0.05 + 0.04 + 10 * 0.0105)


@pytest.mark.parametrize(
    ("num_steps", "milliseconds", "named"),
    [(1000, 0.22, True), (1000, 0.21, False), (799, 2.0, False)],  # 2.05 %, 1.96 %, a loop of 9.99 s
)
def test_a_hook_above_two_per_cent_of_a_long_loop_is_named(num_steps, milliseconds, named):
    clock = Clock()
    session = run_by(clock, LoopTimes(clock), num_steps, Slow(clock, "mine", milliseconds))
    slow = session.times.slow_hooks(session.named_hooks)
    assert [each["hook"] for each in slow] == ["mine"] * named
    if named:
        assert slow[0] == {"hook": "mine", "secs": 0.22, "share": 0.0205, "when": "every step", "key": ""}


def test_each_key_that_is_named_changes_how_often_its_hook_is_called():
    config = {
        **CONFIG,
        "log": {"every": "7 steps", "to": ["csv", "tensorboard"]},
        "hooks": [{"name": "norms", "every": "9 steps"}, {"name": "step_counter", "every": "8 steps"}, "final_ops"],
    }
    config["hooks"][2] = {"name": "checkpoint", "every": "20 steps"}

    def keys_and_triggers(overrides):
        hooks = build(load_config(config, overrides)).hooks
        return [
            (hook.interval_key, hook.trigger or getattr(hook, "every", None)) for hook in hooks if hook.name != "csv"
        ]

    before = keys_and_triggers([])
    known = {key for key, _ in before if key}
    assert known == {
        *("log.every", "log.lines", "eval.every", "checkpoint.every"),
        *("hooks.0.every", "hooks.1.every", "hooks.2.every"),
    }
    for wanted in known:
        now = keys_and_triggers([f"{wanted}=3 steps"])
        for (key, trigger), (_, other) in zip(before, now, strict=True):
            assert (str(trigger) != str(other)) == (key == wanted), (wanted, key)


def test_a_profile_is_in_the_result_of_a_run_and_can_be_read_as_a_table():
    run = train(CONFIG, {"train.steps": 12}, name="profiled", profile=True)
    found = run.result["profile"]
    assert found["steps"] == 12
    title, heading, *lines = profile_text(found).splitlines()
    assert title.startswith("where the time went: 12 steps in ")
    assert heading.split() == ["part", "share", "ms/step", "seconds"]
    assert len(lines) == len(found["parts"])
    again = train(CONFIG, {"train.steps": 20}, name="profiled", profile=True, allow_change=True)
    assert again.result["profile"]["steps"] == 8  # those that this call has taken
    waits = {"steps": 3, "secs": 1.0, "waited_secs": 0.5, "parts": [{**found["parts"][1], "waited_secs": 0.25}]}
    assert profile_text(waits).splitlines()[2].endswith("  0.250")
    assert "profile" not in train(CONFIG, {"train.steps": 1}).result


def test_a_long_name_leaves_the_table_narrow():
    secs = {"secs": 99999.0, "waited_secs": 99999.0}
    part = {"name": f"hook {'very_' * 30}long", "share": 1.0, "ms_per_step": 1234.5678, **secs}
    text = profile_text({"steps": 10, "secs": 99999.0, "waited_secs": 99999.0, "parts": [part]})
    assert max(map(len, text.splitlines())) <= 80
    assert "hook very_" in text
    assert "_long" in text
