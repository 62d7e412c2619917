"""SIGKILL at every call that changes the disk, and at random times: nothing is lost, doubled, torn or left over."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from optrun.experiments.comparison.tasks import TaskMaker
from optrun.experiments.run_directory.checkpoint_files import list_checkpoints
from optrun.experiments.run_directory.run_dir import RunDir
from optrun.experiments.system import storage
from optrun.experiments.system.liveness import is_alive

from . import lives
from .processes import OPTRUN, environment, run, start
from .sweep import OPTIMIZERS, Sweep, config, differences, points, report, state_of, the_seed

sample, slow = pytest.mark.sample, pytest.mark.slow


@pytest.fixture(scope="module")
def swept(server, fast_folder):
    return Sweep(server, fast_folder / "kill")


@pytest.mark.parametrize("stride", [pytest.param(89, marks=sample), pytest.param(1, marks=slow)])
def test_a_run_killed_at_any_call_goes_on_as_if_nothing_had_been(swept, stride):
    found = []
    cases = points(swept.recording["names"], stride)
    assert {"open", "write", "fsync", "close", "replace", "mkdir", "unlink"} <= set(swept.recording["names"])
    for at, fault in cases:
        found += swept.case(at, fault)
    report("killed while training", len(cases), found)


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("stride", [pytest.param(97, marks=sample), pytest.param(1, marks=slow)])
def test_a_resumed_run_killed_at_any_call_goes_on_as_well(swept, stride, damaged):
    """With damage, the first thing that a resumed run does is to set its newest checkpoint aside."""
    start = swept.new_root()
    assert swept.live(start, dies_after_save=4).killed
    assert [file.step for file in list_checkpoints(start / "run" / "checkpoints")] == [2, 4]
    if damaged:
        flip_a_bit(list_checkpoints(start / "run" / "checkpoints")[-1].path)
    trial = swept.new_root()
    shutil.copytree(start, trial, dirs_exist_ok=True)
    recording = swept.live(trial).result
    found = []
    cases = points(recording["names"], stride)
    for at, fault in cases:
        found += swept.case(at, fault, start, recording, quarantined=int(damaged), good=2 if damaged else 4)
    report(f"killed while resuming{' from damage' * damaged}", len(cases), found)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# ---- evaluation ------------------------------------------------------------------------------------------------------


def test_an_evaluation_changes_nothing_and_can_be_killed_at_any_time(swept):
    root = swept.new_root()
    assert swept.live(root).code == 0
    before = contents(root)
    whole = swept.server.run(lives.evaluate_life, folder=swept.folder, root=root)
    assert whole.result["names"] == []
    for number in range(5):
        swept.server.run(lives.evaluate_life, folder=swept.folder, root=root, kill_after=0.02 * number)
        assert contents(root) == before
    again = swept.server.run(lives.evaluate_life, folder=swept.folder, root=root)
    assert again.result["values"] == whole.result["values"]


def contents(root):
    """Return the SHA-256 of every file; of a lock, only that it is there."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.name != ".lock"}


# ---- comparison ------------------------------------------------------------------------------------------------------

SMALL = """
data: {name: digits, subset: 20, batch_size: 16}
model: logistic
loss: cross_entropy
metrics: [accuracy]
train: {steps: 2}
checkpoint: {every: 1 step}
log: {every: 1 step}
"""


@pytest.fixture(scope="module")
def compared(server, fast_folder):
    folder = fast_folder / "compare"
    folder.mkdir()
    for name in ("sgd", "mom"):
        (folder / f"{name}.yaml").write_text(f"{SMALL}optimizer: {{name: {name}, lr: 0.1}}\n")
    return Comparing(server, folder)


