"""Runs tasks on all cores: worker processes, one thread each, one run at a time in each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any, ClassVar

from ..errors import DataError, Interrupted, SessionError
from ..run_directory.comparison_file import FINISHED
from ..run_directory.run_dir import RunDir
from ..system import signals
from ..system.locks import Lock
from ..system.processes import how, why
from ..system.switches import at_start
from . import events, worker
from .shipping import Shipment, main_left_out
from .tasks import Task, TaskMaker

_POLL_SECS = 0.1
_LOOK_AGAIN_SECS = 1.0  # at a run that another process makes
_MAX_STILLBORN = 3  # worker processes in a row that end before they begin


@dataclass(eq=False)
class _Worker:
    """A worker process, the pipe to it, and what it works on."""

    process: Any
    pipe: Any
    task: Task | None = None
    has_begun: bool = False
    code: frozenset[str] | None = None  # whose import has turned switches of the process

    def send(self, what: Any) -> None:
        with contextlib.suppress(OSError):  # it has died, which is seen when it is listened to
            self.pipe.send(what)


class Pool:
    """Worker processes that are started when first needed, and kept for all phases of a comparison.

    Each has a pipe of its own and shares nothing with the others, so that one that is killed harms none of them: it is
    replaced, and its run tried once more. A run that another process makes is waited for as long as that one lives; of
    comparisons that share a run, one makes it, and the others take it.

    Args:
        root: the folder of runs.
        jobs: how many runs at a time.
        maker: of the tasks, which claims runs.
        shipment: what the processes need of this one.
        on_event: is told of progress.
        on_finished: is told of each task that ended, before the next event.

    Attributes:
        start_method: of the processes, a name of `multiprocessing`; torch's own threads do not survive a fork.
    """

    start_method: ClassVar[str] = "spawn"

    def __init__(
        self,
        root: Path,
        jobs: int,
        maker: TaskMaker,
        shipment: Shipment,
        on_event: events.OnEvent,
        on_finished: Callable[[Task], None],
    ):
        self._root, self._jobs, self._maker, self._shipment = root, jobs, maker, shipment
        self._on_event, self._on_finished = on_event, on_finished
        self._context: Any = multiprocessing.get_context(self.start_method)
        self._workers: list[_Worker] = []
        self._stillborn = 0
        self._deaths: dict[Task, int] = {}
        self._claims: dict[Task, Lock] = {}
        self._look_again: dict[Task, float] = {}  # when, at runs that other processes make

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        for each in self._workers:
            each.send(worker.STOP)
            each.send(None)
        for each in self._workers:
            each.process.join()
            each.pipe.close()
        for task in list(self._claims):
            self._let_go(task)

    def run(self, tasks: Sequence[Task]) -> None:
        """Run tasks in this order, but for those that other processes make.

        Raises:
            Interrupted: a signal came; runs in progress were saved, and go on when the comparison is repeated.
            SessionError: no worker process can be started.
        """
        waiting, has_told = list(tasks), False
        if not waiting:
            return
        with signals.graceful() as stop:
            while True:
                if stop.signum is None:
                    self._assign(waiting)
                busy = [each for each in self._workers if each.task is not None]
                if stop.signum is not None and not has_told:
                    has_told = True
                    for each in busy:
                        each.send(worker.STOP)
                if not busy and stop.signum is not None:
                    raise Interrupted(stop.signum)
                if not busy and not waiting:
                    return
                if not busy:  # all are being made elsewhere
                    time.sleep(_POLL_SECS)
                    continue
                ready = connection.wait([each.pipe for each in busy], timeout=_POLL_SECS)
                for each in busy:
                    if each.pipe in ready:
                        self._hear(each, waiting, stop)

    def time(self, task: Task) -> float | None:
        """Let a worker take a few steps of a run, and return the seconds that all of them will take; None if it cannot.

        Raises:
            Interrupted: a signal came.
        """
        each = next((each for each in self._workers if each.task is None), None) or self._start()
        each.send((worker.TIME, task.config))
        with signals.graceful() as stop:
            try:
                while True:
                    while not each.pipe.poll(_POLL_SECS):
                        if stop.signum is not None:
                            each.process.kill()  # it has nothing to save
                            raise Interrupted(stop.signum)
                    heard = each.pipe.recv()
                    if heard[0] == "timed":
                        return heard[1]
                    each.has_begun, self._stillborn = True, 0
            except (EOFError, OSError):  # it has died
                self._workers.remove(each)
                each.process.join()
                each.pipe.close()
                return None

    def _assign(self, waiting: list[Task]) -> None:
        """Give tasks to idle workers, which are started as they are needed."""
        while True:
            idle = next((each for each in self._workers if each.task is None), None)
            if idle is None and len(self._workers) >= self._jobs:
                return
            task = next((task for task in waiting if self._is_free(task)), None)
            if task is None:
                return
            waiting.remove(task)
            if task.state in FINISHED:  # another comparison has made it
                self._let_go(task)
                self._on_finished(task)
                continue
            task.state = "running"
            if idle is not None and idle.code not in (None, task.code):  # it would start otherwise there
                self._retire(idle)
                idle = None
            idle = idle or self._start()
            idle.task = task
            idle.send((task.number, task.config, str(self._root / task.path)))

    def _is_free(self, task: Task) -> bool:
        """Return True, and hold the run, unless another process makes it, which is then told from time to time."""
        if self._look_again.get(task, 0.0) > time.monotonic():
            return False
        holder = _holder(self._root / task.path)
        claim = self._maker.claim(task) if holder is None else None
        if claim is None:
            self._wait_for(task, holder or "another comparison")
            return False
        self._claims[task] = claim
        return True

    def _let_go(self, task: Task) -> None:
        if (claim := self._claims.pop(task, None)) is not None:
            self._maker.let_go(task, claim)

    def _wait_for(self, task: Task, holder: str) -> None:
        self._look_again[task] = time.monotonic() + _LOOK_AGAIN_SECS
        self._on_event(events.waiting(task, holder))

    def _hear(self, each: _Worker, waiting: list[Task], stop: signals.Stop) -> None:
        """Take in what a worker says, or that it has died."""
        task = each.task
        assert task is not None
        try:
            heard = each.pipe.recv()
        except (EOFError, OSError):
            self._bury(each, task, waiting, stop)
            return
        if heard[0] == "begun":
            each.has_begun, self._stillborn = True, 0
        elif heard[0] == "progress":
            self._on_event(events.progress(task, *heard[1:]))
        else:
            each.task = None
            _, state, message, turned = heard
            if turned == worker.BY_IMPORTS:
                each.code = task.code
            elif turned:
                self._retire(each)
            self._end(task, state, message, waiting)

    def _retire(self, each: _Worker) -> None:
        """End a worker process that is not as a new one: the next run gets a new one."""
        self._workers.remove(each)
        each.send(None)
        each.process.join()
        each.pipe.close()

    def _end(self, task: Task, state: str, message: str, waiting: list[Task]) -> None:
        if state in ("interrupted", "in use"):
            task.state = "planned"
            self._let_go(task)
            if state == "in use":  # begun by another process a moment ago
                waiting.append(task)
                self._wait_for(task, _holder(self._root / task.path) or "a process that has just begun it")
            return
        task.state, task.message = state, message
        self._on_finished(task)
        self._let_go(task)

    def _bury(self, each: _Worker, task: Task, waiting: list[Task], stop: signals.Stop) -> None:
        """Try the run of a worker that died once more, in another one; the second time it has failed."""
        self._workers.remove(each)
        each.process.join()
        each.pipe.close()
        exitcode = each.process.exitcode
        self._stillborn += not each.has_begun
        task.state = "planned"
        self._let_go(task)
        if stop.signum is not None:
            return
        if self._stillborn >= _MAX_STILLBORN:
            raise SessionError(
                f"{self._stillborn} worker processes in a row ended before they could begin ({how(exitcode)}): look "
                "above for why; fewer at a time (-j 1) need less memory"
            )
        self._deaths[task] = self._deaths.get(task, 0) + 1
        if self._deaths[task] == 1:
            waiting.insert(0, task)
            self._on_event(events.retried(task, how(exitcode)))
        else:
            task.state, task.message = (
                "failed",
                f"its worker process died twice, the last one {how(exitcode)}{why(exitcode)}",
            )
            self._on_finished(task)

    def _start(self) -> _Worker:
        mine, its_own = self._context.Pipe()
        process = self._context.Process(target=worker.serve, args=(its_own, os.getpid(), self._shipment, at_start()))
        # The number of threads is each run's own affair; what numpy and others start at import is not needed.
        threads = _environment(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
        with threads, _ignoring_interrupts(), main_left_out():
            process.start()
        its_own.close()  # so that its end is heard when the process dies
        self._workers.append(_Worker(process, mine))
        return self._workers[-1]


def _holder(path: Path) -> str | None:
    """Return who makes a run at the moment: `process 123 on host`; None if nobody does."""
    try:
        status = RunDir(path).status()
    except DataError:  # whoever runs it will say what is wrong
        return None
    return f"process {status.get('pid')} on {status.get('host')}" if status.get("state") == "running" else None


@contextlib.contextmanager
def _ignoring_interrupts():
    """Let processes that are started meanwhile ignore Ctrl-C from their first instruction on: it is the parent's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _environment(**values: str):
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
