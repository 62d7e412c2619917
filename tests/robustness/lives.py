"""What the fork server's children do: one life of a process that trains, compares or evaluates, with a fault in it."""

from __future__ import annotations

import gc
import json
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from optrun.cli import app, main
from optrun.experiments import evaluate, train
from optrun.experiments.comparison import worker
from optrun.experiments.comparison.compare import compare
from optrun.experiments.comparison.result import Comparison
from optrun.experiments.comparison.workers import Workers
from optrun.experiments.run_directory import checkpoints
from optrun.experiments.run_directory.run_dir import RunDir
from optrun.experiments.system import signals, storage

from . import bugs
from .disk import RecordingSystem
from .faulty import CALLS, FaultySystem

Fault = Mapping[str, Any]
_WARM = """\
data: {name: digits, subset: 32, batch_size: 16}
model: logistic
loss: cross_entropy
metrics: [accuracy]
optimizer: adam
updates: [ema]
train: {steps: 2}
"""
_run_task = worker.run


def _remember_code_of(root: Path) -> None:
    """Let what is remembered of the user's code belong to the runs in a folder, not to all lives of the process."""
    os.environ["XDG_STATE_HOME"] = str(root.with_name(f"{root.name}-state"))


def train_life(
    target: Path,
    root: Path,
    name: str = "run",
    fault: Fault | None = None,
    bug: str | None = None,
    dies_after_save: int | None = None,
) -> dict[str, Any]:
    """Train, or go on; return the names of the calls.

    What is remembered of the code belongs to these runs, so that the first life of any of them makes the same calls.

    Args:
        target: what to train.
        root: the folder of runs.
        name: of the run.
        fault: what goes wrong.
        bug: to plant.
        dies_after_save: the step whose checkpoint is written, and none deleted yet, when SIGKILL comes.
    """
    _remember_code_of(root)
    system = _prepare(fault, bug)
    _report_saves(root, dies_after_save)
    train(target, name=name, root=root)
    return {"names": system.names}


def _report_saves(root: Path, dies_after: int | None = None) -> None:
    """Leave the step of each checkpoint that is said to be there in a file beside the folder of runs."""
    report = os.open(_report_of(root), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def note(step: int) -> None:
        os.write(report, b"%d\n" % step)
        if step == dies_after:
            os.kill(os.getpid(), signal.SIGKILL)

    _after_each_save(note)


def _after_each_save(note: Callable[[int], None]) -> None:
    save = checkpoints.save

    def noting_save(*args: Any, **options: Any) -> Any:
        file = save(*args, **options)
        note(file.step)
        return file

    checkpoints.save = noting_save


def _report_of(root: Path) -> Path:
    return root.with_name(f"{root.name}-saves")


def saved_in(root: Path) -> list[int]:
    """Return the steps of all checkpoints that the last life in a folder of runs was told were there."""
    return [int(line) for line in _report_of(root).read_text().splitlines()]


def recorded_life(target: Path, root: Path, log: Path, bug: str | None = None) -> None:
    """Train, and leave the log of all calls, with what they wrote, in the file `log`."""
    system = RecordingSystem(root)
    _prepare(None, bug)
    storage.system = system
    _after_each_save(system.note_save)
    train(target, name="run", root=root)
    system.dump(log)


def cli_life(arguments: list[str], root: Path, fault: Fault | None = None, reports: bool = False) -> None:
    """Do what `optrun ARGUMENTS` does, and exit with its code; report the checkpoints that are there, if asked to."""
    os.environ["OPTRUN_RUNS_DIR"] = str(root)
    _prepare(fault, None)
    if reports:
        _report_saves(root)
    sys.exit(app.run(arguments))


def command_life(target: Path, root: Path) -> None:
    """Train, or go on, as the command does, signals included, and exit with its code."""
    _remember_code_of(root)
    os.environ["OPTRUN_RUNS_DIR"] = str(root)
    _prepare(None, None)
    signals.install()
    sys.exit(app.run(["train", str(target), "--name", "run", "--quiet"]))


def main_life(arguments: list[str]) -> None:
    """Do what `optrun ARGUMENTS` does from the first line of `main()`."""
    _fork_workers()
    sys.argv[1:] = arguments
    main()


def code_life(code: str, arguments: list[str]) -> None:
    """Do what `python -c CODE ARGUMENTS` does."""
    _fork_workers()
    sys.argv[1:] = arguments
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})


def _fork_workers() -> None:
    """Let comparisons fork their workers: a new interpreter takes seconds."""
    Workers.start_method = "fork"


def together(num: int, arguments: Sequence[str]) -> None:
    """Do what `optrun ARGUMENTS` does in so many processes that come at the same moment.

    Each leaves its words in the files `out-NUMBER` and `err-NUMBER`, and at its end its exit code in `code-NUMBER`.

    Args:
        num: how many.
        arguments: of each.
    """
    begin = time.monotonic() + 0.3
    children = []
    for number in range(num):
        child = os.fork()
        if child == 0:
            _one_of_many(number, arguments, begin)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * num


def _one_of_many(number: int, arguments: Sequence[str], begin: float) -> None:
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{name}-{number}", os.O_CREAT | os.O_WRONLY), stream)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    signals.install()
    time.sleep(max(0.0, begin - time.monotonic()))
    code = app.run(arguments)
    sys.stdout.flush()
    Path(f"code-{number}").write_text(str(code))
    os._exit(0)