class Comparing:
    """A comparison, what it found undisturbed, and cases that kill its parent or its worker."""

    def __init__(self, server, folder):
        self.server, self.folder, self._count = server, folder, 0
        root = self.new_root()
        done = self.live(root)
        assert done.code == 0, done.output
        assert not done.result["failed"]
        self.names, self.truth = done.result["names"], self.read(root)
        self.worker_names = json.loads((folder / "worker-calls.json").read_text())

    def new_root(self):
        self._count += 1
        root = self.folder / f"root-{self._count}"
        root.mkdir()
        return root

    def live(self, root, **options):
        targets = ["sgd.yaml", "mom.yaml"]
        return self.server.run(lives.compare_life, folder=self.folder, targets=targets, root=root, **options)

    def read(self, root):
        (group,) = [path.parent for path in root.glob("*/comparison.json")]
        found = self.server.run(lives.read_comparison, folder=self.folder, path=group).result
        runs = {path.parent.name: state_of(group, path.parent.name) for path in group.glob("*/status.json")}
        return {**found, "runs": runs}

    def case(self, at, fault, whose):
        """Kill, repeat the comparison, and return what is wrong."""
        root = self.new_root()
        first = self.live(root, fault={"at": at, "fault": fault}, whose=whose)
        if whose == "parent" and not first.killed:
            return [f"{whose} {fault} {at}: it ended with {first.code}: {first.output}"]
        found = []
        if whose == "worker":
            if first.code != 0 or first.result["failed"]:
                found = [f"another worker did not take over: {first.code}, {first.result} {first.output}"]
            elif not any(event["kind"] == "retried" for event in first.result["told"]):
                found = [f"nobody was told that a worker died: {first.result}"]
        age(root)
        last = self.live(root)
        if last.code != 0:
            return [f"{whose} {fault} {at}: it cannot go on: {last.output}"]
        now = self.read(root)
        if now["values"] != self.truth["values"] or now["sentence"] != self.truth["sentence"] or now["failed"]:
            found.append(f"other results: {now}"[:500])
        if now["runs"].keys() != self.truth["runs"].keys():
            found.append(f"other runs: {sorted(now['runs'])}")
        for path in root.glob("*/*/status.json"):
            name = path.parent.name
            found += differences(self.truth["runs"][name], path.parent.parent, name)
        if strays := [path.name for path in root.rglob(".tmp-*")]:
            found.append(f"left lying about: {strays}")
        shutil.rmtree(root)
        return [f"{whose} {fault} call {at}: {problem}" for problem in found]


def age(root):
    """Make what was left half written two minutes old; in folders that nobody locks, younger files are left alone."""
    for path in root.rglob(".tmp-*"):
        os.utime(path, (time.time() - 120,) * 2)


@pytest.mark.parametrize("is_whole", [pytest.param(False, marks=sample), pytest.param(True, marks=slow)])
@pytest.mark.parametrize(("whose", "stride"), [("parent", 140), ("worker", 280)])
def test_a_comparison_killed_at_a_call_goes_on(compared, whose, stride, is_whole):
    names = compared.names if whose == "parent" else compared.worker_names
    cases, found = points(names, 1 if is_whole else stride), []
    for at, fault in cases:
        found += compared.case(at, fault, whose)
    report(f"killed {whose} of a comparison", len(cases), found)


def test_workers_of_a_killed_comparison_end_and_one_repeated_at_once_waits_for_them(server, fast_folder):
    folder = fast_folder / "orphans"
    folder.mkdir()
    for name in ("sgd", "mom"):
        text = SMALL.replace("{steps: 2}", "{steps: 600}").replace("1 step", "60 steps")
        (folder / f"{name}.yaml").write_text(f"{text}optimizer: {{name: {name}, lr: 0.1}}\n")
    options = {"folder": folder, "targets": ["sgd.yaml", "mom.yaml"], "root": folder / "runs"}
    assert server.run(lives.compare_life, dies_during="progress", kill_group=False, **options).killed
    (status,) = [json.loads(path.read_text()) for path in folder.glob("runs/*/*/status.json")]
    assert status["state"] == "running"
    again = server.run(lives.compare_life, **options)
    assert again.code == 0, again.output
    assert not again.result["failed"]
    assert not is_alive(status["pid"])


