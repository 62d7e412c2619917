"""verify_resume: what is exact is found equal, and each thing that is not is named, at the step where it begins."""

from __future__ import annotations

import importlib
import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from optrun.experiments import load_config, verify_resume
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import DivergedError, Interrupted, SessionError, UsageError
from optrun.experiments.studies.resume import check as resume_check
from optrun.experiments.studies.resume.check import ResumeCheck
from optrun.experiments.studies.resume.difference import digest, first_difference
from optrun.experiments.system import processes
from optrun.experiments.system.processes import Processes
from optrun.experiments.system.signals import Stop

from ..robustness.processes import forked

# Everything that somebody may get wrong, once rightly and once wrongly.
CODE = '''
import os, random, time
import torch
from torch import nn
from optrun.experiments import Every, Hook, RunArgs
from optrun.experiments.components.data import Dataset

class Net(nn.Module):
    """Has a state; `wrong` keeps it where no checkpoint looks."""
    def __init__(self, input_shape, num_outputs, wrong: bool = False):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.Dropout(0.2), nn.Linear(6, num_outputs))
        self.register_buffer("calls", torch.zeros(()))
        self.own_calls, self.wrong = 0, wrong
    def forward(self, inputs):
        if self.training:
            self.calls += 1
            self.own_calls += 1
        return self.layers(inputs) * (1 + 0.01 * (self.own_calls if self.wrong else self.calls))

class Sgd(torch.optim.Optimizer):
    """Adds noise: rightly from torch's generator, wrongly from its own."""
    def __init__(self, params, *, lr: float = 0.1, wrong: bool = False):
        super().__init__(params, {"lr": lr})
        self.random = random.Random(7) if wrong else None
    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                noise = self.random.random() if self.random else torch.rand(()).item()
                p.sub_(p.grad * (1 + 0.1 * noise), alpha=group["lr"])

class HalfSaved(torch.optim.SGD):
    """Saves its momentum, and forgets to load it."""
    def __init__(self, params, *, lr: float = 0.1):
        super().__init__(params, lr=lr, momentum=0.9)
    def state_dict(self):
        return super().state_dict()
    def load_state_dict(self, state):
        super().load_state_dict({"state": {}, "param_groups": state["param_groups"]})

class Counter(Hook):
    """Writes how often it was called; `saved` says whether that survives."""
    def __init__(self, saved: bool = True):
        self.count, self.saved = 0, saved
    def after_run(self, ctx, values):
        self.count += 1
        ctx.session.write_row(count=self.count)
    def state_dict(self):
        return {"count": self.count} if self.saved else {}
    def load_state_dict(self, state):
        self.count = state.get("count", 0)

class Total(Hook):
    """Keeps a sum, of which its state_dict tells and its load_state_dict knows nothing."""
    def __init__(self):
        self.total = 0.0
    def before_run(self, ctx):
        return RunArgs(("loss",))
    def after_run(self, ctx, values):
        self.total += values["loss"]
    def state_dict(self):
        return {"total": self.total}

class Momentum(Hook):
    """Feeds a rate that goes by how often it was asked."""
    def __init__(self):
        self.asked = 0
    def before_run(self, ctx):
        self.asked += 1
        return RunArgs(feed={"momentum": 0.5 + 0.01 * self.asked})

class Late(Hook):
    """Goes wrong three steps after each start."""
    def __init__(self):
        self.count = 0
    def after_run(self, ctx, values):
        self.count += 1
        if self.count % 3 == 0:
            ctx.session.write_row(third=ctx.step)

class Clock(Hook):
    def after_run(self, ctx, values):
        ctx.session.write_row(now=time.perf_counter_ns())

class Shared(Hook):
    """Draws from the global generator of `random`, which a checkpoint holds."""
    def after_run(self, ctx, values):
        ctx.session.write_row(drawn=random.random())

_own = random.Random(3)

def shaky(inputs, generator):
    return inputs + 0.1 * _own.random()

def noisy(num: int = 60):
    """Other examples in each process."""
    inputs = torch.randn(num, 2, generator=torch.Generator().manual_seed(int.from_bytes(os.urandom(4), "big")))
    return Dataset(inputs, (inputs.sum(dim=1) > 0).long(), "classes", 2)

class Smoothed:
    """A loss that keeps an average of itself."""
    def __init__(self):
        self.average = None
    def __call__(self, outputs, targets):
        loss = nn.functional.cross_entropy(outputs, targets)
        self.average = loss.detach() if self.average is None else 0.9 * self.average + 0.1 * loss.detach()
        return loss * self.average

class Infinite(Hook):
    def before_run(self, ctx):
        if ctx.batch == 3:
            inputs, targets = ctx.train_op.data.batch(ctx.batch)
            return RunArgs(feed={"batch": (inputs * float("nan"), targets)})

class Early(Hook):
    def after_run(self, ctx, values):
        if ctx.step == 4:
            ctx.request_stop("enough")

class Dies(Hook):
    def after_run(self, ctx, values):
        os._exit(9)

class OwnError(Exception):
    def __init__(self, one, two):
        super().__init__("cannot be pickled")
        self.lock = __import__("threading").Lock()

class Raises(Hook):
    def after_run(self, ctx, values):
        raise OwnError(1, 2)
'''

