"""Runs tasks on all cores: worker processes, one thread each, one run at a time in each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from multiprocessing import connection
from pathlib import Path

from ..errors import DataError, Interrupted
from ..run_directory.comparison_file import FINISHED
from ..run_directory.run_dir import RunDir
from ..system import signals
from ..system.locks import Lock
from ..system.processes import how, why
from . import events, worker
from .identity import PROCESSES, problem_of
from .tasks import Task, TaskMaker
from .workers import POLL_SECS, Worker, WorkerDiedError, Workers

_LOOK_AGAIN_SECS = 1.0  # at a run that another process makes
_MOST_AT_ONCE = 16  # runs in a worker


class Pool:
    """Worker processes that make the runs of all phases of a comparison.

    One that is killed is replaced, and its run tried once more. A run that another process makes is waited for as long
    as that one lives; of comparisons that share a run, one makes it, and the others take it.

    Args:
        root: the folder of runs.
        jobs: how many runs at a time.
        maker: of the tasks, which claims runs.
        workers: the processes.
        on_event: is told of progress.
        on_finished: is told of each task that ended, before the next event.
        engine: that trains the runs; but for `processes`, a worker trains several at once.
    """

    def __init__(
        self,
        root: Path,
        jobs: int,
        maker: TaskMaker,
        workers: Workers,
        on_event: events.OnEvent,
        on_finished: Callable[[Task], None],
        engine: str = PROCESSES,
    ):
        self._root, self._jobs, self._maker, self._workers = root, jobs, maker, workers
        self._on_event, self._on_finished, self._engine = on_event, on_finished, engine
        self._deaths: dict[Task, int] = {}
        self._claims: dict[Task, Lock] = {}
        self._look_again: dict[Task, float] = {}  # when, at runs that other processes make

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        self._workers.close()
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
                busy = self._workers.busy()
                if stop.signum is not None and not has_told:
                    has_told = True
                    for each in busy:
                        each.send(worker.STOP)
                if not busy and stop.signum is not None:
                    raise Interrupted(stop.signum)
                if not busy and not waiting:
                    return
                if not busy:  # all are being made elsewhere
                    time.sleep(POLL_SECS)
                    continue
                ready = connection.wait([each.pipe for each in busy], timeout=POLL_SECS)
                for each in busy:
                    if each.pipe in ready:
                        self._hear(each, waiting, stop)

    def time(self, task: Task) -> float | None:
        """Let a worker take a few steps of a run, and return the seconds that all of them will take; None if it cannot.

        Raises:
            Interrupted: a signal came.
        """
        try:
            return self._workers.ask((worker.TIME, task.config), task.code)
        except WorkerDiedError:
            return None

    def _assign(self, waiting: list[Task]) -> None:
        """Give tasks to idle workers, which are started as they are needed."""
        while self._workers.idle() is not None or len(self._workers) < self._jobs:
            tasks = self._next(waiting)
            if not tasks:
                return
            idle = self._workers.fit(tasks[0].code)
            idle.tasks, idle.is_busy, idle.given = {task.number: task for task in tasks}, True, tasks[0].code
            orders = [worker.Order(task.number, task.config, str(self._root / task.path)) for task in tasks]
            idle.send((worker.RUN, orders, self._engine))

    def _next(self, waiting: list[Task]) -> list[Task]:
        """Take the next tasks for one worker from those that wait: one, or as many as are trained at once."""
        found: list[Task] = []
        for task in list(waiting):
            if found and (task in self._deaths or not _are_alike(task, found[0])):
                continue
            if not self._is_free(task):
                continue
            waiting.remove(task)
            if task.state in FINISHED:  # another comparison has made it
                self._let_go(task)
                self._on_finished(task)
                continue
            task.state = "running"
            found.append(task)
            if task in self._deaths or len(found) == self._size(len(found) + len(waiting)):
                break
        return found

    def _size(self, num_waiting: int) -> int:
        """Return how many runs one worker is given, where so many wait: all workers get about as many."""
        if self._engine == PROCESSES:
            return 1
        turns = self._jobs - len(self._workers.busy())
        while num_waiting > turns * _MOST_AT_ONCE:
            turns += self._jobs
        return math.ceil(num_waiting / turns)

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

    def _hear(self, each: Worker, waiting: list[Task], stop: signals.Stop) -> None:
        """Take in what a worker says, or that it has died."""
        try:
            kind, *heard = each.pipe.recv()
        except (EOFError, OSError):
            self._bury(each, waiting, stop)
            return
        if kind == "begun":
            self._workers.note_begun(each)
        elif kind == "progress":
            number, *how_far = heard
            self._on_event(events.progress(each.tasks[number], *how_far))
        elif kind == "made":
            number, (state, message) = heard
            self._end(each.tasks.pop(number), state, message, waiting)
        else:
            _, turned = heard
            each.is_busy = False
            self._workers.note_turned(each, turned, each.given)

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

    def _bury(self, each: Worker, waiting: list[Task], stop: signals.Stop) -> None:
        """Try the runs of a worker that died once more, each by itself; one that dies a second time has failed."""
        exitcode = self._workers.bury(each, stop)
        for task in each.tasks.values():
            task.state = "planned"
            self._let_go(task)
            if stop.signum is not None:
                continue
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


def _are_alike(one: Task, other: Task) -> bool:
    """Return True if two runs have the same problem, so that they can be trained at once."""
    return one.code == other.code and problem_of(one.config) == problem_of(other.config)


def _holder(path: Path) -> str | None:
    """Return who makes a run at the moment: `process 123 on host`; None if nobody does."""
    try:
        status = RunDir(path).status()
    except DataError:  # whoever runs it will say what is wrong
        return None
    return f"process {status.get('pid')} on {status.get('host')}" if status.get("state") == "running" else None