# ---- at random times -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_runs", [pytest.param(1, marks=sample), pytest.param(20, marks=slow)])
def test_a_run_killed_again_and_again_at_random_times_goes_on(server, fast_folder, num_runs):
    seed = the_seed("tests/robustness/test_kill.py -m '' -k again_and_again")
    numbers, found, kills = random.Random(seed), [], 0
    for optimizer in OPTIMIZERS:
        swept = Sweep(server, fast_folder / f"random-{optimizer}-{num_runs}", config(optimizer, steps=40, every=4))
        started = time.monotonic()
        assert swept.truth["summary"]["steps"] == 40
        takes = time.monotonic() - started
        for _ in range(num_runs):
            root = swept.new_root()
            for _ in range(numbers.randrange(1, 7)):
                kills += swept.live(root, kill_after=numbers.uniform(0, takes)).killed
            found += [f"{optimizer}: {problem}" for problem in swept.finish(root)]
    assert kills
    report(f"{num_runs * len(OPTIMIZERS)} runs killed at random times", kills, found)


@slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_real_command_killed_at_random_times_goes_on(server, fast_folder, optimizer):
    """Real processes from their first instruction on; half of them are killed before there is much to lose."""
    seed = the_seed("tests/robustness/test_kill.py -m '' -k the_real_command")
    numbers = random.Random(f"{seed} {optimizer}")
    swept = Sweep(server, fast_folder / f"command-{optimizer}", config(optimizer, steps=300, every=30, draws=False))
    root = swept.new_root()
    command = [*OPTRUN, "train", swept.target.name, "--name", "run", "--quiet"]
    options = {"cwd": swept.folder, "env": environment(OPTRUN_RUNS_DIR=str(root))}
    kills = 0
    for number in range(6):
        with start(command, **options) as process:
            if number % 2:
                time.sleep(numbers.uniform(0, 2))
            else:
                wait_for_rows(root, process, numbers.randrange(300))
            process.kill()
            kills += process.wait() == -signal.SIGKILL
    code, _, err = run(command, **options)
    assert code == 0, err
    assert kills
    found = [] if RunDir(root / "run").status()["state"] == "done" else ["it is not done"]
    truth = {**swept.truth, "rng": None}
    report(f"{optimizer}: the command killed at random times", kills, found + differences(truth, root))


def wait_for_rows(root: Path, process: subprocess.Popen[bytes], number: int) -> None:
    """Return when a run has so many metric rows, or has ended."""
    path = root / "run" / "metrics.jsonl"
    while process.poll() is None and not (path.exists() and path.read_bytes().count(b"\n") >= number):
        time.sleep(0.005)


# ---- found by the sweeps ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells")
def test_what_a_process_left_that_ended_and_was_not_asked_for_is_deleted(tmp_path):
    """In a container without an init, killed workers stay as zombies for good, and their numbers look alive."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is a zombie until it is asked for
    try:
        assert not is_alive(pid)
        (tmp_path / f".tmp-{pid}-status.json").touch()
        assert storage.sweep_temporaries(tmp_path) == [f".tmp-{pid}-status.json"]
    finally:
        os.waitpid(pid, 0)
    assert is_alive(os.getpid())


def test_a_comparison_deletes_what_a_killed_one_left_but_no_file_that_may_be_in_the_making(tmp_path):
    for folder in (tmp_path / ".cache", tmp_path / "group"):
        folder.mkdir()
        for name in (".tmp-4194305-old", ".tmp-4194305-new", "kept"):  # no process has so high a number
            (folder / name).touch()
        os.utime(folder / ".tmp-4194305-old", (time.time() - 3600,) * 2)
    TaskMaker(tmp_path, "group", lambda entry: "").tidy()
    for folder in (tmp_path / ".cache", tmp_path / "group"):
        assert sorted(os.listdir(folder)) == [".tmp-4194305-new", "kept"]