def evaluate_life(root: Path, fault: Fault | None = None) -> dict[str, Any]:
    """Evaluate the run's last checkpoint."""
    _remember_code_of(root)
    system = _prepare(fault, None)
    return {"values": evaluate("run", root=root), "names": system.names}


def status_life(root: Path, bug: str | None = None) -> str | None:
    """Return what the run is listed as."""
    _prepare(None, bug)
    return RunDir(root / "run").status().get("state")


def compare_life(
    targets: list[str], root: Path, fault: Fault | None = None, whose: str = "parent", dies_during: str | None = None
) -> dict[str, Any]:
    """Compare with one worker, which is forked, too.

    Args:
        targets: of the comparison.
        root: the folder of runs.
        fault: what goes wrong.
        whose: calls go wrong: those of the `parent` or of the `worker`.
        dies_during: the kind of event at which the parent is killed, and the worker is not.
    """
    _fork_workers()
    system = _prepare(None, None)
    real_start = worker.start

    def start(*args: Any) -> None:
        # The first worker alone: the one in its place does what was left.
        root.mkdir(parents=True, exist_ok=True)
        is_first = not (mark := Path(root / "a-worker-has-begun")).exists()
        mark.touch()
        storage.system = FaultySystem(**fault) if fault and whose == "worker" and is_first else FaultySystem()
        real_start(*args)

    worker.start, worker.run = start, counting_run
    if fault and whose == "parent":
        storage.system = system = FaultySystem(**fault)

    told: list[dict[str, Any]] = []

    def see(event: dict[str, Any]) -> None:
        told.append({"kind": event["kind"]})
        if event["kind"] == dies_during:
            os.kill(os.getpid(), signal.SIGKILL)

    found = compare(targets, seeds=1, tune=None, jobs=1, root=root, on_event=see)
    return {"names": system.names, "failed": found.failed(), "told": told}


def counting_run(*args: Any) -> None:
    """Run a worker's task, and leave the names of all its calls until now in a file."""
    _run_task(*args)
    Path("worker-calls.json").write_text(json.dumps(storage.system.names))


def read_comparison(path: Path) -> dict[str, Any]:
    """Return what a comparison found."""
    found = Comparison(path)
    return {"values": found.values(), "sentence": found.sentence, "failed": found.failed()}


def warm_up() -> None:
    """Train and evaluate once, so that no child has to import what that takes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for optimizer in ("adam", "mom", "lamb"):
            (folder / "warm.yaml").write_text(_WARM.replace("adam", optimizer))
            train(folder / "warm.yaml", name=optimizer, root=folder)
        evaluate("adam", root=folder)
    gc.freeze()  # else a child's first collection touches, and so copies, all memory


def warm_up_commands() -> None:
    """Import what command lines take; not in a test's own process, which they would change."""
    import torch.utils.tensorboard

    torch.set_num_threads(1)
    assert torch.utils.tensorboard.SummaryWriter
    before, streams = os.getcwd(), (sys.stdout, sys.stderr)
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nothing:
        os.chdir(folder)
        Path("tiny.yaml").write_text(_WARM)
        Path("bad.yaml").write_text("optimizer: {name: adm}\ntrain: {epochs: -1}\n")
        sys.stdout = sys.stderr = nothing
        try:
            for line in ("train tiny.yaml --name a", "resume a", "show a", "runs", "validate bad.yaml", "list"):
                app.run(line.split())
        finally:
            sys.stdout, sys.stderr = streams
            os.chdir(before)
    gc.freeze()


def _prepare(fault: Fault | None, bug: str | None) -> FaultySystem:
    logging.captureWarnings(False)
    random.seed(7)  # each life begins alike, so that an undisturbed one is the truth for all
    np.random.seed(7)
    if bug is not None:
        bugs.BUGS[bug].plant()
    storage.system = FaultySystem(**(fault or {}))
    return storage.system


def watched_life(life: str, log: Path, arguments: dict[str, Any]) -> None:
    """Live, and note each path that is written: `+ path` if `storage` does it, `- path` if somebody else does."""
    notes = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    inside = threading.local()  # whether this thread is in a call of `storage`
    for name in CALLS:
        setattr(storage.System, name, staticmethod(_noting(getattr(storage.System, name), inside)))

    def see(event: str, args: tuple[Any, ...]) -> None:
        path = _written_path(event, args)
        if path is not None and path not in (os.devnull, str(log)):
            os.write(notes, f"{'+' if getattr(inside, 'storage', False) else '-'} {path}\n".encode())

    sys.addaudithook(see)
    globals()[life](**arguments)


def _noting(call: Callable[..., Any], inside: threading.local) -> Callable[..., Any]:
    def noted(*args: Any) -> Any:
        inside.storage = True
        try:
            return call(*args)
        finally:
            inside.storage = False

    return noted


_CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.utime")


def _written_path(event: str, args: tuple[Any, ...]) -> str | None:
    """Return what is changed on the disk by an audited event; None for one that only reads, or knows no path."""
    if event == "open":
        path, _, flags = args
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    else:
        path, writes = args[0] if args else None, event in _CHANGES
        writes = writes and not (event == "os.mkdir" and os.path.isdir(path))  # it is there: a try that changes nothing
    return os.fsdecode(path) if writes and not isinstance(path, int) and path is not None else None
