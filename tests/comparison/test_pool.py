"""Worker processes that die, and runs that another process makes."""

from __future__ import annotations

import os
import signal
import time

import pytest
import yaml

from optrun.experiments.comparison import worker
from optrun.experiments.comparison.compare import compare
from optrun.experiments.errors import Interrupted
from optrun.experiments.run_directory.run_dir import RunDir

TINY = """
data: {name: iris, batch_size: 32}
model: logistic
loss: cross_entropy
metrics: [accuracy]
train: {epochs: 2}
log: {every: 1000 steps}
"""
# An optimizer that ends the process that it works in, as the kernel does when memory is short.
KILLED = """
import os, signal, torch
class Killed(torch.optim.SGD):
    def __init__(self, params, *, lr: float = 0.1, times: int = 1, parent: int = 0):
        super().__init__(params, lr=lr)
        self.times, self.parent, self.taken = times, parent, 0
    def step(self, closure=None):
        self.taken += 1
        if self.taken == 3 and os.getpid() != self.parent:
            for number in range(self.times):
                try:
                    open(f"killed-{number}", "x").close()  # each number is one process's
                except FileExistsError:
                    continue
                os.kill(os.getpid(), signal.SIGKILL)
        return super().step(closure)
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "killed.py").write_text(KILLED)
    for name, optimizer in (("sgd", "{name: sgd, lr: 0.1}"), ("mom", "{name: mom, lr: 0.05}")):
        (tmp_path / f"{name}.yaml").write_text(f"{TINY}optimizer: {optimizer}\n")
    return tmp_path


def killed(files, times):
    optimizer = f'{{name: "./killed.py:Killed", lr: 0.1, times: {times}, parent: {os.getpid()}}}'
    (files / "bad.yaml").write_text(f"{TINY}optimizer: {optimizer}\n")
    return "bad.yaml"


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_whose_worker_was_killed_is_tried_once_more_in_a_new_one(files, jobs):
    events = []
    done = compare([killed(files, 1), "sgd.yaml"], seeds=3, tune=None, jobs=jobs, on_event=events.append)
    assert [event["message"] for event in events if event["kind"] == "retried"] == ["killed by SIGKILL"]
    assert done.failed() == []
    assert {name: len(values) for name, values in done.values().items()} == {"bad": 3, "sgd": 3}
    undisturbed = compare([killed(files, 0), "sgd.yaml"], seeds=3, tune=None, jobs=1, root=files / "other")
    assert done.values() == undisturbed.values()


def test_an_entry_that_kills_every_worker_fails_alone(files):
    done = compare([killed(files, 99), "sgd.yaml", "mom.yaml"], seeds=3, tune=None, jobs=2)
    assert {(record.entry, record.state) for record in done.group.records} == {
        ("bad", "failed"),
        ("sgd", "done"),
        ("mom", "done"),
    }


def test_a_run_that_kills_its_worker_twice_has_failed_and_no_other_run(files):
    done = compare([killed(files, 2), "sgd.yaml", "mom.yaml"], seeds=3, tune=None, jobs=1)
    (failed,) = [record for record in done.group.records if record.state == "failed"]
    assert failed.entry == "bad"
    assert failed.message == "its worker process died twice, the last one killed by SIGKILL: out of memory?"
    assert {name: len(values) for name, values in done.values().items()} == {"bad": 2, "sgd": 3, "mom": 3}
    again = compare([killed(files, 2), "sgd.yaml", "mom.yaml"], seeds=3, tune=None, jobs=1)
    assert again.failed() == []


def test_workers_that_cannot_begin_are_not_started_without_end(files, monkeypatch):
    from optrun.experiments.comparison import worker
    from optrun.experiments.errors import SessionError

    monkeypatch.setattr(worker, "start", lambda *args: os._exit(9))
    with pytest.raises(SessionError, match=r"3 worker processes in a row ended before .* \(with exit code 9\).*-j 1"):
        compare(["sgd.yaml", "mom.yaml"], seeds=3, tune=None, jobs=1)


def held_run(files, done):
    """Return a run of a comparison, held as by another process that makes it: unfinished, then given back."""
    path = files / "runs" / next(record.path for record in done.group.records if record.entry == "mom")
    return RunDir(path)


def test_a_run_that_another_process_makes_is_waited_for_and_taken(files):
    first = compare(["sgd.yaml", "mom.yaml"], seeds=2, tune=None, jobs=1)
    other = held_run(files, first)
    status = other.status()
    for path in (files / "runs" / ".cache").iterdir():
        path.unlink()
    other.acquire()
    other.set_status("running")
    events, rows = [], other.metrics_path.read_bytes()

    def finish():
        other.set_status("done", step=status["step"])
        other.release()

    def see(event):
        events.append(event)
        if event["kind"] == "waiting" and len([e for e in events if e["kind"] == "waiting"]) == 2:
            finish()

    again = compare(["sgd.yaml", "mom.yaml"], seeds=2, tune=None, jobs=2, on_event=see)
    waited = [event for event in events if event["kind"] == "waiting"]
    assert {event["holder"].split(" on ")[0] for event in waited} == {f"process {os.getpid()}"}
    assert [(event["entry"], event["seed"]) for event in waited[:1]] == [("mom", 0)]
    order = [event["kind"] for event in events if event["kind"] in ("waiting", "finished")]
    assert order.count("finished") == 4
    assert order[-1] == "finished", "the others were not kept waiting"
    assert order.index("waiting") < len(order) - 1
    assert again.failed() == []
    assert again.values() == first.values()
    assert other.metrics_path.read_bytes() == rows, "it was taken, not made again"


def test_when_the_other_process_dies_its_run_is_taken_over(files):
    first = compare(["sgd.yaml", "mom.yaml"], seeds=1, tune=None, jobs=1)
    other = held_run(files, first)
    values = first.values()
    for path in (files / "runs" / ".cache").iterdir():
        path.unlink()
    pid = os.fork()
    if pid == 0:  # another process, in the middle of the run
        other.acquire()
        other.set_status("running")
        time.sleep(60)
        os._exit(0)
    while other.status().get("state") != "running":
        time.sleep(0.05)
    waited = []

    def see(event):
        if event["kind"] == "waiting" and not waited:
            waited.append(event)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    again = compare(["sgd.yaml", "mom.yaml"], seeds=1, tune=None, jobs=1, on_event=see)
    assert waited[0]["holder"].startswith(f"process {pid} on ")
    assert again.failed() == []
    assert again.values() == values


def test_a_signal_ends_the_waiting(files):
    first = compare(["sgd.yaml", "mom.yaml"], seeds=1, tune=None, jobs=1)
    other = held_run(files, first)
    for path in (files / "runs" / ".cache").iterdir():
        path.unlink()
    other.acquire()
    other.set_status("running")

    def see(event):
        if event["kind"] == "waiting":
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted) as stopped:
        compare(["sgd.yaml", "mom.yaml"], seeds=1, tune=None, jobs=1, on_event=see)
    assert stopped.value.exit_code == 143
    other.release()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TINY.replace("logistic", "{name: mlp, hidden: [0]}"), "model.hidden.0: expected an int >= 1, got 0"),
        (TINY.replace("cross_entropy", "mse"), "loss: "),
    ],
)
def test_an_error_of_optruns_own_is_told_without_its_type_and_place(tmp_path, config, message):
    order = worker.Order(7, {**yaml.safe_load(config), "optimizer": "sgd"}, str(tmp_path / "run"))
    told = []
    worker.run([order], tell=lambda *made: told.append(made))
    ((number, (state, said)),) = told
    assert number == 7
    assert state == "failed"
    assert said.startswith(message), said
    assert "<python>" not in said