TINY = {
    "name": "tiny",
    "data": {"name": "gaussian_classes", "num_examples": 100, "batch_size": 10, "num_inputs": 2, "num_classes": 2},
    "model": {"name": "./mine.py:Net"},
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "./mine.py:Sgd", "lr": 0.05},
    "updates": ["ema"],
    "train": {"steps": 40},
    "log": {"every": "3 steps"},
}


@pytest.fixture
def mine(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork instead of starting interpreters."""
    monkeypatch.setattr(Processes, "call", lambda self, function, *args: forked(function, *args))
    monkeypatch.setattr(resume_check, "_num_jobs", lambda *_: 1)


def check(**changes: Any) -> ResumeCheck:
    changes = {"num_steps": 8, "at": (4,)} | changes
    options = {name: changes.pop(name) for name in ("num_steps", "at", "every") if name in changes}
    return verify_resume(load_config({**TINY, **changes}), **options)


def hook(name: str, **args: Any) -> dict[str, Any]:
    return {"hooks": [{"name": f"./mine.py:{name}", **args}]}


def test_what_is_exact_is_found_equal_and_leaves_nothing(mine, quick, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    found = check(at=(), hooks=[hook(name)["hooks"][0] for name in ("Counter", "Shared")])
    assert found.is_equal
    assert found.first is None
    assert found.save_points == (1, 4, 6, 7), "the first, the middle, the end of the epoch, the last but one"
    assert set(found.digests) == {"model", "optimizer", "updates", "hooks", "counters", "rng", "rows"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.py", "temporary"]
    assert not list((tmp_path / "temporary").glob("optrun*"))


SGD = {"name": "sgd", "lr": 0.05}
MOM = {"name": "mom", "lr": 0.05}
FAULTS = [
    # what is wrong, where it shows first, when, how it is named, and a word of the advice
    ({"model": {"name": "./mine.py:Net", "wrong": True}}, "loss", 5, "", "no parameter and no buffer"),
    ({"optimizer": {"name": "./mine.py:Sgd", "wrong": True}}, "model", 5, "layers.0.weight", "`param_groups`"),
    ({"optimizer": {"name": "./mine.py:HalfSaved"}}, "optimizer", 4, "own/state/0", "load_state_dict"),
    (hook("Counter", saved=False), "rows", 5, "5 at step 5/count", "state_dict leaves out"),
    (hook("Total"), "hooks", 4, "total/total", "load_state_dict"),
    ({**hook("Momentum"), "optimizer": MOM}, "hyperparameters", 5, "0/momentum", "not in its state_dict"),
    ({"loss": "./mine.py:Smoothed"}, "loss", 5, "", "a counter, a cache"),
    (hook("Clock"), "rows", 1, "0 at step 1/now", "goes by the clock"),
]


@pytest.mark.parametrize(
    ("changes", "section", "step", "name", "advice"), FAULTS, ids=[f"{f[1]}-{n}" for n, f in enumerate(FAULTS)]
)
def test_each_fault_is_named_where_it_begins(mine, quick, changes, section, step, name, advice):
    found = check(**changes)
    assert not found.is_equal
    first = found.first
    assert (first.section, first.step, first.save_point) == (section, step, 4)
    assert first.name == name or first.name.startswith(f"{name}/")
    assert first.expected != first.found
    assert advice in first.cause
    assert first.stage == {1: "repeated", 4: "restored", 5: "resumed"}[step]
    assert first.last_equal == {1: None, 4: 4, 5: 4}[step]


def test_data_of_its_own_generator_is_named(mine, quick):
    data = {**TINY["data"], "augment": [{"name": "./mine.py:shaky"}]}
    first = check(data=data).first
    assert (first.section, first.name, first.step, first.index) == ("batch", "inputs", 5, (0, 0))
    assert "a generator of its own" in first.cause


def test_other_examples_in_each_process_are_no_fault_of_the_resume(mine, quick):
    first = check(data={"name": "./mine.py:noisy", "batch_size": 10}).first
    assert (first.section, first.step, first.stage) == ("batch", 1, "repeated")
    assert "even without a resume" in first.cause


def test_a_difference_between_two_steps_is_bracketed_and_found_by_every(mine, quick):
    first = check(**hook("Late"), at=(4,), num_steps=12).first
    assert (first.section, first.step, first.last_equal) == ("rows", 12, 5)
    first = check(**hook("Late"), at=(), every=True, num_steps=4).first
    assert (first.section, first.step, first.save_point) == ("rows", 3, 1)
    assert (first.last_equal, first.expected) == (
        2,
        "{'step': 3, 'batch': 3, 'examples': 30, 'epoch': 0.5, 'third': 3}",
    )
    assert first.found == "(nothing)"


def test_an_averaged_run_with_everything_on_is_equal(mine, quick):
    found = check(
        optimizer={"name": "schedule_free_adamw", "lr": 0.01},
        data={**TINY["data"], "augment": [{"name": "noise", "std": 0.1}]},
        train={"steps": 10, "accumulate": 2, "precision": "bf16", "clip_norm": 1.0},
        schedule={"name": "piecewise", "boundaries": ["50%"], "factors": [1, 0.1]},
        stop={"on_nan": "skip"},
        checkpoint={"every": "2 steps", "keep_every_hours": 1e-9},
        **hook("Infinite"),
        num_steps=10,
        at=(3, 4),
    )
    assert found.is_equal, found.first


def test_what_cannot_be_verified_is_refused(mine, quick):
    for options, message in (
        ({"num_steps": 41}, "the run ends at step 40: cannot verify 41 steps"),
        ({"num_steps": 1, "at": ()}, "verify at least 2"),
        ({"at": (8,)}, "cannot stop after step 8 of 8: give steps from 1 to 7"),
        ({"at": (0,)}, "cannot stop after step 0"),
        ({"every": True}, "--every stops after each step"),
        (hook("Early"), "ends by itself after step 4 of 8.*--steps 4"),
    ):
        with pytest.raises(UsageError, match=message):
            check(**options)
    with pytest.raises(DivergedError):
        check(**hook("Infinite"))


def test_an_epoch_that_is_too_long_for_the_default_is_said(mine, quick):
    found = check(data={**TINY["data"], "batch_size": 2}, train={"steps": 8}, num_steps=None, at=())
    assert (found.num_steps, found.save_points) == (8, (1, 4, 7))
    assert found.notes == ()
    found = check(data={**TINY["data"], "batch_size": 2}, num_steps=5, at=())
    assert found.notes == ("an epoch is 30 steps: --steps 32 includes the end of one",)


# ---- states, bit by bit ----------------------------------------------------------------------------------------------


def test_a_difference_is_one_of_bits():
    nan, zero = float("nan"), 0.0
    state = {"a": [torch.tensor([[1.0, nan], [zero, 4.0]])], "b": {"c": (1, nan, "x")}}
    same = {"b": {"c": (1, nan, "x")}, "a": [state["a"][0].clone()]}
    assert first_difference(state, same) is None
    assert digest("s", state) == digest("s", same)
    for change, keys, entry in (
        ({"a": [torch.tensor([[1.0, nan], [-0.0, 4.0]])]}, ("a", 0), (1, 0)),
        ({"a": [state["a"][0].double()]}, ("a", 0), None),
        ({"a": [state["a"][0].reshape(4)]}, ("a", 0), None),
        ({"a": []}, ("a",), None),
        ({"b": {"c": (1, nan, "y")}}, ("b", "c", 2), None),
        ({"b": {"c": (True, nan, "x")}}, ("b", "c", 0), None),
        ({"b": {"c": (1, nan, "x"), "d": None}}, ("b", "d"), None),
    ):
        found = first_difference(state, state | change)
        assert (found.keys, found.entry) == (keys, entry)
        assert digest("s", state | change) != digest("s", state)
    scalar = first_difference(torch.tensor(1.0), torch.tensor(2.0))
    assert (scalar.entry, scalar.one, scalar.other) == ((), 1.0, 2.0)
    assert first_difference(torch.empty(0), torch.empty(0)) is None


def test_an_error_of_a_hook_is_told_where_the_user_wrote_it(mine, quick, tmp_path, monkeypatch):
    """The hooks that send rows to a server take no part: those after them have another number in the parts."""
    monkeypatch.setattr(resume_check, "_REMOTE", ("csv",))  # without a server
    lines = [
        *json.dumps(TINY, indent=1).splitlines()[:-1],
        ' , "hooks": [',
        '  "csv",',
        '  "./mine.py:Raises"',
        "]}",
    ]
    (tmp_path / "mine.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError) as caught:
        verify_resume(load_config(tmp_path / "mine.yaml"), num_steps=4, at=(2,))
    (problem,) = caught.value.problems
    assert problem.key == "hooks.1"
    assert (problem.origin.file, problem.origin.line) == ("mine.yaml", len(lines) - 1)


# ---- processes -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_process_that_dies_and_an_error_that_cannot_travel_are_reported(mine):
    with pytest.raises(SessionError, match="died, with exit code 9: does its code"):
        check(**hook("Dies"))
    with pytest.raises(Exception, match="OwnError: cannot be pickled"):
        check(**hook("Raises"))


@pytest.mark.slow
def test_new_interpreters_agree(mine):
    assert check(at=(4,)).is_equal


@pytest.mark.parametrize(
    ("exitcode", "said"),
    [
        (-signal.SIGKILL, "killed by SIGKILL: out of memory?"),
        (-signal.SIGTERM, "killed by SIGTERM"),
        (-signal.SIGSEGV, "killed by SIGSEGV: does its code, or a library, end the process?"),
        (0, "with exit code 0: does its code, or a library, end the process?"),
    ],
)
def test_the_end_of_a_process_is_told_by_its_signal(exitcode, said):
    assert processes.how(exitcode) + processes.why(exitcode) == said


def test_a_signal_to_a_process_alone_is_told_by_its_name(tmp_path, monkeypatch):
    code = "from optrun.experiments.errors import Interrupted\ndef end(signum): raise Interrupted(signum)\n"
    (tmp_path / "ended_alone.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    end = importlib.import_module("ended_alone").end
    with pytest.raises(SessionError, match="the training process was ended by SIGTERM, which it was sent"):
        Processes(Stop()).call(end, signal.SIGTERM)


def test_a_call_has_a_process_of_its_own_which_a_signal_ends():
    assert processes.Processes(Stop()).call(os.getppid) == os.getpid()
    stop = Stop()
    threading.Timer(0.5, lambda: setattr(stop, "signum", signal.SIGTERM)).start()
    with pytest.raises(Interrupted) as caught:
        Processes(stop).call(time.sleep, 60)
    assert caught.value.exit_code == 143


def test_the_first_error_ends_the_calls_of_other_threads():
    each = Processes(Stop())
    work = each.guarded(lambda point: each.call(time.sleep, 60) if point else each.call(json.loads, "{"))
    with ThreadPoolExecutor(2) as threads:
        found = [threads.submit(work, point).exception() for point in (0, 1)]
    assert [type(error) for error in found] == [json.JSONDecodeError] * 2
